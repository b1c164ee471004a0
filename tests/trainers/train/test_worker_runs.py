"""`trainers.cifar` on two workers: as on one device, and nothing lost with one of them.

Real processes over loopback, found by `--workers` and `--worker_index`.
"""

import shutil
import signal
import time

import keras
import numpy as np
import pytest

from tests.addresses import free_addresses
from tests.trainers.restarts import assert_same_bits, rows

pytestmark = pytest.mark.slow

SECONDS = 500
# Six steps an epoch. Rounding grows with the rate and the steps, as `replica_run.py`
# says; over these the weights keep five digits, and an epoch moves them by more.
SHORT = ("--train_examples=120", "--learning_rate=3e-6")


@pytest.fixture(scope="module")
def run_workers(start_module):
    """`run_workers(folder, *flags)`: how each of two workers ended, and its output.

    The second one may have another program, or see another folder.
    """

    def run(folder, *flags, second=("trainers.cifar",), second_folder=None):
        places = zip(
            (("trainers.cifar",), second),
            (folder, second_folder or folder),
            strict=True,
        )
        addresses = free_addresses(2)
        processes = [
            start_module(
                *program,
                *flags,
                f"--workdir={place}",
                f"--workers={','.join(addresses)}",
                f"--worker_index={index}",
            )
            for index, (program, place) in enumerate(places)
        ]
        try:
            outputs = [each.communicate(timeout=SECONDS) for each in processes]
        finally:
            for each in processes:
                each.kill()
        codes = [each.returncode for each in processes]
        return addresses, codes, outputs

    return run


@pytest.fixture(scope="module")
def settings(tiny):
    return [*tiny, *SHORT]


@pytest.fixture(scope="module")
def one_device(call_module, settings, tmp_path_factory):
    """The run on one device."""
    folder = tmp_path_factory.mktemp("one") / "run"
    ended = call_module("trainers.cifar", *settings, f"--workdir={folder}")
    assert ended.code == 0, ended.err[-3000:]
    return folder


@pytest.fixture(scope="module")
def two_workers(run_workers, settings, tmp_path_factory):
    """The run on two workers, which nothing interrupted."""
    folder = tmp_path_factory.mktemp("two") / "run"
    _, codes, outputs = run_workers(folder, *settings, "--distribute=auto")
    assert codes == [0, 0], outputs
    # The first tells all there is to tell; TensorFlow may have its say as it ends.
    assert "2 replicas" in outputs[0][0] and "4/4" in outputs[0][0]
    out, error = outputs[1]
    assert out == "" and "error: " not in error and "Traceback" not in error
    return folder


@pytest.fixture(scope="module")
def killed(run_workers, settings, tmp_path_factory):
    """A run whose second worker was killed in the third of four epochs."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    killed = ("tests.trainers.killed_run", 2, 3)
    addresses, codes, outputs = run_workers(
        folder, *settings, "--distribute=multi_worker", second=killed
    )
    assert codes == [75, -signal.SIGKILL], outputs
    last = outputs[0][1].splitlines()[-1]
    assert last == f"error: worker 1 ({addresses[1]}) is gone; start all workers again."
    assert not (folder / "summary.json").exists()
    assert len(rows(folder)) == 2
    return folder


def assert_same_to_rounding(folder, reference):
    """Weights to 1e-5 of the largest of each, and the table's numbers likewise.

    But for singular vectors, which have no sign of their own, and of which rounding
    chooses another where singular values are equal: the norm is the same. 1e-8 comes on
    top, for biases, which begin at 0.
    """
    ours, theirs = (
        keras.saving.load_model(path / "model.keras") for path in (folder, reference)
    )
    for first, second in zip(ours.weights, theirs.weights, strict=True):
        a, b = first.numpy(), second.numpy()
        if not first.path.endswith(("/left", "/right")):
            difference = np.max(np.abs(a - b))
            assert difference <= 1e-5 * np.max(np.abs(b)) + 1e-8, first.path
    table, expected = rows(folder), rows(reference)
    assert len(table) == len(expected) == 4
    # The loss has the squared input-gradient in it, and twice its rounding.
    tolerances = {"loss": 1e-4, "accuracy": 0, "val_loss": 1e-5, "val_accuracy": 0}
    for name, tolerance in tolerances.items():
        found = [[float(row[name]) for row in each] for each in (table, expected)]
        np.testing.assert_allclose(*found, rtol=tolerance, err_msg=name)


def resumable(folder, tmp_path):
    """A copy, so that a folder can be resumed more than once."""
    return shutil.copytree(folder, tmp_path / "run")


def settings_of(folder):
    return f"--flagfile={folder}/run.flags", "--resume"


def test_two_workers_train_as_one_device(two_workers, one_device):
    """What is exported and reported, by the flags that a user gives."""
    assert_same_to_rounding(two_workers, one_device)
    # How it was run is no part of what was run.
    flags = [(folder / "run.flags").read_text() for folder in (two_workers, one_device)]
    assert flags[0] == flags[1] and "worker" not in flags[0]


def test_killed_and_resumed_on_two_workers(killed, run_workers, two_workers, tmp_path):
    """Bit for bit the run that was not interrupted."""
    folder = resumable(killed, tmp_path)
    distribute = "--distribute=multi_worker"
    _, codes, outputs = run_workers(folder, *settings_of(folder), distribute)
    assert codes == [0, 0], outputs
    assert "epochs 3 to 4" in outputs[0][0]
    assert assert_same_bits(folder, two_workers, epochs=4) > 40


def test_killed_and_resumed_on_one_device(killed, call_module, two_workers, tmp_path):
    """Another number of workers goes on, and ends at the same to rounding."""
    folder = resumable(killed, tmp_path)
    flags = *settings_of(folder), f"--workdir={folder}"
    ended = call_module("trainers.cifar", *flags)
    assert ended.code == 0, ended.err[-3000:]
    assert "epochs 3 to 4" in ended.out
    assert_same_to_rounding(folder, two_workers)


def test_a_worker_that_does_not_see_the_checkpoints(killed, run_workers, tmp_path):
    """It would begin anew beside others that go on: all are told, none trains."""
    folder = resumable(killed, tmp_path)
    empty = tmp_path / "elsewhere"
    shutil.copytree(folder, empty, ignore=shutil.ignore_patterns("checkpoints"))
    distribute = "--distribute=multi_worker"
    _, codes, outputs = run_workers(
        folder, *settings_of(folder), distribute, second_folder=empty
    )
    assert codes == [2, 2], outputs
    assert (
        "the number of epochs that are done is 2 on worker 0 and 0 on worker 1"
        in outputs[0][1]
    )


def test_a_batch_that_workers_cannot_share(run_workers, settings, tmp_path):
    """Both say so and stop, before either waits for the other."""
    before = time.monotonic()
    flags = *settings, "--distribute=auto", "--batch_size=15"
    _, codes, outputs = run_workers(tmp_path / "run", *flags)
    assert codes == [2, 2]
    assert time.monotonic() - before < 200
    for _, error in outputs:
        last = error.splitlines()[-1]
        assert "--batch_size=15 cannot be shared alike by 2 devices;" in last
    assert not (tmp_path / "run").exists()
