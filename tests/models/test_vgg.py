"""VGG-11: parameters by hand, shapes, errors."""

import keras
import numpy as np
import pytest

from tfrobust import models

# Output channels of the eight convolutions at width 64, from the paper's column A.
COLUMN_A = (64, 128, 256, 256, 512, 512, 512, 512)


def counts(width, channels, classes, pixels=1):
    """`(kernel numbers, normalised channels)` by hand."""
    outputs = [c * width // 64 for c in COLUMN_A]
    inputs = [channels, *outputs[:-1]]
    kernels = sum(9 * a * b for a, b in zip(inputs, outputs, strict=True))
    return kernels + (pixels * outputs[-1] + 1) * classes, sum(outputs)


@pytest.mark.parametrize("classes", [10, 100])
def test_parameters_of_the_published_width(classes):
    """Eight convolutions without bias, one dense layer; 9,223,754 at ten classes."""
    network = models.VGG11(classes=classes)
    kernels, normalized = counts(64, 3, classes)
    trainable = sum(int(np.prod(w.shape)) for w in network.trainable_variables)
    assert trainable == kernels
    assert network.count_params() == kernels + 2 * normalized + 8
    if classes == 10:
        # 9,217,728 in the kernels, of which 1,728 in the first, and 5,130 in the last.
        assert kernels == 9_217_728 + 5_130


def test_parameters_of_the_low_curvature_variant():
    """The same kernels, and one number more for each of eight activations and norms."""
    network = models.VGG11((33, 70, 1), 7, variant="lcnn", width=4)
    kernels, _ = counts(4, 1, 7, pixels=2)
    trainable = sum(int(np.prod(w.shape)) for w in network.trainable_variables)
    assert trainable == kernels + 8 + 8
    assert len(models.betas(network)) == 8
    assert len(models.gammas(network)) == 8


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("variant", ["standard", "lcnn"])
def test_logits(variant, policy):
    """Sizes that do not divide by 32, to float32 logits also in mixed precision."""
    keras.config.set_dtype_policy(policy)
    network = models.VGG11((35, 40, 1), 7, variant=variant, width=2)
    images = np.random.default_rng(0).random((3, 35, 40, 1), "float32")
    logits = network(images, training=True)
    assert logits.shape == (3, 7)
    assert logits.dtype == "float32"
    assert np.all(np.isfinite(logits.numpy()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"input_shape": (32, 31, 3)},
            "`input_shape` must have a height and width of at least 32, since VGG-11 "
            "halves them five times. Received: input_shape=(32, 31, 3)",
        ),
        (
            {"input_shape": (32,)},
            "`input_shape` must be (height, width, channels). "
            "Received: input_shape=(32,)",
        ),
        (
            {"variant": "LCNN"},
            "`variant` must be one of standard, plain, softplus, lcnn. "
            "Received: variant='LCNN'",
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
        models.VGG11(**arguments)
    assert str(error.value) == message
