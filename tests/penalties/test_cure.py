"""CURE against closed forms in float64, finite differences and the step it runs in."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.penalties.common import CLASSES, SHAPE, softmax_regression
from tests.seeds import set_seeds
from tfrobust.core.vectors import unit
from tfrobust.penalties import Cure, StepContext
from tfrobust.training import RobustModel

DIRECTIONS = ["sign", "gradient"]


def normalized(width=2):
    """A convolutional network with batch norm and weights that are not small."""
    set_seeds(0)
    network = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(width, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("softplus"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    random = np.random.default_rng(1)
    images = random.random((5, 4, 4, 1), np.float32)
    return network, images, random.integers(0, 3, 5)


def gradients_by_hand(kernel, bias, flat, labels):
    """`W (p_i - onehot_i)` of softmax regression, in float64, `[B,N]`."""
    logits = flat @ kernel + bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    residual = odds / odds.sum(1, keepdims=True) - np.eye(CLASSES)[labels]
    return residual @ kernel.T


def directions_by_hand(kernel, bias, flat, labels, direction):
    """z of softmax regression in float64, `[B,N]`."""
    z = gradients_by_hand(kernel, bias, flat, labels)
    z = np.sign(z) if direction == "sign" else z
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def by_hand(kernel, bias, images, labels, step, z):
    """The penalty of softmax regression at weight 1 along a given z, in float64."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    there = gradients_by_hand(kernel, bias, flat + step * z, labels)
    clean = gradients_by_hand(kernel, bias, flat, labels)
    return np.mean(np.sum((there - clean) ** 2, axis=1))


def context_of(network, images, labels):
    """What a training step hands over; CURE reads network, images and labels."""
    empty = tf.zeros([len(images)])
    images, labels = tf.convert_to_tensor(images), tf.convert_to_tensor(labels)
    return StepContext(
        network=network, images=images, labels=labels, logits=empty, losses=empty
    )


def penalty_and_gradient(penalty, network, images, labels):
    """The penalty of a batch, and its gradient in the trainable weights."""
    with tf.GradientTape() as tape:
        value = penalty(context_of(network, images, labels))
    return value, tape.gradient(value, network.trainable_variables)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("step", [0.3, 2.0])
def test_the_value_is_the_closed_form(direction, step):
    """Both gradients of softmax regression are known; x + hz leaves [0, 1] freely."""
    network, images, labels = softmax_regression()
    weights = [w.astype(np.float64) for w in network.get_weights()]
    flat = images.reshape(3, -1).astype(np.float64)
    z = directions_by_hand(*weights, flat, labels, direction)
    assert step < 2 or (flat + step * z).max() > 1  # clipping would change the value
    value = Cure(0.5, step, direction)(context_of(network, images, labels))
    expected = 0.5 * by_hand(*weights, images, labels, step, z)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_gradient_is_that_of_finite_differences_with_z_held(direction):
    """Central differences of the closed form in float64, in every weight."""
    network, images, labels = softmax_regression()
    _, gradients = penalty_and_gradient(
        Cure(0.5, 1.0, direction), network, images, labels
    )
    weights = [w.astype(np.float64) for w in network.get_weights()]
    flat = images.reshape(3, -1).astype(np.float64)
    z = directions_by_hand(*weights, flat, labels, direction)
    difference = 1e-6
    for weight, gradient in zip(weights, gradients, strict=True):
        expected = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            kept, ends = weight[index], []
            for sign in (1, -1):
                weight[index] = kept + sign * difference
                ends.append(0.5 * by_hand(*weights, images, labels, 1.0, z))
            weight[index] = kept
            expected[index] = (ends[0] - ends[1]) / (2 * difference)
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_a_small_step_measures_the_hessian():
    """As h goes to 0 the term is h^2 ||H z||^2, with H = W (diag p - p p^T) W^T."""
    network, images, labels = softmax_regression()
    kernel, bias = (w.astype(np.float64) for w in network.get_weights())
    flat = images.reshape(3, -1).astype(np.float64)
    z = directions_by_hand(kernel, bias, flat, labels, "sign")
    expected = []
    for x, direction in zip(flat, z, strict=True):
        odds = np.exp(x @ kernel + bias)
        odds /= odds.sum()
        hessian = kernel @ (np.diag(odds) - np.outer(odds, odds)) @ kernel.T
        expected.append(np.sum((hessian @ direction) ** 2))
    step = 1e-3
    value = Cure(1.0, step)(context_of(network, images, labels))
    np.testing.assert_allclose(value / step**2, np.mean(expected), rtol=5e-3)


@pytest.mark.parametrize("copies", [2, 5])
def test_the_batch_does_not_matter(copies):
    """Examples repeated have the same value and gradient, batch norm or not."""
    network, images, labels = normalized()
    penalty = Cure(1.0, 0.5)
    once, gradient = penalty_and_gradient(penalty, network, images, labels)
    images, labels = np.tile(images, (copies, 1, 1, 1)), np.tile(labels, copies)
    often, repeated = penalty_and_gradient(penalty, network, images, labels)
    np.testing.assert_allclose(often, once, rtol=1e-5)
    # The last bias moves no input-gradient and the first one's effect is normalised.
    for a, b in zip(gradient, repeated, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-6)


def test_examples_do_not_see_each_other():
    """The penalty of a batch is the mean of its examples' own, with batch norm too."""
    network, images, labels = normalized()
    penalty = Cure(1.0, 0.5)
    together = penalty(context_of(network, images, labels))
    alone = [
        penalty(context_of(network, images[i : i + 1], labels[i : i + 1]))
        for i in range(len(images))
    ]
    np.testing.assert_allclose(together, np.mean(alone), rtol=1e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_zero_gradient_is_no_direction(direction):
    """A saturated network has loss gradients of exactly 0: value and gradient are 0."""
    network, images, labels = softmax_regression()
    kernel, bias = network.get_weights()
    network.set_weights([kernel, 1000.0 * np.eye(CLASSES)[2].astype(np.float32)])
    images, labels = images[[0, 2]], labels[[0, 2]]  # both of class 2
    penalty = Cure(1.0, 1.0, direction)
    value, gradients = penalty_and_gradient(penalty, network, images, labels)
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_a_tiny_gradient_keeps_its_direction():
    """Squares of 1e-25 underflow in float32; the direction must not depend on them."""
    vectors = tf.constant([[3e-25, -4e-25], [3e25, -4e25], [0.0, 0.0]])
    expected = [[0.6, -0.8], [0.6, -0.8], [0.0, 0.0]]
    np.testing.assert_allclose(unit(vectors), expected, rtol=1e-6)


def test_moving_statistics_are_those_of_the_step_without_it():
    """One training step moves batch norm's statistics as if the penalty were absent."""
    moved = []
    for penalties in ([], [Cure(1.0, 0.5)]):
        network, images, labels = normalized()
        model = RobustModel(network)
        model.compile(keras.optimizers.SGD(0.0), penalties=penalties)
        model.train_on_batch(images, labels)
        moved.append([v.numpy() for v in network.non_trainable_variables])
    for without, with_it in zip(*moved, strict=True):
        np.testing.assert_array_equal(with_it, without)
    assert np.abs(moved[0][0]).max() > 0  # they did move


@pytest.mark.usefixtures("tensorflow_seed")
def test_training_with_it_lowers_it():
    """A few steps on one batch, in `RobustModel`, with batch norm."""
    network, images, labels = normalized()
    model = RobustModel(network)
    model.compile(keras.optimizers.SGD(0.05), penalties=[Cure(1.0, 0.5)])
    history = model.fit(images, labels, batch_size=5, epochs=20, verbose=0).history
    assert history["cure_penalty"][-1] < 0.5 * history["cure_penalty"][0]


def test_an_unknown_batch_size_is_traced_once():
    """In a `tf.function` of unknown batch size the value is that of eager execution."""
    network, images, labels = softmax_regression()
    penalty = Cure(1.0, 0.5)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *SHAPE], tf.float32),
            tf.TensorSpec([None], tf.int64),
        ]
    )
    def traced(images, labels):
        empty = tf.zeros_like(labels, tf.float32)
        return penalty(
            StepContext(
                network=network,
                images=images,
                labels=labels,
                logits=empty,
                losses=empty,
            )
        )

    for examples in (1, 3):
        batch = images[:examples], labels[:examples]
        expected = penalty(context_of(network, *batch))
        np.testing.assert_allclose(traced(*batch), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_bfloat16", 0.1), ("mixed_float16", 0.02)]
)
def test_half_precision_stays_close(policy, tolerance):
    """The value under mixed precision against float32, and a finite gradient."""
    network, images, labels = normalized()
    expected = Cure(1.0, 0.5)(context_of(network, images, labels))
    keras.config.set_dtype_policy(policy)
    try:
        half, _, _ = normalized()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(network.get_weights())
    value, gradients = penalty_and_gradient(Cure(1.0, 0.5), half, images, labels)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, expected, rtol=tolerance)
    flat = itertools.chain.from_iterable(
        np.ravel(g) for g in gradients if g is not None
    )
    assert np.isfinite(list(flat)).all()


def test_small_gradients_survive_float16():
    """Gradients near the end of float16's range, 6e-8, are not lost."""
    network, images, labels = softmax_regression()
    kernel, bias = network.get_weights()
    bias = bias + 18.0 * np.eye(CLASSES)[2].astype(np.float32)
    images, labels = images[[0, 2]], labels[[0, 2]]
    network.set_weights([kernel, bias])
    penalty = Cure(1.0, 0.5)
    expected = float(penalty(context_of(network, images, labels)))
    half = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Flatten(dtype="mixed_float16"),
            keras.layers.Dense(CLASSES, dtype="mixed_float16"),
        ]
    )
    half.set_weights([kernel, bias])
    result = float(penalty(context_of(half, images, labels)))
    assert 0 < expected < 1e-12
    np.testing.assert_allclose(result, expected, rtol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "`weight`"),
        ({"step": 0.0}, "`step`"),
        ({"step": float("nan")}, "`step`"),
        ({"direction": "hessian"}, "`direction`"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    """One sentence that names the argument and what it was."""
    with pytest.raises(ValueError, match=message + ".*Received"):
        Cure(**arguments)
