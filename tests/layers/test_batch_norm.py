"""Gamma-Lipschitz batch normalisation against Keras's and against its Jacobian."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.layers.common import check_layer, images
from tfrobust.layers import LipschitzBatchNormalization, batch_norm

EPSILON = 1e-5
MEAN = np.float32([0.3, -2.0, 1.5])
VARIANCE = np.float32([0.5, 4.0, 0.09])


def with_statistics(mean, variance, **arguments):
    layer = LipschitzBatchNormalization(**arguments)
    layer.build((None, len(mean)))
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    return layer


def expected_constant(variance, gamma, epsilon=EPSILON):
    """`min(1/m, gamma)` in float64."""
    deviation = np.sqrt(np.min(np.float64(variance)) + epsilon)
    return min(1 / deviation, gamma)


def jacobian_norm(layer, shape):
    """Spectral norm of the inference map, which is affine: its answers to I less b."""
    size = int(np.prod(shape))
    identity = np.eye(size, dtype="float32").reshape(size, *shape)
    answers = layer(identity, training=False).numpy().astype("float64")
    shift = layer(np.zeros((1, *shape), "float32"), training=False).numpy()
    return np.linalg.norm((answers - shift).reshape(size, size), 2)


def test_layer_contract(tmp_path):
    """The layer saves, exports, trains, compiles and keeps its dtype and shape.

    gamma = 0.5 binds, so that it has a gradient and one step moves it.
    """
    check_layer(
        LipschitzBatchNormalization,
        {"gamma": 0.5, "momentum": 0.7, "epsilon": 1e-3, "synchronized": True},
        (4, 3, 2),
        tmp_path,
        trainable=["log_gamma"],
        non_trainable=["moving_mean", "moving_variance"],
    )


@pytest.mark.parametrize("shape", [(16, 3), (6, 5, 4, 3), (6, 5, 4, 1)])
@pytest.mark.parametrize(("momentum", "epsilon"), [(0.9, 1e-5), (0.5, 0.1)])
def test_a_loose_bound_is_plain_batch_normalization(shape, momentum, epsilon):
    """With gamma out of the way it is Keras's layer: outputs, statistics, gradients."""
    ours = LipschitzBatchNormalization(1e6, momentum=momentum, epsilon=epsilon)
    theirs = keras.layers.BatchNormalization(
        momentum=momentum, epsilon=epsilon, center=False, scale=False
    )
    for step in range(4):
        x = 1.5 * images(*shape, seed=step) + 0.5
        for training in (True, False):
            results = []
            for layer in (ours, theirs):
                inputs = tf.constant(x)
                with tf.GradientTape() as tape:
                    tape.watch(inputs)
                    y = layer(inputs, training=training)
                    loss = tf.reduce_sum(y**3)
                results.append((y.numpy(), tape.gradient(loss, inputs).numpy()))
            (y, dx), (keras_y, keras_dx) = results
            np.testing.assert_allclose(y, keras_y, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(dx, keras_dx, rtol=1e-4, atol=1e-4)
        for name in ("moving_mean", "moving_variance"):
            np.testing.assert_allclose(
                getattr(ours, name).numpy(), getattr(theirs, name).numpy(), rtol=1e-6
            )


def test_training_output_in_numpy():
    """A binding gamma scales by gamma * m, m from the moving variance before the step.

    And the moving statistics keep `momentum` of what they were.
    """
    layer = with_statistics(MEAN, VARIANCE, gamma=0.8, momentum=0.7)
    x = images(7, 5, 4, 3) * np.float32([1, 2, 3]) + 1
    y = layer(x, training=True).numpy()
    wide = np.float64(x)
    mean, variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    shrink = min(1.0, 0.8 * np.sqrt(0.09 + EPSILON))
    expected = (wide - mean) / np.sqrt(variance + EPSILON) * shrink
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        layer.moving_mean.numpy(), 0.7 * MEAN + 0.3 * mean, rtol=1e-6
    )
    np.testing.assert_allclose(
        layer.moving_variance.numpy(), 0.7 * VARIANCE + 0.3 * variance, rtol=1e-6
    )


def test_inference_changes_nothing():
    """Neither inference nor a frozen layer touches the statistics, whatever comes."""
    layer = with_statistics(MEAN, VARIANCE, gamma=0.8)
    x = images(4, 3)
    inference = layer(x, training=False).numpy()
    layer.trainable = False
    frozen = layer(x, training=True).numpy()
    np.testing.assert_array_equal(frozen, inference)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), MEAN)
    np.testing.assert_array_equal(layer.moving_variance.numpy(), VARIANCE)


@pytest.mark.parametrize("gamma", [0.01, 1.0, 3.3, 3.4, 10.0])
@pytest.mark.parametrize("shape", [(3,), (3, 2, 3)])
def test_jacobian_at_inference(gamma, shape):
    """The Jacobian's largest singular value is min(1/m, gamma); 1/m is 3.333 here."""
    layer = with_statistics(MEAN, VARIANCE, gamma=gamma)
    norm = jacobian_norm(layer, shape)
    np.testing.assert_allclose(norm, expected_constant(VARIANCE, gamma), rtol=1e-5)
    np.testing.assert_allclose(float(layer.lipschitz_constant()), norm, rtol=1e-5)
    assert norm <= gamma * (1 + 1e-6)


@settings(max_examples=40)
@given(
    st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=5),
    st.floats(1e-3, 1e3),
)
def test_bound_for_any_variance(variance, gamma):
    """No variance, zero included, makes the layer stretch more than gamma."""
    layer = with_statistics(np.zeros(len(variance)), variance, gamma=gamma)
    norm = jacobian_norm(layer, (len(variance),))
    np.testing.assert_allclose(norm, expected_constant(variance, gamma), rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_gradient_of_log_gamma(training):
    """It is the derivative by central differences of a float64 copy of the formula."""
    log_gamma, x = np.log(0.8), images(6, 3)
    layer = with_statistics(MEAN, VARIANCE, gamma=0.8)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=training) ** 3)
    ours = tape.gradient(loss, layer.log_gamma.value).numpy()

    def float64_loss(log_gamma):
        wide = np.float64(x)
        mean = wide.mean(0) if training else np.float64(MEAN)
        variance = wide.var(0) if training else np.float64(VARIANCE)
        shrink = min(1.0, np.exp(log_gamma) * np.sqrt(np.float64(0.09) + EPSILON))
        return np.sum(((wide - mean) / np.sqrt(variance + EPSILON) * shrink) ** 3)

    step = 1e-5
    truth = (float64_loss(log_gamma + step) - float64_loss(log_gamma - step)) / 2 / step
    assert abs(truth) > 1e-3
    np.testing.assert_allclose(ours, truth, rtol=1e-4)  # a sum of terms of both signs


def test_gamma_has_no_gradient_where_it_does_not_bind():
    """With 1/m = 3.333 below gamma = 3.4 the output does not depend on gamma."""
    layer = with_statistics(MEAN, VARIANCE, gamma=3.4)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(images(6, 3)) ** 2)
    assert float(tape.gradient(loss, layer.log_gamma.value)) == 0.0


def test_statistics_of_float16_inputs():
    """Half-precision inputs are averaged in float32: 40,000 of them in float16 fail."""
    layer = LipschitzBatchNormalization(momentum=0.0, dtype="mixed_float16")
    x = (200 + 3 * images(100, 20, 20, 1)).astype("float16")
    y = layer(x, training=True)
    assert y.dtype == "float16"
    wide = np.float64(x)
    np.testing.assert_allclose(layer.moving_mean.numpy()[0], wide.mean(), rtol=1e-5)
    # A float32 variance beside a mean 66 times its root.
    np.testing.assert_allclose(layer.moving_variance.numpy()[0], wide.var(), rtol=1e-3)


def test_a_constant_channel_stays_finite():
    """A channel without variance gives zeros and finite gradients."""
    layer = LipschitzBatchNormalization()
    x = tf.constant(images(4, 5, 3, 2) * np.float32([0, 1]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(y**2)
    np.testing.assert_array_equal(y.numpy()[..., 0], 0)
    assert np.all(np.isfinite(tape.gradient(loss, x).numpy()))


def test_replicas_average_their_statistics():
    """`aggregation="mean"`: moving statistics never drift apart between replicas."""
    layer = LipschitzBatchNormalization()
    layer.build((None, 2))
    for variable in (layer.moving_mean, layer.moving_variance):
        assert variable.aggregation == "mean"


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("shape", [(0, 3), (0, 5, 4, 3)])
def test_an_empty_batch_changes_nothing(shape, traced):
    """Neither statistics nor, by a gradient that is not a number, gamma."""
    layer = with_statistics(MEAN, VARIANCE, gamma=0.8)

    def step():
        x = tf.zeros(shape)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y**3)
        return y, *tape.gradient(loss, [x, layer.log_gamma.value])

    y, dx, slope = (tf.function(step) if traced else step)()
    assert tuple(y.shape) == tuple(dx.shape) == shape
    assert float(slope) == 0.0
    np.testing.assert_array_equal(layer.moving_mean.numpy(), MEAN)
    np.testing.assert_array_equal(layer.moving_variance.numpy(), VARIANCE)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_statistics_of_one_replica_are_its_own(monkeypatch, backend):
    """Also where Keras has no reduction over replicas, and cannot be asked for one."""
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    if backend == "jax":
        monkeypatch.delattr(batch_norm.ops, "moments")
    kept = tf.constant([7.0]), tf.constant([8.0])
    mean, variance = tf.constant([0.25]), tf.constant([4.0])
    for count, expected in ((3.0, (0.25, 4.0)), (0.0, (7.0, 8.0))):
        found = batch_norm._over_replicas(mean, variance, tf.constant(count), kept)
        np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"gamma": 0.0},
            "`gamma` must be a finite number above 0. Received: gamma=0.0",
        ),
        (
            {"gamma": float("inf")},
            "`gamma` must be a finite number above 0. Received: gamma=inf",
        ),
        ({"momentum": 1.0}, "`momentum` must be in [0, 1). Received: momentum=1.0"),
        ({"momentum": -0.1}, "`momentum` must be in [0, 1). Received: momentum=-0.1"),
        (
            {"epsilon": 0.0},
            "`epsilon` must be a finite number above 0. Received: epsilon=0.0",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    """Each argument out of range is refused, by name and value."""
    with pytest.raises(ValueError) as error:
        LipschitzBatchNormalization(**arguments)
    assert str(error.value) == message


def test_unknown_channels():
    """A last axis of unknown size is refused when the layer is built."""
    with pytest.raises(ValueError) as error:
        LipschitzBatchNormalization().build((None, 4, None))
    assert str(error.value) == (
        "`LipschitzBatchNormalization` needs a known size of the last axis. "
        "Received: input_shape=(None, 4, None)"
    )


def test_another_number_of_channels():
    """One channel does not broadcast against the statistics of three, unnoticed."""
    layer = with_statistics(MEAN, VARIANCE)
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have val"):
        layer(images(2, 1))


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("shape", [(5, 3), (3, 4, 5, 2)])
def test_written_out_gradient_is_that_of_the_formula(shape, traced):
    """First and second derivatives, in input and factor, as autodiff has them.

    The layer writes its training gradient out; GradReg differentiates it once more.
    """
    x = tf.constant(np.random.default_rng(3).normal(size=shape))
    shrink = tf.constant(0.7, tf.float64)
    weights = tf.range(1, shape[-1] + 1, dtype=tf.float64)

    def formula(x, shrink):
        axes = list(range(len(shape) - 1))
        mean = tf.reduce_mean(x, axes)
        variance = tf.reduce_mean((x - mean) ** 2, axes)
        return (x - mean) * shrink / tf.sqrt(variance + 1e-5)

    def derivatives(normalize):
        with tf.GradientTape() as outer:
            outer.watch([x, shrink])
            with tf.GradientTape() as inner:
                inner.watch([x, shrink])
                loss = tf.reduce_sum(tf.sin(normalize(x, shrink)) * weights)
            first = inner.gradient(loss, [x, shrink])
            mixed = tf.reduce_sum(first[0] ** 3) + first[1] ** 2
        return first + outer.gradient(mixed, [x, shrink])

    def written_out(x, shrink):
        return batch_norm._normalize(x, shrink, 1e-5)[0]

    wrap = tf.function if traced else lambda function: function
    ours = wrap(lambda: derivatives(written_out))()
    theirs = wrap(lambda: derivatives(formula))()
    for own, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, reference, rtol=1e-10, atol=1e-12)
