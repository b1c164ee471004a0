"""Logits, probabilities that are seen, and those that are not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.judging.cases import SHAPE, case, images, linear
from tfrobust.analysis.judging.outputs import classes_check, finite_check, logits_check


def network(hidden):
    inputs = keras.Input(SHAPE)
    x = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    x = keras.layers.Softmax()(x)
    return keras.Model(inputs, keras.ops.clip(x, 0.0, 1.0) if hidden else x)


def given(model):
    return case(model, images(4), np.zeros(4, np.int32))


def test_logits_and_a_softmax_that_is_seen():
    assert logits_check(given(linear(3))).outcome == "passed"
    found = logits_check(given(network(hidden=False)))
    assert found.outcome == "passed"
    assert found.evidence.endswith(", read before the softmax at the end")


@pytest.mark.filterwarnings("ignore:`model` must answer")
def test_probabilities_that_nothing_shows():
    """Of a network, which attacks refuse, and of a function, of which they warn."""
    plain = linear(3)
    for model in (network(hidden=True), lambda x: tf.nn.softmax(plain(x)) * 1.0):
        found = logits_check(given(model))
        assert found.outcome == "wrong"
        assert found.reason == (
            "probabilities for logits, which hide the gradient of a sure answer"
        )


@pytest.mark.parametrize(("classes", "said"), [(2, True), (3, True), (4, False)])
def test_few_classes_are_said(classes, said):
    found = classes_check(given(linear(classes)))
    assert found.outcome == "passed"
    assert ("falls back to the margin" in found.evidence) == said


def test_answers_that_are_no_numbers():
    plain = linear(3)
    assert finite_check(given(plain)).outcome == "passed"
    found = finite_check(
        given(lambda x: plain(x) / tf.cast(x[0, 0, 0] > 2, tf.float32))
    )
    assert found.reason == "4 of 4 answers are not finite"
