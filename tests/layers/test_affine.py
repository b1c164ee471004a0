"""Scale and shift against NumPy, and the bound against the layer's matrix."""

import keras
import numpy as np
import pytest

from tests.layers.common import check_layer, images
from tests.layers.explicit import norm_of
from tfrobust.layers import ChannelAffine


def made(bound, scale):
    layer = ChannelAffine(bound)
    layer.build((None, 2, len(scale)))
    layer.scale.assign(scale)
    layer.shift.assign(images(len(scale), seed=4))
    return layer


def test_contract(tmp_path):
    check_layer(
        ChannelAffine,
        {"bound": 2.5},
        (4, 3),
        tmp_path,
        trainable=["scale", "shift"],
        non_trainable=[],
    )


@pytest.mark.parametrize("bound", [None, 0.5, 3.0, 100.0])
def test_formula_and_bound(bound):
    """All scales times one factor, so that the largest is the bound at most."""
    scale = np.array([-4.0, 1.0, 0.0], "float32")
    layer, x = made(bound, scale), images(5, 2, 3)
    factor = 1.0 if bound is None else min(1.0, bound / 4.0)
    expected = x * (factor * scale) + layer.shift.numpy()
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-6, atol=1e-7)
    norm = norm_of(layer, (2, 3))
    np.testing.assert_allclose(norm, 4.0 * factor, rtol=1e-5)
    np.testing.assert_allclose(float(layer.lipschitz_constant()), norm, rtol=1e-5)


def test_it_is_what_a_batch_norm_does_after_normalizing():
    norm = keras.layers.BatchNormalization(epsilon=1e-4)
    norm.build((None, 3))
    norm.gamma.assign([2.0, -0.5, 0.0])
    norm.beta.assign([0.1, 0.2, 0.3])
    layer = ChannelAffine(bound=None)
    layer.build((None, 3))
    layer.set_weights([norm.gamma.numpy(), norm.beta.numpy()])
    x = images(4, 3)
    normalized = x / np.sqrt(np.float32(1.0 + 1e-4))
    np.testing.assert_allclose(layer(normalized), norm(x), rtol=1e-5, atol=1e-6)


def test_all_zero_scales_stay_zero():
    layer = made(1.0, np.zeros(3, "float32"))
    expected = np.broadcast_to(layer.shift.numpy(), (2, 2, 3))
    np.testing.assert_array_equal(layer(images(2, 2, 3)).numpy(), expected)


def test_bad_arguments():
    with pytest.raises(ValueError) as error:
        ChannelAffine(bound=0.0)
    assert str(error.value) == (
        "`bound` must be a finite number above 0. Received: bound=0.0"
    )
    with pytest.raises(ValueError) as error:
        ChannelAffine().build((None, None))
    assert str(error.value) == (
        "`ChannelAffine` needs a known size of the last axis. "
        "Received: input_shape=(None, None)"
    )
