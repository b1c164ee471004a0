"""What a program prints before it has anything to say."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.conftest import REPOSITORY
from tfrobust.cli import quiet

CUDA = (
    "E0000 00:00:1796002231.745408    3066 cuda_platform.cc:52] failed call to cuInit"
)


@pytest.mark.parametrize(
    ("line", "level", "has_gpu", "noise"),
    [
        (
            "WARNING: All log messages before absl::InitializeLog() is called are",
            1,
            1,
            1,
        ),
        ("I0000 00:00:1796002225.376404    3052 port.cc:153] oneDNN is on.", 1, 0, 1),
        ("I0000 00:00:1796002225.376404    3052 port.cc:153] oneDNN is on.", 0, 0, 0),
        # TensorFlow 2.20 writes the date and a space behind the letter.
        ("2026-11-30 01:30:25.376404: I tensorflow/core/util/port.cc:153] on", 1, 0, 1),
        ("2026-11-30 01:30:25.376404: W tensorflow/core/x.cc:1] slow", 2, 0, 1),
        ("2026-11-30 01:30:25.376404: E xla/cuda/cuda_dnn.cc:7] twice", 2, 0, 1),
        ("W0000 00:00:1796002225.376404    3052 x.cc:1] slow", 1, 0, 0),
        (CUDA, 2, 0, 1),
        (CUDA, 2, 1, 0),
        ("F0000 00:00:1.2    3 cuda_driver.cc:1] gone", 2, 0, 0),
        ("E0000 00:00:1.2    3 env.cc:30] no space left on device", 2, 0, 0),
        ("I am no record of a log", 2, 0, 0),
        ("Traceback (most recent call last):", 2, 0, 0),
        ("", 2, 0, 0),
    ],
)
def test_noise_is_told_from_errors(line, level, has_gpu, noise):
    assert quiet.is_noise(line, level, bool(has_gpu)) == bool(noise)


def run(program, **environment):
    """A program in a process of its own, without this one's settings."""
    names = ("TF_CPP_MIN_LOG_LEVEL", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**kept, **environment},
    )


START = """
    import os, sys
    from tfrobust.cli.quiet import start_tensorflow
    start_tensorflow()
    assert "tensorflow" in sys.modules
"""


@pytest.mark.slow
@pytest.mark.skipif(quiet.has_gpu(), reason="a GPU may have something to say")
def test_tensorflow_starts_without_a_line():
    """Nor does it say anything later, when it first computes and compiles."""
    later = """
    import tensorflow as tf
    assert float(tf.function(lambda x: x + x, jit_compile=True)(tf.ones([]))) == 2.0
    os.write(2, b"afterwards" + os.linesep.encode())
    """
    ended = run(START + later)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == "afterwards\n"


@pytest.mark.slow
def test_it_starts_where_standard_error_is_closed():
    ended = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m trainers doctor 2>&-"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert ended.returncode == 0 and "Training works here" in ended.stdout


@pytest.mark.slow
def test_who_asks_for_every_line_gets_it():
    # By itself it is on, and says so, on some processors only.
    ended = run(START, TF_CPP_MIN_LOG_LEVEL="0", TF_ENABLE_ONEDNN_OPTS="1")
    assert ended.returncode == 0 and "oneDNN" in ended.stderr


def test_errors_on_the_way_get_through(tmp_path):
    """Also the last words of a process that is killed by its own fault."""
    (tmp_path / "tensorflow.py").write_text(
        textwrap.dedent("""
            import os
            os.write(2, b"I0000 00:00:1.2    3 port.cc:1] noise\\n")
            os.write(2, b"E0000 00:00:1.2    3 env.cc:1] no space left\\n")
            os.write(2, b"terminate called after std::bad_alloc")
            os.abort()
        """)
    )
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    ended = run(START, PYTHONPATH=path)
    assert ended.returncode < 0
    assert ended.stderr.splitlines() == [
        "E0000 00:00:1.2    3 env.cc:1] no space left",
        "terminate called after std::bad_alloc",
    ]


def test_an_import_that_fails_is_told_whole(tmp_path):
    """The traceback reaches standard error, which is as it was before."""
    (tmp_path / "tensorflow.py").write_text("raise ImportError('no such library')")
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    ended = run(START, PYTHONPATH=path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback")
    assert ended.stderr.endswith("ImportError: no such library\n")
