"""The settings of a training run, each a flag of the image trainers.

Long because it is a list: a flag with its help is a few lines, and there are sixty.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any

from tfrobust.cli import dataset_names, flags
from tfrobust.cli.flags import (
    Need,
    Settings,
    boolean,
    choice,
    integer,
    number,
    read,
    several,
    string,
)
from tfrobust.cli.program import UsageError
from tfrobust.core.specs import Spec

VARIANTS = ("standard", "plain", "softplus", "lcnn")
NO_ADVERSARY = ("", "off")
AUGMENTATIONS = ("none", "crop_flip")
OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("steps", "one_cycle")
PRECISIONS = ("off", "bfloat16", "float16")
DIRECTIONS = ("auto", "augmented", "stored")
STRATEGIES = ("off", "auto", "mirrored", "multi_worker", "tpu")

# Fields that say how to run, not what to compute; they are not part of `run.flags`.
# The size of images stands in the name of the data set by then.
_OUTSIDE_RUN = (
    "workdir",
    "resume",
    "overwrite",
    "dry_run",
    "image_size",
    "distribute",
    "tpu",
    "logical_cpus",
    "workers",
    "worker_index",
    "start_timeout",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Data(Settings, title="Data"):
    """Data."""

    dataset: str = string(
        "cifar10",
        "Name of the data set: `shapes` (built in), folder:PATH (images in a folder "
        "for each class), npz:FILE (arrays), a TFDS name such as cifar10, cifar100, "
        "svhn_cropped, mnist, or one that an --import registers "
        "(tfrobust.data.register). Settings may follow: folder:PATH:test=0.1,seed=1.",
    )
    image_size: str = string(
        "",
        "Bring the images of folder:PATH to this size: 64, or 48x64 for height x "
        "width. Empty: they have one size already.",
    )
    data_dir: str = string(
        "",
        "Folder that holds prepared TFDS folders, such as "
        "DIR/cifar10/3.0.2. Empty: TFDS's own place; downloads.",
    )
    train_examples: int = integer(
        0,
        "Train on this many examples, a random subset fixed by the seed and "
        "balanced over classes. 0: all.",
    )
    eval_examples: int = integer(
        0, "Evaluate on the first so many test examples. 0: all."
    )
    augment: str = choice(
        "crop_flip",
        AUGMENTATIONS,
        "Augmentation: crop_flip is a random crop after padding by 4 and a "
        "random horizontal flip.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Network(Settings, title="Network"):
    """Network."""

    model: str = string(
        "resnet18",
        "Architecture: c4, mlp, resnet9, resnet18, resnet34, resnet50, vgg11, or one "
        "that an --import registers (tfrobust.models.register). Settings may follow: "
        "resnet18:lcnn_parts=norm (docs/results/lcnn.md), my_network:depth=3.",
    )
    variant: str = choice(
        "standard",
        VARIANTS,
        "standard, or lcnn: the same skeleton with low-curvature layers, or "
        "softplus: standard with activations at --initial_beta, or plain: the "
        "published network, with ReLU, batch norms with scale and shift, and blocks "
        "that return a sum.",
    )
    width: int = integer(
        64,
        "Channels of the first stage; 64 is the published network, 16 suits "
        "a laptop. For mlp: hidden units.",
        at_least=1,
    )
    initial_beta: float = number(
        5.0,
        "Where every beta of an lcnn starts, or the fixed one of a softplus.",
        at_least=1e-06,
        needs=(
            Need(
                "--variant=lcnn or softplus",
                lambda v: v["variant"] in ("lcnn", "softplus"),
            ),
            Need(
                "random weights, not an --initial, which brings its own",
                lambda v: v["variant"] != "lcnn" or not v["initial"],
            ),
        ),
    )
    initial_gamma: float = number(
        10.0,
        "Where every gamma of an lcnn starts.",
        at_least=1e-06,
        needs=(
            Need("--variant=lcnn", lambda v: v["variant"] == "lcnn"),
            Need(
                "random weights, not an --initial, which brings its own",
                lambda v: v["variant"] != "lcnn" or not v["initial"],
            ),
        ),
    )
    initial: str = string(
        "",
        "Trained network of the same kind to start from: a run's folder, a "
        ".keras file, a checkpoint or pretrained:NAME. Empty: random "
        "weights.",
    )
    imports: tuple[str, ...] = several(
        "Module to import first, which registers a network for --model, a data set, a "
        "--penalty, an attack for --adversary or directions for --pag, or Keras "
        "classes that --initial or --teacher has. Once for each.",
        flag="import",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Loss(Settings, title="Loss"):
    """Loss."""

    curvature_beta: float = number(
        0.0,
        "Weight of the sum of betas in the curvature penalty; 0.001 made the "
        "paper's Table 1. Needs --variant=lcnn.",
    )
    curvature_gamma: float = number(
        0.0,
        "Weight of the sum of |log(gamma)|; 0.001 made the paper's Table 1. Needs "
        "--variant=lcnn.",
    )
    curvature_absolute: bool = boolean(
        True,
        "Penalise |log(gamma)|, least at gamma = 1. --nocurvature_absolute: "
        "log(gamma), which has no least, to repeat a run that was made so.",
        needs=Need("--curvature_gamma above 0", lambda v: v["curvature_gamma"]),
    )
    curvature_scale: float = number(
        1.0,
        "Multiplies both weights of the curvature penalty, if there is one: "
        "to weaken or strengthen a flagfile's (docs/results/lcnn.md).",
    )
    gradient_norm: float = number(
        0.0,
        "Weight of the mean squared norm of the loss's gradient in the "
        "image (GradReg); that of the LCNN authors' code is 0.0061.",
    )
    cure: float = number(
        0.0,
        "Weight of the curvature penalty of CURE, the squared change of the "
        "input gradient over a finite step.",
    )
    cure_step: float = number(
        0.6,
        "Length of that step, in pixel units, in the direction of the gradient's sign.",
        at_least=1e-06,
        needs=Need("--cure above 0", lambda v: v["cure"]),
    )
    weight_decay: float = number(
        0.0005,
        "L2 weight decay in PyTorch's sense (it passes through the "
        "momentum); beta and gamma are left out.",
    )
    penalty: tuple[str, ...] = several(
        "Further term of the loss: any that is registered, with its settings, such as "
        "cure:weight=0.5,direction=gradient, or one that an --import registers "
        "(tfrobust.penalties.parse). Once for each.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Adversary(Settings, title="Adversary"):
    """Adversary."""

    adversary: str = string(
        "",
        "Train on the images that this attack finds in place of the clean ones: "
        "pgd:norm=2,eps=0.1,steps=3, fgsm:eps=8/255, or any other attack that is "
        "registered and has a radius, with its settings (tfrobust.attacks.parse). "
        "Empty or off: none.",
    )
    adversary_share: float = number(
        1.0,
        "Share of each batch that is attacked, above 0; the rest stays clean.",
        at_least=1e-06,
        at_most=1.0,
    )
    trades: float = number(
        0.0,
        "Above 0: train on the clean images (TRADES), and add so many times the "
        "divergence of the prediction under the adversary, which with pgd looks for "
        "the largest divergence unless its loss is given. The paper's is 6.",
        needs=Need("an --adversary", lambda v: v["adversary"] not in NO_ADVERSARY),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _AlignedGradients(Settings, title="Aligned gradients"):
    """Aligned gradients."""

    pag: str = string(
        "off",
        "Align the gradient of every logit with a direction (PAG): towards one image "
        "of the class (one_image), its mean (class_mean), the nearest of a sample "
        "(nearest_neighbor:samples=50) or of its clusters' centres "
        "(cluster:clusters=10), with the gradient of a --teacher (rigd), or directions "
        "that an --import registers (tfrobust.pag.build).",
    )
    pag_weight: float = number(
        0.4,
        "Weight of the sum over classes of one minus the cosine.",
        needs=Need("a --pag other than off", lambda v: v["pag"] != "off"),
    )
    pag_classes: int = integer(
        0,
        "Classes drawn for each image and step, scaled up to all. 0: all of them.",
        needs=Need(
            "a --pag other than off, of a weight above 0",
            lambda v: v["pag"] != "off" and v["pag_weight"],
        ),
    )
    pag_exact: bool = boolean(
        False,
        "Differentiate each class's term by itself, in place of random "
        "signs that are right in the mean and cheaper.",
        needs=Need(
            "a --pag other than off, of a weight above 0",
            lambda v: v["pag"] != "off" and v["pag_weight"],
        ),
    )
    pag_directions: str = choice(
        "auto",
        DIRECTIONS,
        "Directions of which image: augmented is the one that the network sees, "
        "cropped and mirrored; stored is that of the data set, whose directions are "
        "then cropped and mirrored with it, as if computed before training. auto: "
        "stored with a --teacher_cache, else augmented.",
        needs=Need(
            "a --pag other than off, of a weight above 0",
            lambda v: v["pag"] != "off" and v["pag_weight"],
        ),
    )
    teacher: str = string(
        "",
        "Network whose gradients --pag=rigd distils: a run's folder, a "
        ".keras file, a checkpoint, a SavedModel, pretrained:NAME or "
        "robustbench:FILE:ARCHITECTURE.",
    )
    teacher_cache: str = string(
        "",
        "Folder that keeps the teacher's gradients for the training data, "
        "computed once. Empty: computed in every step.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _RobustOverfitting(Settings, title="Robust overfitting"):
    """Robust overfitting."""

    watch_robust: int = integer(
        0,
        "Hold so many training images out, never trained on, and attack "
        "them after every epoch: the accuracy left is val_robust_accuracy, "
        "and best.keras is the network of the epoch where it is highest. "
        "The attack is PGD in the adversary's ball; without an adversary, "
        "L-infinity at 8/255. 0: off.",
    )
    watch_steps: int = integer(
        10,
        "Steps of that attack, each of 2 eps / steps, from a random start.",
        at_least=1,
        needs=Need("--watch_robust above 0", lambda v: v["watch_robust"]),
    )
    keep_epochs: int = integer(
        0,
        "Keep the network after each so many epochs, and after the last, as "
        "epochs/epoch-NNN.keras, for trainers.evaluate --suite=dissect "
        "--checkpoints. 0: none.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Optimization(Settings, title="Optimisation"):
    """Optimisation."""

    epochs: int = integer(200, "Passes over the training data.", at_least=1)
    batch_size: int = integer(
        128, "Images a step, over all devices together.", at_least=1
    )
    optimizer: str = choice(
        "sgd",
        OPTIMIZERS,
        "sgd has --momentum; adam has Keras's own moments, and wants a rate "
        "near 0.001.",
    )
    learning_rate: float = number(0.1, "The highest rate of the run.")
    schedule: str = choice(
        "steps",
        SCHEDULES,
        "What becomes of the rate: steps divides it by 10 at each of --decay_at; "
        "one_cycle lets it rise from 0 over the first --warmup of the run and fall to "
        "0 along a cosine, which suits short runs.",
    )
    decay_at: str = string(
        "0.75,0.875",
        "Shares of the epochs, rising and between 0 and 1, with commas; "
        "each is rounded down to a whole epoch. Empty: the rate stays as it is.",
        needs=Need("--schedule=steps", lambda v: v["schedule"] == "steps"),
    )
    warmup: float = number(
        0.2,
        "Share of the steps over which the rate rises.",
        at_most=0.9,
        needs=Need("--schedule=one_cycle", lambda v: v["schedule"] == "one_cycle"),
    )
    momentum: float = number(
        0.9,
        "Momentum of sgd, below 1.",
        at_most=0.999999,
        needs=Need("--optimizer=sgd", lambda v: v["optimizer"] == "sgd"),
    )
    nesterov: bool = boolean(
        False,
        "Momentum of sgd in Nesterov's form.",
        needs=Need(
            "--optimizer=sgd with --momentum above 0",
            lambda v: v["optimizer"] == "sgd" and v["momentum"],
        ),
    )
    seed: int = integer(
        0, "Fixes weights, order, augmentation and subset.", at_most=2**32 - 1
    )


def _distributed(kind: str) -> Need:
    """Of flags that act with one kind of strategy, which may be found by itself."""
    kinds = (kind, "auto")
    return Need(
        f"--distribute={kind} or auto", lambda values: values["distribute"] in kinds
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Machine(Settings, title="Machine"):
    """Machine."""

    deterministic: bool = boolean(
        True,
        "The same flags on the same machine give the same weights to the "
        "last bit, also after --resume. Costs some time (docs/results/speed.md).",
    )
    mixed_precision: str = choice(
        "off",
        PRECISIONS,
        "Half precision for the layers that bear it; norms and statistics "
        "stay float32.",
    )
    jit_compile: bool = boolean(
        False,
        "Compile the training step by XLA. Slower on a CPU; not with several devices.",
    )
    distribute: str = choice(
        "off",
        STRATEGIES,
        "Several devices: mirrored (the GPUs of this machine), multi_worker "
        "(a process on each machine), tpu; auto: what there is.",
    )
    tpu: str = string(
        "",
        "Name of the TPU with --distribute=tpu; empty: local.",
        needs=_distributed("tpu"),
    )
    logical_cpus: int = integer(
        1,
        "Split the CPU into so many devices, to rehearse "
        "--distribute=mirrored without GPUs.",
        at_least=1,
        needs=_distributed("mirrored"),
    )
    workers: str = string(
        "",
        "HOST:PORT of each worker, with commas between, the same list on all of them. "
        "The first writes the run's folder. Not given: TF_CONFIG says.",
        needs=_distributed("multi_worker"),
    )
    worker_index: int = integer(
        -1,
        "Which of the --workers this is, counted from 0.",
        at_least=-1,
        needs=Need("--workers", lambda v: v["workers"]),
    )
    start_timeout: float = number(
        300.0,
        "Seconds to wait at the start for all workers to be there.",
        above=0.0,
        needs=_distributed("multi_worker"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run(Settings, title="Run"):
    """Run."""

    workdir: str = string(
        "", "Folder of the run. Empty: runs/DATASET-MODEL-VARIANT-SEED."
    )
    resume: bool = boolean(
        False,
        "Go on from the last finished epoch in workdir; the other flags "
        "must be those it began with.",
    )
    overwrite: bool = boolean(False, "Replace a run that is in workdir.")
    dry_run: bool = boolean(
        False, "Print network, data, schedule and cost, and train nothing."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(
    _Data,
    _Network,
    _Loss,
    _Adversary,
    _AlignedGradients,
    _RobustOverfitting,
    _Optimization,
    _Machine,
    _Run,
):
    """Everything a training run depends on; a field is a flag."""

    def check(self) -> None:
        """Raises `UsageError` where flags do not fit each other."""
        for holds, sentence in self._rules():
            if not holds:
                raise UsageError(sentence)
        _check_decay(self.decay_at)
        texts = {"model": [self.model], "pag": [self.pag], "penalty": self.penalty}
        if self.attacked:
            texts["adversary"] = [self.adversary]
        for flag, given in texts.items():
            for text in given:
                _check_form(flag, text)

    @property
    def attacked(self) -> bool:
        """Whether there is an adversary."""
        return self.adversary not in NO_ADVERSARY

    @property
    def aligned(self) -> bool:
        """Whether gradients are aligned with directions."""
        return self.pag != "off" and self.pag_weight > 0

    @property
    def stored(self) -> bool:
        """Whether directions are those of the images before augmentation."""
        if self.pag_directions == "auto":
            return bool(self.teacher_cache)
        return self.pag_directions == "stored"

    def _rules(self) -> list[tuple[Any, str]]:
        """What must hold, and what is said where it does not."""
        curved = self.curvature_beta or self.curvature_gamma
        return [
            (
                self.variant == "lcnn" or not curved,
                "--curvature_beta and --curvature_gamma need --variant=lcnn: a "
                f"{self.variant} network has no beta and no gamma to train.",
            ),
            (
                (self.attacked and not self.trades) or self.adversary_share == 1,
                "--adversary_share below 1 needs an --adversary, and no --trades: what "
                "the attack finds takes the place of clean images.",
            ),
            (
                self.pag != "rigd" if not self.teacher else self.pag != "off",
                "--pag=rigd and --teacher need each other.",
            ),
            (
                self.teacher or not self.teacher_cache,
                "--teacher_cache needs a --teacher.",
            ),
            (
                not (self.teacher_cache and self.pag_directions == "augmented"),
                "--pag_directions=augmented computes a teacher's gradients in every "
                "step, not with --teacher_cache.",
            ),
            (
                self.teacher_cache or not (self.teacher and self.stored),
                "--pag_directions=stored with a --teacher needs --teacher_cache.",
            ),
            (
                not self.watch_robust or self.distribute != "multi_worker",
                "--watch_robust needs one process: not --distribute=multi_worker.",
            ),
            (
                (self.worker_index >= 0) == bool(self.workers),
                "--workers and --worker_index need each other.",
            ),
            (
                not self.jit_compile or self.distribute in ("off", "auto", "tpu"),
                "--jit_compile works with --distribute=off or tpu only: several "
                "replicas cannot reduce inside a compiled step.",
            ),
            (
                not (self.resume and self.overwrite),
                "--resume and --overwrite exclude each other: one keeps the run in "
                "workdir, the other replaces it.",
            ),
        ]


def define_flags(**defaults: Any) -> None:
    """Defines every flag of `TrainConfig` on absl's `FLAGS`, once.

    Args:
        **defaults: Defaults of the calling program, by flag, where they are not those
            of `trainers.cifar`.
    """
    flags.define(TrainConfig, **defaults)


def config_from_flags() -> TrainConfig:
    """The parsed flags as a `TrainConfig`, with the default workdir filled in.

    Raises `UsageError` if they do not fit each other.
    """
    config = read(TrainConfig)
    # One name says all of the data from here on.
    dataset = dataset_names.with_size(config.dataset, config.image_size)
    config = dataclasses.replace(config, dataset=dataset, image_size="")
    if config.workdir:
        return config
    model = re.sub(r"[^\w.]+", "-", config.model)
    short = dataset_names.short_name(config.dataset)
    name = f"{short}-{model}-{config.variant}-{config.seed}"
    return dataclasses.replace(config, workdir=str(pathlib.Path("runs") / name))


def flag_lines(config: TrainConfig) -> list[str]:
    """The lines of the flagfile that repeats a run, without its output folder."""
    return flags.flag_lines(config, without=_OUTSIDE_RUN)


def _check_form(flag: str, text: str) -> None:
    """Raises `UsageError` unless a text is a name with settings."""
    try:
        Spec.parse(text)
    except ValueError as error:
        raise UsageError(f"--{flag}={text}: {error}") from error


def _check_decay(text: str) -> None:
    """Raises `UsageError` unless the shares are rising and between 0 and 1."""
    try:
        ends = (0.0, *decay_shares(text), 1.0)
    except ValueError:
        ends = (1.0, 0.0)
    if any(not a < b for a, b in zip(ends, ends[1:], strict=False)):
        raise UsageError(
            f"--decay_at={text}: must be rising numbers between 0 and 1, or empty."
        )


def decay_shares(text: str) -> tuple[float, ...]:
    """The numbers of `--decay_at`.

    Args:
        text: Numbers, commas between them, or nothing.

    Returns:
        Them, in their order.

    Raises:
        ValueError: If one is no number.
    """
    return tuple(float(share) for share in text.split(",")) if text.strip() else ()
