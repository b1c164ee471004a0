"""Programs beside the tests, for what must be set up before TensorFlow starts."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def run_program(program, *arguments, seconds):
    """Runs a file of Python on the CPU to its end, which must be a good one.

    Args:
        program: The file.
        *arguments: Of its command line.
        seconds: After which it is ended, and the test fails.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    done = subprocess.run(
        [sys.executable, str(program), *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-3000:]
