"""The TRADES penalty against float64, with the search taken out of the question."""

import dataclasses

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.penalties.common import CLASSES, SHAPE, softmax_regression
from tfrobust.attacks import PGD, Attack, ThreatModel
from tfrobust.penalties import StepContext, Trades
from tfrobust.training import RobustModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixed(Attack):
    """Moves every image in the same way, so that there is nothing to search."""

    amount: float = 0.5

    @property
    def threat(self):
        return ThreatModel("inf", 1.0)

    def run(self, problem):
        ramp = tf.reshape(tf.linspace(-self.amount, self.amount, 12), [1, *SHAPE])
        return problem.images + ramp


def moved(images):
    """What `Fixed` makes of images, by NumPy."""
    return np.clip(images + np.linspace(-0.5, 0.5, 12).reshape(SHAPE), 0.0, 1.0)


def by_hand(kernel, bias, images, weight):
    """`weight * mean_i sum_k p_ik log(p_ik / q_ik)` in float64."""
    clean, other = (
        np.reshape(x, (len(x), -1)).astype(np.float64) @ kernel + bias
        for x in (images, moved(images))
    )
    p, q = scipy.special.softmax(clean, axis=1), scipy.special.softmax(other, axis=1)
    return weight * np.mean(np.sum(p * np.log(p / q), axis=1))


def context_of(network, images, labels):
    logits = network(images, training=True)
    return StepContext(
        network=network,
        images=tf.constant(images),
        labels=tf.constant(labels),
        logits=logits,
        losses=tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits),
    )


def test_the_value_is_the_mean_divergence():
    """Of the clean prediction from the perturbed one, in that order."""
    network, images, labels = softmax_regression()
    value = Trades(3.0, Fixed())(context_of(network, images, labels))
    assert value.dtype == tf.float32 and value.shape == ()
    expected = by_hand(*network.get_weights(), images, 3.0)
    assert expected > 0.05
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    """Through both predictions, the perturbed images held where they are."""
    network, images, labels = softmax_regression()
    with tf.GradientTape() as tape:
        value = Trades(3.0, Fixed())(context_of(network, images, labels))
    gradients = tape.gradient(value, network.trainable_variables)
    weights = [w.astype(np.float64) for w in network.get_weights()]
    step = 1e-6
    for index, gradient in enumerate(gradients):
        expected = np.zeros_like(weights[index])
        for place in np.ndindex(expected.shape):
            ends = []
            for sign in (1, -1):
                shifted = [w.copy() for w in weights]
                shifted[index][place] += sign * step
                ends.append(by_hand(*shifted, images, 3.0))
            expected[place] = (ends[0] - ends[1]) / (2 * step)
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_a_searched_image_gives_a_larger_penalty():
    """The default attack finds more divergence than noise of the same size."""
    network, images, labels = softmax_regression()
    context = context_of(network, images, labels)
    searched = Trades(1.0)(context)
    noise = np.sign(np.random.default_rng(3).normal(size=images.shape)) * 0.031
    log_p = tf.nn.log_softmax(context.logits)
    log_q = tf.nn.log_softmax(network(images + noise.astype(np.float32)))
    random = tf.reduce_mean(tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1))
    assert searched > 2 * random


def with_batch_norm():
    """Batch norm first: its statistics tell which images came by, and how often."""
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES),
        ]
    )


def test_batch_norm_sees_the_clean_and_the_perturbed_batch_once_each():
    """Two updates of the moving mean, in that order; the search adds none."""
    keras.utils.set_random_seed(0)
    network, images = with_batch_norm(), softmax_regression()[1]
    labels = np.array([2, 0, 2])
    model = RobustModel(network)
    model.compile(keras.optimizers.SGD(0.0), penalties=[Trades(1.0, Fixed())])
    model.fit(images, labels, batch_size=3, shuffle=False, verbose=0)
    clean, other = images.mean((0, 1, 2)), moved(images).mean((0, 1, 2))
    assert np.abs(clean - other).max() > 0.003
    expected = 0.5 * (0.5 * clean) + 0.5 * other
    np.testing.assert_allclose(network.layers[0].moving_mean, expected, rtol=1e-5)
    searching = with_batch_norm()
    context = context_of(searching, images, labels)
    after_clean = searching.layers[0].moving_mean.numpy()
    attack = PGD(norm="inf", eps=0.05, steps=4, loss="kl")
    adversarial = attack.perturb(searching, images, labels).numpy()
    np.testing.assert_array_equal(searching.layers[0].moving_mean, after_clean)
    Trades(1.0, attack)(context)
    expected = 0.5 * after_clean + 0.5 * adversarial.mean((0, 1, 2))
    np.testing.assert_allclose(searching.layers[0].moving_mean, expected, rtol=1e-5)


def test_no_gradient_flows_through_the_search():
    """The search follows the weights; its result counts as given."""
    network, images, labels = softmax_regression()
    attack = PGD(norm=2, eps=0.3, steps=2, loss="kl")
    with tf.GradientTape() as tape:
        value = Trades(1.0, attack)(context_of(network, images, labels))
    gradient = tape.gradient(value, network.trainable_variables)
    held = attack.perturb(network, images, labels)
    with tf.GradientTape() as tape:
        log_p = tf.nn.log_softmax(network(images))
        log_q = tf.nn.log_softmax(network(held))
        terms = tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)
        total = tf.reduce_mean(terms)
    expected = tape.gradient(total, network.trainable_variables)
    for first, second in zip(gradient, expected, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)


def test_a_weight_of_zero_is_allowed():
    """The value is 0, and so is the gradient."""
    network, images, labels = softmax_regression()
    with tf.GradientTape() as tape:
        value = Trades(0.0, Fixed())(context_of(network, images, labels))
    assert float(value) == 0.0
    for gradient in tape.gradient(value, network.trainable_variables):
        np.testing.assert_array_equal(gradient, 0.0)


def test_confident_predictions_give_finite_numbers():
    """Logits hundreds apart, where probabilities are 0 in float32."""
    network, images, labels = softmax_regression()
    # The last class gains with the ramp, by hundreds; the first led before.
    ramp = np.linspace(-1.0, 1.0, 12)
    network.set_weights([100.0 * np.outer(ramp, np.arange(CLASSES)), np.zeros(CLASSES)])
    images = np.float32(0.5 - 0.1 * ramp.reshape(SHAPE)) + 0.01 * images
    with tf.GradientTape() as tape:
        value = Trades(1.0, Fixed())(context_of(network, images, labels))
    clean, other = (
        x.reshape(3, -1).astype(np.float64) @ network.get_weights()[0]
        + network.get_weights()[1]
        for x in (images, moved(images))
    )
    log_p, log_q = (scipy.special.log_softmax(z, axis=1) for z in (clean, other))
    expected = np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1))
    assert expected > 100.0
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    for gradient in tape.gradient(value, network.trainable_variables):
        assert np.all(np.isfinite(gradient))


@pytest.mark.slow
def test_training_lowers_the_divergence():
    """Below that of a network trained on the clean images alone."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 64)
    images = np.clip(
        0.5
        + 0.15 * (2 * labels - 1)[:, None, None, None] * random.random(SHAPE)
        + 0.1 * random.normal(size=(64, *SHAPE)),
        0,
        1,
    ).astype(np.float32)
    attack = PGD(norm="inf", eps=0.1, steps=3, loss="kl")

    def divergence(penalties):
        keras.utils.set_random_seed(0)
        network = softmax_regression()[0]
        model = RobustModel(network)
        model.compile(keras.optimizers.Adam(0.05), penalties=penalties)
        model.fit(images, labels, epochs=15, batch_size=16, verbose=0)
        context = context_of(network, images, labels)
        return float(Trades(1.0, attack)(context))

    assert divergence([Trades(6.0, attack)]) < 0.5 * divergence([])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"weight": -1.0},
            "`weight` must be finite and at least 0. Received: weight=-1.0",
        ),
        (
            {"weight": float("nan")},
            "`weight` must be finite and at least 0. Received: weight=nan",
        ),
        (
            {"attack": "pgd"},
            "`attack` must be an attack from `tfrobust.attacks`. "
            "Received: attack='pgd'",
        ),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    """In one sentence."""
    with pytest.raises(ValueError) as caught:
        Trades(**arguments)
    assert str(caught.value) == message


def test_the_default_is_the_papers():
    """L-infinity, ten steps of 0.007 up the divergence, the last point, weight 6."""
    penalty = Trades()
    assert penalty.weight == 6.0 and penalty.name == "trades_penalty"
    assert penalty.attack == PGD(
        norm="inf",
        eps=0.031,
        steps=10,
        step_size=0.007,
        loss="kl",
        keep_best=False,
    )
