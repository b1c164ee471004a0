"""The parts of the variants, and the check of image shapes."""

import dataclasses

import keras
import numpy as np
import pytest

from tfrobust import layers
from tfrobust.models.parts import Parts, check_image_shape


def made(parts):
    """One of each part, as layers in the order of a block."""
    images = keras.Input((9, 8, 3))
    x = parts.convolution(images, 4, 3, 2, name="convolution")
    x = parts.norm(x, name="norm")
    x = parts.activation(x, name="activation")
    x = parts.dense(keras.layers.Flatten(name="flatten")(x), 5, name="dense")
    model = keras.Model(images, x)
    return [
        model.get_layer(name) for name in ("convolution", "norm", "activation", "dense")
    ]


def test_standard_parts():
    """Plain layers, no affine in the norm, a fixed beta of 1000."""
    convolution, norm, activation, dense = made(Parts(variant="standard", beta=3.0))
    assert type(convolution) is keras.layers.Conv2D
    assert (convolution.padding, convolution.use_bias) == ("same", False)
    assert type(norm) is keras.layers.BatchNormalization
    assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)
    assert norm.trainable_variables == []
    assert float(activation.beta) == pytest.approx(1000)
    assert activation.trainable_variables == []
    assert type(dense) is keras.layers.Dense
    assert dense.use_bias


def test_lcnn_parts():
    """The library's layers, with the given coefficients."""
    parts = Parts(variant="lcnn", beta=3.0, gamma=2.0)
    convolution, norm, activation, dense = made(parts)
    assert type(convolution) is layers.SpectralConv2D
    assert (convolution.padding, convolution.use_bias) == ("same", False)
    assert type(norm) is layers.LipschitzBatchNormalization
    assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)
    assert float(norm.gamma) == pytest.approx(2.0)
    assert float(activation.beta) == pytest.approx(3.0)
    assert len(activation.trainable_variables) == 1
    assert type(dense) is layers.SpectralDense
    assert dense.use_bias


def test_softplus_parts():
    """The standard parts, but for the given fixed beta."""
    convolution, norm, activation, dense = made(Parts(variant="softplus", beta=3.0))
    assert type(convolution) is keras.layers.Conv2D
    assert type(norm) is keras.layers.BatchNormalization
    assert float(activation.beta) == pytest.approx(3.0)
    assert activation.trainable_variables == []
    assert type(dense) is keras.layers.Dense


def test_plain_parts():
    """Keras's own layers: scale and shift in the norm, ReLU, a sum and not its half."""
    parts = Parts(variant="plain", beta=3.0)
    convolution, norm, activation, dense = made(parts)
    assert type(convolution) is keras.layers.Conv2D and not convolution.use_bias
    assert (norm.center, norm.scale, norm.momentum) == (True, True, 0.9)
    assert type(activation) is keras.layers.ReLU
    assert type(dense) is keras.layers.Dense
    one = keras.Input((2,))
    for variant, expected in (("plain", 3.0), ("standard", 1.5)):
        joined = Parts(variant=variant).joined(one, keras.layers.ReLU()(one), "a")
        result = keras.Model(one, joined)(np.array([[-1.0, 1.5]], np.float32))
        np.testing.assert_allclose(result[0, 1], expected)


@pytest.mark.parametrize("synchronized", [False, True])
@pytest.mark.parametrize("variant", ["plain", "standard", "lcnn"])
def test_synchronized_norms(variant, synchronized):
    """The wish to share statistics reaches the norm."""
    norm = made(Parts(variant=variant, synchronized=synchronized))[1]
    assert norm.synchronized is synchronized


@pytest.mark.parametrize("variant", ["standard", "lcnn"])
def test_block_order(variant):
    """Convolution, then norm, then activation."""
    images = keras.Input((9, 8, 3))
    x = Parts(variant=variant).convolution_block(images, 4, "block", strides=2)
    model = keras.Model(images, x)
    names = [layer.name for layer in model.layers[1:]]
    assert names == ["block_conv", "block_norm", "block_activation"]
    assert model.output_shape == (None, 5, 4, 4)


def test_parts_are_values():
    """Two of the same settings are equal, and none can be changed."""
    parts = Parts(variant="lcnn")
    assert parts == Parts(variant="lcnn", beta=5.0, gamma=10.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        parts.beta = 1.0


def test_image_shapes():
    """Lists and NumPy integers will do; the answer is three plain integers."""
    shape = check_image_shape([np.int64(9), 8, np.int32(3)])
    assert shape == (9, 8, 3)
    assert [type(size) for size in shape] == [int, int, int]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (8, 8),
            "`input_shape` must be (height, width, channels). "
            "Received: input_shape=(8, 8)",
        ),
        (
            (8, 0, 3),
            "`input_shape` must be an integer of at least 1. Received: input_shape=0",
        ),
    ],
)
def test_bad_image_shapes(shape, message):
    """A shape that is no image's is refused, by value."""
    with pytest.raises(ValueError) as error:
        check_image_shape(shape)
    assert str(error.value) == message


def test_bad_variant():
    """A typo is refused with the names that there are."""
    with pytest.raises(ValueError) as error:
        Parts(variant="robust")
    assert str(error.value) == (
        "`variant` must be one of standard, plain, softplus, lcnn. "
        "Received: variant='robust'"
    )


SPECTRAL = (layers.SpectralConv2D, layers.SpectralDense)
CHOICES = [
    "activation",
    "spectral",
    "norm",
    "activation+spectral",
    "norm+activation",
    "spectral+norm",
    "activation+spectral+norm",
]


@pytest.mark.parametrize("chosen", CHOICES)
def test_each_part_by_itself(chosen):
    """What is not chosen is that of the standard variant."""
    parts = Parts(variant="lcnn", beta=3.0, gamma=2.0, lcnn_parts=chosen)
    convolution, norm, activation, dense = made(parts)
    low = chosen.split("+")
    for layer in (convolution, dense):
        assert isinstance(layer, SPECTRAL) is ("spectral" in low)
    assert isinstance(norm, layers.LipschitzBatchNormalization) is ("norm" in low)
    assert len(activation.trainable_variables) == ("activation" in low)
    beta = 3.0 if "activation" in low else 1000.0
    assert float(activation.beta) == pytest.approx(beta)


def test_all_parts_are_the_lcnn():
    """The default and all three by name are one network."""
    whole = made(Parts(variant="lcnn"))
    named = made(Parts(variant="lcnn", lcnn_parts="norm+spectral+activation"))
    for one, other in zip(whole, named, strict=True):
        assert one.get_config() == other.get_config()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"variant": "lcnn", "lcnn_parts": "beta"},
            "`lcnn_parts` must be all, or some of activation, spectral, norm with + "
            "between. Received: lcnn_parts='beta'",
        ),
        (
            {"variant": "lcnn", "lcnn_parts": "norm+norm"},
            "`lcnn_parts` must be all, or some of activation, spectral, norm with + "
            "between. Received: lcnn_parts='norm+norm'",
        ),
        (
            {"variant": "softplus", "lcnn_parts": "norm"},
            "`lcnn_parts` must be all unless the variant is lcnn. "
            "Received: lcnn_parts='norm', variant='softplus'",
        ),
    ],
)
def test_bad_parts(settings, message):
    """Neither a name that is none, nor one twice, nor one of another variant."""
    with pytest.raises(ValueError) as error:
        Parts(**settings)
    assert str(error.value) == message
