"""The learning-rate schedules against rules in plain arithmetic."""

from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust.training import one_cycle, step_decay

PAPER = (Fraction(3, 4), Fraction(7, 8))


def rule(rate, epoch, epochs, milestones=PAPER):
    """The rate in an epoch: divided by ten once for each milestone behind epoch 0."""
    return rate / 10 ** sum(0 < int(share * epochs) <= epoch for share in milestones)


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 7, 8, 30, 200])
@pytest.mark.parametrize("steps", [1, 5, 391])
def test_every_epoch_has_its_rate_from_first_to_last_step(epochs, steps):
    """First and last step of each epoch, so both sides of every boundary.

    In runs of one to three epochs milestones coincide, or fall into the first epoch,
    where nothing may be divided: the whole run would have a hundredth of the rate.
    """
    schedule = step_decay(0.1, epochs, steps)
    for epoch in range(epochs):
        for step in {epoch * steps, epoch * steps + steps - 1}:
            for kind in (int, np.int64, tf.constant):
                np.testing.assert_allclose(
                    schedule(kind(step)), rule(0.1, epoch, epochs), rtol=1e-6
                )


def test_the_paper_divides_at_150_and_175_of_200():
    """The steps before and after each milestone of the published recipe."""
    schedule = step_decay(0.1, epochs=200, steps_per_epoch=391)
    rates = {149: 0.1, 150: 0.01, 174: 0.01, 175: 0.001, 199: 0.001}
    for epoch, rate in rates.items():
        first, last = 391 * epoch, 391 * epoch + 390
        np.testing.assert_allclose(float(schedule(first)), rate, rtol=1e-6)
        np.testing.assert_allclose(float(schedule(last)), rate, rtol=1e-6)


def test_shares_are_rounded_down_exactly():
    """In floating point, 0.57 of 100 epochs is a little less than 57."""
    assert int(0.57 * 100) == 56
    schedule = step_decay(1.0, epochs=100, steps_per_epoch=1, milestones=(0.57,))
    assert float(schedule(56)) == 1.0
    np.testing.assert_allclose(float(schedule(57)), 0.1, rtol=1e-6)


def test_an_optimizer_follows_it():
    """The rate of step k is `schedule(k)`, counted from 0: weights tell."""
    weight = keras.Variable(np.zeros((), np.float32))
    schedule = step_decay(1.0, 4, 2, milestones=(0.5,), factor=0.5)
    optimizer = keras.optimizers.SGD(schedule)
    steps = []
    for _ in range(8):
        before = float(weight.numpy())
        optimizer.apply([tf.constant(-1.0)], [weight])
        steps.append(float(weight.numpy()) - before)
    assert steps == [1.0] * 4 + [0.5] * 4


def test_it_can_be_saved():
    """A round trip through the configuration gives the same rates."""
    schedule = step_decay(0.1, 8, 3)
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(config)
    assert [float(again(k)) for k in range(24)] == [
        float(schedule(k)) for k in range(24)
    ]


@pytest.mark.parametrize("milestones", [(0.5, 0.5), (0.9, 0.1), (0.0,), (1.0,)])
def test_other_milestones_are_refused(milestones):
    """Equal ones, a wrong order and the ends of the run."""
    with pytest.raises(ValueError) as caught:
        step_decay(0.1, 10, 10, milestones)
    assert str(caught.value) == (
        "`milestones` must be increasing shares in (0, 1), or none. "
        f"Received: milestones={milestones}"
    )


def cycle(peak, step, steps, rising):
    """Up a straight line, down half a cosine, in float64."""
    if step < rising:
        return peak * step / rising
    return peak * (1 + np.cos(np.pi * (step - rising) / (steps - rising))) / 2


@pytest.mark.parametrize(
    ("epochs", "steps", "warmup", "rising"),
    [
        (10, 20, 0.2, 40),
        (3, 7, 0.5, 10),
        (1, 5, 0.0, 0),
        (2, 1, 0.9, 1),
        (1, 1, 0.5, 0),
    ],
)
def test_one_cycle_rises_and_falls(epochs, steps, warmup, rising):
    """Every step of the run, the last with a rate above 0, and 0 behind it."""
    schedule = one_cycle(0.4, epochs, steps, warmup)
    rates = [float(schedule(step)) for step in range(epochs * steps + 1)]
    total = epochs * steps
    expected = [cycle(0.4, step, total, rising) for step in range(total)]
    np.testing.assert_allclose(rates[:-1], expected, atol=1e-7)
    assert rates[-1] == pytest.approx(0, abs=1e-7) and rates[-2] > 0 or total == 1


def test_one_cycle_can_be_saved():
    """A round trip through the configuration gives the same rates."""
    schedule = one_cycle(0.4, 8, 3)
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(config)
    assert [float(again(k)) for k in range(25)] == [
        float(schedule(k)) for k in range(25)
    ]


@pytest.mark.parametrize("warmup", [-0.1, 1.0, float("nan")])
def test_other_warmups_are_refused(warmup):
    """A run cannot rise over its whole length."""
    with pytest.raises(ValueError, match=r"^`warmup` must be in \[0, 1\). Received:"):
        one_cycle(0.1, 10, 10, warmup)


def test_no_milestones_are_a_constant_rate():
    """From the first step to one behind the last."""
    schedule = step_decay(0.25, 3, 5, ())
    assert {float(schedule(k)) for k in range(20)} == {0.25}
