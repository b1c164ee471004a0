"""Folding of depthwise, transposed, dilated and grouped layers, and of affine ones."""

import keras
import numpy as np
import pytest

from export.folding import constants, fold
from tests.export.foldable import SHAPE, settled, some_images
from tests.layers.explicit import norm_of
from tfrobust import layers

KINDS = {
    "depthwise": lambda: layers.SpectralDepthwiseConv2D(3, 2, depth_multiplier=2),
    "transposed": lambda: layers.SpectralConv2DTranspose(4, (3, 2), strides=2),
    "dilated": lambda: layers.SpectralConv2D(4, 3, dilation_rate=2, use_bias=True),
    "dense": lambda: layers.SpectralDense(5),
}
PLAIN = {
    "depthwise": keras.layers.DepthwiseConv2D,
    "transposed": keras.layers.Conv2DTranspose,
    "dilated": keras.layers.Conv2D,
    "dense": keras.layers.Dense,
}


def network(layer, bound=1.0):
    inputs = keras.Input(SHAPE)
    x = layers.LipschitzBatchNormalization(5.0)(layer(inputs))
    affine = layers.ChannelAffine(bound)
    model = settled(keras.Model(inputs, keras.layers.Softmax()(affine(x))))
    random = np.random.default_rng(5)
    affine.set_weights([random.normal(0, 1.5, w.shape) for w in affine.weights])
    return model


@pytest.mark.parametrize("bound", [1.0, None])
@pytest.mark.parametrize("kind", KINDS)
def test_one_plain_layer_is_left(kind, bound):
    """Norm and affine go into it, and answers agree to float32 rounding."""
    model = network(KINDS[kind](), bound)
    folded = fold(model)
    kinds = [type(layer) for layer in folded.layers]
    assert kinds[1:4] == [PLAIN[kind], keras.layers.Identity, keras.layers.Identity]
    images = some_images()
    truth = model(images).numpy()
    assert truth.std(axis=(0, 1)).min() > 1e-4
    np.testing.assert_allclose(folded(images).numpy(), truth, atol=2e-6)


def test_the_kernel_has_the_norm_that_its_layers_have_together():
    """The folded map's largest singular value, from its matrix, keeps the bound."""
    model = network(KINDS["depthwise"]())
    for layer in model.layers:
        if isinstance(layer, layers.SpectralLayer):
            layer.refresh()
    norm = float(model.layers[2].lipschitz_constant())
    folded = fold(model).layers[1]
    assert 0.05 * norm < norm_of(folded, SHAPE) <= norm * (1 + 1e-5)


def test_groups_stay():
    """Keras's own grouped convolution needs a compiler on a CPU."""
    model = network(layers.SpectralConv2D(6, 3, groups=3))
    folded = fold(model)
    assert constants(model) == {}
    kept = [type(layer) for layer in folded.layers[1:4]]
    assert kept == [type(layer) for layer in model.layers[1:4]]
    images = some_images()
    np.testing.assert_array_equal(folded(images).numpy(), model(images).numpy())


def test_an_affine_layer_whose_input_is_used_elsewhere_stays():
    inputs = keras.Input(SHAPE)
    x = layers.SpectralConv2D(4, 3, name="conv")(inputs)
    x = layers.LipschitzBatchNormalization(name="norm")(x)
    outputs = keras.layers.Add()([x, layers.ChannelAffine(name="affine")(x)])
    folded = fold(settled(keras.Model(inputs, outputs)))
    assert isinstance(folded.get_layer("norm"), keras.layers.Identity)
    assert isinstance(folded.get_layer("affine"), layers.ChannelAffine)
