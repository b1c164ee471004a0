"""Killing a run, resuming it and comparing it, shared by the tests of restarts."""

import csv
import signal

import keras

import tfrobust.layers  # noqa: F401  Registers the layers for loading.


def rows(folder):
    """The table so far, every cell as it is written, without the time taken."""
    path = folder / "metrics.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        table = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in table]


def assert_same_bits(folder, reference, epochs):
    """Every weight, and every number of every epoch; returns how many weights."""
    ours, theirs = (
        keras.saving.load_model(path / "model.keras") for path in (folder, reference)
    )
    for first, second in zip(ours.weights, theirs.weights, strict=True):
        assert first.path == second.path and first.dtype == second.dtype
        assert first.numpy().tobytes() == second.numpy().tobytes(), first.path
    assert rows(folder) == rows(reference)
    assert len(rows(folder)) == epochs
    return len(ours.weights)


def kill_and_resume(call, folder, *flags, epoch, step):
    """A run that is killed at the end of a step, both from 0, and then resumed.

    Args:
        call: `call_module` of conftest.
        folder: Of the run.
        *flags: Of the run, without the folder.
        epoch: At least 1, so that there is something to go on from.
        step: Within the epoch.

    Returns:
        What the resumed process printed.
    """
    workdir = f"--workdir={folder}"
    ended = call("tests.trainers.killed_run", epoch, step, *flags, workdir)
    assert ended.code == -signal.SIGKILL, ended.err[-3000:]
    assert len(rows(folder)) == epoch and not (folder / "summary.json").exists()
    ended = call(
        "trainers.cifar", f"--flagfile={folder}/run.flags", workdir, "--resume"
    )
    assert ended.code == 0, ended.err[-3000:]
    assert f"epochs {epoch + 1} to " in ended.out
    return ended.out
