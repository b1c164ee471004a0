"""Gradient-norm regularisation against the closed form of softmax regression."""

import numpy as np
import pytest
import tensorflow as tf

from tests.penalties.common import CLASSES, SHAPE, softmax_regression
from tfrobust import models
from tfrobust.penalties import GradientNorm, StepContext


def by_hand(kernel, bias, images, labels):
    """`mean_i ||W (p_i - onehot_i)||^2` in float64."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    logits = flat @ kernel + bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    residual = odds / odds.sum(1, keepdims=True) - np.eye(CLASSES)[labels]
    return np.mean(np.sum((residual @ kernel.T) ** 2, axis=1))


def penalty_and_gradient(network, images, labels, weight):
    """The penalty of a step, and its gradient in the weights."""
    images = tf.constant(images)
    with tf.GradientTape() as outer:
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(images)
            logits = network(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        context = StepContext(
            network=network,
            images=images,
            labels=labels,
            logits=logits,
            losses=losses,
            input_gradient=inner.gradient(losses, images),
        )
        value = GradientNorm(weight)(context)
    return value, outer.gradient(value, network.trainable_variables)


def test_the_value_is_the_closed_form():
    """The gradient of a linear network's loss is `W (p - onehot)`."""
    network, images, labels = softmax_regression()
    value, _ = penalty_and_gradient(network, images, labels, weight=0.5)
    expected = 0.5 * by_hand(*network.get_weights(), images, labels)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    """Central differences of the closed form in float64, in every weight."""
    network, images, labels = softmax_regression()
    _, gradients = penalty_and_gradient(network, images, labels, weight=0.5)
    weights = [w.astype(np.float64) for w in network.get_weights()]
    step = 1e-6
    for weight, gradient in zip(weights, gradients, strict=True):
        expected = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            kept, ends = weight[index], []
            for sign in (1, -1):
                weight[index] = kept + sign * step
                ends.append(0.5 * by_hand(*weights, images, labels))
            weight[index] = kept
            expected[index] = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def rectified_by_hand(weights, images, labels):
    """The same of one hidden layer of ReLU: `W1 (mask * (W2 (p - onehot)))`."""
    first, offset, second, bias = weights
    flat = images.reshape(len(images), -1).astype(np.float64)
    hidden = flat @ first + offset
    logits = np.maximum(hidden, 0) @ second + bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    residual = odds / odds.sum(1, keepdims=True) - np.eye(CLASSES)[labels]
    slopes = ((residual @ second.T) * (hidden > 0)) @ first.T
    return np.mean(np.sum(slopes**2, axis=1))


def test_the_gradient_goes_through_the_linear_pieces_of_a_relu():
    """Central differences in float64: ReLU has no second derivative, the product of
    weights on both sides of it has.
    """
    network = models.MLP(SHAPE, CLASSES, "plain", hidden=(5,))
    random = np.random.default_rng(1)
    network.set_weights([random.normal(size=w.shape) for w in network.get_weights()])
    _, images, labels = softmax_regression()
    value, gradients = penalty_and_gradient(network, images, labels, weight=1.0)
    weights = [w.astype(np.float64) for w in network.get_weights()]
    expected = rectified_by_hand(weights, images, labels)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    for weight, gradient in zip(weights, gradients, strict=True):
        slopes = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            kept, ends = weight[index], []
            for sign in (1, -1):
                weight[index] = kept + sign * 1e-6
                ends.append(rectified_by_hand(weights, images, labels))
            weight[index] = kept
            slopes[index] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("copies", [2, 5])
def test_the_batch_size_does_not_matter(copies):
    """The same examples several times over have the same value and gradient."""
    network, images, labels = softmax_regression()
    once, gradient = penalty_and_gradient(network, images, labels, weight=1.0)
    images, labels = np.tile(images, (copies, 1, 1, 1)), np.tile(labels, copies)
    often, gradient_often = penalty_and_gradient(network, images, labels, weight=1.0)
    np.testing.assert_allclose(often, once, rtol=1e-5)
    for a, b in zip(gradient, gradient_often, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


def test_it_asks_for_the_input_gradient():
    """The training step takes that gradient only where somebody asks."""
    assert GradientNorm().needs_input_gradient
    assert GradientNorm().weight == pytest.approx(1e-3 * 1e5 / 128**2, rel=1e-3)
