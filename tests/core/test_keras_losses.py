"""Keras's losses of each example, against the means that Keras makes of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust.core.answers import Answer
from tfrobust.core.keras_losses import ExampleLoss, cross_entropy, is_loss

RANDOM = np.random.default_rng(0)
LOGITS = tf.constant(RANDOM.normal(size=(6, 3)), tf.float32)
LABELS = tf.constant([0, 1, 2, 2, 1, 0])
ONE_HOT = tf.one_hot(LABELS, 3)


def answer(given, ending):
    return Answer(given, LOGITS, ending)


def squares(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


LOSSES = {
    "sparse": (keras.losses.SparseCategoricalCrossentropy(from_logits=True), LABELS),
    "one-hot": (keras.losses.CategoricalCrossentropy(from_logits=True), ONE_HOT),
    "smoothed": (
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
        ONE_HOT,
    ),
    "focal": (keras.losses.CategoricalFocalCrossentropy(from_logits=True), ONE_HOT),
    "squares": (keras.losses.MeanSquaredError(), ONE_HOT),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("form", ["labels", "one-hot"])
def test_the_mean_is_that_of_keras(name, form):
    """Whatever form the labels come in."""
    loss, targets = LOSSES[name]
    given = {"labels": LABELS, "one-hot": ONE_HOT}[form]
    values = ExampleLoss(loss)(given, answer(LOGITS, "sum"))
    assert values.shape == (6,)
    np.testing.assert_allclose(
        np.mean(values), loss(targets, LOGITS), rtol=1e-6, err_msg=name
    )


def test_an_example_has_its_own_value():
    """That of Keras's loss of this example alone."""
    loss = keras.losses.CategoricalFocalCrossentropy(from_logits=True)
    values = ExampleLoss(loss)(LABELS, answer(LOGITS, "sum"))
    alone = [loss(ONE_HOT[i : i + 1], LOGITS[i : i + 1]) for i in range(6)]
    np.testing.assert_allclose(values, alone, rtol=1e-6)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "kl_divergence"])
def test_a_loss_of_probabilities_gets_those_of_logits(loss):
    """By name, as attacks hand logits over."""
    odds = tf.nn.softmax(LOGITS)
    values = ExampleLoss("sparse_categorical_crossentropy").of_logits(LABELS, LOGITS)
    own = -np.log(np.take_along_axis(odds.numpy(), LABELS.numpy()[:, None], 1))[:, 0]
    np.testing.assert_allclose(values, own, rtol=1e-5)
    assert is_loss(keras.losses.get(loss)) and not is_loss("dlr")


@pytest.mark.parametrize(
    ("loss", "ending", "sentence"),
    [
        (
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "softmax",
            "`loss` must have `from_logits=False` for a network that ends in a "
            "softmax. Received: sparse_categorical_crossentropy with from_logits=True",
        ),
        (
            "sparse_categorical_crossentropy",
            "sum",
            "`loss` must have `from_logits=True`, or be None, for a network that ends "
            "in logits. Received: sparse_categorical_crossentropy with "
            "from_logits=False",
        ),
        (
            keras.losses.CategoricalCrossentropy(),
            "sum",
            "`loss` must have `from_logits=True`, or be None, for a network that ends "
            "in logits. Received: categorical_crossentropy with from_logits=False",
        ),
    ],
)
def test_logits_and_probabilities_are_not_mistaken(loss, ending, sentence):
    with pytest.raises(ValueError) as caught:
        ExampleLoss(loss)(LABELS, answer(LOGITS, ending))
    assert str(caught.value) == sentence


@pytest.mark.parametrize("loss", ["no_such_loss", 3, ["mse", "mae"]])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(ValueError, match="^`loss` must be .*Received: loss="):
        ExampleLoss(loss)


def test_a_loss_for_two_classes():
    """Of the log-odds of class 1; of one output as of two logits."""
    odds = tf.constant([[0.5], [-1.0], [2.0]])
    logits = tf.concat([-odds / 2, odds / 2], axis=1)
    labels = tf.constant([0, 1, 1])
    expected = np.log1p(np.exp([0.5, 1.0, -2.0]))
    for from_logits in (True, False):
        loss = ExampleLoss(keras.losses.BinaryCrossentropy(from_logits=from_logits))
        np.testing.assert_allclose(loss.of_logits(labels, logits), expected, rtol=1e-4)
    given = Answer(tf.sigmoid(odds)[:, 0], logits, "sigmoid")
    loss = ExampleLoss("binary_crossentropy")
    for targets in (labels, labels[:, None], tf.one_hot(labels, 2)):
        np.testing.assert_allclose(loss(targets, given), expected, rtol=1e-4)


def test_a_function_gets_what_there_is():
    """Targets as they came, and what the network answers with."""
    values = ExampleLoss(squares)(ONE_HOT, answer(LOGITS, "sum"))
    expected = np.mean((ONE_HOT.numpy() - LOGITS.numpy()) ** 2, axis=-1)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_a_loss_of_the_whole_batch_is_that_of_each():
    """A function that returns one number has no other for an example."""
    mean = ExampleLoss(lambda y_true, y_pred: keras.ops.mean(y_pred))
    values = mean(LABELS, answer(LOGITS, "sum"))
    np.testing.assert_allclose(values, np.full(6, np.mean(LOGITS)), rtol=1e-6)


def test_cross_entropy_of_shares_and_labels():
    """Derived in float64."""
    shares = RANDOM.dirichlet(np.ones(3), 6)
    logs = LOGITS.numpy().astype(np.float64)
    logs -= np.log(np.sum(np.exp(logs), axis=1, keepdims=True))
    np.testing.assert_allclose(
        cross_entropy(tf.constant(shares), LOGITS), -(shares * logs).sum(1), rtol=1e-5
    )
    own = -np.take_along_axis(logs, LABELS.numpy()[:, None], 1)[:, 0]
    for labels in (LABELS, LABELS[:, None], tf.cast(LABELS, tf.float32)):
        np.testing.assert_allclose(cross_entropy(labels, LOGITS), own, rtol=1e-5)
