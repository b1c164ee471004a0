"""A teacher's gradients as directions, and networks that cannot teach."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.core.test_gradients import curved
from tests.penalties.common import CLASSES, SHAPE, softmax_regression
from tfrobust.pag import Teacher
from tfrobust.training import RobustModel


def test_a_linear_teacher_gives_its_columns():
    network, images, _ = softmax_regression()
    chosen = np.array([[1, 3], [0, 2], [3, 3]])
    gradients = Teacher(network)(tf.constant(images), tf.constant(chosen))
    expected = network.get_weights()[0].T[chosen].reshape(3, 2, *SHAPE)
    np.testing.assert_allclose(gradients, expected, rtol=1e-6)


def test_an_answer_does_not_depend_on_the_batch_and_leaves_the_teacher_alone():
    """Batch norm in inference mode: statistics stay, neighbours do not count."""
    network = curved()
    before = network.get_weights()
    images = np.random.default_rng(0).random((4, *SHAPE), np.float32)
    chosen = tf.broadcast_to(tf.range(CLASSES), [4, CLASSES])
    teacher = Teacher(network)
    whole = teacher(tf.constant(images), chosen)
    for b in range(4):
        single = teacher(tf.constant(images[b : b + 1]), chosen[b : b + 1])
        np.testing.assert_allclose(single[0], whole[b], rtol=1e-4, atol=1e-6)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: keras.Sequential([keras.layers.Dense(3)]), "must be a built"),
        (
            lambda: keras.Sequential([keras.Input((4, 4)), keras.layers.Dense(3)]),
            r"must end in logits or probabilities \(batch, classes\)",
        ),
        (lambda: abs, "must be a built"),
    ],
)
def test_what_cannot_teach(network, message):
    with pytest.raises(ValueError, match=message):
        Teacher(network())


def test_a_model_that_trains_teaches_as_its_network():
    network, images, _ = softmax_regression()
    chosen = np.array([[1, 3], [0, 2], [3, 3]])
    expected = Teacher(network)(tf.constant(images), tf.constant(chosen))
    teacher = Teacher(RobustModel(network))
    assert teacher.network is network
    np.testing.assert_array_equal(
        teacher(tf.constant(images), tf.constant(chosen)), expected
    )


@pytest.mark.parametrize("ending", ["softmax", "sigmoid"])
def test_the_gradients_are_of_logits_and_of_images_in_0_to_1(ending):
    """Columns of weights, behind a division by 255 and before a softmax or sigmoid."""
    classes = 3 if ending == "softmax" else 1
    network = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Dense(classes, ending),
        ]
    )
    columns = network.get_weights()[0].T
    if ending == "sigmoid":
        columns = np.concatenate([-columns, columns]) / 2
    teacher = Teacher(network)
    assert teacher.classes == len(columns)
    chosen = tf.broadcast_to(tf.range(len(columns)), [2, len(columns)])
    found = teacher(tf.fill([2, 4], 0.5), chosen)
    np.testing.assert_allclose(found, np.stack([columns, columns]), rtol=1e-5)


def test_a_call_is_as_fast_as_a_graph():
    """Traced once for all sizes of the batch."""
    network, images, _ = softmax_regression()
    traced = []
    plain = network.call

    def call(*arguments, **keywords):
        traced.append(1)
        return plain(*arguments, **keywords)

    network.call = call
    teacher = Teacher(network)
    for count in (1, 2, 3):
        teacher(tf.constant(images[:count]), tf.zeros([count, 1], tf.int32))
    assert len(traced) == 1
