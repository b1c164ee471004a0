"""Weight decay against PyTorch's rule, worked out in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust import models
from tfrobust.penalties import StepContext, WeightDecay
from tfrobust.training import RobustModel

DECAY, RATE, MOMENTUM, STEPS = 0.05, 0.1, 0.9, 3


def linear_network():
    random = np.random.default_rng(1)
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    network.set_weights(
        [random.normal(size=(5, 3)), random.normal(size=3)]  # neither is zero
    )
    return network, random.random((4, 5), np.float32), np.array([0, 2, 2, 1])


def pytorch_sgd(weights, images, labels):
    """`g += decay * w; v = momentum * v + g; w -= rate * v`, three times."""
    kernel, bias = (w.astype(np.float64) for w in weights)
    velocity = [np.zeros_like(kernel), np.zeros_like(bias)]
    for _ in range(STEPS):
        odds = np.exp(images @ kernel + bias)
        residual = odds / odds.sum(1, keepdims=True) - np.eye(3)[labels]
        gradients = [images.T @ residual / len(images), residual.mean(0)]
        for k, weight in enumerate((kernel, bias)):
            coupled = gradients[k] + DECAY * weight
            velocity[k] = MOMENTUM * velocity[k] + coupled
            weight -= RATE * velocity[k]
    return kernel, bias


def trained(network, images, labels, optimizer, penalties):
    model = RobustModel(network)
    model.compile(optimizer, penalties=penalties)
    model.fit(images, labels, epochs=STEPS, batch_size=4, shuffle=False, verbose=0)
    return network.get_weights()


def test_three_steps_are_those_of_pytorch():
    """Decay is part of the gradient, so it passes through the momentum."""
    network, images, labels = linear_network()
    expected = pytorch_sgd(network.get_weights(), images, labels)
    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    result = trained(network, images, labels, optimizer, [WeightDecay(DECAY)])
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_decay_of_keras_optimizers_is_another():
    """The same number given to `SGD(weight_decay=...)` decays the weights less."""
    network, images, labels = linear_network()
    start = network.get_weights()
    expected = pytorch_sgd(start, images, labels)
    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM, weight_decay=DECAY)
    result = trained(network, images, labels, optimizer, [])
    assert np.max(np.abs(result[0] - expected[0])) > 0.01 * np.max(np.abs(start[0]))


def test_beta_and_gamma_do_not_decay():
    """The gradient is `weight * w` for every kernel and bias, and none for the two."""
    network = models.ResNet18((8, 8, 3), width=1, variant="lcnn")
    context = StepContext(
        network=network, images=None, labels=None, logits=None, losses=None
    )
    variables = network.trainable_variables
    with tf.GradientTape() as tape:
        value = WeightDecay(0.5)(context)
    squares = 0.0
    for variable, gradient in zip(
        variables, tape.gradient(value, variables), strict=True
    ):
        if variable.name in ("log_beta", "log_gamma"):
            assert gradient is None
        else:
            expected = 0.5 * variable.numpy()
            np.testing.assert_allclose(gradient, expected, rtol=1e-6)
            squares += np.sum(variable.numpy().astype(np.float64) ** 2)
    assert sum(v.name in ("log_beta", "log_gamma") for v in variables) == 37
    np.testing.assert_allclose(value, 0.25 * squares, rtol=1e-5)


@pytest.mark.parametrize("exclude", [(), ("bias",)])
def test_what_to_exclude_is_a_choice(exclude):
    """Weights are excluded by name."""
    network, _, _ = linear_network()
    context = StepContext(
        network=network, images=None, labels=None, logits=None, losses=None
    )
    kernel, bias = network.get_weights()
    kept = np.sum(kernel**2) + (0 if exclude else np.sum(bias**2))
    result = WeightDecay(2.0, exclude)(context)
    np.testing.assert_allclose(result, kept, rtol=1e-6)
