"""The program: what it refuses, and that it goes on after it was killed."""

import signal
import time

import pytest

from tests.trainers.programs import run_here
from tests.trainers.reproduction import tiny
from tfrobust.cli import flags
from trainers import reproduce
from trainers.reproduction import children, plan, run, states
from trainers.reproduction.options import ReproduceConfig
from trainers.reproduction.states import State
from trainers.reproduction.steps import Cost


def call(*arguments):
    return run_here(reproduce, lambda: flags.define(ReproduceConfig), *arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--paper=bert"], "flag --paper=bert: value should be one of"),
        (["--budget=free"], "flag --budget=free: value should be one of"),
        (["--cifar10="], "--cifar10 must be the name of a data set, such as"),
        (["--data_dir=nowhere"], "--data_dir must be a folder. Received: nowhere,"),
        (["--dry_run=perhaps"], "must be true or false"),
        (["now"], "Unexpected argument 'now'"),
    ],
)
def test_refused_in_one_sentence(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = call(*arguments)
    assert sentence in ended.error and ended.out == ""
    assert not any(tmp_path.iterdir())


def test_out_must_be_a_folder(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("text")
    assert call(f"--out={file}").error == f"--out={file} is a file, not a folder."


COST = Cost(5.0, 0.5, 0.001, 0.002, 100, 1000, 0, 5)


@pytest.fixture
def measured(monkeypatch):
    """Every step takes half a second; names of the trainings that were asked for."""
    asked = []

    def measure(questions):
        asked.extend(each["name"] for each in questions)
        return {each["name"]: COST for each in questions}

    monkeypatch.setattr(run, "_measured", measure)
    return asked


def test_a_dry_run_prints_the_plan_and_writes_nothing(measured, tmp_path):
    out = tmp_path / "out"
    ended = call("--paper=dissect", f"--out={out}", "--dry_run")
    assert ended.code == 0, ended
    assert not out.exists()
    assert measured == ["dissect_standard", "dissect_adversarial"]
    lines = [line.split() for line in ended.out.splitlines() if "dissect" in line]
    plan = [" ".join(line[:5]) for line in lines if line[0].isdigit()]
    assert plan == [
        "1 dissect train dissect_standard to",
        "2 dissect train dissect_adversarial to",
        "3 dissect evaluate dissect to",
    ]
    # Five epochs of 100 steps of half a second and 1000 forward passes, 20 s before.
    assert lines[0][-2:] == ["5", "min"]
    assert f"Everything goes to {out}." in ended.out


def test_other_settings_are_refused_before_anything_is_measured(measured, tmp_path):
    folder = tmp_path / "runs" / "standard"
    folder.mkdir(parents=True)
    (folder / "run.flags").write_text("--width=3\n")
    ended = call("--paper=lcnn", f"--out={tmp_path}", "--dry_run")
    assert ended.error.startswith(f"{folder} holds work of other settings (")
    assert "--width=3; now " in ended.error and measured == []
    ended = call("--paper=lcnn", f"--out={tmp_path}", "--dry_run", "--overwrite")
    assert ended.code == 0 and "other settings" in ended.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_code(monkeypatch, tmp_path, number):
    def stop(*_, **__):
        raise children.Stopped(number)

    monkeypatch.setattr(run, "reproduce", stop)
    ended = call(f"--out={tmp_path}")
    assert ended.code == 128 + number
    assert ended.err == f"stopped by {number.name}; the same command goes on.\n"


def is_begun(folder):
    """Whether an epoch is kept, from which a run goes on."""
    return any((folder / "checkpoints").glob("*")) and (folder / "metrics.csv").exists()


@pytest.mark.slow
def test_killed_it_goes_on(start_module, call_module, tmp_path):
    """SIGKILL in the middle of the training, and the same command to its end."""
    out = tmp_path / "out"
    command = ("tests.trainers.reproduction.tiny", out)
    process = start_module(*command)
    end = time.monotonic() + 200
    while not is_begun(out / "runs" / "standard"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (out / "runs" / "standard" / "summary.json").exists()
    ended = call_module(*command)
    assert ended.code == 0, ended
    log = (out / "logs" / "train-standard.log").read_text()
    assert log.count("$ python -m trainers.cifar") == 2 and "--resume" in log
    assert (out / "evaluations" / "standard" / "evaluation.json").is_file()
    page = (out / "lcnn.md").read_text()
    [standard] = [
        line.split(" | ")
        for line in page.splitlines()
        if line.startswith("| Standard | 19.66")
    ]
    # Gradient, Hessian and curvature of 10 images, accuracy of 50, the ratio to itself.
    assert "-" not in standard
    assert standard[-3:] == ["1", "10 to 50", "1 |"]
    assert (out / "lcnn_gradient_stability.png").is_file()
    assert (out / "lcnn.html").is_file()
    jobs = plan.make([tiny.PAPER], tiny.TINY, plan.Where("shapes"))
    assert [states.look(job, out).state for job in jobs] == [State.DONE] * 2
