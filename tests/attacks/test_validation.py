"""Warnings of models that only look robust."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import SHAPE, Affine, Shift, brightness, gray
from tfrobust.attacks import DDN, FGSM, PGD


class Model:
    """A function as an object that can be forgotten, each with searches of its own."""

    def __init__(self, function):
        self.function = function

    def __call__(self, images):
        return self.function(images)


def quantized(images):
    """Sees 8 levels, so its slope is 0 all but everywhere; there is a path, though."""
    levels = tf.stop_gradient(tf.round(images * 8.0) / 8.0)
    return brightness(levels + 0.0 * images)


def broken(images):
    """The slope of a root is infinite at 0, and 0 times infinity is no number."""
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    nothing = tf.sqrt(tf.where(mean > 0.5, mean, 0.0 * mean))
    return brightness(images + 1e-3 * nothing)


MASKING = (
    "`model` has gradients of exactly 0 on 2 of the first 2 images, which hides its "
    "errors from gradient attacks: that is masking, not robustness."
)
NOT_FINITE = (
    "`model` has NaN or infinite gradients on 2 of the first 3 images; attacks take "
    "them for 0 and may look weaker than they are."
)
PROBABILITIES = (
    "`model` must answer with logits, or end in a softmax. Received: probabilities, "
    "which a step that is no softmax makes, so that their logits cannot be had"
)


def messages(attack, model, images, labels):
    """What a call warns of, and from which file it seems to come."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attack(model, images, labels)
    assert {warning.filename for warning in caught} <= {__file__}
    return [str(warning.message) for warning in caught]


def test_masked_gradients_are_warned_about_once():
    """The first attack on a model looks, later ones do not."""
    model, images = Model(quantized), gray(0.4, 0.6)
    assert messages(PGD(norm=2, eps=0.1), model, images, [0, 1]) == [MASKING]
    assert messages(PGD(norm=2, eps=0.1), model, images, [0, 1]) == []
    assert messages(DDN(), model, images, [0, 1]) == []
    assert messages(DDN(), Model(quantized), images, [0, 1]) == [MASKING]


def test_a_few_flat_images_are_no_masking():
    """One of two is not most of them: a network may have dead corners."""
    model = Model(lambda x: brightness(tf.nn.relu(x - 0.5) + 0.5))
    assert messages(FGSM(eps=0.1), model, gray(0.4, 0.6), [0, 0]) == []
    dark = gray(0.4, 0.3, 0.6)
    (message,) = messages(FGSM(eps=0.2), Model(model.function), dark, [0, 0, 0])
    assert "exactly 0 on 2 of the first 3 images" in message


def test_gradients_that_are_no_numbers_are_warned_about_once():
    """The images come back as they were where a NaN was taken for 0."""
    model, images = Model(broken), gray(0.4, 0.6, 0.3)
    assert messages(PGD(norm=2, eps=0.1), model, images, [0, 1, 0]) == [NOT_FINITE]
    assert messages(PGD(norm=2, eps=0.2), model, images, [0, 1, 0]) == []


def test_confident_models_are_not_accused():
    """Where the cross-entropy has a gradient of 0, the margin has one."""
    model = Model(lambda x: 1e4 * brightness(x))
    assert messages(FGSM(eps=0.1), model, gray(0.1, 0.9), [0, 1]) == []


def test_probabilities_are_warned_about():
    """Not where they are logits of the same range."""

    def by_hand(x):
        powers = tf.exp(brightness(x))
        return powers / tf.reduce_sum(powers, axis=1, keepdims=True)

    odds = Model(by_hand)
    assert messages(Shift(amount=0.1), odds, gray(0.4), [0]) == [PROBABILITIES]
    softmax = Model(lambda x: tf.nn.softmax(brightness(x)))
    assert messages(Shift(amount=0.1), softmax, gray(0.4), [0]) == []
    logits = Model(lambda x: tf.nn.softmax(brightness(x)) * 1.01)
    assert messages(Shift(amount=0.1), logits, gray(0.4), [0]) == []


def test_masking_is_looked_for_on_the_first_images_alone():
    """Thirty-two of them, so that a large batch costs no more memory."""
    bright = tf.constant(0.6)
    model = Model(lambda x: brightness(tf.where(x > bright, tf.round(x), x)))
    images = [0.4] * 32 + [0.7] * 60
    assert messages(FGSM(eps=0.01), model, gray(*images), [0] * 92) == []
    other = Model(model.function)
    assert messages(FGSM(eps=0.01), other, gray(0.7, 0.8), [1, 1]) == [MASKING]


def test_an_honest_model_raises_no_warning():
    """Images of both classes, one on a face of the box."""
    model = Affine(np.ones((6, 2)) * [-1.0, 1.0], [3.0, -3.0])
    assert messages(FGSM(eps=0.1), model, gray(0.0, 0.4, 1.0), [0, 0, 1]) == []
    assert tuple(gray(0.4).shape[1:]) == SHAPE


@pytest.mark.parametrize("eps", [0.1, [0.1, 0.2]])
def test_nothing_is_warned_of_inside_a_graph(eps):
    """Values are not known there."""

    @tf.function
    def step(images):
        return FGSM(eps=0.1)(quantized, images, tf.constant([0, 1]), eps=eps).success

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(gray(0.4, 0.6))


def test_random_answers_are_warned_about():
    """Once, of a model that adds noise, and never of one that does not."""

    def noisy(images):
        return brightness(images + tf.random.normal(tf.shape(images), stddev=0.1))

    (said,) = messages(Shift(amount=0.1), noisy, gray(0.4), [0])
    assert "answers at random" in said and 'version="rand"' in said
    assert not messages(Shift(amount=0.1), noisy, gray(0.4), [0])
    assert not messages(Shift(amount=0.1), lambda x: brightness(x), gray(0.4), [0])
