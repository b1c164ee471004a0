"""Spectral layers against explicit matrices, NumPy's SVD and finite differences."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.layers.common import check_layer, images
from tfrobust.layers import SpectralConv2D, SpectralDense, linear_maps

SIZES = [(8, 8), (7, 7), (9, 6)]
GRID = list(itertools.product((1, 3, 5), (1, 2), ("same", "valid"), SIZES))
# Kernels and strides that are not square, even, or reach over less than a stride.
ODD_ONES = [
    ((1, 3), (2, 1), "same", (7, 6)),
    ((2, 4), (1, 2), "same", (6, 9)),
    ((2, 2), (3, 3), "same", (8, 7)),
    ((2, 3), (3, 2), "valid", (8, 9)),
    ((3, 3), (2, 2), "same", (1, 4)),
]
CONVOLUTIONS = [((k, k), (s, s), p, size) for k, s, p, size in GRID] + ODD_ONES


def matrix_of(kernel, size, strides, padding):
    """The convolution's matrix `(inputs, outputs)`: its answers to the identity."""
    kernel = np.float64(kernel)
    entries = size[0] * size[1] * kernel.shape[2]
    identity = np.eye(entries).reshape(entries, *size, kernel.shape[2])
    answers = tf.nn.conv2d(identity, kernel, strides, padding.upper())
    return answers.numpy().reshape(entries, -1)


def matrix_by_hand(kernel, size, stride, padding):
    """The same matrix written entry by entry, for checking the oracle itself."""
    k, c_in, c_out = kernel.shape[1:]
    if padding == "valid":
        out, before = [(n - k) // stride + 1 for n in size], [0, 0]
    else:
        out = [int(np.ceil(n / stride)) for n in size]
        before = [
            max((m - 1) * stride + k - n, 0) // 2
            for m, n in zip(out, size, strict=True)
        ]
    matrix = np.zeros((*size, c_in, *out, c_out))
    for i, j, a, b in itertools.product(range(out[0]), range(out[1]), *[range(k)] * 2):
        row, column = i * stride + a - before[0], j * stride + b - before[1]
        if 0 <= row < size[0] and 0 <= column < size[1]:
            matrix[row, column, :, i, j] += kernel[a, b]
    return matrix.reshape(np.prod(size) * c_in, -1)


def norm_of(layer, kernel=None):
    """Largest singular value of a layer's linear map, with its kernel or another."""
    kernel = layer.kernel.numpy() if kernel is None else np.asarray(kernel)
    if isinstance(layer, SpectralDense):
        return np.linalg.norm(np.float64(kernel), 2)
    size = tuple(layer.right.shape[1:3])
    return np.linalg.norm(matrix_of(kernel, size, layer.strides, layer.padding), 2)


def convolution(size, *arguments, channels=2, **keywords):
    layer = SpectralConv2D(*arguments, **keywords)
    layer.build((None, *size, channels))
    return layer


def train(layer, x, steps=30):
    """Plain SGD at 0.1 towards random targets, one power iteration a step."""
    optimizer = keras.optimizers.SGD(0.1)
    target = 3 * images(*layer(x).shape, seed=9)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(layer(x, training=True) - target))
        variables = layer.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)

    optimizer.build(layer.trainable_variables)
    for _ in range(steps):
        step()


def test_convolution_contract(tmp_path):
    """The layer saves, exports, trains, compiles and keeps its dtype and shape."""
    check_layer(
        SpectralConv2D,
        {
            "filters": 5,
            "kernel_size": (3, 2),
            "strides": (2, 1),
            "padding": "valid",
            "use_bias": True,
            "power_iterations": 2,
        },
        (7, 6, 2),
        tmp_path,
        trainable=["kernel", "bias"],
        non_trainable=["left", "right"],
        call_shape=(3, 5, 5),
    )


def test_dense_contract(tmp_path):
    """The same for the dense layer, on inputs of rank 3."""
    check_layer(
        SpectralDense,
        {"units": 5, "use_bias": False, "power_iterations": 3},
        (4, 3),
        tmp_path,
        trainable=["kernel"],
        non_trainable=["left", "right"],
        call_shape=(4, 5),
    )


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_oracle_itself(stride, padding):
    """TensorFlow's answers to the identity are the matrix written out by hand."""
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 3))
    ours = matrix_by_hand(kernel, (5, 6), stride, padding)
    theirs = matrix_of(kernel, (5, 6), (stride, stride), padding)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize(("kernel_size", "strides", "padding", "size"), CONVOLUTIONS)
def test_adjoint(kernel_size, strides, padding, size):
    """<A x, y> = <x, A^T y> in float64, and A^T is what backpropagation applies."""
    generator = np.random.default_rng(0)
    kernel = generator.standard_normal((*kernel_size, 2, 3))
    x = generator.standard_normal((3, *size, 2))
    ax = linear_maps.convolution(x, tf.constant(kernel), strides, padding).numpy()
    y = generator.standard_normal(ax.shape)
    aty = linear_maps.convolution_adjoint(
        tf.constant(y), tf.constant(kernel), size, strides, padding
    ).numpy()
    assert aty.shape == x.shape
    np.testing.assert_allclose(
        np.sum(ax * y, axis=(1, 2, 3)), np.sum(x * aty, axis=(1, 2, 3)), rtol=1e-10
    )
    theirs = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=x.shape,
        filter=kernel,
        out_backprop=y,
        strides=[1, *strides, 1],
        padding=padding.upper(),
    )
    np.testing.assert_allclose(aty, theirs.numpy(), atol=1e-12)
    np.testing.assert_allclose(
        ax, tf.nn.conv2d(x, kernel, strides, padding.upper()).numpy(), atol=1e-12
    )


@pytest.mark.parametrize(("kernel_size", "strides", "padding", "size"), CONVOLUTIONS)
def test_norm_of_a_convolution(kernel_size, strides, padding, size):
    """The norm is the SVD's: to 1 % as built, to 1e-5 once refreshed.

    The 1 % is what 15 rounds from a random start are for; the refreshed norm is held
    to a hundredth of the promised 1e-3.
    """
    layer = convolution(size, 3, kernel_size, strides=strides, padding=padding)
    truth = norm_of(layer)
    np.testing.assert_allclose(float(layer.spectral_norm()), truth, rtol=1e-2)
    layer.refresh()
    np.testing.assert_allclose(float(layer.spectral_norm()), truth, rtol=1e-5)
    normalized = norm_of(layer, layer.normalized_kernel())
    np.testing.assert_allclose(normalized, 1.0, rtol=1e-5)
    for vector in (layer.left, layer.right):
        np.testing.assert_allclose(np.linalg.norm(vector.numpy()), 1.0, rtol=1e-5)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (40, 30), (6, 1), (1, 6)])
def test_norm_of_a_matrix(shape):
    """The dense layer's norm is NumPy's 2-norm, wide, tall or a single row."""
    layer = SpectralDense(shape[1])
    layer.build((None, shape[0]))
    layer.refresh()
    truth = np.linalg.norm(np.float64(layer.kernel.numpy()), 2)
    np.testing.assert_allclose(float(layer.spectral_norm()), truth, rtol=1e-5)
    ours = layer.normalized_kernel().numpy()
    np.testing.assert_allclose(ours, layer.kernel.numpy() / truth, rtol=2e-5)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 5), st.integers(0, 2**31))
def test_krylov_iteration_on_any_matrix(rows, columns, rank, seed):
    """Low rank, more rounds than dimensions: never above the norm, and equal to it."""
    generator = np.random.default_rng(seed)
    a = generator.standard_normal((rows, rank)) @ generator.standard_normal(
        (rank, columns)
    )
    a, start = a.astype("float32"), generator.standard_normal(rows).astype("float32")
    left, right = linear_maps.krylov_iteration(
        lambda v: tf.linalg.matvec(a, v), lambda u: tf.linalg.matvec(a.T, u), start, 9
    )
    truth = np.linalg.norm(np.float64(a), 2)
    reached = np.linalg.norm(a @ right.numpy())
    np.testing.assert_allclose(reached, truth, rtol=1e-4, atol=1e-6)
    assert np.linalg.norm(left) > 0.99 * min(1.0, np.linalg.norm(start))


def test_power_iteration_follows_a_gap():
    """After k rounds the norm is short by (s2/s1)^(4k) times a constant, no more."""
    a = np.diag([2.0, 1.0]).astype("float32")
    start = np.ones(2, "float32")
    for rounds in (1, 2, 4):
        _, right, _ = linear_maps.power_iteration(
            lambda v: tf.linalg.matvec(a, v),
            lambda u: tf.linalg.matvec(a.T, u),
            start,
            rounds,
        )
        # v is (2^(2k-1), 1) over its length.
        v = np.array([2.0 ** (2 * rounds - 1), 1.0])
        np.testing.assert_allclose(right.numpy(), v / np.linalg.norm(v), rtol=1e-6)


def test_the_reshaped_kernel_has_another_norm():
    """The norm of the kernel as a matrix would miss by more than a tenth here."""
    layer = convolution((9, 6), 3, 3)
    layer.refresh()
    reshaped = np.linalg.norm(layer.kernel.numpy().reshape(-1, 3), 2)
    assert float(layer.spectral_norm()) > 1.1 * reshaped
    # And the norm is that of this size: a larger image of the same kernel has more.
    other = convolution((3, 3), 3, 3)
    other.kernel.assign(layer.kernel.numpy())
    other.refresh()
    assert float(layer.spectral_norm()) > 1.05 * float(other.spectral_norm())


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: SpectralConv2D(4, 3), (7, 8, 3)),
        (lambda: SpectralConv2D(4, 3, strides=2), (9, 8, 3)),
        (lambda: SpectralConv2D(4, 5, padding="valid"), (8, 9, 2)),
        (lambda: SpectralDense(6), (9,)),
    ],
    ids=["conv", "strided", "valid", "dense"],
)
def test_lipschitz_constant_after_training(make, shape):
    """Trained at rate 0.1: within 10 % as it comes, within 1e-3 once refreshed.

    One power iteration a step follows a kernel that moves; 10 % is how far it may lag
    under steps this large.
    """
    layer = make()
    x = images(8, *shape)
    layer(x)
    before = layer.kernel.numpy()
    train(layer, x)
    assert np.linalg.norm(layer.kernel.numpy() - before) > 0.02
    assert 0.999 <= norm_of(layer, layer.normalized_kernel()) <= 1.1
    layer.refresh()
    constant = norm_of(layer, layer.normalized_kernel())
    assert 0.999 <= constant <= 1.001
    # The same by what the layer does to differences of images.
    other = images(8, *shape, seed=5)
    moved = np.linalg.norm(np.reshape(layer(x) - layer(other), (8, -1)), axis=1)
    assert np.all(moved <= 1.001 * np.linalg.norm((x - other).reshape(8, -1), axis=1))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: SpectralConv2D(2, 3), (4, 3, 2)),
        (lambda: SpectralConv2D(2, 3, strides=2), (5, 4, 2)),
        (lambda: SpectralConv2D(2, (2, 3), padding="valid"), (4, 5, 2)),
        (lambda: SpectralDense(3, use_bias=False), (5,)),
    ],
    ids=["conv", "strided", "valid", "dense"],
)
def test_gradient_through_the_norm(make, shape):
    """d loss / d W, sigma's share included, by central differences of the SVD."""
    layer, x = make(), images(3, *shape)
    # Near the layer's own answer, so that sigma's share is most of the gradient.
    direction = layer(x).numpy() + 0.3 * images(*layer(x).shape, seed=4)
    layer.refresh(60)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=False) * direction)
    ours = tape.gradient(loss, layer.kernel.value).numpy()

    def exact(kernel):
        if isinstance(layer, SpectralDense):
            matrix = kernel
        else:
            matrix = matrix_of(kernel, shape[:2], layer.strides, layer.padding)
        answer = np.float64(x).reshape(3, -1) @ (matrix / np.linalg.norm(matrix, 2))
        return np.sum(answer * np.float64(direction).reshape(3, -1))

    kernel = np.float64(layer.kernel.numpy())
    truth, step = np.zeros_like(kernel), 1e-5
    for index in np.ndindex(kernel.shape):
        change = np.zeros_like(kernel)
        change[index] = step
        truth[index] = (exact(kernel + change) - exact(kernel - change)) / (2 * step)
    np.testing.assert_allclose(float(loss), exact(kernel), rtol=1e-4, atol=1e-5)
    # The singular vectors, good to the root of sigma's error, set the tolerance.
    np.testing.assert_allclose(ours, truth, atol=1e-3 * np.abs(truth).max())
    # W / sigma(W) does not change with W's length: the gradient has no part along W.
    # Without sigma's share that part would be the loss itself.
    assert abs(np.sum(ours * kernel)) < 1e-3 * float(loss)


def test_call_leaves_the_kernel_alone():
    """Training and inference use a view; what is stored stays bit by bit."""
    layer, x = SpectralConv2D(3, 3), images(2, 5, 6, 2)
    layer(x)
    layer.kernel.assign(7 * layer.kernel.numpy())
    kernel = layer.kernel.numpy()
    for training in (True, False, True):
        layer(x, training=training)
        np.testing.assert_array_equal(layer.kernel.numpy(), kernel)
    layer.refresh()
    np.testing.assert_array_equal(layer.kernel.numpy(), kernel)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda **k: SpectralConv2D(3, 3, **k), images(2, 5, 6, 2)),
        (lambda **k: SpectralDense(3, **k), images(2, 5)),
    ],
    ids=["conv", "dense"],
)
def test_state_moves_in_training_only(make, x):
    """Inference and a frozen layer run no power iteration; training does, as set."""
    layer, twice = make(), make(power_iterations=2)
    for model in (layer, twice):
        model(x)
    layer.kernel.assign(images(*layer.kernel.shape, seed=3))
    for model in (layer, twice):
        model.set_weights(layer.get_weights())
    before = [layer.left.numpy(), layer.right.numpy()]

    layer(x, training=False)
    layer.trainable = False
    layer(x, training=True)
    layer.trainable = True
    np.testing.assert_array_equal(layer.left.numpy(), before[0])
    np.testing.assert_array_equal(layer.right.numpy(), before[1])

    layer(x, training=True)
    assert np.abs(layer.left.numpy() - before[0]).max() > 1e-4
    assert np.abs(layer.right.numpy() - before[1]).max() > 1e-4
    layer(x, training=True)
    twice(x, training=True)
    for ours, theirs in zip(layer.weights, twice.weights, strict=True):
        np.testing.assert_allclose(theirs.numpy(), ours.numpy(), atol=1e-6)


def test_inference_graph_has_no_power_iteration():
    """One pass over the image-shaped vector for sigma, one over the batch, no more.

    Training adds a pass forth and a pass back for each round, and takes sigma from the
    last of them.
    """
    layer = convolution((6, 6), 3, 3, power_iterations=5)

    def convolutions(training):
        traced = tf.function(lambda x: layer(x, training=training))
        graph = traced.get_concrete_function(tf.TensorSpec([None, 6, 6, 2])).graph
        kinds = ("Conv2D", "Conv2DBackpropInput")  # the second is the adjoint
        return sum(op.type in kinds for op in graph.get_operations())

    assert convolutions(False) == 2
    assert convolutions(True) == 1 + 5 * 2


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: SpectralConv2D(3, 3, kernel_initializer="zeros"), images(2, 5, 6, 2)),
        (lambda: SpectralDense(3, kernel_initializer="zeros"), images(2, 5)),
    ],
    ids=["conv", "dense"],
)
def test_zero_kernel(make, x, training):
    """A zero kernel gives zeros and a gradient of ordinary size, and can leave zero."""
    layer = make()
    layer(x)
    with tf.GradientTape() as tape:
        y = layer(x, training=training)
        loss = tf.reduce_sum(y * images(*y.shape, seed=1))
    gradient = tape.gradient(loss, layer.kernel.value).numpy()
    np.testing.assert_array_equal(y.numpy(), 0.0)
    assert np.all(np.isfinite(gradient))
    assert 0 < np.abs(gradient).max() < 1e3

    layer.kernel.assign(images(*layer.kernel.shape))
    layer(x, training=True)
    assert 0.9 < norm_of(layer, layer.normalized_kernel()) < 2
    layer.refresh()
    np.testing.assert_allclose(norm_of(layer, layer.normalized_kernel()), 1, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("size", [(4, 4), (5, 4)])
def test_strided_pixelwise_convolution_of_one_image(channels, size):
    """Batch 1, 1x1, stride 2, few channels: the case that once wrote out of bounds.

    The filter gradient is the sum over the pixels that are read, times the cotangent.
    """
    layer = convolution(size, 2, 1, strides=2, channels=channels)
    layer.refresh()
    for seed in range(5):
        x = images(1, *size, channels, seed=seed)
        with tf.GradientTape() as tape:
            y = layer(x, training=True)
            loss = tf.reduce_sum(y)
        gradient = tape.gradient(loss, layer.kernel.value).numpy()
        kernel = np.float64(layer.kernel.numpy()[0, 0])
        u, s, v = np.linalg.svd(kernel, full_matrices=False)
        read = np.float64(x)[:, ::2, ::2].reshape(-1, channels)
        np.testing.assert_allclose(
            y.numpy().reshape(-1, 2), read @ kernel / s[0], rtol=1e-4, atol=1e-5
        )
        plain = read.sum(0)[:, np.newaxis] * np.ones((1, 2))
        along = np.sum(plain * kernel) / s[0] * np.outer(u[:, 0], v[0])
        np.testing.assert_allclose(
            gradient[0, 0], (plain - along) / s[0], rtol=1e-3, atol=1e-3
        )


def test_bias_is_added_after_normalization():
    """Zero in, bias out."""
    for layer, x in (
        (SpectralConv2D(3, 3, use_bias=True), np.zeros((2, 4, 5, 2), "float32")),
        (SpectralDense(3), np.zeros((2, 4), "float32")),
    ):
        layer(x)
        layer.bias.assign([1.0, -2.0, 3.0])
        assert np.all(layer(x).numpy() == [1.0, -2.0, 3.0])


def test_norm_stays_float32_in_half_precision():
    """Sigma is that of the float32 kernel to 1e-5; only its quotient is rounded."""
    layer = SpectralConv2D(3, 3, dtype="mixed_bfloat16")
    layer(images(2, 6, 5, 2), training=True)
    layer.refresh()
    assert layer.spectral_norm().dtype == "float32"
    np.testing.assert_allclose(float(layer.spectral_norm()), norm_of(layer), rtol=1e-5)


def test_built_inside_a_traced_function():
    """Built on first use inside `tf.function`, its state is as good as any."""
    layer = SpectralConv2D(3, 3)
    tf.function(layer)(images(2, 6, 5, 2))
    np.testing.assert_allclose(float(layer.spectral_norm()), norm_of(layer), rtol=1e-2)


@pytest.mark.parametrize("image_data_format", ["channels_first", "channels_last"])
def test_channels_are_last_whatever_the_configuration(image_data_format):
    """Keras's global image format does not turn the images round."""
    layer, x = convolution((5, 6), 3, 3), images(2, 5, 6, 2)
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(image_data_format)
    try:
        y = layer(x, training=True).numpy()
    finally:
        keras.config.set_image_data_format(before)
    kernel = layer.normalized_kernel()
    expected = tf.nn.conv2d(x, kernel, 1, "SAME").numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def message(action):
    with pytest.raises(ValueError) as error:
        action()
    return str(error.value)


@pytest.mark.parametrize("unknown", [(None, None, 3), (None, 8, 3), (8, 8, None)])
def test_unknown_image_size(unknown):
    """The norm depends on the size, so an unknown one is refused at build."""
    assert message(lambda: SpectralConv2D(4, 3)(keras.Input(unknown))) == (
        "`SpectralConv2D` needs a known image size, since its norm depends on it; "
        "build it on (batch, height, width, channels) with only the batch unknown. "
        f"Received: input_shape={(None, *unknown)}"
    )


def test_output_shape_of_an_unknown_size():
    """Asked for its output's shape before it is built, it says what it knows."""
    shape = SpectralConv2D(4, 3, strides=2).compute_output_shape((None, None, 7, 3))
    assert shape == (None, None, 4, 4)


def test_another_image_size():
    """Another size than the one built for is refused, both sizes named."""
    layer = convolution((6, 5), 4, 3, channels=3)
    text = message(lambda: layer(images(2, 5, 6, 3)))
    assert (
        "`inputs` must have the image size (6, 5) that this layer's norm was computed "
        "for. Received: inputs.shape=(2, 5, 6, 3)"
    ) in text


@pytest.mark.parametrize(
    ("layer", "built", "called"),
    [
        (SpectralConv2D(4, 3), (2, 6, 5, 3), (2, 6, 5, 1)),
        (SpectralDense(4), (2, 3), (2, 5)),
    ],
    ids=["conv", "dense"],
)
def test_another_number_of_channels(layer, built, called):
    """Another number of channels is refused in words, not by the backend."""
    layer(images(*built))
    text = message(lambda: layer(images(*called)))
    assert "expected axis -1 of input shape to have value 3" in text


def test_kernel_larger_than_the_image():
    """A valid convolution with no output pixel is refused."""
    text = message(lambda: SpectralConv2D(4, 3, padding="valid")(images(1, 2, 5, 3)))
    assert text == (
        "`kernel_size` must not exceed the image with padding='valid'. "
        "Received: kernel_size=(3, 3), input_shape=(1, 2, 5, 3)"
    )


def test_unknown_features():
    """A dense layer on an unknown number of features is refused."""
    assert message(lambda: SpectralDense(4).build((None, None))) == (
        "`SpectralDense` needs a known number of input features. "
        "Received: input_shape=(None, None)"
    )


_INTEGER = "`{0}` must be an integer of at least 1. Received: {0}={1}"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: SpectralConv2D(0, 3), _INTEGER.format("filters", 0)),
        (lambda: SpectralConv2D(2.5, 3), _INTEGER.format("filters", 2.5)),
        (lambda: SpectralConv2D(2, 0), _INTEGER.format("kernel_size", 0)),
        (lambda: SpectralConv2D(2, 1.5), _INTEGER.format("kernel_size", 1.5)),
        (lambda: SpectralConv2D(2, 3, strides=(1, 0)), _INTEGER.format("strides", 0)),
        (
            lambda: SpectralConv2D(2, (3, 3, 3)),
            "`kernel_size` must be one integer or a pair of them. "
            "Received: kernel_size=(3, 3, 3)",
        ),
        (
            lambda: SpectralConv2D(2, 3, padding="full"),
            "`padding` must be 'same' or 'valid'. Received: padding='full'",
        ),
        (
            lambda: SpectralConv2D(2, 3, power_iterations=0),
            _INTEGER.format("power_iterations", 0),
        ),
        (lambda: SpectralDense(True), _INTEGER.format("units", True)),
        (
            lambda: SpectralDense(2, power_iterations="3"),
            _INTEGER.format("power_iterations", "'3'"),
        ),
        (lambda: SpectralDense(2).refresh(0), _INTEGER.format("iterations", 0)),
    ],
)
def test_bad_arguments(make, expected):
    """Each argument out of range is refused, by name and value."""
    assert message(make) == expected


def test_numpy_integers_are_integers():
    """A size computed by NumPy is as good as any."""
    layer = SpectralConv2D(np.int64(2), np.int64(3), strides=np.int32(2))
    assert layer.kernel_size == (3, 3)
    assert layer.strides == (2, 2)


_ADDONS = """
import json, sys
import tf_keras
sys.modules["keras"] = tf_keras
import tensorflow_addons as tfa
import numpy as np

kernel = np.asarray(json.load(sys.stdin), "float32")
dense = tf_keras.layers.Dense(kernel.shape[1], use_bias=False)
layer = tfa.layers.SpectralNormalization(dense, power_iterations=10)
x = np.zeros((1, kernel.shape[0]), "float32")
layer(x, training=False)
dense.kernel.assign(kernel)
for _ in range(50):
    layer(x, training=True)
print(json.dumps(dense.kernel.numpy().tolist()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(7, 5), (20, 30)])
def test_second_opinion_of_addons(shape):
    """TensorFlow Addons, in a process of its own, ends at the same normalised matrix.

    It overwrites its kernel by kernel / sigma at every training call and so converges
    there; the difference left is float32 rounding over 50 such divisions.
    """
    for package in ("tensorflow_addons", "tf_keras"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; it is an end-of-life extra")
    layer = SpectralDense(shape[1], use_bias=False)
    layer.build((None, shape[0]))
    layer.refresh()
    finished = subprocess.run(
        [sys.executable, "-c", _ADDONS],
        input=json.dumps(layer.kernel.numpy().tolist()),
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    theirs = np.array(json.loads(finished.stdout.splitlines()[-1]))
    np.testing.assert_allclose(layer.normalized_kernel().numpy(), theirs, atol=1e-5)
