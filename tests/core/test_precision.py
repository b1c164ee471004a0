"""Layers in half precision against the same in float32, and scales by their bits."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from tests.core.keras_layers import CASES, apply, make
from tests.seeds import set_seeds
from tfrobust.core.precision import in_single_precision, powers

HALVES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
INFERENCE = [
    pytest.param(name, case, id=f"{name}{number}")
    for name, cases in CASES.items()
    for number, case in enumerate(cases)
    if not case.training
    and name != "STFTSpectrogram"
    and not ("3D" in name and "Pooling" in name)
]


# But pooling of volumes, which in half precision needs a GPU, and spectrograms.
@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize(("name", "case"), INFERENCE)
def test_a_layer_of_keras_answers_as_in_float32(name, case, policy):
    images = np.random.default_rng(0).uniform(0.1, 0.9, (2, *case.shape))
    images = tf.constant(images, tf.float32)
    set_seeds(0)
    single, half = make(name, case, "float32"), make(name, case, policy)
    expected = apply(single, case, images)
    before = apply(half, case, images)
    half.set_weights(single.get_weights())
    config = half.get_config()
    with in_single_precision(half):
        answer = apply(half, case, images)
    assert answer.dtype == expected.dtype
    tolerance = 0.01 if name == "Normalization" else 0.0  # its constants stay rounded
    np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance)
    assert half.get_config() == config
    assert apply(half, case, images).dtype == before.dtype


def network(policy):
    set_seeds(0)
    inputs = keras.Input((6, 5, 2))
    inner = keras.Sequential(
        [kl.Conv2D(3, 3, dtype=policy), kl.BatchNormalization(dtype=policy)]
    )
    x = kl.Activation("softplus", dtype=policy)(inner(inputs))
    x = kl.Reshape((12, 3), dtype=policy)(x)
    x = kl.MultiHeadAttention(2, 2, dtype=policy)(x, x)
    x = kl.Bidirectional(
        kl.GRU(2, recurrent_initializer="he_normal", dtype=policy), dtype=policy
    )(x)
    return keras.Model(inputs, kl.Dense(3, dtype=policy)(x))


@pytest.mark.parametrize("policy", HALVES)
def test_a_network_with_layers_in_layers(policy):
    """Values and gradients; weights in half precision are rounded, not their use."""
    single, half = network("float32"), network(policy)
    half.set_weights(single.get_weights())
    single.set_weights([np.float32(w) for w in half.get_weights()])
    images = tf.constant(np.random.default_rng(0).random((3, 6, 5, 2)), tf.float32)
    results = []
    for model in (single, half):
        with tf.GradientTape() as tape:
            tape.watch(images)
            with in_single_precision(model):
                logits = model(images, training=False)
        results.append((logits, tape.gradient(logits, images)))
    for expected, answer in zip(*results, strict=True):
        assert answer.dtype == tf.float32
        np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)
    assert half(images).dtype == half.layers[-1].compute_dtype != "float32"


def test_an_error_within_leaves_the_policies_as_they_were():
    model = network("mixed_float16")
    with pytest.raises(KeyError), in_single_precision(model):
        raise KeyError
    assert {layer.dtype_policy.name for layer in model.layers[2:]} == {"mixed_float16"}


def test_the_last_to_leave_restores():
    """As with two threads that measure one network at once."""
    model = network("mixed_float16")
    first, second = in_single_precision(model), in_single_precision(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert model.layers[-1].compute_dtype == "float32"
    second.__exit__(None, None, None)
    assert model.layers[-1].compute_dtype == "float16"


def test_a_map_of_policies_is_left_as_it_was():
    policies = keras.dtype_policies.DTypePolicyMap(default_policy="mixed_float16")
    dense = kl.Dense(2, dtype=policies, name="dense")
    dense.build((None, 3))
    before = dict(policies)
    with in_single_precision(dense):
        assert dense.compute_dtype == "float32"
    assert dense.compute_dtype == "float16"
    assert dict(policies) == before


def test_what_is_no_keras_model_is_let_be():
    with in_single_precision(lambda x: x):
        pass
    with in_single_precision(network("float32")):
        pass


def test_powers_bring_cotangents_into_range():
    """Against `frexp`, which takes a number apart."""
    random = np.random.default_rng(0)
    sizes = 10.0 ** random.uniform(-28, 38, size=(200, 1))
    cotangents = (random.uniform(-1, 1, (200, 4)) * sizes).astype(np.float32)
    scales = powers(tf.constant(cotangents)).numpy()
    mantissas, _ = np.frexp(scales)
    assert np.all(mantissas == 0.5)
    largest = np.abs(cotangents * scales).max(axis=1)
    assert np.all((largest >= 32) & (largest < 64))
    # Nothing is lost on the way and back.
    np.testing.assert_array_equal(cotangents * scales / scales, cotangents)
    assert np.all(np.isfinite(powers(tf.zeros([2, 3]))))
    assert np.all(np.isfinite(powers(tf.constant([[np.inf], [np.nan]]))))
