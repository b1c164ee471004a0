"""A wheel built from the sources alone, used outside of the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

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
        if path.suffix in (".py", ".flags", ".json", ".npz")
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert any(name.endswith(".flags") for name in held)


def test_the_metadata_names_licence_python_and_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
        assert any(n.endswith("LICENSE") for n in archive.namelist())
    assert metadata["Name"] == "tfrobust"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = {"gpu", "serving", "addons", "dev"}
    assert set(metadata.get_all("Provides-Extra")) == extras


def test_the_installed_wheel_is_imported_outside_of_the_checkout(wheel, tmp_path):
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip("install", "--no-deps", "--target", str(target), str(wheel))
    result = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    *files, version = result.stdout.split()
    assert all(Path(file).is_relative_to(target) for file in files), files
    assert version == wheel.name.split("-")[1]
