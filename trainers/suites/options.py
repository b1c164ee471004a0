"""The command line of `trainers.evaluate`, read into one object."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from absl import flags

from tfrobust.cli.flags import GROUPS
from tfrobust.cli.program import Need, UsageError, idle_flags, refuse_idle_flags
from tfrobust.core.radii import parse_fraction

FLAGS = flags.FLAGS
FLAG_OF = {"imports": "import"}

SUITES = ("lcnn", "smooth", "pag", "dissect")
ATTACKS = ("pgd", "fgsm", "pgd2", "spgd2")
NORMS = {"2": "L2", "inf": "Linf", "1": "L1"}
KERNELS = ("laplacian", "gaussian")
NEIGHBORS = (4, 8)

_LCNN = "Suite lcnn"
_SMOOTH = "Suite smooth"
_PAG = "Suite pag"
_DISSECT = "Suite dissect"


def _suite(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda values: values["suite"] in names


def _dissects(values: Mapping[str, Any], *attacks: str) -> bool:
    """Whether the suite is dissect and one of these is among its attacks."""
    if values["suite"] != "dissect":
        return False
    return not {*attacks}.isdisjoint(parse_attacks(values["dissect_attacks"]))


def _steps(values: Mapping[str, Any]) -> bool:
    return values["suite"] != "dissect" or _dissects(values, "pgd", "pgd2", "spgd2")


def _restarts(values: Mapping[str, Any]) -> bool:
    return values["suite"] in ("lcnn", "pag") or _dissects(values, "pgd", "pgd2")


def _smooths(values: Mapping[str, Any]) -> bool:
    return values["suite"] == "smooth" or _dissects(values, "spgd2")


def _masks(values: Mapping[str, Any]) -> bool:
    return values["suite"] == "pag" and values["masking"]


def _keeps(values: Mapping[str, Any]) -> bool:
    return values["suite"] == "dissect" and bool(values["checkpoints"])


# Flags that do nothing unless others have them act.
_NEEDS = (
    Need(("eps", "norm"), _suite("lcnn"), "--suite=lcnn"),
    Need(("geometry_examples", "power_iterations"), _suite("lcnn", "dissect"),
         "--suite=lcnn or dissect"),
    Need(("steps",), _steps, "an attack that iterates in --dissect_attacks"),
    Need(("restarts",), _restarts,
         "--suite=lcnn or pag, or dissect with pgd or pgd2 in --dissect_attacks"),
    Need(("radii", "linf_eps", "l2_eps", "cw_steps", "cw_searches", "cw_const",
          "cw_rate", "cw_space", "cw_confidence", "cw_rounding", "smooth_rate",
          "budgets", "roughness_weight", "filter_std", "filter_range"),
         _suite("smooth"), "--suite=smooth"),
    Need(("smooth_alpha", "smooth_bandwidth", "smooth_kernel", "smooth_neighbors"),
         _smooths, "--suite=smooth, or dissect with spgd2 in --dissect_attacks"),
    Need(("judge", "pag_linf", "pag_l2", "pag_samples", "pag_moved", "pag_moved_eps",
          "pag_moved_steps", "pag_shown", "masking"), _suite("pag"), "--suite=pag"),
    Need(("masking_examples", "masking_restarts", "masking_queries"), _masks,
         "--suite=pag with --masking"),
    Need(("dissect_linf",), lambda v: _dissects(v, "pgd", "fgsm"),
         "--suite=dissect with pgd or fgsm in --dissect_attacks"),
    Need(("dissect_l2",), lambda v: _dissects(v, "pgd2", "spgd2"),
         "--suite=dissect with pgd2 or spgd2 in --dissect_attacks"),
    Need(("dissect_step",), lambda v: _dissects(v, "pgd"),
         "--suite=dissect with pgd in --dissect_attacks"),
    Need(("dissect_attacks", "dissect_scales", "dissect_high", "dissect_layers",
          "dissect_shown", "checkpoints"), _suite("dissect"), "--suite=dissect"),
    Need(("checkpoint_examples",), _keeps, "--suite=dissect with --checkpoints"),
)  # fmt: skip

# Flags that say where results go, not what is computed.
_OUTSIDE_EVALUATION = ("out", "overwrite")


def define(
    group: str,
    define_flag: Callable[..., Any],
    name: str,
    default: Any,
    text: str,
    **more: Any,
) -> None:
    """Defines a flag under a heading of the help."""
    GROUPS.setdefault(group, []).append(name)
    define_flag(name, default, help=text, **more)


class FractionParser(flags.FloatParser):
    """Parses `8/255` as well as `0.03`."""

    def __init__(self, lower_bound: float) -> None:
        super().__init__(lower_bound=lower_bound)

    def convert(self, argument: float | int | str) -> float:
        """The number that a text such as `8/255` stands for."""
        return parse_fraction(argument)


@dataclasses.dataclass(frozen=True, order=True)
class Eps:
    """The radius of an attack, and how the user wrote it, such as `8/255`."""

    value: float
    text: str

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Budget:
    """What an attack that searches may spend: so many searches of so many steps."""

    searches: int
    steps: int

    def __str__(self) -> str:
        return f"{self.searches}x{self.steps}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Everything an evaluation depends on; one field for each flag.

    `eps` is rising and without repetitions; `name` is empty or as long as `model`.
    """

    imports: tuple[str, ...]
    suite: str
    model: tuple[str, ...]
    name: tuple[str, ...]
    dataset: str
    data_dir: str
    clean_examples: int
    examples: int
    geometry_examples: int
    eps: tuple[Eps, ...]
    norm: str
    steps: int
    restarts: int
    power_iterations: int
    radii: int
    linf_eps: float
    l2_eps: float
    cw_steps: int
    cw_searches: int
    cw_const: float
    cw_rate: float
    cw_space: str
    cw_confidence: float
    cw_rounding: bool
    smooth_rate: float
    smooth_alpha: float
    smooth_bandwidth: float
    smooth_kernel: str
    smooth_neighbors: int
    roughness_weight: float
    budgets: str
    filter_std: float
    filter_range: float
    judge: str
    pag_linf: float
    pag_l2: float
    pag_samples: int
    pag_moved: int
    pag_moved_eps: str
    pag_moved_steps: int
    pag_shown: int
    masking: bool
    masking_examples: int
    masking_restarts: int
    masking_queries: int
    dissect_attacks: str
    dissect_linf: float
    dissect_l2: float
    dissect_step: float
    dissect_scales: int
    dissect_high: float
    dissect_layers: str
    dissect_shown: int
    checkpoints: tuple[str, ...]
    checkpoint_examples: int
    seed: int
    batch_size: int
    out: str
    overwrite: bool

    @property
    def norm_name(self) -> str:
        """L1, L2 or Linf."""
        return NORMS[self.norm]

    @property
    def parsed_budgets(self) -> tuple[Budget, ...]:
        """The budgets of `smooth`, as given; `UsageError` if one is none."""
        return parse_budgets(self.budgets)

    @property
    def moved_radii(self) -> tuple[Eps, ...]:
        """The radii of `pag_moved_eps`, rising; `UsageError` if one is none."""
        return parse_eps([self.pag_moved_eps], "pag_moved_eps")

    @property
    def attack_names(self) -> tuple[str, ...]:
        """The attacks of `dissect_attacks`, each once; `UsageError` if one is none."""
        return parse_attacks(self.dissect_attacks)

    @property
    def layer_names(self) -> tuple[str, ...] | None:
        """The layers of `dissect_layers`; `None` for each network's own choice."""
        return tuple(_parts(self.dissect_layers)) or None


def define_flags() -> None:
    """Defines every flag of `EvaluateConfig` on absl's `FLAGS`, once."""
    if "suite" in FLAGS:
        return
    _define_models()
    _define_data()
    _define_attack()
    _define_geometry()
    _define_radii()
    _define_carlini_wagner()
    _define_smoothing()
    _define_filter()
    _define_alignment()
    _define_masking()
    _define_dissection()
    _define_run()


def _define_models() -> None:
    define("Models", flags.DEFINE_multi_string, "model", [], "A .keras file, a"
            " SavedModel folder (or the folder of its versions: the newest), or the"
            " folder of a run of trainers.cifar, or pretrained:NAME. Once for each"
            " model.")  # fmt: skip
    define("Models", flags.DEFINE_multi_string, "name", [], "What to call a model;"
            " none, or one for each --model in the same order.")  # fmt: skip
    define("Models", flags.DEFINE_multi_string, "import", [], "Module to import first,"
            " which registers Keras classes that a model has. Once for"
            " each.")  # fmt: skip
    define("Models", flags.DEFINE_enum, "suite", SUITES[0], "What to measure: lcnn is"
            " tables 1 to 3 and figure 2 of the LCNN paper, smooth is tables 1 to 3 and"
            " figures 1, 2 and 5 of the paper on smooth adversarial examples, pag is"
            " tables 1, 2 and 4 and figures 1, 4 and 5 of the paper on perceptually"
            " aligned gradients, dissect is tables 1 to 5 and figures 1 to 3 and 5 to 9"
            " of the paper on local properties of adversarial examples.",
            enum_values=list(SUITES))  # fmt: skip


def _define_data() -> None:
    define("Data", flags.DEFINE_string, "dataset", "cifar10", "Name of the data set,"
            " as for trainers.cifar.")  # fmt: skip
    define("Data", flags.DEFINE_string, "data_dir", "", "Folder that holds prepared"
            " TFDS folders. Empty: TFDS's own place; downloads.")  # fmt: skip
    define("Data", flags.DEFINE_integer, "clean_examples", 0, "Measure the clean"
            " accuracy on the first so many test images; smooth attacks correct ones"
            " among them. 0: all.",
            lower_bound=0)  # fmt: skip
    define("Data", flags.DEFINE_integer, "examples", 500, "Attack so many test images;"
            " lcnn, pag, dissect: drawn by the seed and balanced over classes; smooth:"
            " the first that a model classifies correctly.", lower_bound=2)  # fmt: skip
    define("Data", flags.DEFINE_integer, "geometry_examples", 200, "Measure gradient"
            " and curvature on so many test images, in lcnn on as many training images"
            " too; lcnn and dissect.", lower_bound=2)  # fmt: skip


def _define_attack() -> None:
    define(_LCNN, flags.DEFINE_multi_string, "eps", ["0.05,0.1,0.15,0.2"], "Radius"
            " of the attack in units of [0, 1]; fractions as 8/255 too. Several: give"
            " the flag again, also after a flagfile's, or commas.")  # fmt: skip
    define(_LCNN, flags.DEFINE_enum, "norm", "2", "Norm of the attack.",
            enum_values=list(NORMS))  # fmt: skip
    define("Attack", flags.DEFINE_integer, "steps", 20, "Steps of PGD, in smooth and"
            " dissect of all that iterate, at each radius.", lower_bound=1)  # fmt: skip
    define("Attack", flags.DEFINE_integer, "restarts", 1, "Random starts of PGD;"
            " lcnn, pag and dissect.", lower_bound=1)  # fmt: skip


def _define_geometry() -> None:
    define("Attack", flags.DEFINE_integer, "power_iterations", 10, "Iterations for"
            " the norm of the Hessian; lcnn and dissect.", lower_bound=1)  # fmt: skip


def _define_radii() -> None:
    define(_SMOOTH, flags.DEFINE_integer, "radii", 20, "Radii at which attacks within a"
            " radius are run, evenly spaced up to the largest.",
            lower_bound=1)  # fmt: skip
    _number("linf_eps", 0.3, "Largest radius of FGSM and I-FGSM: 0.3, 8/255.")
    _number("l2_eps", 5.0, "Largest radius of PGD2 and sPGD2.")
    for name in ("linf_eps", "l2_eps"):
        flags.register_validator(name, _is_positive, "must be above 0.")


def _define_carlini_wagner() -> None:
    define(_SMOOTH, flags.DEFINE_integer, "cw_steps", 100, "Steps of a search of C&W"
            " and sC&W.", lower_bound=1)  # fmt: skip
    define(_SMOOTH, flags.DEFINE_integer, "cw_searches", 9, "Their searches, all of"
            " which are spent.", lower_bound=1)  # fmt: skip
    _number("cw_const", 15.0, "Their first trade-off of success for distortion.")
    _number("cw_rate", 0.1, "Learning rate of C&W.")
    define(_SMOOTH, flags.DEFINE_enum, "cw_space", "clip", "What C&W moves: tanh is the"
            " published change of variable, clip the pixels themselves.",
            enum_values=["tanh", "clip"])  # fmt: skip
    _number("cw_confidence", 0.0, "Margin of the logits that C&W and sC&W must reach.")
    define(_SMOOTH, flags.DEFINE_boolean, "cw_rounding", False, "C&W and sC&W ask the"
            " network about images rounded to 8 bits.")  # fmt: skip
    _number("smooth_rate", 0.2, "Learning rate of sC&W.")
    define(_SMOOTH, flags.DEFINE_string, "budgets", "1x100,3x100,9x100", "Compare C&W"
            " in both spaces and sC&W at these budgets too, searches x steps, with"
            " commas between. Empty: at none.")  # fmt: skip
    for name in ("cw_const", "cw_rate", "smooth_rate"):
        flags.register_validator(name, _is_positive, "must be above 0.")


def _define_smoothing() -> None:
    _number("smooth_alpha", 0.95, "How far sPGD2 and sC&W smooth, below 1.")
    _number("smooth_bandwidth", 1.0, "Of the kernel on pixel values.")
    define(_SMOOTH, flags.DEFINE_enum, "smooth_kernel", KERNELS[0], "That kernel.",
            enum_values=list(KERNELS))  # fmt: skip
    define(_SMOOTH, flags.DEFINE_enum, "smooth_neighbors", str(NEIGHBORS[0]),
            "Neighbours of a pixel.",
            enum_values=list(map(str, NEIGHBORS)))  # fmt: skip
    _number("roughness_weight", 0.0, "Weight of the roughness in one more attack, sC&W"
            " with a smoother result. 0: without it.")  # fmt: skip
    flags.register_validator("smooth_alpha", _is_below_1, "must be below 1.")
    flags.register_validator("smooth_bandwidth", _is_positive, "must be above 0.")


def _define_filter() -> None:
    _number("filter_std", 5.0, "Spatial standard deviation, in pixels, of the bilateral"
            " filter that perturbations are transferred through.")  # fmt: skip
    _number("filter_range", "5/255", "Its standard deviation of pixel values.")
    for name in ("filter_std", "filter_range"):
        flags.register_validator(name, _is_positive, "must be above 0.")


def _define_alignment() -> None:
    define(_PAG, flags.DEFINE_string, "judge", "", "Classifier that says which class it"
            " sees in images that the models moved; none of them, given as they are."
            " Empty: nobody is asked.")  # fmt: skip
    _number("pag_linf", 0.031, "Radius of the Linf attack: 0.031, 8/255.", _PAG)
    _number("pag_l2", 0.5, "Radius of the L2 attack.", _PAG)
    for name in ("pag_linf", "pag_l2"):
        flags.register_validator(name, _is_positive, "must be above 0.")
    define(_PAG, flags.DEFINE_integer, "pag_samples", 50, "Training images of each"
            " class among which the nearest is looked for.", lower_bound=2)  # fmt: skip
    define(_PAG, flags.DEFINE_integer, "pag_moved", 100, "Move so many of the attacked"
            " images towards every class.", lower_bound=2)  # fmt: skip
    define(_PAG, flags.DEFINE_string, "pag_moved_eps", "3,10", "L2 radii within which"
            " they are moved, with commas between. The largest is shown.")  # fmt: skip
    define(_PAG, flags.DEFINE_integer, "pag_moved_steps", 50, "Steps on the way.",
            lower_bound=1)  # fmt: skip
    define(_PAG, flags.DEFINE_integer, "pag_shown", 4, "Show so many of them.",
            lower_bound=1)  # fmt: skip


def _define_masking() -> None:
    define(_PAG, flags.DEFINE_boolean, "masking", False, "Look for signs that gradients"
            " are masked rather than robust.")  # fmt: skip
    define(_PAG, flags.DEFINE_integer, "masking_examples", 100, "Look on so many of the"
            " attacked images.", lower_bound=2)  # fmt: skip
    define(_PAG, flags.DEFINE_integer, "masking_restarts", 10, "Random starts of PGD on"
            " margins.", lower_bound=1)  # fmt: skip
    define(_PAG, flags.DEFINE_integer, "masking_queries", 1000, "Questions that the"
            " attack without gradients may ask.", lower_bound=1)  # fmt: skip


def _define_dissection() -> None:
    define(_DISSECT, flags.DEFINE_string, "dissect_attacks", "pgd", "Attacks to look"
            " at, with commas between: pgd, fgsm within --dissect_linf, pgd2 and the"
            " smooth spgd2 (--smooth_alpha and its like) within --dissect_l2. Images of"
            " the first are filtered, swapped and transferred.")  # fmt: skip
    _number("dissect_linf", "8/255", "Radius of Linf attacks.", _DISSECT)
    _number("dissect_l2", 0.5, "Radius of L2 attacks.", _DISSECT)
    _number("dissect_step", "1/255", "Length of a step of pgd. 0: 2 eps / steps.",
            _DISSECT)  # fmt: skip
    define(_DISSECT, flags.DEFINE_integer, "dissect_scales", 15, "Thresholds of"
            " frequency, evenly spaced from 0 to sqrt(2).", lower_bound=2)  # fmt: skip
    _number("dissect_high", 0.5, "Threshold above which frequencies count as high.",
            _DISSECT)  # fmt: skip
    define(_DISSECT, flags.DEFINE_string, "dissect_layers", "", "Layers to look at,"
            " with commas between. Empty: Conv 1 and Layer 0 to 4, or their"
            " like.")  # fmt: skip
    define(_DISSECT, flags.DEFINE_integer, "dissect_shown", 3, "Show the perturbations"
            " of so many images of each model.", lower_bound=1)  # fmt: skip
    define(_DISSECT, flags.DEFINE_multi_string, "checkpoints", [], "Run that was"
            " trained with --keep_epochs, or folder of its epoch-NNN.keras: figures 5"
            " and 9. Once for each run.")  # fmt: skip
    define(_DISSECT, flags.DEFINE_integer, "checkpoint_examples", 100, "Attack so many"
            " of the images after each epoch.", lower_bound=2)  # fmt: skip
    for name in ("dissect_linf", "dissect_l2"):
        flags.register_validator(name, _is_positive, "must be above 0.")
    flags.register_validator("dissect_high", _is_scale, "must be at most sqrt(2).")


def _number(name: str, default: float | str, text: str, group: str = _SMOOTH) -> None:
    """A finite number of at least 0, or a fraction."""
    define(group, _define_fraction, name, default, text)


def _define_fraction(name: str, default: float | str, help: str) -> None:
    flags.DEFINE(FractionParser(0.0), name, default, help, serializer=None)


def _is_below_1(value: float) -> bool:
    return value < 1


def _is_scale(value: float) -> bool:
    return value <= math.sqrt(2)


def _is_positive(value: float) -> bool:
    return value > 0


def _define_run() -> None:
    define("Run", flags.DEFINE_integer, "seed", 0, "Fixes the images drawn, the"
            " attack's starts and the noise.", lower_bound=0,
            upper_bound=2**31 - 1)  # fmt: skip
    define("Run", flags.DEFINE_integer, "batch_size", 100, "Images at a time; results"
            " do not depend on it beyond rounding.", lower_bound=1)  # fmt: skip
    define("Run", flags.DEFINE_string, "out", "", "Folder for the results. Empty:"
            " runs/evaluation-DATASET.")  # fmt: skip
    define("Run", flags.DEFINE_boolean, "overwrite", False, "Replace an evaluation"
            " that is in the folder.")  # fmt: skip


def config_from_flags() -> EvaluateConfig:
    """The parsed flags as an `EvaluateConfig`, with the default folder filled in.

    Raises `UsageError` where flags are wrong by themselves, or one was given that does
    nothing beside the others.
    """
    names = [field.name for field in dataclasses.fields(EvaluateConfig)]
    values: dict[str, Any] = {
        name: FLAGS[FLAG_OF.get(name, name)].value for name in names
    }
    refuse_idle_flags(_NEEDS, values)
    for name in ("imports", "model", "name", "checkpoints"):
        values[name] = tuple(values[name] or ())
    values["eps"] = parse_eps(values["eps"] or ())
    values["smooth_neighbors"] = int(values["smooth_neighbors"])
    values["out"] = values["out"] or str(
        pathlib.Path("runs") / f"evaluation-{values['dataset']}"
    )
    config = EvaluateConfig(**values)
    _check_names(config)
    _check_smooth(config)
    _check_pag(config)
    _check_dissect(config)
    return config


def parse_eps(texts: Sequence[str], flag: str = "eps") -> tuple[Eps, ...]:
    """Every radius in `texts`, rising, each once; `UsageError` if one is none.

    Args:
        texts: Numbers or fractions, each text several of them with commas between.
        flag: What they were given to.
    """
    parts = [part.strip() for text in texts for part in text.split(",")]
    found = {
        (radius := _radius(part, flag)): Eps(radius, part) for part in reversed(parts)
    }
    if not found:
        raise UsageError(f"--{flag} must be given at least one radius.")
    return tuple(sorted(found.values()))


def parse_budgets(text: str) -> tuple[Budget, ...]:
    """Every budget in `text`, in its order, each once; `UsageError` if one is none.

    Args:
        text: `3x100` is 3 searches of 100 steps; several with commas between.

    Example:
        >>> [str(budget) for budget in parse_budgets("9x100, 1x20")]
        ['9x100', '1x20']
    """
    if not text.strip():
        return ()
    return tuple(dict.fromkeys(_budget(part.strip()) for part in text.split(",")))


def _budget(text: str) -> Budget:
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text, re.ASCII)
    budget = Budget(*map(int, found.groups())) if found else Budget(0, 0)
    if not budget.searches or not budget.steps:
        raise UsageError(
            "--budgets must be searches x steps, such as 3x100, with commas between. "
            f"Received: {text!r}"
        )
    return budget


def _check_smooth(config: EvaluateConfig) -> None:
    """Raises `UsageError` over budgets, or too few images to look at."""
    _ = config.parsed_budgets
    count = config.clean_examples
    if config.suite == "smooth" and 0 < count < config.examples:
        raise UsageError(
            f"--clean_examples={count} must be at least --examples={config.examples}: "
            "smooth attacks correct ones among them."
        )


def _check_pag(config: EvaluateConfig) -> None:
    """Raises `UsageError` over radii, or more images to look at than are attacked."""
    if config.suite != "pag":
        return
    if config.moved_radii[0].value <= 0:
        raise UsageError(
            "--pag_moved_eps must be above 0, or nothing moves. "
            f"Received: {config.pag_moved_eps!r}"
        )
    counted = ("pag_moved", "masking_examples") if config.masking else ("pag_moved",)
    for flag in counted:
        _check_among(config, flag)


def parse_attacks(text: str) -> tuple[str, ...]:
    """Every attack in `text`, in its order, each once; `UsageError` if one is none.

    Example:
        >>> parse_attacks("pgd, spgd2")
        ('pgd', 'spgd2')
    """
    names = tuple(dict.fromkeys(_parts(text)))
    if not names or any(name not in ATTACKS for name in names):
        raise UsageError(
            f"--dissect_attacks must be some of {', '.join(ATTACKS)}, with commas "
            f"between. Received: {text!r}"
        )
    return names


def _parts(text: str) -> list[str]:
    """What stands between commas, of one text that may be blank."""
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _check_dissect(config: EvaluateConfig) -> None:
    """Raises `UsageError` over attacks, or more images to look at than are attacked."""
    if config.suite != "dissect":
        return
    _ = config.attack_names
    counted = ("geometry_examples", "checkpoint_examples")
    for flag in counted if config.checkpoints else counted[:1]:
        _check_among(config, flag)


def _check_among(config: EvaluateConfig, flag: str) -> None:
    if getattr(config, flag) > config.examples:
        raise UsageError(
            f"--{flag}={getattr(config, flag)} is more than the "
            f"--examples={config.examples} images attacked, of which it takes some."
        )


def _radius(text: str, flag: str) -> float:
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(
            f"--{flag} must be numbers of at least 0, such as 0.1 or 8/255, with "
            f"commas between. Received: {text!r}"
        )
    return value


def _check_names(config: EvaluateConfig) -> None:
    if not config.model:
        raise UsageError(
            "--model must be given at least once: a .keras file, a SavedModel folder "
            "or the folder of a run."
        )
    if config.name and len(config.name) != len(config.model):
        raise UsageError(
            f"--name must be given once for each of the {len(config.model)} models or "
            f"not at all. Received: {len(config.name)} names"
        )
    for name in config.name:
        if not name.strip() or config.name.count(name) > 1:
            raise UsageError(
                "--name must be a name of its own for each model. Received: "
                + ", ".join(map(repr, config.name))
            )


def flag_lines(config: EvaluateConfig) -> list[str]:
    """The lines of the flagfile that repeats an evaluation, without its folder.

    Flags that do nothing in it are left out: they would be refused.
    """
    fields = dataclasses.fields(config)
    settings = {field.name: getattr(config, field.name) for field in fields}
    left_out = {*_OUTSIDE_EVALUATION, *idle_flags(_NEEDS, settings)}
    lines = []
    for name, value in settings.items():
        if name not in left_out:
            values = value if isinstance(value, tuple) else (value,)
            lines += [f"--{FLAG_OF.get(name, name)}={each}" for each in values]
    return lines
