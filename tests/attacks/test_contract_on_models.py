"""What every attack guarantees on models that are out of the ordinary."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import (
    CLASSES,
    CONV_SHAPE,
    Affine,
    affine,
    build_convnet,
    conv_images,
    distances,
)
from tests.attacks.every import ATTACKS, every_attack, some_images
from tfrobust.attacks import DDN, PGD


@every_attack
def test_empty_batches(name):
    """Outside a graph and in one, with a model that can answer for none."""
    model = affine(3, seed=2)

    @tf.function(
        input_signature=[tf.TensorSpec([None, 3, 4, 2], tf.float32)], autograph=False
    )
    def step(images):
        labels = tf.zeros(tf.shape(images)[:1], tf.int32)
        return ATTACKS[name](model, images, labels)

    images = np.zeros((0, 3, 4, 2), np.float32)
    for result in (ATTACKS[name](model, images, np.zeros(0, int)), step(images)):
        assert result.adversarial.shape == images.shape
        for field in result[1:]:
            assert field.shape == (0,)


@pytest.fixture(scope="module")
def half_precision():
    """The network computed in bfloat16, with the same weights."""
    network = build_convnet("mixed_bfloat16")
    assert network(np.zeros((1, *CONV_SHAPE))).dtype == tf.bfloat16
    return network


@pytest.mark.slow
@every_attack
def test_mixed_precision_models_give_float32(name, half_precision):
    """The images keep all their bits; success is judged by that network."""
    images, labels = some_images()
    result = ATTACKS[name](half_precision, images, labels)
    found, eps = result.adversarial.numpy(), ATTACKS[name].budget
    assert found.dtype == np.float32 and result.distortion.dtype == tf.float32
    if eps is not None:
        norm = ATTACKS[name].threat.norm
        assert np.all(distances(images, found, norm) <= eps + 1e-6)
    answers = np.argmax(half_precision(found, training=False), axis=-1)
    # bfloat16 rounds to 1 in 256, so other batches may tip over what is on the edge.
    agree = result.success.numpy() == (answers != labels)
    assert np.mean(agree) >= 2 / 3
    assert np.any(result.success & ~result.already)


@every_attack
def test_a_flat_model_gives_no_nan_and_a_smaller_last_batch_no_trace(name):
    """Gradients of exactly 0 everywhere: the image comes back, or a harmless one. What
    was traced serves fewer images, an equal attack, and labels of another dtype.
    """
    model, attack = Affine(np.zeros((24, 3)), [1.0, 0.0, 0.5]), ATTACKS[name]
    images = np.random.default_rng(0).random((7, 3, 4, 2), np.float32)
    with pytest.warns(UserWarning, match="gradients of exactly 0 on 7 of the first 7"):
        result = attack(model, images, np.zeros(7, np.int64))
    np.testing.assert_array_equal(result.adversarial, images)
    assert not np.any(result.success)
    calls = model.calls
    attack(model, images[:2], np.zeros(2, np.int32))
    type(attack)(**vars(attack))(model, images[:1], np.zeros(1, np.int64))
    assert model.calls == calls


def test_low_curvature_networks_keep_their_power_iteration_state():
    """The library's own layers have state of their own."""
    from tfrobust import layers

    inputs = keras.Input(CONV_SHAPE)
    x = layers.SpectralConv2D(4, 3)(inputs)
    x = layers.LipschitzBatchNormalization()(x)
    x = layers.CenteredSoftplus()(x)
    x = keras.layers.Flatten()(x)
    network = keras.Model(inputs, layers.SpectralDense(CLASSES)(x))
    images, _ = conv_images(4)
    network(images, training=True)
    labels = tf.argmax(network(images, training=False), axis=-1)
    before = [variable.numpy() for variable in network.variables]
    for attack in (PGD(norm=2, eps=1.0, steps=5), DDN(steps=5)):
        result = attack(network, images, labels)
        assert np.all(result.distortion > 0)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)
