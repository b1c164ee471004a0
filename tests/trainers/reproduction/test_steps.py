"""Steps of real trainings, timed: any kind of training has one."""

import time

import pytest

from tfrobust.cli.program import UsageError
from trainers.reproduction import steps

TINY = (
    "--dataset=shapes",
    "--model=mlp",
    "--width=5",
    "--train_examples=300",
    "--batch_size=20",
    "--epochs=7",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "teacher", "watched"),
    [
        # The teacher is not there yet; one of random weights stands in for it.
        (["--pag=rigd", "--teacher=runs/none", "--pag_classes=2"], [*TINY], 0),
        (["--adversary=pgd:norm=2,eps=0.1,steps=2", "--watch_robust=30"], [], 300),
    ],
    ids=["taught", "adversarial"],
)
def test_a_step_of_any_training_is_timed(flags, teacher, watched):
    cost = steps.measure([*TINY, *flags], teacher, time.perf_counter)
    assert min(cost.start, cost.step, cost.forward, cost.gradient) > 0
    assert cost.step < cost.start
    # The shapes have 2,000 test images; 300 images make 15 steps of 20.
    assert (cost.steps, cost.tested, cost.epochs) == (15, 2000, 7)
    # Ten steps on each of 30 images.
    assert cost.watched == watched


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(UsageError) as caught:
        steps.measure(["--dataset=npz:nowhere.npz"], [], time.perf_counter)
    assert "nowhere.npz" in str(caught.value)
