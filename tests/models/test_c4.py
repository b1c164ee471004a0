"""C4 against convolutions written out in NumPy, and against a trained one."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tfrobust import data, models
from tfrobust.layers import SpectralConv2D, SpectralDense, find_layers

TRAINED = Path(__file__).resolve().parents[3] / "shared" / "models" / "c4_mnist.keras"
# Kernel, bias of three convolutions and one dense layer, as the paper's network has.
SHAPES = [
    (8, 8, 1, 64),
    (64,),
    (6, 6, 64, 128),
    (128,),
    (5, 5, 128, 128),
    (128,),
    (128, 10),
    (10,),
]
STRIDES = (2, 2, 1)


def convolve(x, kernel, stride, same):
    """Cross-correlation in float64; `same` pads as TensorFlow does, most at the end."""
    size = kernel.shape[0]
    if same:
        totals = [
            max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[1:3]
        ]
        sides = [(total // 2, total - total // 2) for total in totals]
        x = np.pad(x, [(0, 0), *sides, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel, optimize=True)


def norm_of(kernel, stride, same, shape):
    """Largest singular value of a convolution's matrix, column by column."""
    basis = np.eye(np.prod(shape)).reshape(-1, *shape)
    return np.linalg.norm(
        convolve(basis, kernel, stride, same).reshape(len(basis), -1), 2
    )


def in_numpy(network, x, activation, normalize):
    """The network in float64."""
    weights = [
        (np.float64(layer.kernel.numpy()), np.float64(layer.bias.numpy()))
        for layer in network.layers
        if hasattr(layer, "kernel")
    ]
    x = np.float64(x)
    for index, (kernel, bias) in enumerate(weights[:3]):
        stride, same = STRIDES[index], index == 0
        if normalize:
            kernel = kernel / norm_of(kernel, stride, same, x.shape[1:])
        x = activation(convolve(x, kernel, stride, same) + bias)
    kernel, bias = weights[3]
    if normalize:
        kernel = kernel / np.linalg.norm(kernel, 2)
    return x.reshape(len(x), -1) @ kernel + bias


def softplus(x, beta=2.0):
    return (np.logaddexp(0, beta * x) - np.log(2)) / beta


@pytest.mark.parametrize(
    ("variant", "activation"),
    [
        ("standard", lambda x: np.maximum(x, 0)),
        ("softplus", softplus),
        ("lcnn", softplus),
    ],
)
def test_values(variant, activation):
    """The function is the formula; the sides of the image differ, as do the strides."""
    network = models.C4((29, 34, 2), 3, variant, width=2, beta=2.0)
    random = np.random.default_rng(0)
    for layer in network.layers:
        if hasattr(layer, "kernel"):
            layer.bias.assign(0.3 * random.standard_normal(layer.bias.shape))
    for kind in (SpectralConv2D, SpectralDense):
        for layer in find_layers(network, kind):
            layer.refresh(60)
    x = random.random((3, 29, 34, 2), np.float32)
    expected = in_numpy(network, x, activation, normalize=variant == "lcnn")
    assert np.std(expected, axis=0).min() > 1e-4
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-4)


def test_shapes_of_the_published_network():
    """The weights in their order, 710,218 numbers, and one place before the end."""
    network = models.C4()
    assert [tuple(weight.shape) for weight in network.weights] == SHAPES
    assert network.count_params() == 710_218
    assert network.get_layer("block3_conv").output.shape == (None, 1, 1, 128)
    assert network.name == "c4" and network.output_shape == (None, 10)


def test_weights_start_as_keras_has_them():
    """Glorot's uniform kernels, which stay within their limit, and biases of zero."""
    kernel, bias = models.C4(width=8).get_layer("block2_conv").get_weights()
    limit = np.sqrt(6 / (36 * (8 + 16)))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert np.std(kernel) == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not bias.any()


def test_low_curvature_variant_has_betas_and_no_gammas():
    """One number more for each of three activations, and none for norms."""
    plain, lcnn = (models.C4(variant=v, width=2) for v in ("standard", "lcnn"))
    count = [
        sum(int(np.prod(w.shape)) for w in network.trainable_variables)
        for network in (plain, lcnn)
    ]
    assert count[1] == count[0] + 3
    assert list(models.betas(lcnn).values()) == pytest.approx([5.0] * 3)
    assert models.gammas(lcnn) == {}


def test_low_curvature_variant_is_one_lipschitz():
    """No pair of images, near or far, is moved apart."""
    network = models.C4((27, 27, 1), 3, "lcnn", width=2, beta=50.0)
    for kind in (SpectralConv2D, SpectralDense):
        for layer in find_layers(network, kind):
            layer.refresh()
    random = np.random.default_rng(1)
    x = random.random((32, 27, 27, 1), np.float32)
    far = 10.0 ** random.uniform(-2, 1, (32, 1, 1, 1))
    y = x + (far * random.standard_normal(x.shape)).astype(np.float32)
    moved = np.linalg.norm(network(x).numpy() - network(y).numpy(), axis=1)
    apart = np.linalg.norm((x - y).reshape(32, -1), axis=1)
    assert np.all(moved <= 1.001 * apart + 1e-6)


def test_mixed_precision():
    """Convolutions in half precision, logits in float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = models.C4((27, 27, 1), 3, width=2)
    assert network.get_layer("block1_conv").compute_dtype == "bfloat16"
    assert network(np.ones((2, 27, 27, 1), np.float32)).dtype == "float32"


@pytest.mark.parametrize("variant", ["standard", "lcnn"])
def test_a_file_holds_it_whole(tmp_path, variant):
    """Loaded in safe mode it gives the same logits."""
    network = models.C4((27, 28, 1), 4, variant, width=2)
    network.save(tmp_path / "c4.keras")
    again = keras.models.load_model(tmp_path / "c4.keras", safe_mode=True)
    x = np.random.default_rng(0).random((3, 27, 28, 1), np.float32)
    np.testing.assert_array_equal(again(x), network(x))


def test_weights_of_a_trained_one_fit(tfds_dir):
    """One that was trained elsewhere: the same logits, and what it is good for."""
    if not TRAINED.is_file():
        pytest.skip(f"no trained network at {TRAINED}")
    trained = keras.models.load_model(TRAINED, compile=False)
    network = models.C4()
    network.set_weights(trained.get_weights())
    test = data.load("mnist", "test", tfds_dir).take(200)
    images = test.images / np.float32(255)
    logits = network(images).numpy()
    np.testing.assert_allclose(logits, trained(images), rtol=1e-5, atol=1e-5)
    assert np.mean(np.argmax(logits, axis=-1) == test.labels) > 0.97


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"input_shape": (28, 26, 1)},
            "`input_shape` must have a height and width of at least 27, which C4's "
            "unpadded convolutions shrink to one place. "
            "Received: input_shape=(28, 26, 1)",
        ),
        (
            {"variant": "relu"},
            "`variant` must be one of standard, softplus, lcnn. "
            "Received: variant='relu'",
        ),
        ({"width": 0}, "`width` must be an integer of at least 1. Received: width=0"),
        (
            {"classes": 0},
            "`classes` must be an integer of at least 1. Received: classes=0",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    """Each argument out of range is refused, by name and value."""
    with pytest.raises(ValueError) as error:
        models.C4(**arguments)
    assert str(error.value) == message


def test_the_smallest_image_is_the_smallest():
    """At 27 pixels the last convolution sees one place."""
    network = models.C4((27, 27, 1), width=1)
    assert network.get_layer("block3_conv").output.shape == (None, 1, 1, 2)
