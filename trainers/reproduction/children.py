"""Programs as child processes: a log each, and an end with their parent's.

A child runs in a session of its own, so that Ctrl-C reaches it through its parent and
once. Where the parent is killed without a word, the kernel kills the child (on Linux);
elsewhere the lock, which the child holds too, keeps a second reproduction out until it
has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import IO

from tfrobust.cli.program import UsageError

# How long a child may take to end once it was asked to.
_PATIENCE = 20.0

# Runs a module as `python -m` would, in a process that ends with its parent.
_RUN = """
import ctypes, os, runpy, signal, sys
parent, module, *arguments = sys.argv[1:]
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGKILL)
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


class Stopped(Exception):
    """The reproduction was asked to end, by a signal.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise `Stopped` for as long as it lasts."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def locked(out: pathlib.Path) -> Iterator[int]:
    """Holds the folder for one reproduction and its children.

    Args:
        out: The folder; it is made.

    Yields:
        The file descriptor that a child is to inherit.

    Raises:
        UsageError: If another one is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"--out={out} is at work: another reproduction, or a program that one "
                "has left, writes there."
            ) from error
        yield file.fileno()


def run(
    module: str,
    arguments: Sequence[str],
    *,
    cwd: pathlib.Path,
    log: pathlib.Path,
    keep: Sequence[int] = (),
    watch: Callable[[], None] = lambda: None,
    every: float = 1.0,
) -> int:
    """Runs a program to its end; its exit code.

    Args:
        module: The program, as `python -m` takes it.
        arguments: Its command line.
        cwd: The folder that it runs in.
        log: What standard output and standard error are appended to.
        keep: File descriptors that it inherits.
        watch: Called again and again while it runs.
        every: Seconds between two calls.

    Raises:
        Stopped: If this process was asked to end; the child has ended by then.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"$ python -m {module} {' '.join(arguments)}\n")
        file.flush()
        child = start(module, arguments, cwd=cwd, out=file, keep=keep)
        try:
            while True:
                watch()
                try:
                    return child.wait(every)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            end(child)


def start(
    module: str,
    arguments: Sequence[str],
    *,
    cwd: pathlib.Path | None = None,
    out: IO[str] | int,
    keep: Sequence[int] = (),
    errors: IO[str] | int = subprocess.STDOUT,
    given: int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """Starts a program of this package and does not wait for it.

    Args:
        module: As in `run`.
        arguments: As in `run`.
        cwd: The folder that it runs in; `None`: this process's.
        out: Where standard output goes.
        keep: As in `run`.
        errors: Where standard error goes.
        given: What standard input is.
    """
    # -P: a folder there called trainers would be taken for this package.
    place = str(pathlib.Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _RUN, str(os.getpid()), module, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths},
        stdin=given,
        stdout=out,
        stderr=errors,
        pass_fds=keep,
        start_new_session=True,
        text=True,
    )


def end(child: subprocess.Popen[str]) -> None:
    """Ends a child that still runs: it is asked, and then killed.

    Args:
        child: From `start`.
    """
    if child.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def last_line(log: pathlib.Path) -> str:
    """The last line of a log that says something.

    Args:
        log: The file.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
