"""Accuracy over the spectrum: an affine model's answers to slow filters' images."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.common import SCALES, images, slow_filter
from tests.attacks.common import affine
from tfrobust.analysis import (
    AccuracyCurve,
    filtered_accuracy,
    swap_high,
    swapped_accuracy,
)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("kind", ["low", "high"])
def test_filtered_accuracy_is_that_on_filtered_images(kind, clip):
    """An affine model's answers to the slow filter's images, in float64."""
    model, shown = affine(3, (6, 5, 2)), images(7)
    # Neither the mean of an image nor the bias may decide alone.
    model.weights -= model.weights.mean(axis=0)
    model.bias[:] = [0.0, 0.01, 0.02]
    labels = np.random.default_rng(1).integers(0, 3, 7)
    curve = filtered_accuracy(
        model, shown, labels, SCALES, kind=kind, batch_size=3, clip=clip
    )
    for index, scale in enumerate(SCALES):
        limit = round(scale, 9)
        part = slow_filter(shown, lambda radius, limit=limit: radius <= limit)
        part = part if kind == "low" else shown - part
        part = np.clip(part, 0, 1) if clip else part
        right = model.logits(part).argmax(axis=1) == labels
        np.testing.assert_array_equal(curve.correct[index], right)
    assert curve.scales == tuple(SCALES)
    expected = curve.correct.mean(axis=1), curve.correct.std(axis=1, ddof=1) / 7**0.5
    np.testing.assert_allclose(curve.points()[1:], expected, rtol=1e-12)
    assert curve.points()[0] == SCALES and np.ptp(expected[0]) > 0


def test_swapped_accuracy_takes_the_part_that_was_asked_for():
    """Both kinds; the ends are the accuracies on whole images."""
    model, clean, attacked = affine(3, (6, 5, 2)), images(8), images(8, seed=5)
    labels = model.logits(clean).argmax(axis=1)
    for kind, pair in {"high": (clean, attacked), "low": (attacked, clean)}.items():
        curve = swapped_accuracy(
            model, clean, attacked, labels, SCALES, kind=kind, batch_size=5
        )
        for index, scale in enumerate(SCALES):
            answers = model.logits(swap_high(*pair, scale)).argmax(axis=1)
            np.testing.assert_array_equal(curve.correct[index], answers == labels)
        whole = model.logits(pair[0]).argmax(axis=1) == labels
        np.testing.assert_array_equal(curve.correct[-1], whole)


def test_swapped_images_may_be_clipped():
    """The model sees nothing outside [0, 1], and did without it."""
    clean, attacked = images(4), np.float32(images(4, seed=5) > 0.5)

    def inside(shown):
        within = tf.reduce_all((shown >= 0) & (shown <= 1), axis=[1, 2, 3])
        return 2.0 * tf.one_hot(tf.cast(within, tf.int32), 2) - 1.0

    for clip, expected in ((True, 1.0), (False, 0.0)):
        curve = swapped_accuracy(
            inside, clean, attacked, np.ones(4, int), [0.5], clip=clip
        )
        assert curve.means()[0.5].value == expected


def test_a_model_is_traced_once():
    """As many calls in Python over many batches, scales and calls as over one."""

    def calls(scales, batch_size, times=1):
        model = affine(3, (6, 5, 2))
        for _ in range(times):
            filtered_accuracy(model, images(7), [0] * 7, scales, batch_size=batch_size)
        return model.calls

    assert calls(SCALES, 2) == calls([1.0], 7) == calls([0.5], 3, times=2) > 0


def test_broken_logits_are_wrong():
    """NaN is not class 0."""

    def model(shown):
        return tf.fill([tf.shape(shown)[0], 2], math.nan)

    curve = filtered_accuracy(model, images(2), [0, 0], [1.0])
    assert not curve.correct.any()


def test_no_images_have_no_accuracy():
    """Neither none given nor none chosen divides by zero."""
    model = affine(3, (6, 5, 2))
    empty = filtered_accuracy(model, images(0), np.zeros(0, int), [0.5, 1.0])
    assert empty.correct.shape == (2, 0)
    full = filtered_accuracy(model, images(3), [0, 1, 2], [0.5, 1.0])
    for curve in (empty, full.select([False] * 3)):
        assert np.isnan([point.value for point in curve.means().values()]).all()
    chosen = np.array([True, False, True])
    np.testing.assert_array_equal(full.select(chosen).correct, full.correct[:, chosen])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: filtered_accuracy(None, 2 * images(), [0] * 3, [0.5]),
            None,
        ),
        (
            lambda: filtered_accuracy(None, images(), [0] * 3, [0.5], kind="band"),
            '`kind` must be "low" or "high". Received: kind=\'band\'',
        ),
        (
            lambda: filtered_accuracy(None, images(), [0] * 3, []),
            "`scales` must hold at least one number. Received: none",
        ),
        (
            lambda: filtered_accuracy(None, images(), [0] * 3, [0.5, 2.0]),
            "`scales` must lie in [0, sqrt(2)]. Received: scales=2",
        ),
        (
            lambda: swapped_accuracy(None, images(), images(2), [0] * 3, [0.5]),
            "`adversarial` must have the shape of `natural`, (3, 6, 5, 2). "
            "Received: shape=(2, 6, 5, 2)",
        ),
        (
            lambda: AccuracyCurve((0.5,), np.zeros((2, 3), bool)),
            "`correct` must have shape [S, N] with S=1, as `scales` says. "
            "Received: shape=(2, 3)",
        ),
        (
            lambda: AccuracyCurve((0.5,), np.zeros((1, 3), bool)).select([0, 1, 1]),
            "`mask` must be bool [3], one for each image. Received: int64 [3]",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    """Also images outside [0, 1], where the numbers are not fixed."""
    with pytest.raises(ValueError) as error:
        call()
    if message is None:
        assert str(error.value).startswith("`images` must lie in [0, 1], or `bounds`")
    else:
        assert str(error.value) == message
