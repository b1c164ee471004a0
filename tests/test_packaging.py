"""A wheel built from the sources alone, used outside of the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("tfrobust", "trainers", "export")
METADATA = ("setup.cfg", "pyproject.toml", "LICENSE", "README.md")

IMPORT = """
import sys
import tfrobust
assert "tensorflow" not in sys.modules, "importing tfrobust loads TensorFlow"
import export, trainers
from tfrobust import layers, models
assert models.list_pretrained(), "the trained networks are not in the wheel"
for module in (tfrobust, trainers, export, layers):
    print(module.__file__)
print(tfrobust.__version__)
"""


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy that holds the sources and nothing built before."""
    copy = tmp_path_factory.mktemp("copy")
    for name in METADATA:
        shutil.copy(REPOSITORY / name, copy)
    for name in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignore)
    folder = tmp_path_factory.mktemp("wheel")
    # The setuptools of the lock builds it: nothing is fetched.
    pip("wheel", str(copy), "--no-deps", "--no-build-isolation", "-w", str(folder))
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_source_and_nothing_else(wheel):
    expected = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.suffix in (".py", ".flags", ".jinja", ".json", ".npz", ".typed")
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert any(name.endswith(".flags") for name in held)
    assert "tfrobust/py.typed" in held


def test_the_metadata_names_license_python_and_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
        assert any(n.endswith("LICENSE") for n in archive.namelist())
    assert metadata["Name"] == "tfrobust"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = {"train", "data", "viz", "gpu", "serving", "addons", "dev", "peers"}
    assert set(metadata.get_all("Provides-Extra")) == extras
    needed = map(Requirement, metadata.get_all("Requires-Dist"))
    alone = {one.name for one in needed if one.marker is None}
    assert alone == {"absl-py", "keras", "numpy", "packaging", "tensorflow", "tqdm"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel's files in a folder of their own, its command in `bin`."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", str(target), str(wheel))
    return target


def run(installed, cwd, *command) -> subprocess.CompletedProcess:
    """A command with the installed wheel to import, not the checkout."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )


def test_the_installed_wheel_is_imported_outside_of_the_checkout(
    wheel, installed, tmp_path
):
    result = run(installed, tmp_path, sys.executable, "-c", IMPORT)
    assert result.returncode == 0, result.stderr
    *files, version = result.stdout.split()
    assert all(Path(file).is_relative_to(installed) for file in files), files
    assert version == wheel.name.split("-")[1]


def test_the_command_works_beside_modules_of_its_parts_names(installed, tmp_path):
    """A user's own export.py and trainers/ are never run, nor do they get in the way;
    flagfiles are found by name.
    """
    (tmp_path / "export.py").write_text("raise SystemExit('the wrong export')")
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "__init__.py").write_text("raise SystemExit('wrong')")
    command = str(installed / "bin" / "tfrobust")
    plan = run(
        installed,
        tmp_path,
        command,
        "train",
        "--flagfile=lcnn_cifar10",
        "--flagfile=cpu",
        "--dataset=shapes",
        "--train_examples=200",
        "--dry_run",
    )
    assert plan.returncode == 0, plan.stderr
    assert "resnet18, lcnn, width 16" in plan.stdout and plan.stderr == ""
    missing = run(installed, tmp_path, command, "export", "--model=none", "--out=x")
    assert missing.returncode == 2 and "Received: none" in missing.stderr
    # The user's own, which is why there is a command.
    module = run(installed, tmp_path, sys.executable, "-m", "export")
    assert "the wrong export" in module.stderr


ALONE = """
import sys
# As if they were not installed: importing them fails, and they have no spec.
for name in ("matplotlib", "tensorboard", "tensorflow_datasets", "importlib_resources"):
    sys.modules[name] = None
import keras, numpy
from tfrobust import (
    analysis, attacks, data, geometry, layers, models, pag, penalties, smoothing,
)
from tfrobust.training import RobustModel
from export import export_saved_model

network = models.MLP((4, 4, 1), 3, "lcnn", hidden=(5,))
model = RobustModel(network)
model.compile("sgd", penalties=[penalties.Curvature()])
images, labels = numpy.zeros([6, 4, 4, 1], "float32"), numpy.arange(6) % 3
model.fit(images, labels, verbose=0)
attacks.FGSM(norm=2, eps=0.1)(network, images, labels)
export_saved_model(network, "served")
for fails in (lambda: __import__("tfrobust.viz"), lambda: data.load("cifar10", "test")):
    try:
        fails()
    except ModuleNotFoundError as error:
        print(error)
"""


def test_the_layers_alone_need_no_data_sets_and_no_figures(installed, tmp_path):
    """Training with Keras's own loop, attacks and export work; the rest says what it
    needs.
    """
    result = run(installed, tmp_path, sys.executable, "-c", ALONE)
    assert result.returncode == 0, result.stderr
    figures, sets = result.stdout.splitlines()
    assert figures == (
        "tfrobust.viz needs the package matplotlib: install tfrobust[viz], or "
        "tfrobust[train] for everything that training needs."
    )
    assert "install tfrobust[data], or tfrobust[train]" in sets
