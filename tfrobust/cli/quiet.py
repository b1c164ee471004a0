"""TensorFlow's start, without the lines that it prints whatever is the matter.

While TensorFlow is imported and looks for devices, its C++ code writes to standard
error before it reads TF_CPP_MIN_LOG_LEVEL, and reports a missing CUDA driver as an
error on machines that have no GPU. Here that part of standard error passes through a
small process that leaves those lines out and hands on everything else: a process, not
a thread, so that the last words of a crash get through as well.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ERRORS_ONLY = "2"
_SEVERITIES = "IWEF"
# `I0000 00:00:1.2    34 port.cc:153] ...`, before TensorFlow 2.21 with a date in front
# and a space behind the letter.
_RECORD = re.compile(r"([IWEF])\d{4} |\d{4}-\d\d-\d\d [\d:.]+: ([IWEF]) ")
_PREAMBLE = "WARNING: All log messages before absl::InitializeLog() is called"


def start_tensorflow() -> None:
    """Imports TensorFlow and has it look for devices, quietly.

    Errors are shown. TF_CPP_MIN_LOG_LEVEL is respected, from the first line on: 0 shows
    everything, 1 leaves out information, 2 (set here unless the user has set it) leaves
    out warnings too. Does nothing where TensorFlow is there already.
    """
    if "tensorflow" in sys.modules:
        return
    level = os.environ.setdefault(_LEVEL, _ERRORS_ONLY)
    with contextlib.nullcontext() if level == "0" else _filtered_errors():
        import tensorflow as tf

        tf.config.list_physical_devices()


def is_noise(line: str, level: int, has_gpu: bool) -> bool:
    """Whether a line of TensorFlow's start says nothing to who runs a program.

    Args:
        line: One line of standard error.
        level: The lowest severity that is shown: 1 warnings, 2 errors, 3 fatal ones.
        has_gpu: Whether there is a GPU, for whom CUDA's errors matter.

    Example:
        >>> is_noise("I0000 00:00:1.2 34 port.cc:153] oneDNN is on.", 2, False)
        True
        >>> is_noise("E0000 00:00:1.2 34 env.cc:1] no space left", 2, False)
        False
    """
    if line.startswith(_PREAMBLE):
        return True
    record = _RECORD.match(line)
    if record is None:
        return False
    severity = record[1] or record[2]
    if _SEVERITIES.index(severity) < level:
        return True
    return (
        not has_gpu
        and severity != "F"
        and re.search(r"\bcuda_\w+\.cc:", line) is not None
    )


@contextlib.contextmanager
def _filtered_errors() -> Iterator[None]:
    """Leads file descriptor 2 through this file, run as a program."""
    if sys.stderr is None:  # It was closed when the program was started.
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    reading, writing = os.pipe()
    command = [sys.executable, "-I", "-S", __file__]
    with subprocess.Popen(command, stdin=reading, stdout=terminal):
        os.close(reading)
        os.dup2(writing, 2)
        os.close(writing)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def has_gpu() -> bool:
    """Whether this machine has a GPU of NVIDIA's, by its device files."""
    # The second is NVIDIA's under Windows' Linux.
    return bool(glob.glob("/dev/nvidia[0-9]*") or glob.glob("/dev/dxg"))


def _pass_on() -> None:
    """Copies standard input to standard output but for the noise."""
    # Ctrl-C ends the program, and with it what comes in here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    level = os.environ.get(_LEVEL, "")
    shown = int(level) if level.isdigit() else 0
    gpu = has_gpu()
    for line in sys.stdin.buffer:
        if not is_noise(line.decode(errors="replace"), shown, gpu):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _pass_on()
