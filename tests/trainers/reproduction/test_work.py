"""Doing a plan: in order, once, on failure without what depends on it."""

import json

import pytest

from trainers.reproduction import children, work
from trainers.reproduction.papers import Training
from trainers.reproduction.plan import EVALUATE, TRAIN, Job
from trainers.reproduction.states import State

NETWORKS = {name: Training(name=name, title=name, setting="") for name in "abc"}


def trained(name, *needs):
    lines = frozenset({f"--seed={ord(name)}"})
    return Job(TRAIN, name, "lcnn", NETWORKS[name], ("--x=1",), lines, needs)


def evaluated(name):
    lines = frozenset({f"--name={name}"})
    return Job(EVALUATE, name, "lcnn", NETWORKS[name], (), lines, (name,))


PLAN = [trained("a"), evaluated("a"), trained("b", "a"), evaluated("b"), trained("c")]


@pytest.fixture
def done(monkeypatch, tmp_path):
    """What was run, in order; `done.fails` holds what fails, by title."""

    class Done(list):
        fails: set[str] = set()

    ran = Done()

    def run(module, arguments, *, cwd, log, keep, watch):
        watch()
        kind = log.stem.partition("-")[0]
        name = log.stem.partition("-")[2]
        ran.append((f"{kind} {name}", module, *arguments))
        log.parent.mkdir(exist_ok=True)
        if f"{kind} {name}" in ran.fails:
            log.write_text("much\nerror: it was not to be\n")
            return 2
        finish(next(j for j in PLAN if j.title == f"{kind} {name}"), cwd)
        return 0

    monkeypatch.setattr(children, "run", run)
    return ran


def finish(job, out):
    """What a program leaves."""
    folder = out / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    if job.kind == TRAIN:
        (folder / "run.flags").write_text("\n".join(job.lines))
        (folder / "summary.json").write_text("{}")
    else:
        content = json.dumps({"flags": sorted(job.lines)})
        (folder / "evaluation.json").write_text(content)


def do(out, plan=PLAN, overwrite=False):
    estimates = {job.title: 60.0 for job in plan}
    return work.do(plan, out, estimates, overwrite=overwrite, lock=-1)


def test_everything_in_order_and_then_nothing(done, tmp_path, capsys):
    assert do(tmp_path) == []
    assert [title for title, *_ in done] == [job.title for job in PLAN]
    assert done[0][1:] == ("trainers.cifar", "--x=1")
    assert done[1][1:] == ("trainers.evaluate",)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/5] lcnn: train a (1 min); 5 min left in all"
    assert len(lines) == 5
    done.clear()
    assert do(tmp_path) == [] and done == []


def test_a_failure_is_one_sentence_and_what_needs_it_is_left_out(done, tmp_path):
    done.fails = {"train a"}
    sentences = do(tmp_path)
    assert [title for title, *_ in done] == ["train a", "train c"]
    log = tmp_path / "logs" / "train-a.log"
    assert sentences == [
        f"train a failed with code 2; the last line of {log} is: error: it was not to "
        "be",
        "evaluate a was left out, without a.",
        "train b was left out, without a.",
        "evaluate b was left out, without b.",
    ]


def test_an_evaluation_that_fails_stops_nothing_else(done, tmp_path):
    done.fails = {"evaluate a"}
    assert len(do(tmp_path)) == 1
    assert [title for title, *_ in done] == [job.title for job in PLAN]


def test_what_was_begun_goes_on(done, tmp_path):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "run.flags").write_text("\n".join(PLAN[0].lines))
    assert do(tmp_path) == []
    assert done[0] == ("train a", "trainers.cifar", "--x=1", "--resume")


def test_other_settings_are_replaced_if_that_was_asked_for(done, tmp_path):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "run.flags").write_text("--seed=0")
    assert do(tmp_path, overwrite=True) == []
    assert done[0] == ("train a", "trainers.cifar", "--x=1", "--overwrite")
    assert all("--overwrite" not in each for each in done[1:])


@pytest.mark.parametrize(
    ("state", "kind", "expected"),
    [
        (State.NEW, "train", []),
        (State.BEGUN, "train", ["--resume"]),
        (State.BEGUN, "evaluate", []),
        (State.OLD, "evaluate", ["--overwrite"]),
    ],
)
def test_how_a_program_begins(state, kind, expected):
    job = trained("a") if kind == "train" else evaluated("a")
    assert work.how_to_begin(job, state, overwrite=True) == expected
