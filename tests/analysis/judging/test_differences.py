"""Derivatives that are right, wrong, partial and straight through."""

import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.judging.cases import answers, case, images, linear
from tfrobust.analysis.judging.differences import differences_check, disagreement


def through(x, forward):
    """`forward(x)` whose gradient is that of x."""
    return x + tf.stop_gradient(forward - x)


def halved(x):
    """The gradient is half of what it should be."""
    return 0.5 * x + tf.stop_gradient(0.5 * x)


def partial(x):
    """Without the gradient of the upper rows."""
    return tf.concat([tf.stop_gradient(x[:, :2]), x[:, 2:]], axis=1)


def total(x):
    return tf.reduce_sum(tf.sin(3.0 * x) * tf.range(1.0, 4.0)[:, None], axis=[1, 2, 3])


def far(values, radius, x):
    """Infinite at a distance from the images that `test_how_far_they_are_apart` has."""
    distance = tf.norm(tf.reshape(x - images(3), [3, -1]), axis=1)
    return tf.where(distance > radius, np.inf, values(x))


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (total, 0.0, 1e-2),
        (lambda x: total(halved(x)), 0.49, 0.51),
        (lambda x: total(partial(x)), 0.2, 1.0),
        (lambda x: total(tf.stop_gradient(x)) + 0.0 * total(x), 0.9, 1.0),
        (lambda x: total(through(x, tf.round(100 * x) / 100)), 0.0, 0.2),
        (lambda x: 0.0 * total(x), 0.0, 0.0),
        (lambda x: far(total, 1e-2, x), 0.0, 1e-2),
        (lambda x: far(lambda x: total(halved(x)), 1e-2, x), 0.49, 0.51),
        (lambda x: far(lambda x: total(halved(x)), 1e-5, x), 0.0, 0.0),
    ],
    ids=[
        "right",
        "halved",
        "partial",
        "stopped",
        "straight through",
        "constant",
        "right up to an overflow",
        "halved up to an overflow",
        "an overflow everywhere",
    ],
)
def test_how_far_they_are_apart(values, low, high):
    found = disagreement(values, tf.constant(images(3)), 1e-6)
    assert found.shape == (3,)
    assert np.all((low <= found) & (found <= high)), found


def test_models():
    pixels, model = images(10), linear(3)
    labels = answers(model, pixels)
    assert differences_check(case(model, pixels, labels), False).outcome == "passed"
    found = differences_check(case(lambda x: model(halved(x)), pixels, labels), False)
    assert found.reason == (
        "gradients are not those of finite differences on 8 of 8 images"
    )
    idle = differences_check(case(model, pixels, labels), True)
    assert idle.outcome == "not applicable"


def test_a_rounded_input():
    pixels, model = images(10), linear(2, quantum=0.05)
    found = differences_check(case(model, pixels, answers(model, pixels)), False)
    assert found.failed


def test_a_direction_along_a_level_line_is_no_fault():
    """A ReLU network has kinks next to any point. Where a random direction happens to
    have a derivative near 0 they are a large share of it, and say nothing.
    """
    draw = np.random.default_rng(0)
    sizes = (48, 512, 512, 512, 1)
    weights = [
        tf.constant(draw.normal(size=size) * np.sqrt(2 / size[0]), tf.float32)
        for size in zip(sizes, sizes[1:], strict=False)
    ]

    @tf.function
    def values(points):
        hidden = tf.reshape(points, [-1, 48])
        for weight in weights[:-1]:
            hidden = tf.nn.relu(hidden @ weight + 0.1)
        return (hidden @ weights[-1])[:, 0]

    points = tf.constant(draw.uniform(size=(8, 4, 4, 3)), tf.float32)
    apart = [disagreement(values, points, 1e-6, seed) for seed in range(8)]
    assert np.max(apart) < 0.2
