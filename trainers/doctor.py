"""Looks at this machine: what works, what is missing for which use, and what to do.

    tfrobust doctor
    tfrobust doctor --data_dir=/data/tfds

Changes nothing and takes some seconds. Ends with exit code 1 if training cannot work
here.
"""

from __future__ import annotations

import functools
import glob
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from absl import flags
from packaging.requirements import Requirement

import tfrobust
from trainers import options, program
from trainers.quiet import has_gpu, start_tensorflow

FLAGS = flags.FLAGS

# Data set, checkpoints and logs of one of the published runs.
_ROOM = 5e9
# A ResNet-18 of full width at batch 128, with an adversary.
_MEMORY = 6e9


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        fine: Whether nothing has to be done.
        subject: What was looked at.
        text: What was found.
        advice: What to do, and for which use, where it is not fine.
    """

    fine: bool
    subject: str
    text: str
    advice: str = ""


def main() -> None:
    """Looks at one thing after another and prints what it finds."""
    print(
        f"tfrobust {tfrobust.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )
    library = _report("Library", packages(""))
    programs = _report("Training and evaluation", packages("train"))
    _report("Serving clients", packages("serving"))
    trains = library and programs and _report("TensorFlow", tensorflow())
    _report("Machine", machine())
    if programs:
        _report("Data", data_sets(FLAGS.data_dir))
    _report("Tests of the checkout", compiler())
    if not trains:
        print("\nTraining cannot work here before what stands above is done.")
        sys.exit(1)
    print("\nTraining works here: tfrobust quickstart takes some minutes.")


def packages(extra: str) -> Iterator[Finding]:
    """The packages that tfrobust asks for, each against its range of versions.

    Args:
        extra: Those of an extra alone; of none if it is empty.
    """
    # A checkout that is not installed has no requirements to read.
    for text in _metadata().get("requires", ()):
        requirement = Requirement(text)
        if not _applies(requirement, extra):
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        advice = f"pip install '{f'tfrobust[{extra}]' if extra else wanted}'"
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(False, requirement.name, "not installed", advice)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        text = version if fits else f"{version}, but {wanted} is needed"
        yield Finding(fits, requirement.name, text, f"pip install '{wanted}'")


def _metadata() -> dict[str, list[str]]:
    try:
        return {"requires": importlib.metadata.requires("tfrobust") or []}
    except importlib.metadata.PackageNotFoundError:
        return {}


def _applies(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is of an extra, or of none, and of this machine."""
    if requirement.marker is None:
        return not extra
    alone = requirement.marker.evaluate({"extra": ""})
    return (
        alone
        if not extra
        else not alone and requirement.marker.evaluate({"extra": extra})
    )


def tensorflow() -> Iterator[Finding]:
    """Whether TensorFlow computes, on which devices, and compiled by XLA."""
    began = time.perf_counter()
    start_tensorflow()
    import keras
    import tensorflow as tf

    seconds = time.perf_counter() - began
    yield Finding(True, "import", f"{seconds:.1f} s")
    backend = keras.backend.backend()
    yield Finding(
        backend == "tensorflow",
        "Keras backend",
        backend,
        "set KERAS_BACKEND=tensorflow, or mend ~/.keras/keras.json",
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
        said = "works" if fits else "computes wrong numbers"
    except (tf.errors.OpError, ValueError) as error:
        fits, said = False, program.first_line(error)
    yield Finding(fits, "XLA", said, "leave --jit_compile off; all else works without")


def machine() -> Iterator[Finding]:
    """Cores, memory, room, and names in this folder that get in the way."""
    cores = len(os.sched_getaffinity(0))
    yield Finding(True, "cores", str(cores))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
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
    here = "a folder" if os.access(".", os.W_OK) else "not writable"
    yield Finding(here == "a folder", "this folder", here if here != "a folder" else
                  "writable", "give --workdir and --out elsewhere")  # fmt: skip
    mine = pathlib.Path(tfrobust.__file__).resolve().parents[1]
    others = [
        name
        for name in ("export", "trainers")
        if pathlib.Path.cwd() != mine
        and glob.glob(f"{name}.py") + glob.glob(f"{name}/")
    ]
    if others:
        yield Finding(
            False,
            "this folder",
            f"has a Python module of its own called {' and '.join(others)}",
            f"type tfrobust, not python -m {others[0]}, which would run that one",
        )


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


def compiler() -> Iterator[Finding]:
    """What `make test` has a use for beside Python."""
    found = [name for name in ("make", "c++", "git") if shutil.which(name)]
    lacking = [name for name in ("make", "c++", "git") if name not in found]
    yield Finding(
        not lacking,
        "tools",
        ", ".join(found) or "none",
        f"install {', '.join(lacking)}; without a C++ compiler the tests in "
        "TensorFlow's C++ runtime are skipped",
    )


def _report(title: str, findings: Iterable[Finding]) -> bool:
    """Prints findings as they come; whether all are fine."""
    print(f"\n{title}")
    fine = True
    for finding in findings:
        mark = "ok  " if finding.fine else "LOOK"
        print(f"  {mark}  {finding.subject:<22} {finding.text}", flush=True)
        if not finding.fine:
            fine = False
            print(textwrap.indent(textwrap.fill(finding.advice, 70), " " * 8))
    return fine


def start() -> None:
    """Runs the program with the command line's flags."""
    if "data_dir" not in FLAGS:
        options.define("Data", flags.DEFINE_string, "data_dir", "", "Folder that holds"
                       " prepared TFDS folders. Empty: TFDS's own place.")  # fmt: skip
    program.run(main, lambda: options.grouped_help(__doc__))


if __name__ == "__main__":
    start()
