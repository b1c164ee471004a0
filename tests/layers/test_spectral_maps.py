"""Dilated, grouped, depthwise and transposed maps against Keras's and their SVD."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.layers.common import check_layer, images
from tests.layers.explicit import matrix_of
from tfrobust.layers import (
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDepthwiseConv2D,
    SpectralLayer,
)

C = 4
KINDS = {
    "conv": (SpectralConv2D, keras.layers.Conv2D),
    "depthwise": (SpectralDepthwiseConv2D, keras.layers.DepthwiseConv2D),
    "transpose": (SpectralConv2DTranspose, keras.layers.Conv2DTranspose),
}
# Kind, settings, image size.
MAPS = [
    ("conv", {"filters": 3, "kernel_size": 3, "dilation_rate": 2}, (7, 6)),
    ("conv", {"filters": 3, "kernel_size": (3, 2), "dilation_rate": (1, 3)}, (5, 9)),
    (
        "conv",
        {"filters": 2, "kernel_size": 3, "dilation_rate": 2, "padding": "valid"},
        (7, 6),
    ),
    ("conv", {"filters": 6, "kernel_size": 3, "groups": 2, "strides": 2}, (7, 6)),
    ("conv", {"filters": 2, "kernel_size": (2, 3), "groups": 2}, (5, 6)),
    ("conv", {"filters": 8, "kernel_size": 3, "groups": 4, "strides": 2}, (5, 6)),
    ("conv", {"filters": 4, "kernel_size": 3, "groups": 4, "strides": (1, 2)}, (5, 6)),
    ("conv", {"filters": 4, "kernel_size": 3, "groups": 4, "dilation_rate": 2}, (5, 6)),
    ("depthwise", {"kernel_size": 3}, (7, 6)),
    ("depthwise", {"kernel_size": (5, 2), "strides": 2}, (7, 6)),
    ("depthwise", {"kernel_size": 3, "depth_multiplier": 3, "strides": 3}, (7, 8)),
    ("depthwise", {"kernel_size": 3, "padding": "valid", "strides": 2}, (8, 7)),
    ("depthwise", {"kernel_size": 3, "dilation_rate": (2, 3)}, (7, 6)),
    ("transpose", {"filters": 3, "kernel_size": 3}, (4, 5)),
    ("transpose", {"filters": 3, "kernel_size": (3, 4), "strides": 2}, (4, 5)),
    ("transpose", {"filters": 2, "kernel_size": 2, "strides": (3, 1)}, (3, 5)),
    (
        "transpose",
        {"filters": 2, "kernel_size": 4, "strides": (3, 2), "padding": "valid"},
        (3, 4),
    ),
    (
        "transpose",
        {"filters": 2, "kernel_size": 1, "strides": 2, "padding": "valid"},
        (3, 4),
    ),
]


def both(kind, settings, size):
    """Our layer, and Keras's in float64 with the same kernel and no bias."""
    ours, theirs = KINDS[kind]
    layer = ours(**{"padding": "same", **settings})
    layer.build((None, *size, C))
    layer.kernel.assign(images(*layer.kernel.shape, seed=3))
    layer.refresh()
    settings = {"padding": "same", **settings, "use_bias": False, "dtype": "float64"}
    keras_layer = theirs(**settings)
    keras_layer.build((None, *size, C))
    keras_layer.kernel.assign(np.float64(layer.kernel.numpy()))
    return layer, keras_layer


@pytest.mark.parametrize(("kind", "settings", "size"), MAPS)
def test_map_norm_and_adjoint(kind, settings, size):
    """The map is Keras's, the norm its SVD's, the adjoint its transposed matrix's."""
    layer, keras_layer = both(kind, settings, size)
    shape = (*size, C)
    matrix = matrix_of(keras_layer, shape)
    truth = np.linalg.norm(matrix, 2)
    np.testing.assert_allclose(float(layer.spectral_norm()), truth, rtol=1e-5)
    ours = matrix_of(layer, shape)
    # Float32 sums of up to a hundred terms, of a matrix whose norm is one.
    np.testing.assert_allclose(ours, matrix / truth, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(ours, 2), 1.0, rtol=1e-5)
    y = np.random.default_rng(0).standard_normal((2, *layer.left.shape[1:]))
    kernel = tf.constant(keras_layer.kernel.numpy())
    adjoint = layer.adjoint_map(tf.constant(y), kernel).numpy()
    assert adjoint.shape == (2, *shape)
    np.testing.assert_allclose(
        adjoint.reshape(2, -1), y.reshape(2, -1) @ matrix.T, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(
    ("kind", "settings", "size"), [MAPS[3], MAPS[0], MAPS[9], MAPS[14]]
)
def test_gradient_of_the_norm(kind, settings, size):
    """It is that of the largest singular value, by differences of float64 SVDs."""
    layer, keras_layer = both(kind, settings, size)
    direction = np.random.default_rng(1).standard_normal(layer.kernel.shape)
    with tf.GradientTape() as tape:
        norm = layer.spectral_norm()
    slope = np.sum(tape.gradient(norm, layer.kernel.value).numpy() * direction)
    kernel, norms = keras_layer.kernel.numpy(), []
    for step in (-1e-5, 1e-5):
        keras_layer.kernel.assign(kernel + step * direction)
        norms.append(np.linalg.norm(matrix_of(keras_layer, (*size, C)), 2))
    # The float32 singular vectors are good to 1e-3 here.
    np.testing.assert_allclose(slope, np.diff(norms)[0] / 2e-5, rtol=2e-3)


@pytest.mark.parametrize(
    ("kind", "arguments", "shape", "answer"),
    [
        (
            SpectralConv2D,
            {
                "filters": 4,
                "kernel_size": (3, 3),
                "groups": 2,
                "dilation_rate": (2, 1),
            },
            (6, 5, 2),
            (6, 5, 4),
        ),
        (
            SpectralDepthwiseConv2D,
            {
                "kernel_size": (3, 2),
                "strides": (2, 2),
                "padding": "valid",
                "depth_multiplier": 2,
                "use_bias": True,
                "power_iterations": 2,
                "dilation_rate": (1, 1),
            },
            (7, 6, 2),
            (3, 3, 4),
        ),
        (
            SpectralConv2DTranspose,
            {
                "filters": 3,
                "kernel_size": (3, 2),
                "strides": (2, 1),
                "padding": "valid",
                "use_bias": True,
                "power_iterations": 2,
            },
            (4, 3, 2),
            (9, 4, 3),
        ),
    ],
)
def test_contract(kind, arguments, shape, answer, tmp_path):
    """The layers save, export, train, compile and keep their dtype and shape."""
    bias = ["bias"] if arguments.get("use_bias") else []
    check_layer(
        kind,
        arguments,
        shape,
        tmp_path,
        trainable=["kernel", *bias],
        non_trainable=["left", "right"],
        call_shape=answer,
    )


@pytest.mark.parametrize(("kind", "settings", "size"), [MAPS[3], MAPS[0], MAPS[9]])
def test_twice_differentiable(kind, settings, size):
    """A penalty on the input-gradient trains the kernel."""
    layer, _ = both(kind, settings, size)
    assert isinstance(layer, SpectralLayer)
    x = tf.constant(images(2, *size, C))
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(tf.sin(layer(x)))
        penalty = tf.reduce_sum(tf.square(inner.gradient(y, x)))
    slope = outer.gradient(penalty, layer.kernel.value).numpy()
    assert np.all(np.isfinite(slope))
    assert np.any(slope != 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SpectralConv2D(4, 3, groups=3),
            "`groups` must divide `filters`. Received: groups=3, filters=4",
        ),
        (
            lambda: SpectralConv2D(6, 3, groups=3).build((None, 5, 5, 4)),
            "`groups` must divide the number of channels. "
            "Received: groups=3 and 4 channels",
        ),
        (
            lambda: SpectralConv2D(4, 3, strides=2, dilation_rate=2),
            "`dilation_rate` must be 1 where `strides` are not. "
            "Received: dilation_rate=(2, 2), strides=(2, 2)",
        ),
        (
            lambda: SpectralDepthwiseConv2D(3, strides=(1, 2)),
            "`strides` must be equal in both directions for a depthwise convolution. "
            "Received: strides=(1, 2)",
        ),
        (
            lambda: SpectralDepthwiseConv2D(3).build((None, None, 5, 4)),
            "`SpectralDepthwiseConv2D` needs a known image size, since its norm "
            "depends on it; build it on (batch, height, width, channels) with only the "
            "batch unknown. Received: input_shape=(None, None, 5, 4)",
        ),
        (
            lambda: SpectralConv2D(2, 3, padding="valid", dilation_rate=2).build(
                (None, 4, 9, 1)
            ),
            "`kernel_size` must not exceed the image with padding='valid'. "
            "Received: kernel_size=(3, 3), input_shape=(None, 4, 9, 1)",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message
