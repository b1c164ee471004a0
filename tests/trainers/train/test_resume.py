"""A run that is killed and resumed ends as if nothing had happened, bit for bit."""

import shutil
import signal
import time

import pytest

from tests.trainers.restarts import assert_same_bits, kill_and_resume, rows

pytestmark = pytest.mark.slow


def assert_same_run(folder, reference):
    """With every kind of state that `TINY` has."""
    assert assert_same_bits(folder, reference, epochs=4) > 40


def settings(folder):
    lines = (folder / "run.flags").read_text().splitlines()
    return [line for line in lines if line.startswith("--")]


@pytest.fixture(scope="module")
def kill_after(start_module):
    """`kill_after(epochs, *flags)`: starts a run and kills it within a later epoch."""

    def kill(folder, epochs, *flags):
        process = start_module("trainers.cifar", *flags, f"--workdir={folder}")
        deadline = time.monotonic() + 300
        while len(rows(folder)) < epochs or not (folder / "run.flags").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        # The row is written before the checkpoint; then steps of the next epoch run.
        checkpoint = folder / "checkpoints" / f"ckpt-{epochs}.index"
        while epochs and not checkpoint.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.15)
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert len(rows(folder)) in (epochs, epochs + 1) and len(rows(folder)) < 4
        assert not (folder / "summary.json").exists()
        return folder

    return kill


@pytest.fixture(scope="module")
def resume(call_module):
    def resumed(folder):
        flags = f"--flagfile={folder}/run.flags", f"--workdir={folder}", "--resume"
        ended = call_module("trainers.cifar", *flags)
        assert ended.code == 0, ended.err[-3000:]
        return ended.out

    return resumed


@pytest.fixture(scope="module")
def killed(kill_after, tiny, tmp_path_factory):
    """A run killed in its third epoch."""
    return kill_after(tmp_path_factory.mktemp("killed") / "run", 2, *tiny)


def test_killed_once(killed, resume, finished_run, tmp_path):
    """Killed in its third epoch, and moved elsewhere before it goes on."""
    folder = shutil.copytree(killed, tmp_path / "moved")
    done = len(rows(folder))
    out = resume(folder)
    assert "epochs 3 to 4" in out or (done == 3 and "epochs 4 to 4" in out), out
    assert_same_run(folder, finished_run[0])


def test_killed_twice(killed, kill_after, resume, finished_run, tmp_path):
    """Killed in its third epoch, resumed, killed in its fourth, resumed."""
    folder = shutil.copytree(killed, tmp_path / "run")
    flags = f"--flagfile={folder}/run.flags", "--resume"
    kill_after(folder, 3, *flags)
    assert "epochs 4 to 4" in resume(folder)
    assert_same_run(folder, finished_run[0])


def test_killed_in_the_first_epoch(kill_after, resume, tiny, finished_run, tmp_path):
    """With no checkpoint yet, it starts over."""
    folder = kill_after(tmp_path / "run", 0, *tiny)
    assert not list(folder.glob("checkpoints/*.index"))
    assert "epochs 1 to 4" in resume(folder)
    assert_same_run(folder, finished_run[0])


def test_killed_after_the_last_epoch(resume, finished_run, tmp_path):
    """With every epoch done but results half written, only the results are made."""
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    (folder / "summary.json").unlink()
    (folder / "model.keras").write_bytes(b"half")
    out = resume(folder)
    assert "Epoch" not in out
    assert_same_run(folder, finished_run[0])
    assert [path.name for path in (folder / "saved_model").iterdir()] == ["1"]


def test_drawn_classes_and_neighbors(call_module, tmp_path):
    """Killed in its second epoch, it goes on with the classes and the signs of that
    very step, and with the same images to look for neighbours among.
    """
    flags = (
        "--dataset=shapes",
        "--train_examples=60",
        "--eval_examples=20",
        "--batch_size=20",
        "--epochs=3",
        "--model=mlp",
        "--width=3",
        "--learning_rate=0.001",
        "--pag=nearest_neighbor:samples=3",
        "--pag_classes=2",
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    kill_and_resume(call_module, killed, *flags, epoch=1, step=1)
    ended = call_module("trainers.cifar", *flags, f"--workdir={whole}")
    assert ended.code == 0, ended.err[-3000:]
    assert_same_bits(killed, whole, epochs=3)
    assert all(float(row["alignment_penalty"]) > 1 for row in rows(whole))


def test_flagfile_repeats_the_run(call_module, finished_run, tmp_path):
    """`run.flags` in a new folder gives the same weights, table and `run.flags`."""
    reference, _ = finished_run
    folder = tmp_path / "again"
    flags = f"--flagfile={reference}/run.flags", f"--workdir={folder}"
    ended = call_module("trainers.cifar", *flags)
    assert ended.code == 0, ended.err[-3000:]
    assert_same_run(folder, reference)
    assert settings(folder) == settings(reference)
