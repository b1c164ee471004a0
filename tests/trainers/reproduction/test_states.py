"""What is done is known by its settings; what has others is not touched."""

import json
import os
from pathlib import Path

import pytest

from tfrobust.cli.program import UsageError
from trainers.reproduction import states
from trainers.reproduction.papers import Training
from trainers.reproduction.plan import EVALUATE, TRAIN, Job
from trainers.reproduction.states import State
from trainers.suites.partial import Partial

NETWORK = Training(name="a", title="A", setting="")
LINES = frozenset({"--width=16", "--seed=0"})
STATED = tuple(sorted(LINES))
TRAINED = Job(TRAIN, "a", "lcnn", NETWORK, (), LINES)
EVALUATED = Job(EVALUATE, "a", "lcnn", NETWORK, (), LINES, ("a",))


def train(out, lines=STATED, finished=True, at=100):
    folder = out / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "run.flags").write_text("\n".join(["# A comment", *lines]) + "\n")
    if finished:
        (folder / "summary.json").write_text("{}")
        os.utime(folder / "summary.json", (at, at))


def evaluate(out, lines=STATED, at=200):
    folder = out / "evaluations" / "a"
    folder.mkdir(parents=True)
    file = folder / "evaluation.json"
    file.write_text(json.dumps({"flags": list(lines)}))
    os.utime(file, (at, at))


def test_nothing_is_there(tmp_path):
    assert states.look(TRAINED, tmp_path).state is State.NEW
    assert states.look(EVALUATED, tmp_path).state is State.NEW
    states.check([TRAINED, EVALUATED], tmp_path)


@pytest.mark.parametrize(
    ("lines", "finished", "state"),
    [
        (["--seed=0", "--width=16"], True, State.DONE),
        (["--seed=0", "--width=16"], False, State.BEGUN),
        (["--seed=0", "--width=64"], True, State.OTHER),
        (["--seed=0"], False, State.OTHER),
    ],
)
def test_a_training_by_its_flags(tmp_path, lines, finished, state):
    train(tmp_path, lines, finished)
    assert states.look(TRAINED, tmp_path).state is state


def test_a_run_that_was_killed_before_it_began_is_new(tmp_path):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "run.partial.flags").write_text("--wid")
    assert states.look(TRAINED, tmp_path).state is State.NEW
    (folder / "thesis.tex").write_text("years of work")
    assert states.look(TRAINED, tmp_path).state is State.OTHER


def test_an_evaluation_by_its_flags_and_its_age(tmp_path):
    train(tmp_path, at=100)
    evaluate(tmp_path, at=200)
    assert states.look(EVALUATED, tmp_path).state is State.DONE
    summary = tmp_path / "runs" / "a" / "summary.json"
    os.utime(summary, (300, 300))
    assert states.look(EVALUATED, tmp_path).state is State.OLD
    summary.unlink()
    assert states.look(EVALUATED, tmp_path).state is State.OLD


def test_an_evaluation_that_was_killed(tmp_path):
    folder = tmp_path / "evaluations" / "a"
    Partial(folder, sorted(LINES)).room("a")
    assert states.look(EVALUATED, tmp_path).state is State.BEGUN
    other = Job(EVALUATE, "a", "lcnn", NETWORK, (), frozenset({"--seed=1"}), ("a",))
    assert states.look(other, tmp_path).state is State.OTHER


def test_other_settings_are_refused_in_a_sentence_that_names_the_run(tmp_path):
    train(tmp_path, ["--seed=0", "--width=64"])
    with pytest.raises(UsageError) as caught:
        states.check([TRAINED], tmp_path)
    folder = tmp_path / Path("runs", "a")
    assert str(caught.value) == (
        f"{folder} holds work of other settings (--width=64; now --width=16); choose "
        "another --out, or replace it with --overwrite."
    )


def test_an_old_evaluation_is_refused_too(tmp_path):
    train(tmp_path, at=300)
    evaluate(tmp_path, at=200)
    with pytest.raises(UsageError) as caught:
        states.check([TRAINED, EVALUATED], tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'evaluations' / 'a'} holds an evaluation of networks other than "
        "those that are there now; choose another --out, or replace it with "
        "--overwrite."
    )
