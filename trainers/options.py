"""The command line of the image trainers: flags in groups, read into one object."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from trainers.flagfiles import expand_flagfiles, packaged_flagfiles
from trainers.program import Need, idle_flags, refuse_idle_flags

FLAGS = flags.FLAGS

MODELS = ("resnet18", "resnet34", "vgg11", "mlp", "c4")
VARIANTS = ("standard", "softplus", "lcnn")
ADVERSARIES = ("off", "fgsm", "pgd", "trades")
ADVERSARY_NORMS = ("1", "2", "inf")
AUGMENTATIONS = ("none", "crop_flip")
PAG = ("off", "one_image", "class_mean", "nearest_neighbor", "cluster", "rigd")
OPTIMIZERS = ("sgd", "adam")
PRECISIONS = ("off", "bfloat16", "float16")
STRATEGIES = ("off", "mirrored", "multi_worker", "tpu")

# Networks without a batch norm, which is what a gamma is of.
_NO_NORMS = ("c4", "mlp")

# Flags that do nothing unless others have them act.
_NEEDS = (
    Need(("initial_beta",), lambda v: v["variant"] != "standard",
         "--variant=lcnn or softplus"),
    Need(("initial_gamma", "curvature_gamma"), lambda v: v["model"] not in _NO_NORMS,
         "a --model with norms, none of " + ", ".join(_NO_NORMS)),
    Need(("initial_gamma",), lambda v: v["variant"] == "lcnn", "--variant=lcnn"),
    Need(("initial_beta", "initial_gamma"),
         lambda v: v["variant"] != "lcnn" or not v["initial"],
         "random weights, not an --initial, which brings its own"),
    Need(("curvature_absolute",), lambda v: v["curvature_gamma"],
         "--curvature_gamma above 0"),
    Need(("cure_step",), lambda v: v["cure"], "--cure above 0"),
    Need(("adversary_norm", "adversary_eps"), lambda v: v["adversary"] != "off",
         "an --adversary other than off"),
    Need(("adversary_steps", "adversary_step_size"),
         lambda v: v["adversary"] in ("pgd", "trades"), "--adversary=pgd or trades"),
    Need(("trades",), lambda v: v["adversary"] == "trades", "--adversary=trades"),
    Need(("pag_weight",), lambda v: v["pag"] != "off", "a --pag other than off"),
    Need(("pag_classes", "pag_exact"), lambda v: v["pag"] != "off" and v["pag_weight"],
         "a --pag other than off, of a weight above 0"),
    Need(("pag_scale",), lambda v: v["pag"] == "class_mean", "--pag=class_mean"),
    Need(("pag_samples",), lambda v: v["pag"] == "nearest_neighbor",
         "--pag=nearest_neighbor"),
    Need(("pag_clusters",), lambda v: v["pag"] == "cluster", "--pag=cluster"),
    Need(("watch_steps",), lambda v: v["watch_robust"], "--watch_robust above 0"),
    Need(("momentum",), lambda v: v["optimizer"] == "sgd", "--optimizer=sgd"),
    Need(("tpu",), lambda v: v["distribute"] == "tpu", "--distribute=tpu"),
    Need(("logical_cpus",), lambda v: v["distribute"] == "mirrored",
         "--distribute=mirrored"),
)  # fmt: skip

# Flags that say how to run, not what to compute; they are not part of `run.flags`.
_OUTSIDE_RUN = ("workdir", "resume", "overwrite", "dry_run")

# The one field that cannot be called as its flag, which is a word of Python's.
FLAG_OF = {"imports": "import"}

# What absl adds to the help of a flag that may be given often.
_REPEAT = "; repeat this option to specify a list of values"

GROUPS: dict[str, list[str]] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything a training run depends on; one field for each flag."""

    imports: tuple[str, ...]
    dataset: str
    data_dir: str
    train_examples: int
    eval_examples: int
    augment: str
    model: str
    variant: str
    width: int
    initial_beta: float
    initial_gamma: float
    initial: str
    curvature_beta: float
    curvature_gamma: float
    curvature_absolute: bool
    curvature_scale: float
    gradient_norm: float
    cure: float
    cure_step: float
    adversary: str
    adversary_norm: str
    adversary_eps: float
    adversary_steps: int
    adversary_step_size: float
    adversary_share: float
    trades: float
    pag: str
    pag_weight: float
    pag_classes: int
    pag_exact: bool
    pag_scale: float
    pag_samples: int
    pag_clusters: int
    teacher: str
    teacher_cache: str
    watch_robust: int
    watch_steps: int
    keep_epochs: int
    weight_decay: float
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    decay_at: str
    momentum: float
    seed: int
    deterministic: bool
    mixed_precision: str
    jit_compile: bool
    distribute: str
    tpu: str
    logical_cpus: int
    workdir: str
    resume: bool
    overwrite: bool
    dry_run: bool


def _group(title: str) -> list[str]:
    return GROUPS.setdefault(title, [])


def define_flags(**defaults: Any) -> None:
    """Defines every flag of `TrainConfig` on absl's `FLAGS`, once.

    Args:
        **defaults: Defaults of the calling program, by flag, where they are not those
            of `trainers.cifar`.
    """
    if "dataset" not in FLAGS:
        _define_all()
    for name, value in defaults.items():
        FLAGS.set_default(name, value)


def _define_all() -> None:
    _define_data()
    _define_network()
    _define_imports()
    _define_loss()
    _define_adversary()
    _define_pag()
    _define_watch()
    _define_optimisation()
    _define_machine()
    _define_run()
    _define_checks()


def _define_data() -> None:
    group = _group("Data")
    _string(group, "dataset", "cifar10", "Name of the data set: `shapes` (built in), or"
            " a TFDS name such as cifar10, cifar100, svhn_cropped, mnist.")  # fmt: skip
    _string(group, "data_dir", "", "Folder that holds prepared TFDS folders, such"
            " as DIR/cifar10/3.0.2. Empty: TFDS's own place; downloads.")  # fmt: skip
    _integer(group, "train_examples", 0, "Train on this many examples, a random subset"
             " fixed by the seed and balanced over classes. 0: all.", 0)  # fmt: skip
    _integer(group, "eval_examples", 0, "Evaluate on the first so many test examples."
             " 0: all.", 0)  # fmt: skip
    _enum(group, "augment", "crop_flip", AUGMENTATIONS, "Augmentation: crop_flip is a"
          " random crop after padding by 4 and a random horizontal flip.")  # fmt: skip


def _define_network() -> None:
    group = _group("Network")
    _enum(group, "model", "resnet18", MODELS, "Architecture.")
    _enum(group, "variant", "standard", VARIANTS, "standard, or lcnn: the same skeleton"
          " with low-curvature layers, or softplus: standard with activations at"
          " --initial_beta.")  # fmt: skip
    _integer(group, "width", 64, "Channels of the first stage; 64 is the published"
             " network, 16 suits a laptop. For mlp: hidden units.", 1)  # fmt: skip
    _float(group, "initial_beta", 5.0, "Where every beta of an lcnn starts, or the"
           " fixed one of a softplus.", 1e-6)  # fmt: skip
    _float(group, "initial_gamma", 10.0, "Where every gamma of an lcnn starts.", 1e-6)
    _string(group, "initial", "", "Trained network of the same kind to start from: a"
            " run's folder, a .keras file, a checkpoint or pretrained:NAME. Empty:"
            " random weights.")  # fmt: skip


def _define_imports() -> None:
    define("Network", flags.DEFINE_multi_string, "import", [], "Module to import first,"
           " which registers Keras classes that --initial or --teacher has. Once for"
           " each.")  # fmt: skip


def _define_loss() -> None:
    group = _group("Loss")
    _float(group, "curvature_beta", 0.0, "Weight of the sum of betas in the curvature"
           " penalty; the paper's is 0.01. Needs --variant=lcnn.")  # fmt: skip
    _float(group, "curvature_gamma", 0.0, "Weight of the sum of log(gamma); the paper's"
           " is 0.01. Needs --variant=lcnn.")  # fmt: skip
    _boolean(group, "curvature_absolute", False, "Penalise |log(gamma)|, as the"
             " paper's released code, not log(gamma), as its equation 5.")  # fmt: skip
    _float(group, "curvature_scale", 1.0, "Multiplies both weights of the curvature"
           " penalty, if there is one; short runs want less than 1"
           " (docs/RESULTS.md).")  # fmt: skip
    _float(group, "gradient_norm", 0.0, "Weight of the mean squared norm of the loss's"
           " gradient in the image (GradReg); the paper's is 0.0061.")  # fmt: skip
    _float(group, "cure", 0.0, "Weight of the curvature penalty of CURE, the squared"
           " change of the input gradient over a finite step.")  # fmt: skip
    _float(group, "cure_step", 0.6, "Length of that step, in pixel units, in the"
           " direction of the gradient's sign.", 1e-6)  # fmt: skip
    _float(group, "weight_decay", 5e-4, "L2 weight decay in PyTorch's sense (it passes"
           " through the momentum); beta and gamma are left out.")  # fmt: skip


def _define_adversary() -> None:
    group = _group("Adversary")
    _enum(group, "adversary", "off", ADVERSARIES, "pgd: train on the images that PGD"
          " finds in place of the clean ones. fgsm: on those of one step to the ball's"
          " edge. trades: on the clean ones, plus --trades times the divergence of the"
          " prediction under PGD.")  # fmt: skip
    _enum(
        group, "adversary_norm", "2", ADVERSARY_NORMS, "Norm of the adversary's ball."
    )
    _fraction(group, "adversary_eps", "0.1", "Radius of the ball in pixel units of"
              " [0, 1]: 0.1, 8/255.", 0.0)  # fmt: skip
    _integer(group, "adversary_steps", 3, "Gradient steps of the adversary; fgsm has"
             " one.", 1)  # fmt: skip
    _fraction(group, "adversary_step_size", "0", "Length of a step. 0: 2 eps / steps.",
              0.0)  # fmt: skip
    _float(group, "adversary_share", 1.0, "Share of each batch that is attacked, above"
           " 0; the rest stays clean. With --adversary=fgsm or pgd.", 1e-6,
           1.0)  # fmt: skip
    _float(group, "trades", 6.0, "Weight of the divergence with --adversary=trades.")


def _define_pag() -> None:
    group = _group("Aligned gradients")
    _enum(group, "pag", "off", PAG, "Align the gradient of every logit with a direction"
          " (PAG): towards one image of the class, its mean, the nearest of a sample or"
          " of its clusters' centres, or with the gradient of a --teacher"
          " (rigd).")  # fmt: skip
    _float(group, "pag_weight", 0.4, "Weight of the sum over classes of one minus the"
           " cosine.")  # fmt: skip
    _integer(group, "pag_classes", 0, "Classes drawn for each image and step, scaled up"
             " to all. 0: all of them.", 0)  # fmt: skip
    _boolean(group, "pag_exact", False, "Differentiate each class's term by itself, in"
             " place of random signs that are right in the mean and"
             " cheaper.")  # fmt: skip
    _float(group, "pag_scale", 0.0, "Constant that class means are multiplied by. 0:"
           " what gives each the length of its images.")  # fmt: skip
    _integer(group, "pag_samples", 50, "Images of each class among which the nearest is"
             " looked for.", 2)  # fmt: skip
    _integer(group, "pag_clusters", 10, "Centres of each class with --pag=cluster.", 1)
    _string(group, "teacher", "", "Network whose gradients --pag=rigd distils: a run's"
            " folder, a .keras file, a checkpoint, a SavedModel or"
            " pretrained:NAME.")  # fmt: skip
    _string(group, "teacher_cache", "", "Folder that keeps the teacher's gradients for"
            " the training data, computed once. Empty: computed in every"
            " step.")  # fmt: skip


def _define_watch() -> None:
    group = _group("Robust overfitting")
    _integer(group, "watch_robust", 0, "Hold so many training images out, never"
             " trained on, and attack them after every epoch: the accuracy left is"
             " val_robust_accuracy, and best.keras is the network of the epoch where it"
             " is highest. The attack is PGD in the adversary's ball; without an"
             " adversary, L-infinity at 8/255. 0: off.", 0)  # fmt: skip
    _integer(group, "watch_steps", 10, "Steps of that attack, each of 2 eps / steps,"
             " from a random start.", 1)  # fmt: skip
    _integer(group, "keep_epochs", 0, "Keep the network after each so many epochs, and"
             " after the last, as epochs/epoch-NNN.keras, for trainers.evaluate"
             " --suite=dissect --checkpoints. 0: none.", 0)  # fmt: skip


def _define_optimisation() -> None:
    group = _group("Optimisation")
    _integer(group, "epochs", 200, "Passes over the training data.", 1)
    _integer(group, "batch_size", 128, "Images a step, over all devices together.", 1)
    _enum(group, "optimizer", "sgd", OPTIMIZERS, "sgd has --momentum; adam has Keras's"
          " own moments, and wants a rate near 0.001.")  # fmt: skip
    _float(group, "learning_rate", 0.1, "Initial rate; it is divided by 10 at each of"
           " --decay_at.")  # fmt: skip
    _string(group, "decay_at", "0.75,0.875", "Shares of the epochs, rising and between"
            " 0 and 1, with commas; each is rounded down to a whole"
            " epoch.")  # fmt: skip
    _float(group, "momentum", 0.9, "Momentum of sgd, below 1.", 0.0, 0.999999)
    _integer(group, "seed", 0, "Fixes weights, order, augmentation and subset.", 0,
             2**32 - 1)  # fmt: skip


def _define_machine() -> None:
    group = _group("Machine")
    _boolean(group, "deterministic", True, "The same flags on the same machine give the"
             " same weights to the last bit, also after --resume. Costs some time"
             " (docs/RESULTS.md).")  # fmt: skip
    _enum(group, "mixed_precision", "off", PRECISIONS, "Half precision for the layers"
          " that bear it; norms and statistics stay float32.")  # fmt: skip
    _boolean(group, "jit_compile", False, "Compile the training step by XLA. Slower on"
             " a CPU; not with several devices.")  # fmt: skip
    _enum(group, "distribute", "off", STRATEGIES, "Several devices: mirrored (the GPUs"
          " of this machine), multi_worker (TF_CONFIG says which), tpu.")  # fmt: skip
    _string(group, "tpu", "", "Name of the TPU with --distribute=tpu; empty: local.")
    _integer(group, "logical_cpus", 1, "Split the CPU into so many devices, to rehearse"
             " --distribute=mirrored without GPUs.", 1)  # fmt: skip


def _define_run() -> None:
    group = _group("Run")
    _string(group, "workdir", "", "Folder of the run. Empty: runs/DATASET-MODEL-VARIANT"
            "-SEED.")  # fmt: skip
    _boolean(group, "resume", False, "Go on from the last finished epoch in workdir;"
             " the other flags must be those it began with.")  # fmt: skip
    _boolean(group, "overwrite", False, "Replace a run that is in workdir.")
    _boolean(group, "dry_run", False, "Print network, data, schedule and cost, and"
             " train nothing.")  # fmt: skip


def _define_checks() -> None:
    @flags.multi_flags_validator(
        ["curvature_beta", "curvature_gamma", "variant"],
        message="--curvature_beta and --curvature_gamma need --variant=lcnn: a "
        "standard network has no beta and no gamma.",
    )
    def _curvature_needs_lcnn(values: dict[str, object]) -> bool:
        wanted = values["curvature_beta"] or values["curvature_gamma"]
        return values["variant"] == "lcnn" or not wanted

    @flags.multi_flags_validator(
        ["adversary", "adversary_eps"],
        message="--adversary_eps must be above 0 with --adversary=fgsm, pgd or trades.",
    )
    def _adversary_needs_room(values: dict[str, Any]) -> bool:
        return values["adversary"] == "off" or values["adversary_eps"] > 0

    @flags.multi_flags_validator(
        ["adversary", "adversary_share"],
        message="--adversary_share below 1 needs --adversary=fgsm or pgd, which take "
        "the place of clean images.",
    )
    def _share_of_an_adversary(values: dict[str, Any]) -> bool:
        return values["adversary"] in ("fgsm", "pgd") or values["adversary_share"] == 1

    @flags.multi_flags_validator(
        ["pag", "teacher"],
        message="--pag=rigd and --teacher need each other.",
    )
    def _teacher_of_rigd(values: dict[str, Any]) -> bool:
        return (values["pag"] == "rigd") == bool(values["teacher"])

    @flags.multi_flags_validator(
        ["teacher", "teacher_cache"],
        message="--teacher_cache needs a --teacher.",
    )
    def _cache_of_a_teacher(values: dict[str, Any]) -> bool:
        return bool(values["teacher"]) or not values["teacher_cache"]

    @flags.validator("decay_at", message="must be rising numbers between 0 and 1.")
    def _rising_shares(value: str) -> bool:
        try:
            shares = decay_shares(value)
        except ValueError:
            return False
        rising = all(a < b for a, b in zip(shares, shares[1:], strict=False))
        return rising and 0 < shares[0] and shares[-1] < 1

    @flags.multi_flags_validator(
        ["watch_robust", "distribute"],
        message="--watch_robust needs one process: not --distribute=multi_worker.",
    )
    def _watched_by_one(values: dict[str, Any]) -> bool:
        return not values["watch_robust"] or values["distribute"] != "multi_worker"

    @flags.multi_flags_validator(
        ["jit_compile", "distribute"],
        message="--jit_compile works with --distribute=off or tpu only: several "
        "replicas cannot reduce inside a compiled step.",
    )
    def _one_device_if_compiled(values: dict[str, object]) -> bool:
        return not values["jit_compile"] or values["distribute"] in ("off", "tpu")

    @flags.multi_flags_validator(
        ["resume", "overwrite"],
        message="--resume and --overwrite exclude each other: one keeps the run in "
        "workdir, the other replaces it.",
    )
    def _resume_or_overwrite(values: dict[str, object]) -> bool:
        return not (values["resume"] and values["overwrite"])


def _string(group: list[str], name: str, default: str, text: str) -> None:
    group.append(name)
    flags.DEFINE_string(name, default, text)


def _boolean(group: list[str], name: str, default: bool, text: str) -> None:
    group.append(name)
    flags.DEFINE_boolean(name, default, text)


def _enum(
    group: list[str], name: str, default: str, values: Sequence[str], text: str
) -> None:
    group.append(name)
    flags.DEFINE_enum(name, default, list(values), text)


def _integer(
    group: list[str],
    name: str,
    default: int,
    text: str,
    lower_bound: int,
    upper_bound: int | None = None,
) -> None:
    group.append(name)
    flags.DEFINE_integer(
        name, default, text, lower_bound=lower_bound, upper_bound=upper_bound
    )


def _float(
    group: list[str],
    name: str,
    default: float,
    text: str,
    lower_bound: float = 0.0,
    upper_bound: float | None = None,
) -> None:
    group.append(name)
    flags.DEFINE_float(
        name, default, text, lower_bound=lower_bound, upper_bound=upper_bound
    )
    # Bounds let NaN through: it is neither below nor above anything.
    flags.register_validator(name, math.isfinite, message="must be a finite number.")


def define(
    group: str,
    define_flag: Callable[..., Any],
    name: str,
    default: Any,
    text: str,
    **more: Any,
) -> None:
    """Defines a flag under a heading of the help, for programs with flags of their own.

    Args:
        group: The heading.
        define_flag: One of absl's, such as `flags.DEFINE_string`.
        name: Of the flag.
        default: Its default.
        text: Its help.
        **more: What else absl's function takes.
    """
    _group(group).append(name)
    define_flag(name, default, help=text, **more)


class FractionParser(flags.FloatParser):
    """Parses `8/255` as well as `0.03`; a finite number not below a bound."""

    def __init__(self, lower_bound: float) -> None:
        super().__init__(lower_bound=lower_bound)

    def convert(self, argument: float | int | str) -> float:
        """The number that a text such as `8/255` stands for."""
        numerator, slash, denominator = str(argument).partition("/")
        try:
            value = float(numerator) / (float(denominator) if slash else 1.0)
        except ZeroDivisionError:
            raise ValueError(f"{argument} divides by zero") from None
        if not math.isfinite(value):
            raise ValueError(f"{argument} is not a finite number")
        return value


def _fraction(
    group: list[str], name: str, default: str, text: str, lower_bound: float
) -> None:
    group.append(name)
    flags.DEFINE(FractionParser(lower_bound), name, default, text, serializer=None)


def decay_shares(text: str) -> tuple[float, ...]:
    """The numbers of `--decay_at`.

    Args:
        text: One or more numbers, commas between them.

    Returns:
        Them, in their order.

    Raises:
        ValueError: If one is no number.
    """
    return tuple(float(share) for share in text.split(","))


def config_from_flags() -> TrainConfig:
    """The parsed flags as a `TrainConfig`, with the default workdir filled in.

    Raises `UsageError` if one was given that does nothing beside the others.
    """
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    values: dict[str, Any] = {
        name: FLAGS[FLAG_OF.get(name, name)].value for name in names
    }
    refuse_idle_flags(_NEEDS, values)
    values["imports"] = tuple(values["imports"])
    config = TrainConfig(**values)
    if config.workdir:
        return config
    name = f"{config.dataset}-{config.model}-{config.variant}-{config.seed}"
    return dataclasses.replace(config, workdir=str(pathlib.Path("runs") / name))


def flag_lines(config: TrainConfig) -> list[str]:
    """The lines of the flagfile that repeats a run, without its output folder.

    Flags that do nothing in it are left out: another program may have other defaults
    for them, and would refuse them.
    """
    values = dataclasses.asdict(config)
    left_out = {*_OUTSIDE_RUN, *idle_flags(_NEEDS, values)}
    imports = [_flag_line("import", name) for name in values.pop("imports")]
    return imports + [
        _flag_line(name, value)
        for name, value in values.items()
        if name not in left_out
    ]


def _flag_line(name: str, value: Any) -> str:
    return f"--{name}={str(value).lower() if isinstance(value, bool) else value}"


def grouped_help(usage: str) -> str:
    """The help text: usage, then every flag under its group with its default."""
    lines = [usage.strip(), ""]
    for title, names in GROUPS.items():
        lines.append(f"{title}:")
        for name in names:
            flag = FLAGS[name]
            allowed = getattr(flag.parser, "enum_values", None)
            choice = f" ({'|'.join(allowed)})" if allowed else ""
            lines.append(f"  --{name}{choice}, default {flag.default!r}")
            # absl breaks lines in `flag.help` where it likes.
            text = " ".join(flag.help.split()).removesuffix(_REPEAT)
            lines += textwrap.wrap(text, 80, initial_indent=" " * 6,
                                   subsequent_indent=" " * 6)  # fmt: skip
        lines.append("")
    files = (
        "--flagfile=FILE reads flags from a file and may be given several times; what "
        "comes later wins."
    )
    if fitting := [name for name in packaged_flagfiles() if _fits(name)]:
        known = ", ".join(fitting)
        files += f" These come with the package and are known by their names: {known}."
    lines += textwrap.wrap(files, 80, break_on_hyphens=False)
    return "\n".join(lines)


def _fits(flagfile: str) -> bool:
    """Whether a packaged flagfile has flags of this program alone."""
    given = expand_flagfiles([f"--flagfile={flagfile}"])
    return all(flag[2:].partition("=")[0] in FLAGS for flag in given)
