"""Residual networks: parameters by hand, shapes, and the Lipschitz bound."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust import models
from tfrobust.layers import (
    CenteredSoftplus,
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralDense,
    find_layers,
)

BLOCKS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}
MAKERS = {"18": models.ResNet18, "34": models.ResNet34}


def counts(blocks, width, channels, classes):
    """`(kernel numbers, normalised channels)` of He et al.'s CIFAR form, by hand.

    A stage of n blocks at c channels holds 2n 3x3 convolutions, the first of them from
    the stage before, and a 1x1 convolution on the shortcut where the width changes.
    """
    kernels, normalized, before = 9 * channels * width, width, width
    for stage, n in enumerate(blocks):
        c = width * 2**stage
        kernels += 9 * before * c + (2 * n - 1) * 9 * c * c
        normalized += 2 * n * c
        if before != c:
            kernels += before * c
            normalized += c
        before = c
    return kernels + (before + 1) * classes, normalized


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_variables)


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("depth", ["18", "34"])
def test_parameters_of_the_published_width(depth, classes):
    """The standard network is the published one less its affine batch norms."""
    network = MAKERS[depth](classes=classes)
    kernels, normalized = counts(BLOCKS[depth], 64, 3, classes)
    assert trainable(network) == kernels
    # Moving mean and variance, and the fixed log_beta of each activation.
    activations = 1 + 2 * sum(BLOCKS[depth])
    assert network.count_params() == kernels + 2 * normalized + activations
    if (depth, classes) == ("18", 10):
        assert (kernels, 2 * normalized) == (11_164_362, 9_600)
        assert kernels + 2 * normalized == 11_173_962


@pytest.mark.slow
@pytest.mark.parametrize("depth", ["18", "34"])
def test_parameters_of_the_low_curvature_variant(depth):
    """The same kernels, and one number more for every activation and every norm."""
    shape, classes, width = (9, 8, 2), 7, 4
    network = MAKERS[depth](shape, classes, variant="lcnn", width=width)
    standard = MAKERS[depth](shape, classes, width=width)
    kernels, _ = counts(BLOCKS[depth], width, 2, classes)
    blocks = sum(BLOCKS[depth])
    assert trainable(standard) == kernels
    assert trainable(network) == kernels + (1 + 2 * blocks) + (1 + 2 * blocks + 3)
    # Shape by shape and name by name, what both hold is the same.
    ours = {w.path: w.shape for w in network.trainable_variables}
    for weight in standard.trainable_variables:
        assert ours[weight.path] == weight.shape


def test_layers_of_the_variants():
    """17 activations, 20 norms, 20 convolutions; no layer of the other variant."""
    standard = models.ResNet18((8, 8, 3), width=2)
    lcnn = models.ResNet18((8, 8, 3), width=2, variant="lcnn", beta=3.0, gamma=2.0)
    numbers = {
        keras.layers.Conv2D: (20, 0),
        keras.layers.BatchNormalization: (20, 0),
        keras.layers.Dense: (1, 0),
        SpectralConv2D: (0, 20),
        LipschitzBatchNormalization: (0, 20),
        SpectralDense: (0, 1),
        CenteredSoftplus: (17, 17),
        keras.layers.Average: (8, 8),
        keras.layers.Add: (0, 0),
    }
    for kind, expected in numbers.items():
        counts = (len(find_layers(standard, kind)), len(find_layers(lcnn, kind)))
        assert counts == expected, kind


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("variant", ["standard", "lcnn"])
@pytest.mark.parametrize(("shape", "classes"), [((28, 28, 1), 10), ((9, 8, 3), 7)])
def test_logits(shape, classes, variant, policy):
    """Any size and class count, to float32 logits also under mixed precision."""
    keras.config.set_dtype_policy(policy)
    network = models.ResNet18(shape, classes, variant=variant, width=2, name="mine")
    assert network.name == "mine"
    assert network.input_shape == (None, *shape)
    assert network.output_shape == (None, classes)
    images = np.random.default_rng(0).random((3, *shape), "float32")
    for training in (False, True):
        logits = network(images, training=training)
        assert logits.shape == (3, classes)
        assert logits.dtype == "float32"
        assert np.all(np.isfinite(logits.numpy()))


def test_strides():
    """Four stages at 1, 1/2, 1/4 and 1/8 of the size, rounded up."""
    network = models.ResNet18((9, 14, 3), width=2)
    sizes = [
        network.get_layer(f"stage{stage}_block2_activation").output.shape[1:]
        for stage in (1, 2, 3, 4)
    ]
    assert sizes == [(9, 14, 2), (5, 7, 4), (3, 4, 8), (2, 2, 16)]


def settle(network, images, labels):
    """A few steps of training, so that no number is where it was initialised."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.SGD(0.1), loss)
    network.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for kind in (SpectralConv2D, SpectralDense):
        for layer in find_layers(network, kind):
            layer.refresh()


def stretch_of(norm):
    """A norm's largest slope at inference, from its statistics, in float64."""
    variance = np.float64(norm.moving_variance.numpy()) + norm.epsilon
    shrink = min(1.0, np.exp(float(norm.log_gamma)) * np.sqrt(variance.min()))
    return shrink / np.sqrt(variance.min())


@pytest.mark.slow
def test_lipschitz_bound():
    """No two images are moved apart by more than the product over the structure.

    Convolutions, activations and the dense layer have constant one, pooling a mean
    over P pixels 1/sqrt(P), a block half of branch plus shortcut. The images are close
    together and far apart, and one pair lies along the steepest direction.
    """
    network = models.ResNet18((8, 8, 3), classes=4, variant="lcnn", width=4, gamma=1.1)
    generator = np.random.default_rng(0)
    x = generator.random((24, 8, 8, 3), "float32")
    settle(network, x, generator.integers(0, 4, 24))

    bound = stretch_of(network.get_layer("stem_norm"))
    for stage in (1, 2, 3, 4):
        for block in (1, 2):
            name = f"stage{stage}_block{block}"
            branch = stretch_of(network.get_layer(f"{name}_a_norm"))
            branch *= stretch_of(network.get_layer(f"{name}_b_norm"))
            widened = stage > 1 and block == 1
            short = (
                stretch_of(network.get_layer(f"{name}_short_norm")) if widened else 1.0
            )
            bound *= 0.5 * (branch + short)
    # One pixel is left at the pool: 8, 4, 2, 1.
    bound *= 1.002

    directions = generator.standard_normal(x.shape).astype("float32")
    for scale in (1e-2, 1.0, 30.0):
        y = x + scale * directions
        moved = np.linalg.norm(network(x).numpy() - network(y).numpy(), axis=1)
        apart = np.linalg.norm((x - y).reshape(24, -1), axis=1)
        # The logits are rounded to about 1e-6.
        assert np.all(moved <= bound * apart + 1e-5)


@pytest.mark.parametrize("strides", [1, 2])
def test_a_block_of_one_lipschitz_parts(strides):
    """With every norm at constant 1 the block's Jacobian has norm at most 1.

    Measured at random points; half the sum, not the sum, is what keeps it there.
    """
    network = models.ResNet18((4, 6, 2), classes=3, variant="lcnn", width=2, gamma=1)
    for norm in find_layers(network, LipschitzBatchNormalization):
        norm.moving_variance.assign(np.full(norm.moving_variance.shape, 0.25))
    stage = strides
    start = "stem_activation" if stage == 1 else "stage1_block2_activation"
    block = keras.Model(
        network.get_layer(start).output,
        network.get_layer(f"stage{stage}_block1_activation").output,
    )
    for layer in find_layers(block, SpectralConv2D):
        layer.refresh()
    x = tf.constant(
        np.random.default_rng(0).standard_normal((3, 4, 6, 2)).astype("float32")
    )
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = block(x, training=False)
    jacobians = tape.batch_jacobian(y, x).numpy().reshape(3, -1, 48)
    norms = np.linalg.norm(jacobians.astype("float64"), 2, axis=(1, 2))
    assert np.all(norms <= 1.001)
    assert np.all(norms > 0.05)


@pytest.mark.parametrize("make", [models.ResNet18, models.ResNet34])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"variant": "lccn"},
            "`variant` must be one of standard, plain, softplus, lcnn. "
            "Received: variant='lccn'",
        ),
        ({"width": 0}, "`width` must be an integer of at least 1. Received: width=0"),
        (
            {"classes": 0},
            "`classes` must be an integer of at least 1. Received: classes=0",
        ),
        (
            {"input_shape": (32, 32)},
            "`input_shape` must be (height, width, channels). "
            "Received: input_shape=(32, 32)",
        ),
        (
            {"input_shape": (32, None, 3)},
            "`input_shape` must be an integer of at least 1. Received: "
            "input_shape=None",
        ),
        (
            {"variant": "lcnn", "beta": 0.0},
            "`beta` must be a finite number above 0. Received: beta=0.0",
        ),
        (
            {"variant": "lcnn", "gamma": -1.0},
            "`gamma` must be a finite number above 0. Received: gamma=-1.0",
        ),
    ],
)
def test_bad_arguments(make, arguments, message):
    """Each argument out of range is refused, by name and value."""
    with pytest.raises(ValueError) as error:
        make(**arguments)
    assert str(error.value) == message
