"""The settings of every evaluation, whatever its suites; each field is a flag."""

from __future__ import annotations

import dataclasses
import pathlib

from tfrobust.cli import dataset_names, flags
from tfrobust.cli.devices import check_shared
from tfrobust.cli.flags import (
    Need,
    Settings,
    boolean,
    choice,
    integer,
    several,
    string,
)
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import RunFolder, run_around


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Models(Settings, title="Models"):
    """What is measured."""

    model: tuple[str, ...] = several(
        "A .keras file, a SavedModel folder (or the folder of its versions: the "
        "newest), the folder of a run of trainers.cifar, pretrained:NAME, or a PyTorch "
        "network as robustbench:FILE:ARCHITECTURE, such as "
        "robustbench:net.pt:wideresnet-28-10. Once for each model."
    )
    name: tuple[str, ...] = several(
        "What to call a model; none, or one for each --model in the same order."
    )
    imports: tuple[str, ...] = several(
        "Module to import first, which registers Keras classes that a model has, or "
        "attacks and suites of your own. Once for each.",
        flag="import",
    )
    bounds: str = string(
        "",
        "Least and largest value of a pixel as the networks take it: 0,255 or -1,1. "
        "Empty: what a file or its first layers say, else 0,1.",
    )
    suite: str = string(
        "standard",
        "What to measure: one or several suites with commas between, each under a "
        "heading of its own below.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Data(Settings, title="Data"):
    """What it is measured on."""

    dataset: str = string(
        "cifar10",
        "Name of the data set, as for trainers.cifar. Not given: that which the models "
        "were trained on, as far as their runs say.",
    )
    image_size: str = string(
        "", "Bring the images of folder:PATH to this size, as for trainers.cifar."
    )
    data_dir: str = string(
        "",
        "Folder that holds prepared TFDS folders. Empty: TFDS's own place; downloads.",
    )
    clean_examples: int = integer(
        0,
        "Measure the clean accuracy on the first so many test images; smooth attacks "
        "correct ones among them. 0: all.",
    )
    examples: int = integer(
        500,
        "Attack so many test images; standard, lcnn, pag, dissect: drawn by the seed "
        "and balanced over classes; smooth: the first that a model classifies "
        "correctly.",
        at_least=2,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Attacks(Settings, title="Attacks"):
    """By what it is attacked."""

    attack: tuple[str, ...] = several(
        "An attack by its name, with settings after a colon, in place of those that a "
        "suite has by itself: pgd, ddn:steps=200, square:queries=5000,eps=8/255. Once "
        "for each attack. standard: beside AutoAttack."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Devices(Settings, title="Devices"):
    """Where it runs."""

    distribute: str = choice(
        "off",
        ("off", "mirrored"),
        "mirrored: the GPUs of this machine share each batch of images; results are "
        "those of one device up to rounding.",
    )
    logical_cpus: int = integer(
        1,
        "Split the CPU into so many devices, to rehearse --distribute=mirrored without "
        "GPUs.",
        at_least=1,
        needs=Need("--distribute=mirrored", lambda v: v["distribute"] == "mirrored"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(_Models, _Data, _Attacks, _Devices):
    """Everything that an evaluation depends on beside the settings of its suites."""

    seed: int = integer(
        0,
        "Fixes the images drawn, the attack's starts and the noise.",
        at_most=2**31 - 1,
    )
    batch_size: int = integer(
        100,
        "Images at a time; results do not depend on it beyond rounding.",
        at_least=1,
    )
    out: str = string("", "Folder for the results. Empty: runs/evaluation-DATASET.")
    overwrite: bool = boolean(False, "Replace an evaluation that is in the folder.")

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of the suites, in order, each once."""
        names = (name.strip() for name in self.suite.split(","))
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def folder(self) -> pathlib.Path:
        """Where the results go."""
        short = dataset_names.short_name(self.dataset)
        name = self.out or pathlib.Path("runs") / f"evaluation-{short}"
        return pathlib.Path(name).expanduser()

    def check(self) -> None:
        """Raises `UsageError` over models and devices that cannot be meant."""
        check_shared(self.batch_size, self.logical_cpus)
        if not self.model:
            raise UsageError(
                "--model must be given at least once: a .keras file, a SavedModel "
                "folder or the folder of a run."
            )
        if self.name and len(self.name) != len(self.model):
            raise UsageError(
                f"--name must be given once for each of the {len(self.model)} models "
                f"or not at all. Received: {len(self.name)} names"
            )
        for name in self.name:
            if not name.strip() or self.name.count(name) > 1:
                raise UsageError(
                    "--name must be a name of its own for each model. Received: "
                    + ", ".join(map(repr, self.name))
                )


def config_from_flags() -> EvaluateConfig:
    """The parsed flags, with the data set of the models' runs if none was given.

    Raises:
        UsageError: If flags do not fit each other, or the models were trained on
            different data sets and none was given.
    """
    config = flags.read(EvaluateConfig)
    if not flags.was_given("dataset"):
        config = _on_data_of_runs(config)
    dataset = dataset_names.with_size(config.dataset, config.image_size)
    return dataclasses.replace(config, dataset=dataset, image_size="")


def _on_data_of_runs(config: EvaluateConfig) -> EvaluateConfig:
    """With the data set that all models were trained on, if any run says."""
    stated = [_stated(path) for path in config.model]
    places = {(each["dataset"], each.get("data_dir", "")) for each in stated if each}
    if not places:
        return config
    if len(names := sorted({dataset for dataset, _ in places})) > 1:
        raise UsageError(
            "--dataset must be given: the models were trained on "
            f"{' and '.join(names)}."
        )
    (dataset, data_dir), *_ = sorted(places)
    return dataclasses.replace(
        config, dataset=dataset, data_dir=config.data_dir or data_dir
    )


def _stated(path: str) -> dict[str, str]:
    """The flags of the run that a model comes from, with its data set; else empty."""
    place = pathlib.Path(path).expanduser()
    # A network that is shipped has nothing to do with a run in the current folder.
    if not place.exists():
        return {}
    run: RunFolder | None = RunFolder(place)
    if run is not None and not run.flags.is_file():
        run = run_around(place)
    stated = run.stated_flags() if run is not None else {}
    return stated if stated.get("dataset") else {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeometrySettings(Settings, title="Geometry"):
    """How the geometry of the loss is measured, in suites that do."""

    geometry_examples: int = integer(
        200,
        "Measure gradient and curvature on so many test images; lcnn on as many "
        "training images too.",
        at_least=2,
    )
    power_iterations: int = integer(
        10, "Iterations for the norm of the Hessian.", at_least=1
    )


def check_among(config: EvaluateConfig, flag: str, count: int) -> None:
    """Raises `UsageError` if a flag asks for more images than are attacked."""
    if count > config.examples:
        raise UsageError(
            f"--{flag}={count} is more than the --examples={config.examples} images "
            "attacked, of which it takes some."
        )
