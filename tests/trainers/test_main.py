"""The command `tfrobust`, and that no program imports TensorFlow to refuse flags."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from trainers import __main__ as command

PROGRAMS = {
    "train": "trainers.cifar",
    "evaluate": "trainers.evaluate",
    "export": "export",
    "compare": "trainers.compare",
    "reproduce": "trainers.reproduce",
    "toy": "trainers.toy",
    "quickstart": "trainers.quickstart",
    "doctor": "trainers.doctor",
}


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(word, ...)`: exit code, stdout and stderr of the command."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tfrobust", *arguments])
        code = 0
        try:
            command.main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_names_every_command(run, words):
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")][
        : len(PROGRAMS)
    ] == list(PROGRAMS)
    assert max(map(len, out.splitlines())) <= 80


def test_version(run):
    import tfrobust

    assert run("--version") == (0, f"tfrobust {tfrobust.__version__}\n", "")


def test_an_unknown_command_is_one_sentence(run):
    code, out, err = run("trian", "--width=3")
    assert (code, out) == (2, "")
    assert err == (
        "error: tfrobust has no command 'trian'; it has train, evaluate, export, "
        "compare, reproduce, toy, quickstart, doctor.\n"
    )


# Prints what the program prints, then whether TensorFlow was imported on the way.
WATCHED = """
import sys
from trainers import __main__
sys.argv = sys.argv[:]
try:
    __main__.main()
finally:
    heavy = {"tensorflow", "keras", "numpy"} & set(sys.modules)
    print("imported:", *sorted(heavy))
"""


@pytest.mark.parametrize("word", PROGRAMS)
@pytest.mark.parametrize("arguments", [["--no_such_flag=1"], ["--help"]])
def test_flags_are_read_before_tensorflow_is_imported(word, arguments):
    """A wrong flag and `--help` are answered without any of the large packages."""
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, word, *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert ended.returncode == (0 if arguments == ["--help"] else 2), ended.stderr
    assert ended.stdout.splitlines()[-1] == "imported:"


@pytest.mark.parametrize(
    ("word", "arguments", "sentence"),
    [
        ("train", ["--watch_steps=3"], "--watch_steps needs --watch_robust above 0."),
        ("train", ["--workdir=setup.cfg"], "--workdir=setup.cfg is a file, not a"),
        ("evaluate", [], "--model must be given at least once"),
        (
            "evaluate",
            ["--model=x", "--masking_queries=5"],
            "--masking_queries needs --suite=pag.",
        ),
        ("export", ["--model=x"], "--out must be given and not be empty."),
        ("export", ["--model=x", "--out=y", "--attack_eps=0.1"], "--attack_eps needs"),
        ("toy", ["--task=pag_lines", "--noise=0.1"], "--noise needs --task=two_moons"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_it_too(word, arguments, sentence):
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, word, *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {sentence}")
    assert ended.stdout.splitlines() == ["imported:"]


@pytest.mark.slow
@pytest.mark.parametrize("word", PROGRAMS)
def test_a_command_is_the_module_that_it_names(word, call_module):
    """`tfrobust train` and `python -m trainers.cifar` explain the same flags."""
    module = call_module("trainers", word, "--help")
    other = call_module(PROGRAMS[word], "--help")
    assert (module.code, other.code) == (0, 0)
    assert [line for line in module.out.splitlines() if "--" in line] == [
        line for line in other.out.splitlines() if "--" in line
    ]
