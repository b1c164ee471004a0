"""The geometry of networks whose derivatives TensorFlow makes difficult.

Resizing, which it takes for flat, and half precision, in which it is mostly rounding.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from tests.geometry.common import draw
from tests.seeds import set_seeds
from tfrobust import analysis, geometry, pag

SHAPE = (5, 4, 2)


def hessian_norms(network, images, labels, step=1e-3):
    """Of each image's cross-entropy, by differences of the exact gradient."""

    def gradient(points):
        points = tf.constant(points)
        with tf.GradientTape() as tape:
            tape.watch(points)
            logits = network(points, training=False)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tape.gradient(losses, points).numpy()

    hessians = []
    for place in np.ndindex(images.shape[1:]):
        ends = [images.copy(), images.copy()]
        ends[0][:, *place] += step
        ends[1][:, *place] -= step
        column = (gradient(ends[0]) - gradient(ends[1])) / (2 * step)
        hessians.append(column.reshape(len(images), -1))
    return np.linalg.norm(np.stack(hessians, axis=1), 2, axis=(1, 2))


@pytest.mark.parametrize(
    "interpolation",
    [
        "bilinear",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("nearest", "bicubic")
        ),
    ],
)
def test_a_network_that_resizes_is_as_curved_as_its_differences(interpolation):
    set_seeds(0)
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            kl.Resizing(8, 7, interpolation),
            kl.Conv2D(3, 3, activation="softplus"),
            kl.UpSampling2D(2, interpolation=interpolation),
            kl.Flatten(),
            kl.Dense(3),
        ]
    )
    images, labels = 3 * draw(2, *SHAPE), np.array([0, 2])
    # Float32 gradients of size 0.1, whose differences keep three digits.
    expected = hessian_norms(network, images, labels, step=1e-2)
    computed = geometry.hessian_norm(
        network, images, labels, iterations=100, bounds=(0, 3)
    )
    assert np.all(expected > 0.01)
    expected *= 3**2  # in units of images in [0, 1]
    np.testing.assert_allclose(computed, expected, rtol=5e-3)


def confident(policy):
    """A network so sure of itself that float16 has no cotangent for it."""
    set_seeds(0)
    inputs = keras.Input(SHAPE)
    x = kl.Conv2D(4, 2, activation="softplus", dtype=policy)(inputs)
    x = kl.Dense(3, dtype=policy)(kl.Flatten(dtype=policy)(x))
    network = keras.Model(inputs, kl.Activation("linear", dtype="float32")(x))
    network.layers[3].bias.assign([25.0, 0.0, 1.0])
    return network


MEASURES = {
    "curvature": lambda n, x, y: geometry.curvature(n, x, y),
    "hessian_norm": lambda n, x, y: geometry.hessian_norm(n, x, y),
    "gradient_norm": lambda n, x, y: geometry.gradient_norm(n, x, y),
    "robustness": lambda n, x, y: geometry.robustness(n, x),
    "stability": lambda n, x, y: geometry.gradient_stability(n, x, y, 0.1),
    "linearization": lambda n, x, y: geometry.linearization_error(n, x, y, 1.0),
    "alignment": lambda n, x, y: (
        analysis.alignment(n, x, pag.OneImage(x, np.arange(3), 3)).cosines
    ),
}


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_float16",
        pytest.param("mixed_bfloat16", marks=pytest.mark.slow),
        pytest.param("float16", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("measure", MEASURES)
def test_half_precision_has_the_geometry_of_single(measure, policy):
    single, half = confident("float32"), confident(policy)
    half.set_weights(single.get_weights())
    single.set_weights([np.float32(weight) for weight in half.get_weights()])
    images, labels = draw(3, *SHAPE), np.array([0, 0, 0])
    results = [MEASURES[measure](n, images, labels) for n in (single, half)]
    for expected, computed in zip(*map(tf.nest.flatten, results), strict=True):
        assert np.all(np.isfinite(expected))
        np.testing.assert_allclose(computed, expected, rtol=1e-4)
    assert half.layers[1].compute_dtype == policy.removeprefix("mixed_")
