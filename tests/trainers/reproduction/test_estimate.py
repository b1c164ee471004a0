"""Times: of a step by a clock that is wound by hand, and what follows of them."""

import pytest

from trainers.reproduction import estimate, steps
from trainers.reproduction.papers import Training
from trainers.reproduction.plan import EVALUATE, TRAIN, Job
from trainers.reproduction.steps import Cost
from trainers.reproduction.work import Clock

COST = Cost(
    start=20.0,
    step=0.5,
    forward=0.001,
    gradient=0.002,
    steps=100,
    tested=1000,
    watched=500,
    epochs=4,
)
NETWORK = Training(name="a", title="A", setting="")


def job(kind=TRAIN, name="a", lines=(), needs=(), suites=(), network=NETWORK):
    return Job(kind, name, "lcnn", network, (), frozenset(lines), needs, suites)


class Fake:
    """A clock that every run moves on by the next of some seconds."""

    def __init__(self, *seconds):
        self.now, self.seconds, self.runs = 0.0, list(seconds), 0

    def __call__(self):
        return self.now

    def run(self):
        self.now += self.seconds[self.runs]
        self.runs += 1


def test_the_first_run_compiles_and_the_median_of_three_counts():
    clock = Fake(9.0, 1.0, 5.0, 2.0)
    assert steps.timed(clock.run, clock) == (9.0, 2.0)
    assert clock.runs == 4


def test_a_slow_step_is_timed_once():
    clock = Fake(30.0, 12.0)
    assert steps.timed(clock.run, clock) == (30.0, 12.0)


def test_a_training_by_hand():
    """100 steps of .5 s, 1000 forward passes, 500 gradients: 52 s an epoch."""
    assert estimate.training_seconds(COST) == pytest.approx(15 + 20 + 4 * 52)
    assert estimate.training_seconds(COST, done=3) == pytest.approx(15 + 20 + 52)


def test_a_training_that_was_begun_costs_what_is_left(tmp_path):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    begun = job(lines=["--seed=0"])
    whole = estimate.seconds(begun, COST, tmp_path)
    (folder / "run.flags").write_text("--seed=0\n")
    (folder / "metrics.csv").write_text("epoch,loss\n1,2.0\n2,1.0\n")
    assert estimate.epochs_done(folder) == 2
    assert whole - estimate.seconds(begun, COST, tmp_path) == pytest.approx(2 * 52)
    (folder / "summary.json").write_text("{}")
    assert estimate.seconds(begun, COST, tmp_path) == 0


def test_an_evaluation_by_hand():
    """90 gradients of 10 images, 25 of 4; then the clean images; two networks."""
    evaluation = job(
        EVALUATE,
        lines=["--examples=10", "--geometry_examples=4"],
        needs=("a", "b"),
        suites=("lcnn",),
    )
    each = (90 * 10 + 25 * 4) * 0.002 + 1000 * 0.001
    found = estimate.evaluation_seconds(evaluation, COST)
    assert found == pytest.approx(15 + 2 * each)


def test_what_is_left_is_mended_by_what_was_taken():
    """Two trainings took twice what was expected, so the third will; the other kind
    is left alone.
    """
    jobs = [job(name=name) for name in "abc"] + [job(EVALUATE, "d")]
    clock = Clock({"train a": 10, "train b": 30, "train c": 5, "evaluate d": 7})
    assert clock.left(jobs) == 52
    clock.finish(jobs[0], 30)
    assert clock.left(jobs) == 3 * 35 + 7
    clock.finish(jobs[1], 50)
    assert clock.left(jobs) == 2 * 5 + 7
