"""Running the trainers: in this process for what is refused, in another to train."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Small, and yet with everything that has to survive a restart: spectral vectors, batch
# statistics, betas and gammas, momentum, shuffling and augmentation.
TINY = (
    "--dataset=shapes",
    "--train_examples=300",
    "--eval_examples=50",
    "--batch_size=20",
    "--augment=crop_flip",
    "--model=vgg11",
    "--variant=lcnn",
    "--width=2",
    "--epochs=4",
    "--learning_rate=0.05",
    "--curvature_beta=1e-3",
    "--curvature_gamma=1e-3",
    "--gradient_norm=6e-3",
    "--seed=3",
)


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def error(self):
        """The one sentence that a refused program may leave."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and self.err.splitlines()[-1] == lines[0], self.err
        return lines[0].removeprefix("error: ")


def environment():
    """This process's environment, with the repository to import from."""
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def start(*arguments, cwd=REPOSITORY):
    """`python -m ...` as a process of its own, not waited for."""
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(*arguments, cwd=REPOSITORY):
    """`python -m ...` as a process of its own, to its end."""
    process = start(*arguments, cwd=cwd)
    try:
        out, err = process.communicate(timeout=500)
    except BaseException:
        process.kill()
        raise
    return Ended(process.returncode, out, err)


@pytest.fixture(scope="session")
def tiny():
    """Flags of the smallest run that is worth restarting."""
    return TINY


@pytest.fixture(scope="session")
def start_module():
    """`start` of this file."""
    return start


@pytest.fixture(scope="session")
def call_module():
    """`call` of this file."""
    return call


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a `TINY` run that nothing disturbed, and how it ended."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    ended = call("trainers.cifar", *TINY, f"--workdir={folder}")
    assert ended.code == 0, ended.err[-3000:]
    return folder, ended


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A run that was trained on 30 images, its export, another network, misfits."""
    from export.saved_model import export_saved_model
    from tests.trainers.suites.common import mlp

    folder = tmp_path_factory.mktemp("models")
    run = folder / "first"
    run.mkdir()
    flags = "--dataset=shapes\n--train_examples=30\n--seed=2\n"
    (run / "run.flags").write_text(flags)
    network = mlp(1, variant="lcnn")
    network.save(run / "model.keras")
    export_saved_model(network, folder / "served" / "net")
    mlp(2).save(folder / "second.keras")
    mlp(3, shape=(28, 28, 3)).save(folder / "small.keras")
    mlp(4, classes=7).save(folder / "seven.keras")
    (folder / "text.keras").write_text("no model")
    (folder / "held").mkdir()
    (folder / "held" / "thesis.tex").write_text("years of work")
    (folder / "started").mkdir()
    (folder / "started" / "run.flags").write_text(flags)
    return folder


@pytest.fixture
def trainer_flags():
    """The trainers' flags on absl's `FLAGS`, for this test alone."""
    from tests.trainers.programs import defined_flags
    from trainers.train import options

    with defined_flags(options.define_flags) as flags:
        yield flags


@pytest.fixture
def parse(trainer_flags):
    """`parse(flag, ...)`: the `TrainConfig` of a command line."""
    from tfrobust.cli.flagfiles import expand_flagfiles
    from trainers.train import options

    def parsed(*arguments):
        trainer_flags.unparse_flags()
        rest = trainer_flags(["cifar", *expand_flagfiles(list(map(str, arguments)))])
        assert rest == ["cifar"]
        return options.config_from_flags()

    return parsed


@pytest.fixture
def cifar(trainer_flags, monkeypatch):
    """`cifar(flag, ...)`: runs `trainers.cifar` here, up to where data would load."""
    from tfrobust import training
    from tfrobust.cli import program
    from tfrobust.cli.flags import grouped_help
    from trainers import cifar as module
    from trainers.train import build

    def load(*_):
        raise AssertionError("data would be loaded, perhaps downloaded, by now")

    monkeypatch.setattr(build, "load_data", load)
    # It cannot be undone, and other tests share this process.
    monkeypatch.setattr(training, "enable_determinism", lambda: None)

    def run(*arguments):
        trainer_flags.unparse_flags()
        monkeypatch.setattr(sys, "argv", ["cifar", *map(str, arguments)])
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                program.run(module.main, lambda: grouped_help(module.__doc__))
            except SystemExit as stop:
                code = stop.code
        return Ended(code, out.getvalue(), err.getvalue())

    return run


def contents(folder):
    """Every path below a folder, with its bytes if it is a file."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else ""
        for path in sorted(Path(folder).rglob("*"))
    }


@pytest.fixture(scope="session")
def snapshot():
    """`snapshot(folder)`: what is in it, to be compared with later."""
    return contents
