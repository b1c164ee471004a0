"""What `tfrobust doctor` sees, and what it says of what is not there."""

import importlib.metadata
import os
import sys

import pytest

from tfrobust.cli import flags as cli_flags
from tfrobust.cli import program
from trainers import doctor

VERSION = importlib.metadata.version


@pytest.fixture
def examine(trainer_flags, monkeypatch, capsys):
    """`examine(flag, ...)`: exit code, stdout and stderr of the program."""

    def examine(*arguments):
        trainer_flags.unparse_flags()
        monkeypatch.setattr(sys, "argv", ["doctor", *map(str, arguments)])
        code = 0
        try:
            program.run(doctor.main, lambda: cli_flags.grouped_help(doctor.__doc__))
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return examine


def test_a_machine_that_trains(examine, tmp_path):
    """Every package has its version, XLA is tried, and it ends well."""
    code, out, err = examine(f"--data_dir={tmp_path}")
    assert (code, err) == (0, "")
    for name in ("tensorflow", "keras", "tensorflow-datasets", "matplotlib"):
        assert f"ok       {name:<22} {VERSION(name)}\n" in out
    assert "XLA                    works\n" in out
    assert f"cores                  {len(os.sched_getaffinity(0))}\n" in out
    assert "Training works here" in out
    # An empty folder of data sets is nothing to train on, but for the built-in one.
    assert f"WARNING  {tmp_path}" in out and "no data sets" in out
    assert max(map(len, out.splitlines())) <= 80 + len(str(tmp_path))


def test_prepared_data_sets_are_named(examine, tmp_path):
    version = tmp_path / "mine" / "1.0.0"
    version.mkdir(parents=True)
    (version / "dataset_info.json").write_text("{}")
    _, out, _ = examine(f"--data_dir={tmp_path}")
    assert f"ok       {tmp_path} mine\n" in out


def test_what_is_missing_comes_with_what_to_do(examine, monkeypatch):
    """A package that is not there, one that is too old: exit code 1, with the cure."""

    def version(name):
        if name == "matplotlib":
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.0.0" if name == "keras" else VERSION(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, out, _ = examine()
    assert code == 1
    assert "WARNING  keras                  2.0.0, but keras" in out
    assert "WARNING  matplotlib             not installed\n" in out
    assert "pip install 'keras" in out and "pip install 'tfrobust[train]'" in out
    assert "Training cannot work here" in out


def test_another_backend_of_keras_is_pointed_out(monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    findings = {finding.subject: finding for finding in doctor.tensorflow()}
    assert not findings["Keras backend"].fine
    assert "KERAS_BACKEND=tensorflow" in findings["Keras backend"].advice


def test_a_gpu_that_tensorflow_does_not_see(monkeypatch):
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    findings = {finding.subject: finding for finding in doctor.tensorflow()}
    assert not findings["devices"].fine
    assert "tfrobust[gpu]" in findings["devices"].advice


def test_names_in_this_folder_that_get_in_the_way(monkeypatch, tmp_path):
    """Beside them `python -m export` would run the user's own."""
    monkeypatch.chdir(tmp_path)
    assert all("module of its own" not in finding.text for finding in doctor.machine())
    (tmp_path / "export.py").touch()
    (tmp_path / "trainers").mkdir()
    (finding,) = (
        finding for finding in doctor.machine() if "module of its own" in finding.text
    )
    assert "called export and trainers" in finding.text
    assert "python -m export" in finding.advice and not finding.fine


def test_whatever_may_be_wrong_says_what_to_do():
    """Of everything that is looked at, but what cannot be wrong."""
    always = {"cores", "shapes"}
    for finding in (
        *doctor.machine(),
        *doctor.tools(),
        *doctor.packages(""),
        *doctor.packages("train"),
        *doctor.data_sets(""),
    ):
        assert finding.advice or finding.subject in always, finding


def test_a_tensorflow_that_does_not_start_is_a_finding(examine, monkeypatch):
    """Whatever it raises; the rest is looked at all the same."""

    def start():
        raise RuntimeError("a wrong instruction")

    monkeypatch.setattr(doctor, "start_tensorflow", start)
    code, out, _ = examine()
    assert code == 1
    assert "WARNING  import                 a wrong instruction" in out
    assert "cores" in out and "Training cannot work here" in out


def test_what_training_can_do_without_is_no_obstacle(examine, monkeypatch):
    """XLA, a GPU, a gRPC client: a warning, and exit code 0."""
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)

    def version(name):
        if name == "tensorflow-serving-api":
            raise importlib.metadata.PackageNotFoundError(name)
        return VERSION(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, out, _ = examine()
    assert out.count("WARNING") >= 2
    assert (code, "Training works here" in out) == (0, True)


def test_a_container_may_have_less_memory(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(doctor, "_CONTAINER", limit)
    whole = doctor._memory()
    limit.write_text("max\n")
    assert doctor._memory() == whole
    limit.write_text("1000000\n")
    assert doctor._memory() == 1_000_000
