"""The centered softplus against its closed form in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.layers.common import check_layer, functional, images
from tfrobust.layers import CenteredSoftplus, centered_softplus

BETAS = np.geomspace(1e-4, 1e4, 17).astype("float32")
# Both signs, both scales, zero, and points where float32 rounds badly.
_SMALL = np.geomspace(1e-8, 100.0, 101)
XS = np.unique(
    np.concatenate([np.linspace(-100.0, 100.0, 401), -_SMALL, [0.0], _SMALL])
).astype("float32")

RELATIVE, ABSOLUTE = 1e-5, 1e-7
# The slope runs from 0 to 1 and is right to two roundings of 1, the second derivative,
# which goes up to beta / 4, to as many of beta.
OF_SLOPES = 2e-7


def exact(x, beta):
    """Value, first and second derivative in x, derivative in beta, all in float64.

    From `x/2 + log(cosh(beta x / 2)) / beta`, another form than the layer's.
    """
    x, beta = np.float64(x), np.float64(beta)
    half = np.abs(beta * x) / 2
    with np.errstate(over="ignore"):
        log_cosh = np.where(
            half < 1.0,
            np.log1p(2 * np.sinh(np.minimum(half, 1.0) / 2) ** 2),
            half + np.log1p(np.exp(-2 * half)) - np.log(2.0),
        )
    value = x / 2 + log_cosh / beta
    small = np.exp(-2 * half)
    first = np.where(x < 0, small, 1.0) / (1 + small)
    second = beta * small / (1 + small) ** 2
    in_beta = (x / 2 * np.tanh(beta * x / 2) - log_cosh / beta) / beta
    return value, first, second, in_beta


def measured(x, beta, function=centered_softplus):
    """The same four from the library by automatic differentiation."""
    x, beta = tf.constant(x), tf.constant(beta)
    beta_each = beta + tf.zeros_like(x)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch([x, beta_each])
            value = function(x, beta_each)
        first, in_beta = inner.gradient(
            value, [x, beta_each], unconnected_gradients="zero"
        )
    second = outer.gradient(first, x)
    return tuple(t.numpy() for t in (value, first, second, in_beta))


def assert_accurate(x, beta, function=centered_softplus, units=1.0, rtol=RELATIVE):
    """Value and derivatives, in units of float32's accuracy."""
    allowed = {
        "value": ABSOLUTE,
        "first derivative": OF_SLOPES,
        "second derivative": OF_SLOPES * float(beta),
    }
    results = zip(allowed, measured(x, beta, function), exact(x, beta), strict=False)
    for name, ours, truth in results:
        np.testing.assert_allclose(
            ours,
            truth,
            rtol=rtol,
            atol=units * allowed[name],
            err_msg=f"{name} at beta={beta}",
        )


def test_layer_contract(tmp_path):
    """The layer saves, exports, trains, compiles and keeps its dtype and shape."""
    check_layer(
        CenteredSoftplus,
        {"beta": 2.5},
        (4, 3, 2),
        tmp_path,
        trainable=["log_beta"],
        non_trainable=[],
    )


@pytest.mark.parametrize("beta", BETAS)
def test_value_and_derivatives_over_the_range(beta):
    """Value and two derivatives are right for beta of 1e-4 to 1e4 and |x| to 100."""
    assert_accurate(XS, beta)


@given(
    st.floats(-100, 100, width=32),
    st.floats(-4, 4).map(lambda power: np.float32(10.0**power)),
)
def test_value_and_derivatives_at_any_point(x, beta):
    """No single point of the range is an exception."""
    assert_accurate(np.array([x], "float32"), beta)


@pytest.mark.parametrize("beta", [1e-4, 1.0, 1e4])
def test_value_and_derivatives_when_compiled(beta):
    """XLA's own tanh and log1p leave the accuracy as it is."""
    compiled = tf.function(centered_softplus, jit_compile=True)
    assert_accurate(XS, np.float32(beta), compiled)


@pytest.mark.parametrize("beta", BETAS[::4].astype("float64"))
def test_float64_input(beta):
    """Float64 in gives float64 out, at float64 accuracy."""
    x = XS.astype("float64")
    assert centered_softplus(x, float(beta)).dtype == tf.float64
    assert_accurate(x, beta, units=1e-6, rtol=1e-13)


@pytest.mark.parametrize("beta", BETAS)
def test_gradient_of_beta(beta):
    """`beta * ds/dbeta`, which moves the layer's weight, is right to rounding.

    It is the difference of two numbers of the size of x, so its error is a few float32
    roundings of |x|, not of itself: 3e-7 |x| beside the relative tolerance (1.7 of
    them have been seen).
    """
    ours = np.float64(beta) * measured(XS, beta)[3]
    truth = np.float64(beta) * exact(XS, beta)[3]
    assert np.all(np.isfinite(ours))
    assert np.all(
        np.abs(ours - truth) <= RELATIVE * np.abs(truth) + 3e-7 * np.abs(XS) + 1e-12
    )


@pytest.mark.parametrize("beta", BETAS)
def test_gradient_of_beta_through_the_slope(beta):
    """A penalty on input-gradients trains beta: d(slope)/dbeta = x * second / beta."""
    x, each = tf.constant(XS), tf.fill(XS.shape, tf.constant(beta))
    with tf.GradientTape() as outer:
        outer.watch(each)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = centered_softplus(x, each)
        slope = inner.gradient(value, x)
    ours = np.float64(beta) * outer.gradient(slope, each).numpy()
    truth = np.float64(XS) * exact(XS, beta)[2]
    # x times the second derivative, which is 0 where beta |x| is large.
    allowed = OF_SLOPES * (1 + np.minimum(np.abs(np.float64(XS) * beta), 20))
    assert np.all(np.abs(ours - truth) <= RELATIVE * np.abs(truth) + allowed)


def test_known_points():
    """Zero maps to zero with slope 1/2 and second derivative beta/4, exactly."""
    for beta in (0.5, 4.0, 1024.0):
        value, first, second, in_beta = measured(
            np.zeros(2, "float32"), np.float32(beta)
        )
        np.testing.assert_array_equal(value, 0.0)
        np.testing.assert_array_equal(first, 0.5)
        np.testing.assert_array_equal(second, beta / 4)
        np.testing.assert_array_equal(in_beta, 0.0)


def test_limits():
    """x/2 as beta goes to 0, ReLU as it goes to infinity, at the rate of theory."""
    for beta in (1e-25, 1e-6):
        y = centered_softplus(XS, beta).numpy()
        # Three float32 roundings beside the theory.
        bound = beta * np.float64(XS) ** 2 / 8 + 2e-7 * np.abs(XS)
        assert np.all(np.abs(y - XS / 2) <= bound)
    for beta in (1e6, 1e30):
        y = centered_softplus(XS, beta).numpy()
        relu = np.maximum(XS, 0)
        assert np.all(np.abs(y - relu) <= np.log(2) / beta + 1e-7 * relu)


@pytest.mark.parametrize("beta", BETAS)
def test_shape_of_the_curve(beta):
    """Increasing, 1-Lipschitz, convex, of a second derivative up to beta/4."""
    _, first, second, _ = measured(XS, beta)
    assert np.all((first >= 0) & (first <= 1))
    assert np.all((second >= 0) & (second <= beta / 4 * (1 + 1e-6)))


@pytest.mark.parametrize("beta", [0.5, 5.0, 1000.0])
def test_normalised_curvature_is_at_most_beta(beta):
    """Second derivative over slope is `beta (1 - slope)` (equation 3, LCNN-X7): far
    above beta / 4, and near beta far below zero. In float64, where two small numbers
    have a quotient.
    """
    x = np.linspace(-20, 20, 401) / beta
    _, first, second, _ = measured(x, np.float64(beta))
    curvature = second / first
    slope = 1 / (1 + np.exp(-beta * x))
    truth = beta / (1 + np.exp(beta * x))
    np.testing.assert_allclose(curvature, truth, rtol=1e-5, atol=1e-14 * beta)
    np.testing.assert_allclose(truth, beta * (1 - slope), rtol=1e-5, atol=1e-9)
    assert beta * (1 - 1e-6) < curvature.max() <= beta * (1 + 1e-6)


def test_extreme_inputs_stay_finite():
    """The largest float32 numbers give no NaN in value or gradients; NaN stays NaN."""
    huge = np.array([-3e38, -1e30, 1e30, 3e38], "float32")
    value, first, second, in_beta = measured(huge, np.float32(1.0))
    np.testing.assert_allclose(value, [-np.log(2), -np.log(2), 1e30, 3e38], rtol=1e-6)
    np.testing.assert_array_equal(first, [0, 0, 1, 1])
    np.testing.assert_array_equal(second, 0)
    assert np.all(np.isfinite(in_beta))
    assert np.isnan(centered_softplus(np.float32([np.nan]), 1.0).numpy()[0])


def test_beta_broadcasts():
    """One beta a channel is one curve a channel."""
    x = images(3, 5, 2)
    both = centered_softplus(x, np.float32([0.5, 50.0])).numpy()
    for channel, beta in enumerate((0.5, 50.0)):
        alone = centered_softplus(x[..., channel], beta).numpy()
        np.testing.assert_allclose(both[..., channel], alone, rtol=1e-6)


@pytest.mark.parametrize("beta", [1e-4, 5.0, 1e4])
def test_layer_equals_the_function(beta):
    """The layer's value, slope and curvature are those of its beta.

    `exp(log(beta))` is beta to 5e-7 in float32; the oracle takes what it is.
    """
    layer = CenteredSoftplus(beta)
    layer.build((None,))
    np.testing.assert_allclose(float(layer.beta), beta, rtol=2e-6)
    assert_accurate(XS, layer.beta.numpy(), lambda x, _: layer(x))


def test_gradient_of_the_layers_weight():
    """The gradient of `log_beta` is the sum of beta * ds/dbeta over all inputs."""
    layer = CenteredSoftplus(3.0)
    x = images(3, 4, 5)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(x))
    gradient = tape.gradient(total, layer.log_beta.value)
    np.testing.assert_allclose(gradient, 3 * exact(x, 3.0)[3].sum(), rtol=1e-5)


def test_float16_does_not_overflow():
    """beta * x beyond float16 is no trouble, for the arithmetic is float32."""
    layer = CenteredSoftplus(1e4, dtype="mixed_float16")
    y = layer(np.float16([-60000, -1, 0, 1, 60000])).numpy()
    np.testing.assert_allclose(y, [-7e-5, -7e-5, 0, 1, 60000], rtol=1e-2, atol=1e-6)


def test_a_fixed_activation_does_not_learn():
    """`trainable=False` is the standard networks' activation: ReLU to within 7e-4."""
    layer = CenteredSoftplus(1000.0, trainable=False)
    y = layer(XS).numpy()
    assert layer.trainable_variables == []
    relu = np.maximum(XS, 0)
    assert np.all(np.abs(y - relu) <= np.log(2) / 1000 * (1 + 1e-5) + 1e-7 * relu)


def test_gradients_flow_through_a_saved_model(tmp_path):
    """What is exported can be attacked: its input-gradient is the closed form's."""
    functional(CenteredSoftplus(7.0), (5,)).export(str(tmp_path), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    x = tf.constant(images(3, 5))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(loaded.serve(x))
    np.testing.assert_allclose(
        tape.gradient(y, x), exact(x, 7.0)[1], rtol=RELATIVE, atol=OF_SLOPES
    )


@pytest.mark.parametrize("beta", [0, -1.0, float("nan"), float("inf")])
def test_bad_beta(beta):
    """A beta that is no sharpness is refused, by value."""
    with pytest.raises(ValueError) as error:
        CenteredSoftplus(beta)
    assert str(error.value) == (
        f"`beta` must be a finite number above 0. Received: beta={beta}"
    )


def test_registered_name():
    """Files written today are found by this name tomorrow."""
    name = keras.saving.get_registered_name(CenteredSoftplus)
    assert name == "tfrobust>CenteredSoftplus"


@pytest.mark.parametrize("cap", [0.5, 6.0])
@pytest.mark.parametrize("beta", [0.1, 3.0, 1e3])
def test_value_and_derivatives_with_a_cap(beta, cap):
    """`s0(x) - s0(x - cap) + s0(-cap)` and its derivatives, in float64.

    A sum of three numbers of the size of x, each rounded in float32.
    """
    x = np.linspace(-20.0, 20.0, 161).astype("float32")
    low, high = exact(x, beta), exact(np.float64(x) - cap, beta)
    value = low[0] - high[0] + exact(-cap, beta)[0]

    def capped(x, beta):
        return centered_softplus(x, beta, cap)

    ours = measured(x, np.float32(beta), capped)
    np.testing.assert_allclose(ours[0], value, atol=1e-5)
    np.testing.assert_allclose(ours[1], low[1] - high[1], atol=1e-5)
    np.testing.assert_allclose(ours[2], low[2] - high[2], atol=1e-4 * beta)
    assert ours[0][80] == 0.0
    assert np.all((ours[1] >= -1e-6) & (ours[1] <= 1.0))
    assert np.all(np.abs(ours[2]) <= beta / 4 * (1 + 1e-5))


def test_a_cap_in_a_layer(tmp_path):
    """The whole life of a layer, and the capped ReLU as beta grows."""
    check_layer(
        CenteredSoftplus,
        {"beta": 2.0, "max_value": 1.5},
        (5, 3),
        tmp_path,
        trainable=["log_beta"],
        non_trainable=[],
    )
    x = np.linspace(-9.0, 9.0, 37).astype("float32")
    sharp = CenteredSoftplus(1e6, max_value=6.0)(x)
    np.testing.assert_allclose(sharp, keras.ops.relu6(x), atol=2e-6)


@pytest.mark.parametrize("cap", [0, -1.0, float("inf")])
def test_bad_cap(cap):
    with pytest.raises(ValueError) as error:
        CenteredSoftplus(max_value=cap)
    assert str(error.value) == (
        f"`max_value` must be a finite number above 0. Received: max_value={cap}"
    )
