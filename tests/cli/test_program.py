"""How a program starts and fails."""

import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

from tfrobust.cli import program

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(trainer_flags, monkeypatch, capsys):
    """`run(main, argument, ...)`: exit code, stdout and stderr of a program."""

    def run(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        code = 0
        try:
            program.run(main, lambda: "what it does")
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def fails(*_):
    raise AssertionError("the program ran")


def test_warnings_are_sentences():
    """Of the library; others say what and where they are."""
    program = """
        import warnings
        from tfrobust.cli import program

        def main():
            warnings.simplefilter("always")
            warnings.warn("this is\\n  left out")
            warnings.warn("of old", DeprecationWarning)

        program.run(main, lambda: "")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    first, second = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (0, "")
    assert first == "warning: this is left out"
    assert second == "warning: DeprecationWarning in <string>, line 8: of old"


def test_warnings_are_as_before_once_it_has_ended(run):
    before = warnings.formatwarning
    calls = []
    run(lambda: calls.append(warnings.formatwarning))
    assert calls != [before] and warnings.formatwarning is before


def test_main_runs_once_the_flags_are_parsed(run, trainer_flags):
    """`main` is called without arguments and reads the flags."""
    calls = []
    code, out, err = run(lambda: calls.append(trainer_flags.width), "--width=7")
    assert (code, out, err, calls) == (0, "", "", [7])


@pytest.mark.parametrize("spelling", ["--help", "-h", "-help"])
def test_help_wins_over_everything(run, spelling):
    """Help is shown, nothing runs, not even a broken command line's error."""
    assert run(fails, "--width=x", spelling) == (0, "what it does\n", "")


def test_usage_error_is_one_line(run):
    """However the message is laid out, one sentence on one line comes out."""

    def main():
        raise program.UsageError("this\n  and  that\tis wrong.")

    assert run(main) == (2, "", "error: this and that is wrong.\n")


def test_other_errors_are_not_hidden(run):
    """A mistake of the program's own keeps its traceback."""

    def main():
        raise KeyError("bug")

    with pytest.raises(KeyError):
        run(main)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--no_such=1"], "Unknown command line flag 'no_such'"),
        (["--widht=1"], "Unknown command line flag 'widht'. Did you mean: width ?"),
        (["--helpfull"], "Unknown command line flag 'helpfull'"),
        (
            ["stray", "more"],
            "Unexpected argument 'stray'; everything is given as a --flag=value.",
        ),
        (["--resume=maybe"], "flag --resume=maybe: must be true or false"),
        (["--width"], "Missing value for flag --width"),
        (
            ["--width=1.5"],
            "flag --width=1.5: invalid literal for int() with base 10: '1.5'",
        ),
        (
            ["--flagfile=/no/such"],
            "--flagfile=/no/such is neither a file nor one that comes with tfrobust",
        ),
    ],
)
def test_broken_command_lines(run, arguments, sentence):
    """What absl finds wrong is told in its first sentence, and nothing runs."""
    code, out, err = run(fails, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1


def test_flagfile_that_is_no_text(run, tmp_path):
    """A binary file is refused as one."""
    path = tmp_path / "model.keras"
    path.write_bytes(b"PK\x03\x04\x8f\xff")
    assert run(fails, f"--flagfile={path}") == (
        2,
        "",
        f"error: --flagfile={path} must be a text file with one flag on each line.\n",
    )


def test_missing_package_of_an_extra_is_one_sentence(run):
    """Who installed the layers alone is told what the programs need."""

    def main():
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    assert run(main) == (
        2,
        "",
        "error: The package matplotlib is missing: pip install 'tfrobust[train]'.\n",
    )

    def broken():
        raise ModuleNotFoundError("No module named 'mine'", name="mine")

    with pytest.raises(ModuleNotFoundError, match="mine"):
        run(broken)


def test_stray_line_of_a_flagfile(run, tmp_path):
    """A line of a flagfile that is no flag is no less an error."""
    (tmp_path / "a.flags").write_text("# good\n--width=3\nhello\n")
    code, _, err = run(fails, f"--flagfile={tmp_path / 'a.flags'}")
    assert code == 2 and "argument 'hello'" in err


def test_help_into_a_closed_pipe():
    """`--help | head` ends without a complaint; the text is larger than a pipe."""
    code = (
        "import sys; from tfrobust.cli import program; sys.argv = ['p', '--help'];"
        "program.run(None, lambda: 'line\\n' * 100_000)"
    )
    shell = f'{sys.executable} -c "{code}" | head -1'
    done = subprocess.run(
        ["bash", "-c", shell], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("line\n", "")


def test_modules_are_imported_from_the_current_folder_last(tmp_path, monkeypatch):
    """Which is looked through once, behind everything that is installed."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_of_program.py").write_text("answer = 42")
    (tmp_path / "absl").mkdir()
    (tmp_path / "absl" / "app.py").write_text("raise OSError('the wrong one')")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "absl.app", raising=False)
    program.import_modules(["mine_of_program", "absl.app"])
    assert sys.modules.pop("mine_of_program").answer == 42
    program.import_modules([])
    assert sys.path[-1] == str(tmp_path) and sys.path.count(str(tmp_path)) == 1
    monkeypatch.setattr(sys, "path", ["", *sys.path[:-1]])
    program.import_modules([])
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.of_these", "--import=none.of_these cannot be imported: No module named"),
        (
            "broken_of_program",
            "--import=broken_of_program cannot be imported: so it is",
        ),
        ("", "--import= cannot be imported: Empty module name"),
        (".a", "--import=.a cannot be imported: "),
    ],
)
def test_a_module_that_cannot_be_imported(tmp_path, monkeypatch, name, sentence):
    """One sentence with the flag, the module and the reason."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    text = 'raise RuntimeError("so it is\\nin detail")'
    (tmp_path / "broken_of_program.py").write_text(text)
    with pytest.raises(program.UsageError) as error:
        program.import_modules([name])
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)


def test_a_check_that_fails_has_a_code_of_its_own(run):
    """All was done: it is no usage error."""

    def main():
        print("measured")
        raise program.CheckFailed("a is\n Doubtful.")

    assert run(main) == (3, "measured\n", "failed: a is Doubtful.\n")
