"""Answers that are drawn, or that hang on the batch, and variables that change."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.judging.cases import SHAPE, answers, case, images, linear
from tests.analysis.judging.test_naming import MonteCarlo
from tests.seeds import set_seeds
from tfrobust.analysis.judging.modes import inference_check, variables_check
from tfrobust.analysis.judging.repeats import repeats_check


def network(*layers):
    set_seeds(3)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 2, name="conv")(inputs)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))


def judged(model):
    pixels = images(10)
    given = case(model, pixels, np.zeros(10, np.int32))
    repeats = repeats_check(given)
    mode = inference_check(given, repeats.at_random, repeats.by_batch)
    return *repeats.checks, variables_check(given), mode


def test_an_honest_network():
    norm = keras.layers.BatchNormalization()
    assert [each.outcome for each in judged(network(norm))] == ["passed"] * 4
    assert [each.outcome for each in judged(linear(2))] == ["passed"] * 4


def test_dropout_left_on():
    random, batch, variables, mode = judged(network(MonteCarlo(0.5, name="mc")))
    assert random.outcome == "doubtful" and batch.outcome == "not applicable"
    assert random.reason == (
        "the model answers at random (the layer 'mc' (MonteCarlo)), which "
        'AutoAttack(version="rand") is for'
    )
    # The counter of its draws is no weight.
    assert variables.outcome == mode.outcome == "passed"


def test_dropout_of_a_network_called_in_training():
    inner = network(keras.layers.Dropout(0.5, name="drop"))
    random, *_ = judged(lambda x: inner(x, training=True))
    assert "the layer 'drop' (Dropout) with training left on" in random.reason


def test_the_statistics_of_the_batch():
    inner = network(keras.layers.BatchNormalization(name="norm"))
    model = lambda x: inner(x, training=True)  # noqa: E731
    random, batch, variables, mode = judged(model)
    assert random.outcome == "passed"
    assert batch.outcome == variables.outcome == mode.outcome == "wrong"
    assert "'norm' (BatchNormalization) uses the statistics of the batch" in (
        batch.reason
    )
    assert variables.reason.startswith("asking the model changes its variables (norm")
    assert mode.reason == (f"the network {inner.name!r} is called with `training=True`")


def test_a_model_that_counts_its_calls():
    counter = tf.Variable(0.0, name="counter")
    plain = linear(2)

    def model(x):
        counter.assign_add(1.0)
        return plain(x)

    found = judged(model)[2]
    assert found.outcome == "wrong" and "counter" in found.reason


@keras.saving.register_keras_serializable("tests")
class ByDefault(keras.Model):
    """In training unless it is told."""

    def __init__(self):
        super().__init__()
        self.drop = keras.layers.Dropout(0.5)
        self.top = keras.layers.Dense(2)

    def call(self, inputs, training=True):
        rows = tf.reshape(inputs, [tf.shape(inputs)[0], 12])
        return self.top(self.drop(rows, training=training))


def test_training_is_the_default():
    model = ByDefault()
    model(images(2), training=False)
    *_, mode = judged(model)
    assert mode.outcome == "doubtful"
    assert mode.reason == "called without `training` the model answers otherwise"


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_of_answers_does_not_matter(scale):
    assert not judged(linear(2, scale=scale))[0].failed
    plain = linear(2, scale=scale)
    noisy = lambda x: plain(x) * tf.random.uniform([], 0.9, 1.1)  # noqa: E731
    random = judged(noisy)[0]
    assert random.failed and "RandomUniform" in random.reason
    assert answers(plain, images(3)).shape == (3,)
