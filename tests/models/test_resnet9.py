"""ResNet-9: parameters and answers by hand, shapes, saving, errors."""

import keras
import numpy as np
import pytest

from tfrobust import models


def kernels(width, channels, classes):
    """Weights of eight 3x3 convolutions and one dense layer, by hand."""
    w = width
    pairs = [
        (channels, w),
        (w, 2 * w),
        (2 * w, 2 * w),
        (2 * w, 2 * w),
        (2 * w, 4 * w),
        (4 * w, 8 * w),
        (8 * w, 8 * w),
        (8 * w, 8 * w),
    ]
    return sum(9 * a * b for a, b in pairs) + (8 * w + 1) * classes


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_variables)


def test_parameters_of_the_published_width():
    """The 6.5 million of the published network, whose dense layer has no bias."""
    network = models.ResNet9()
    assert trainable(network) == kernels(64, 3, 10) == 6_568_640 + 10
    lcnn = models.ResNet9((9, 8, 2), 7, variant="lcnn", width=4)
    # One number more for each of eight activations and eight norms.
    assert trainable(lcnn) == kernels(4, 2, 7) + 8 + 8
    assert (len(models.betas(lcnn)), len(models.gammas(lcnn))) == (8, 8)


def test_answers_by_hand():
    """Kernels that copy their middle pixel leave a chain of means, to be worked out.

    Of one channel throughout: an image that is constant stays constant, each norm
    divides by sqrt(1 + 1e-5) and each activation at beta = 1000 is a ReLU to within
    log(2) / 1000, centered. A block returns half of (itself, normalised twice) + it.
    """
    network = models.ResNet9((8, 8, 1), 1, width=1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros(layer.kernel.shape, np.float32)
            kernel[1, 1, 0, 0] = 1
            layer.kernel.assign(kernel)
        if isinstance(layer, keras.layers.Dense):
            layer.kernel.assign([[1.0]] + [[0.0]] * 7)
    images = np.full((1, 8, 8, 1), 0.5, np.float32)
    norm = 1 / np.sqrt(1 + 1e-5)
    halved = (1 + norm**2) / 2
    # Stem, stage 1 and its block, stage 2, stage 3 and its block.
    expected = 0.5 * norm * norm * halved * norm * norm * halved
    # Each activation lowers a positive value by at most log(2) / 1000.
    answer = float(network(images, training=False)[0, 0])
    assert expected - 8 * np.log(2) / 1000 <= answer <= expected


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("variant", ["standard", "lcnn"])
def test_logits(variant, policy):
    """Sizes that do not divide by 8, to float32 logits also in mixed precision."""
    keras.config.set_dtype_policy(policy)
    network = models.ResNet9((11, 8, 1), 7, variant=variant, width=2)
    images = np.random.default_rng(0).random((3, 11, 8, 1), "float32")
    logits = network(images, training=True)
    assert logits.shape == (3, 7) and logits.dtype == "float32"
    assert np.all(np.isfinite(logits.numpy()))


def test_low_curvature_form_is_bounded():
    """No pair of images is further apart in its logits than gamma's product allows.

    Averages of 2x2 halve the L2 norm of what is constant over them and never raise it;
    every other part has the Lipschitz constant 1, and a norm at most its gamma.
    """
    network = models.ResNet9((8, 8, 3), 4, variant="lcnn", width=2, gamma=1.0)
    random = np.random.default_rng(0)
    one, two = random.random((2, 16, 8, 8, 3), "float32")
    network(one, training=True)
    apart = network(one, training=False) - network(two, training=False)
    distance = np.linalg.norm((one - two).reshape(16, -1), axis=1)
    assert np.all(np.linalg.norm(apart, axis=1) <= distance * (1 + 1e-4))


def test_it_is_saved(tmp_path):
    """A `.keras` file gives the same answers, in safe mode."""
    network = models.ResNet9((8, 8, 3), 4, variant="lcnn", width=2)
    images = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    network.save(tmp_path / "n.keras")
    again = keras.models.load_model(tmp_path / "n.keras", safe_mode=True)
    np.testing.assert_array_equal(again(images), network(images))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"input_shape": (8, 7, 3)},
            "`input_shape` must have a height and width of at least 8, since ResNet-9 "
            "halves them three times. Received: input_shape=(8, 7, 3)",
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
        models.ResNet9(**arguments)
    assert str(error.value) == message
