"""Workers end together: real processes, one of which refuses, crashes or is killed."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

import tfrobust
from tests.addresses import free_addresses
from tfrobust.cli import workers
from tfrobust.core.cluster import Cluster

ROOT = pathlib.Path(tfrobust.__file__).parents[1]
SECONDS = 120


@contextlib.contextmanager
def cluster(*deeds):
    """A process for each deed, all of which have met; and their addresses."""
    addresses = free_addresses(len(deeds))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.cli.worker_run"]
            + [",".join(addresses), str(index), deed],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, deed in enumerate(deeds)
    ]
    try:
        for each in started:
            assert each.stdout.readline() == "together\n", each.stderr.read()
        for each in started:
            each.stdin.write("go\n")
            each.stdin.flush()
        yield started, addresses
    finally:
        for each in started:
            each.kill()
            each.communicate()


def ends(processes):
    """`(code, standard error)` of each."""
    errors = [process.communicate(timeout=SECONDS)[1] for process in processes]
    return [(p.returncode, e) for p, e in zip(processes, errors, strict=True)]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_refusal_of_one_is_the_refusal_of_all(failing):
    """Code 2 and one sentence everywhere; the others say whose it is."""
    deeds = ["refuse" if index == failing else "wait" for index in range(3)]
    with cluster(*deeds) as (processes, addresses):
        found = ends(processes)
    sentence = "--data_dir=/none has no cifar10.\n"
    for index, end in enumerate(found):
        whose = f"worker {failing} ({addresses[failing]}): " * (index != failing)
        assert end == (2, f"error: {whose}{sentence}")


@pytest.mark.parametrize("killed", [0, 1, 2])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_others_end_within_seconds_of_one_that_is_killed(killed, how):
    """They name it, and their code says that they may be started again."""
    with cluster("wait", "wait", "wait") as (processes, addresses):
        processes[killed].send_signal(how)
        before = time.monotonic()
        found = ends(processes)
        assert time.monotonic() - before < 30
    assert found.pop(killed)[0] == -how
    lost = f"error: worker {killed} ({addresses[killed]}) is gone; start all workers "
    assert found == [(75, f"{lost}again.\n")] * 2


@pytest.mark.parametrize("crashing", [0, 1])
def test_an_error_of_the_program_itself(crashing):
    """The traceback stands where it happened; the other says where to look."""
    deeds = ["crash" if index == crashing else "wait" for index in range(2)]
    with cluster(*deeds) as (processes, addresses):
        found = ends(processes)
    code, error = found.pop(crashing)
    assert code == 1 and error.splitlines()[-1] == "ZeroDivisionError"
    whose = f"worker {crashing} ({addresses[crashing]})"
    assert found == [
        (
            1,
            f"error: {whose}: it ended in ZeroDivisionError; "
            "its own output says more.\n",
        )
    ]


def test_who_is_interrupted_tells_the_others():
    """As by Ctrl-C: all may be started again."""
    with cluster("wait", "exit") as (processes, addresses):
        (code, error), _ = ends(processes)
    assert code == 75
    assert error == f"error: worker 1 ({addresses[1]}): it was stopped.\n"


def test_all_leave_together():
    """Each is done, and none of them says anything."""
    with cluster("leave", "leave", "leave") as (processes, _):
        found = [each.communicate(timeout=SECONDS) for each in processes]
    assert [each.returncode for each in processes] == [0, 0, 0]
    assert found == [("done\n", "")] * 3


@pytest.mark.parametrize("first", [0, 1, 2])
def test_who_is_done_waits_for_the_others(first):
    """One that is lost meanwhile is missed by those that are done."""
    deeds = ["leave"] * 3
    deeds[first] = "wait"
    with cluster(*deeds) as (processes, addresses):
        time.sleep(1)
        assert [each.poll() for each in processes] == [None] * 3
        processes.pop(first).kill()
        found = ends(processes)
    lost = f"error: worker {first} ({addresses[first]}) is gone; start all workers "
    assert found == [(75, f"{lost}again.\n")] * 2


def test_what_is_claimed_must_be_equal():
    """However late each of them comes to know it."""
    with cluster("claim:a", "claim:a", "claim:b") as (processes, addresses):
        found = ends(processes)
    sentence = (
        "error: All workers must be alike: the digest of the images is a on worker 0 "
        f"and b on worker 2 ({addresses[2]}).\n"
    )
    assert found == [(2, sentence)] * 3


def test_equal_claims_end_nobody():
    """And one that worker 0 has not come to yet is waited for."""
    with cluster("claim:a", "claim:a") as (processes, _):
        time.sleep(1)
        assert [each.poll() for each in processes] == [None, None]
    with cluster("wait", "claim:a") as (processes, _):
        time.sleep(1)
        assert [each.poll() for each in processes] == [None, None]


def test_outside_of_a_cluster_a_claim_is_nothing():
    """As where one process trains."""
    workers.claim("the digest of the images", "a")


def test_a_cluster_of_one():
    """Nobody to wait for."""
    (address,) = free_addresses(1)
    with workers.together(Cluster((address,), 0), {}, seconds=1):
        workers.claim("the digest of the images", "a")


def test_the_digest_is_of_the_sources(tmp_path, monkeypatch):
    """One more character, or another file, and it is another."""
    before = workers.code_digest()
    copy = tmp_path / "tfrobust"
    for package in ("tfrobust", "trainers", "export"):
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=lambda folder, names: [
                name for name in names if name.endswith((".npz", ".pyc"))
            ],
        )
    monkeypatch.setattr(tfrobust, "__file__", str(copy / "__init__.py"))
    assert workers.code_digest() == before
    (tmp_path / "trainers" / "cifar.py").write_text("")
    changed = workers.code_digest()
    (copy / "more.py").write_text("")
    assert len({before, changed, workers.code_digest()}) == 3
