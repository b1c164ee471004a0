"""Looks at this machine: what works, what is missing for which use, and what to do.

    tfrobust doctor
    tfrobust doctor --data_dir=/data/tfds

Changes nothing and takes some seconds. Ends with exit code 1 if training cannot work
here.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import pathlib
import platform
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from packaging.requirements import Requirement

import tfrobust
from tfrobust.cli import flags, program
from tfrobust.cli.flags import Settings, grouped_help, string
from tfrobust.cli.quiet import has_gpu, start_tensorflow
from tfrobust.core.errors import first_line

# Data set, checkpoints and logs of one of the published runs.
_ROOM = 5e9
# A ResNet-18 of full width at batch 128, with an adversary.
_MEMORY = 6e9
# Where Linux says how much memory a container may have.
_CONTAINER = pathlib.Path("/sys/fs/cgroup/memory.max")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorConfig(Settings, title="Data"):
    """What to look at; a field is a flag."""

    data_dir: str = string(
        "", "Folder that holds prepared TFDS folders. Empty: TFDS's own place."
    )


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        fine: Whether nothing has to be done.
        subject: What was looked at.
        text: What was found.
        advice: What to do, and for which use, where it is not fine.
        needed: Whether training cannot work where it is not fine.
    """

    fine: bool
    subject: str
    text: str
    advice: str = ""
    needed: bool = False


def main() -> None:
    """Looks at one thing after another and prints what it finds."""
    print(
        f"tfrobust {tfrobust.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )
    works = [
        _report("Library", packages("")),
        _report("Training and evaluation", packages("train")),
        _report("TensorFlow", tensorflow()),
    ]
    _report("Serving clients", packages("serving"))
    _report("Machine", machine())
    if all(works):
        _report("Data", data_sets(flags.read(DoctorConfig).data_dir))
    _report("Tests of the checkout", tools())
    if not all(works):
        print("\nTraining cannot work here before what is marked above is done.")
        sys.exit(1)
    print("\nTraining works here: tfrobust quickstart takes some minutes.")


def packages(extra: str) -> Iterator[Finding]:
    """The packages that tfrobust asks for, each against its range of versions.

    Args:
        extra: Those of an extra alone; of none if it is empty.
    """
    try:
        requirements = importlib.metadata.requires("tfrobust") or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []  # a checkout that is not installed
    for text in requirements:
        requirement = Requirement(text)
        if _applies(requirement, extra):
            yield _package(requirement, extra)


def _package(requirement: Requirement, extra: str) -> Finding:
    """One package, against its range of versions."""
    range_ = f"{requirement.name}{requirement.specifier}"
    needed = extra != "serving"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        advice = f"pip install '{f'tfrobust[{extra}]' if extra else range_}'"
        return Finding(False, requirement.name, "not installed", advice, needed)
    fits = requirement.specifier.contains(version, prereleases=True)
    text = version if fits else f"{version}, but {range_} is needed"
    return Finding(fits, requirement.name, text, f"pip install '{range_}'", needed)


def _applies(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is of an extra, or of none, and of this machine."""
    if requirement.marker is None:
        return not extra
    alone = requirement.marker.evaluate({"extra": ""})
    if not extra:
        return alone
    return not alone and requirement.marker.evaluate({"extra": extra})


def tensorflow() -> Iterator[Finding]:
    """Whether TensorFlow computes, on which devices, and compiled by XLA."""
    began = time.perf_counter()
    try:
        start_tensorflow()
        import keras
        import tensorflow as tf
    # What is broken may raise anything.
    except Exception as error:
        advice = "make a new environment, and install tfrobust there"
        if backend := os.environ.get("KERAS_BACKEND"):
            advice = f"KERAS_BACKEND is {backend}: set it to tensorflow; or {advice}"
        yield Finding(False, "import", first_line(error), advice, needed=True)
        return
    yield Finding(True, "import", f"{time.perf_counter() - began:.1f} s")
    backend = keras.backend.backend()
    yield Finding(
        backend == "tensorflow",
        "Keras backend",
        backend,
        "set KERAS_BACKEND=tensorflow, or mend ~/.keras/keras.json",
        needed=True,
    )
    gpus = tf.config.list_physical_devices("GPU")
    text = f"{len(gpus)} GPU" if gpus else "CPU alone"
    yield Finding(
        bool(gpus) or not has_gpu(),
        "devices",
        text if gpus or not has_gpu() else "a GPU is there, but TensorFlow sees none",
        "pip install 'tfrobust[gpu]', and look at the driver with nvidia-smi",
    )
    product = functools.partial(tf.linalg.matmul, tf.ones([64, 64]))
    try:
        compiled = tf.function(product, jit_compile=True)(tf.ones([64, 64]))
        fits = bool(tf.reduce_all(compiled == 64.0))
        text = "works" if fits else "computes wrong numbers"
    except (tf.errors.OpError, ValueError) as error:
        fits, text = False, first_line(error)
    yield Finding(fits, "XLA", text, "leave --jit_compile off; all else works without")


def machine() -> Iterator[Finding]:
    """Cores, memory, room, and names in this folder that get in the way."""
    yield Finding(True, "cores", str(_cores()))
    memory = _memory()
    yield Finding(
        memory >= _MEMORY,
        "memory",
        f"{memory / 1e9:.0f} GB",
        "train with --flagfile=cpu, or a smaller --width and --batch_size",
    )
    free = shutil.disk_usage(".").free
    yield Finding(
        free >= _ROOM,
        "disk here",
        f"{free / 1e9:.0f} GB free",
        f"a published run takes up to {_ROOM / 1e9:.0f} GB: choose another --workdir",
    )
    writable = os.access(".", os.W_OK)
    text = "writable" if writable else "not writable"
    yield Finding(writable, "this folder", text, "give --workdir and --out elsewhere")
    mine = pathlib.Path(tfrobust.__file__).resolve().parents[1]
    others = [
        name
        for name in ("export", "trainers")
        if pathlib.Path.cwd() != mine and _is_module(name)
    ]
    if others:
        yield Finding(
            False,
            "this folder",
            f"has a Python module of its own called {' and '.join(others)}",
            f"type tfrobust, not python -m {others[0]}, which would run that one",
        )


def _is_module(name: str) -> bool:
    """Whether Python would import that from this folder."""
    return pathlib.Path(f"{name}.py").exists() or pathlib.Path(name).is_dir()


def _cores() -> int:
    """Those that this process may use, where the system says."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    """Bytes of this machine, or of the container if it may have fewer."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(machine, int(_CONTAINER.read_text()))
    except (OSError, ValueError):  # There is none, or it says "max".
        return machine


def data_sets(folder: str) -> Iterator[Finding]:
    """Which data sets are ready to be read."""
    from tfrobust.data.tfds import prepared

    yield Finding(True, "shapes", "built in")
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    place = pathlib.Path(folder or default).expanduser()
    there = sorted(prepared(place)) if place.is_dir() else []
    yield Finding(
        bool(there),
        str(place),
        ", ".join(there) or ("no data sets" if place.is_dir() else "not there"),
        "name a folder of prepared data sets by --data_dir; without one the first run "
        "on a data set of TFDS downloads it there",
    )


def tools() -> Iterator[Finding]:
    """What `make test` has a use for beside Python."""
    names = ("make", "c++", "git")
    lacking = [name for name in names if shutil.which(name) is None]
    yield Finding(
        not lacking,
        "tools",
        ", ".join(name for name in names if name not in lacking) or "none",
        f"install {', '.join(lacking)}; without a C++ compiler the tests in "
        "TensorFlow's C++ runtime are skipped",
    )


def _report(title: str, findings: Iterable[Finding]) -> bool:
    """Prints findings as they come; whether none keeps training from working."""
    print(f"\n{title}")
    works = True
    for finding in findings:
        mark = "ok     " if finding.fine else "WARNING"
        print(f"  {mark}  {finding.subject:<22} {finding.text}", flush=True)
        if not finding.fine:
            works = works and not finding.needed
            print(textwrap.indent(textwrap.fill(finding.advice, 68), " " * 11))
    return works


def start() -> None:
    """Runs the program with the command line's flags."""
    flags.define(DoctorConfig)
    program.run(main, lambda: grouped_help(__doc__))


if __name__ == "__main__":
    start()
