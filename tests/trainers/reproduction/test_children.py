"""Programs as children: their logs, their ends, and one reproduction at a time."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.trainers.conftest import environment
from tfrobust.cli.program import UsageError
from trainers.reproduction import children

# A module that runs until it is ended, and one that ends at once.
FOREVER, ENDS = ("http.server", ["0", "--bind=127.0.0.1"]), ("json.tool", ["none.json"])


def is_alive(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def test_a_failure_is_in_the_log(tmp_path):
    log = tmp_path / "logs" / "a.log"
    code = children.run(*ENDS, cwd=tmp_path, log=log)
    assert code != 0
    assert log.read_text().startswith("$ python -m json.tool none.json\n")
    assert "none.json" in children.last_line(log)
    children.run(*ENDS, cwd=tmp_path, log=log)
    assert log.read_text().count("$ python") == 2


def test_the_last_line_that_says_something(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("first\n last \n\n \n")
    assert children.last_line(log) == "last"
    log.write_text("")
    assert children.last_line(log) == "nothing"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_child_too(tmp_path, number, monkeypatch):
    started = []
    start = children.start

    def kept(*arguments, **more):
        started.append(start(*arguments, **more))
        return started[-1]

    monkeypatch.setattr(children, "start", kept)
    before = signal.getsignal(number)
    timer = threading.Timer(0.6, os.kill, (os.getpid(), number))
    with children.stopping(), pytest.raises(children.Stopped) as caught:
        timer.start()
        children.run(*FOREVER, cwd=tmp_path, log=tmp_path / "a.log")
    assert caught.value.number == number
    assert started[0].returncode == -signal.SIGTERM
    assert signal.getsignal(number) is before


PARENT = """
import subprocess, sys
from trainers.reproduction import children
child = children.start(sys.argv[1], sys.argv[2:], out=subprocess.DEVNULL)
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_a_child_does_not_outlive_a_parent_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, FOREVER[0], *FOREVER[1]],
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    pid = int(parent.stdout.readline())
    try:
        assert is_alive(pid)
        time.sleep(0.5)
        assert is_alive(pid)
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_alive(pid))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        parent.stdout.close()


def test_one_reproduction_at_a_time(tmp_path):
    out = tmp_path / "out"
    with children.locked(out):
        with pytest.raises(UsageError) as caught, children.locked(out):
            raise AssertionError("two were let in")
    assert str(caught.value) == (
        f"--out={out} is at work: another reproduction, or a program that one has "
        "left, writes there."
    )
    with children.locked(out):
        pass


def test_a_child_holds_the_lock_too(tmp_path):
    """As one would that its parent has left behind."""
    with children.locked(tmp_path) as lock:
        child = children.start(*FOREVER, out=subprocess.DEVNULL, keep=(lock,))
    try:
        with pytest.raises(UsageError), children.locked(tmp_path):
            raise AssertionError("it was let in")
    finally:
        children.end(child)
    with children.locked(tmp_path):
        pass
