"""The curvature penalty against equation 5 worked out by hand."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust import models
from tfrobust.layers import CenteredSoftplus, LipschitzBatchNormalization
from tfrobust.penalties import Curvature, StepContext
from tfrobust.training import RobustModel

BETAS, GAMMAS = (2.0, 0.75), (3.0, 0.25)


def network():
    """Two learnable betas, one fixed, and a gamma on either side of 1."""
    return keras.Sequential(
        [
            keras.Input((3,)),
            CenteredSoftplus(BETAS[0]),
            LipschitzBatchNormalization(GAMMAS[0]),
            keras.Sequential([keras.Input((3,)), CenteredSoftplus(BETAS[1])]),
            LipschitzBatchNormalization(GAMMAS[1]),
            CenteredSoftplus(1000.0, trainable=False),
        ]
    )


def equation_5(logs_of_beta, logs_of_gamma, beta, gamma, absolute):
    """Float64, from the logarithms that the layers learn."""
    logs = np.abs(logs_of_gamma) if absolute else logs_of_gamma
    return beta * np.sum(np.exp(logs_of_beta)) + gamma * np.sum(logs)


def test_the_value_is_equation_5():
    """Sums run over learnable betas and all gammas, nested models included. With a
    gamma below 1, `|log 3| + |log 1/4|` is `log 12`.
    """
    value = Curvature(0.5, 0.125).value(network())
    assert value.dtype == tf.float32
    by_hand = 0.5 * 2.75 + 0.125 * math.log(12)
    np.testing.assert_allclose(value, by_hand, rtol=1e-6)


def test_without_the_absolute_value_the_logarithms_cancel():
    """As equation 5 prints it: `log 3 + log 1/4` is `log 3/4`."""
    value = Curvature(0.5, 0.125, absolute=False).value(network())
    np.testing.assert_allclose(value, 0.5 * 2.75 + 0.125 * math.log(0.75), rtol=1e-6)


def test_the_weights_are_those_that_made_table_1():
    """1e-3 each (LCNN-R1)."""
    value = Curvature().value(network())
    np.testing.assert_allclose(value, 1e-3 * (2.75 + math.log(12)), rtol=1e-6)


def test_no_gamma_is_better_than_one():
    """The penalty is least, and 0, at gamma = 1: a smaller one is not rewarded."""
    norm = LipschitzBatchNormalization(1.0)
    model = keras.Sequential([keras.Input((3,)), norm])
    penalty = Curvature(0.0, 1.0)
    values = []
    for log_gamma in (-20.0, -1.0, 0.0, 1.0, 20.0):
        norm.log_gamma.assign(log_gamma)
        values.append(float(penalty.value(model)))
    np.testing.assert_allclose(values, [20.0, 1.0, 0.0, 1.0, 20.0], rtol=1e-6)


def test_a_weight_of_zero_removes_its_sum():
    """The two sums are weighted apart."""
    np.testing.assert_allclose(Curvature(1.0, 0.0).value(network()), 2.75, rtol=1e-6)
    only_gamma = Curvature(0.0, 1.0).value(network())
    np.testing.assert_allclose(only_gamma, math.log(12), rtol=1e-6)


@pytest.mark.parametrize("absolute", [False, True])
def test_gradients_are_those_of_finite_differences(absolute):
    """Central differences of equation 5 in float64, for each learnt logarithm."""
    model = network()
    penalty = Curvature(0.5, 0.125, absolute=absolute)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        value = penalty.value(model)
    gradients = dict(
        zip([v.path for v in variables], tape.gradient(value, variables), strict=True)
    )
    logs = {v.path: float(v.numpy()) for v in variables}
    assert len(logs) == 4
    step = 1e-5
    for path in logs:
        ends = []
        for sign in (1, -1):
            moved = {**logs, path: logs[path] + sign * step}
            beta = [x for name, x in moved.items() if name.endswith("log_beta")]
            gamma = [x for name, x in moved.items() if name.endswith("log_gamma")]
            ends.append(equation_5(beta, gamma, 0.5, 0.125, absolute))
        expected = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(gradients[path], expected, rtol=1e-5, err_msg=path)


def test_the_penalty_of_a_step_is_that_of_its_network():
    """Nothing but the network of the context is looked at."""
    model, penalty = network(), Curvature()
    context = StepContext(
        network=model, images=None, labels=None, logits=None, losses=None
    )
    assert float(penalty(context)) == float(penalty.value(model)) != 0


def test_a_network_without_gammas_has_the_sum_of_betas():
    """An MLP has no norms."""
    mlp = models.MLP((2,), 2, "lcnn", hidden=(3, 3), beta=4.0)
    np.testing.assert_allclose(Curvature(0.5, 9.0).value(mlp), 4.0, rtol=1e-6)


def test_a_standard_network_is_refused():
    """Its activations are fixed, so the penalty would silently do nothing."""
    model = RobustModel(models.ResNet18((8, 8, 3), width=1, name="plain"))
    with pytest.raises(ValueError) as caught:
        model.compile(penalties=[Curvature()])
    assert str(caught.value) == (
        "`penalties` holds Curvature, which needs a network with a learnable "
        "CenteredSoftplus or a LipschitzBatchNormalization, such as variant='lcnn'. "
        "Received: network='plain'"
    )
