"""The locked set installs by the Makefile, whatever the index offers today."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import setuptools

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

SETUP = """
[metadata]
name = stranger
version = 1.0
[options]
py_modules =
install_requires =
    alpha>=1
"""


def make_wheel(folder, name, version, *requirements):
    """An empty package, and the line that pins it with its hash."""
    info = f"{name}-{version}.dist-info"
    lines = [f"Name: {name}", f"Version: {version}", "Provides-Extra: more"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": "\n".join(["Metadata-Version: 2.1", *lines]) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    record = [f"{path},{_digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in files.items():
            archive.writestr(place, text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


def _digest(text):
    whole = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(whole).decode().rstrip("=")


@pytest.fixture
def checkout(tmp_path):
    """A project with this one's Makefile, and an index where newer releases are out."""
    index = tmp_path / "index"
    index.mkdir()
    lock = make_wheel(index, "alpha", "1.0", "beta[more]>=1")
    lock += make_wheel(index, "beta", "1.0", "gamma>=1; extra == 'more'")
    lock += make_wheel(index, "gamma", "1.0")
    for name in ("beta", "gamma"):
        make_wheel(index, name, "2.0")
    project = tmp_path / "project"
    project.mkdir()
    (project / "requirements.lock").write_text(lock)
    (project / "setup.cfg").write_text(SETUP)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, project)
    # What builds the project comes from here: nothing is fetched.
    tools = tmp_path / "tools"
    tools.mkdir()
    site = Path(setuptools.__file__).parents[1]
    for path in (*site.glob("setuptools*"), *site.glob("_distutils_hack")):
        (tools / path.name).symlink_to(path)
    return project


def install(project, python=sys.executable):
    """`make install`, cut off from every index but the project's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    offline = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(project.parent / "index"),
        "PYTHONPATH": str(project.parent / "tools"),
    }
    command = ["make", "install", f"PYTHON={python}", "VENV=venv"]
    return subprocess.run(
        command, cwd=project, env=kept | offline, capture_output=True, text=True
    )


def test_newer_releases_change_nothing(checkout):
    """pip of Python 3.11 resolves the extra anew and would refuse the older pin."""
    ended = install(checkout)
    assert ended.returncode == 0, ended.stderr
    (site,) = (checkout / "venv").glob("lib/python*/site-packages")
    found = {path.name.split(".dist")[0] for path in site.glob("*.dist-info")}
    assert {"alpha-1.0", "beta-1.0", "gamma-1.0", "stranger-1.0"} <= found


def test_a_lock_that_misses_something_is_found(checkout):
    """The check after it says its name."""
    lock = checkout / "requirements.lock"
    _, *others = lock.read_text().splitlines(keepends=True)
    lock.write_text("".join(others))
    ended = install(checkout)
    assert ended.returncode != 0
    assert "stranger 1.0 requires alpha, which is not installed" in ended.stdout


def test_a_file_that_is_not_the_locked_one_is_refused(checkout):
    lock = checkout / "requirements.lock"
    lock.write_text(lock.read_text()[:-65] + "0" * 64 + "\n")
    ended = install(checkout)
    assert ended.returncode != 0 and "hash" in ended.stderr.lower()


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 14, 0)])
def test_a_python_without_wheels_is_refused_in_words(checkout, version):
    """Before anything is made: TensorFlow has no wheel for it."""
    named = ".".join(map(str, version))
    code = f"import sys; sys.version = '{named} x'; sys.version_info = {version}; "
    python = checkout / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}$2"\n')
    python.chmod(0o755)
    ended = install(checkout, python)
    assert ended.returncode != 0 and not (checkout / "venv").exists()
    assert ended.stderr.startswith("Python 3.11, 3.12 or 3.13 is needed")
    assert f"Received: {named}\n" in ended.stderr
