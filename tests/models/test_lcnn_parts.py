"""The parts of a low-curvature network one by one: their bounds, and saved files."""

import keras
import numpy as np
import pytest

from tests.seeds import set_seeds
from tfrobust import geometry
from tfrobust.layers import (
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralDense,
    find_layers,
)
from tfrobust.models.parts import Parts

VARIANCE = (0.04, 0.25, 1.0)
EPSILON = 1e-5


def network(chosen):
    """One convolution of one place, a norm, an activation and a dense layer."""
    set_seeds(0)
    parts = Parts(variant="lcnn", beta=4.0, gamma=2.0, lcnn_parts=chosen)
    images = keras.Input((1, 1, 2), name="images")
    x = parts.convolution(images, 3, 1, 1, name="conv")
    x = parts.activation(parts.norm(x, name="norm"), name="activation")
    x = parts.dense(keras.layers.Flatten(name="flatten")(x), 2, name="logits")
    model = keras.Model(images, x)
    model.get_layer("norm").moving_variance.assign(VARIANCE)
    for kind in (SpectralConv2D, SpectralDense):
        for layer in find_layers(model, kind):
            layer.refresh()
    return model


def by_hand(model, chosen):
    """`(L, M)` of the logits in float64: the chain rule over its four layers."""
    kernels = [
        np.float64(model.get_layer(name).kernel).reshape(shape)
        for name, shape in (("conv", (2, 3)), ("logits", (3, 2)))
    ]
    first, last = (
        1.0 if "spectral" in chosen else np.linalg.norm(kernel, 2) for kernel in kernels
    )
    norm = 1 / np.sqrt(min(VARIANCE) + EPSILON)
    if "norm" in chosen:
        norm = min(norm, 2.0)
    beta = 4.0 if "activation" in chosen else 1000.0
    return first * norm * last, (first * norm) ** 2 * beta / 4 * last


@pytest.mark.parametrize(
    "chosen",
    ["activation", "spectral", "norm", "activation+spectral", "spectral+norm", "all"],
)
def test_bounds_are_those_of_the_parts(chosen):
    """A spectral layer has constant 1 and a norm at most gamma, others their own."""
    model = network(chosen)
    named = "activation+spectral+norm" if chosen == "all" else chosen
    bound = geometry.curvature_bound(model)
    expected = by_hand(model, named)
    np.testing.assert_allclose((bound.lipschitz, bound.hessian), expected, rtol=1e-4)
    for norm in find_layers(model, LipschitzBatchNormalization):
        np.testing.assert_allclose(float(norm.lipschitz_constant()), 2.0, rtol=1e-6)


@pytest.mark.parametrize("chosen", ["activation", "spectral", "norm"])
def test_a_saved_file_is_the_same_network(chosen, tmp_path):
    """Layers of the same kinds, and the same logits to the bit."""
    model = network(chosen)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    kinds = [[type(layer) for layer in each.layers] for each in (model, loaded)]
    assert kinds[0] == kinds[1]
    x = np.random.default_rng(0).random((3, 1, 1, 2), "float32")
    np.testing.assert_array_equal(model(x), loaded(x))
