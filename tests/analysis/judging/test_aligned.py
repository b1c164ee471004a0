"""Gradients that point at classes are held against a model only if they alone fail."""

import numpy as np
import tensorflow as tf

from tests.analysis.judging.cases import answers, case, images, linear
from tfrobust.analysis.judging.aligned import aligned_check


def towards(corners):
    """Each class's logit falls with the distance from its corner: aligned by design."""

    def model(x):
        apart = x[:, None] - tf.constant(corners[None], tf.float32)
        return -tf.reduce_sum(apart**2, axis=[2, 3, 4])

    return model


def test_aligned_and_only_gradients_fail():
    pixels = images(12)
    pixels[6:] = 1.0 - pixels[:6]
    model = towards(np.stack([pixels[0], pixels[6]]))
    labels = answers(model, pixels)
    labels[[0, 6]] = 0, 1
    given = case(model, pixels, labels)
    found = aligned_check(given, np.zeros(12, bool))
    assert found.outcome == "passed", found.evidence
    found = aligned_check(given, np.ones(12, bool))
    assert found.outcome == "doubtful"
    assert "break 12 images alone" in found.evidence


def test_what_is_not_aligned():
    pixels = images(12)
    away = towards(np.stack([pixels[0], 1.0 - pixels[0]]))
    labels = answers(away, pixels)
    model = lambda x: -away(x)  # noqa: E731
    found = aligned_check(case(model, pixels, labels), np.ones(12, bool))
    assert found.outcome == "not applicable"


def test_a_class_without_an_image():
    pixels, model = images(4), linear(3)
    labels = np.zeros(4, np.int32)
    found = aligned_check(case(model, pixels, labels), np.ones(4, bool))
    assert found.evidence == "not every class has an image"
