"""Versions by their numbers, and a SavedModel as a Keras model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust.models.served import ServedModel, as_network, numbered_versions

SHAPE = (3, 2, 1)


def saved(folder, kernel):
    """softplus(x) @ kernel by a signature, without any attribute of that name."""
    module = tf.Module()
    module.kernel = tf.Variable(kernel)

    def run(images):
        flat = tf.reshape(tf.math.softplus(images), [-1, 6])
        return {"logits": flat @ module.kernel, "more": tf.shape(images)}

    spec = tf.TensorSpec([None, *SHAPE], tf.float32, name="images")
    module.run = tf.function(run, input_signature=[spec])
    signature = module.run.get_concrete_function()
    tf.saved_model.save(module, str(folder), {"serving_default": signature})
    return folder


@pytest.fixture
def kernel():
    return np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def test_versions_are_numbers_and_rise_by_value(tmp_path):
    for name in ("10", "9", "007", "1.5", "v2", "-3", "\u0663", "latest"):
        (tmp_path / name).mkdir()
    versions = [(number, path.name) for number, path in numbered_versions(tmp_path)]
    assert versions == [(7, "007"), (9, "9"), (10, "10")]


def test_a_keras_model_around_a_signature_answers_and_has_its_gradient(
    tmp_path, kernel
):
    """Against NumPy: logits, and the sigmoid in their gradient."""
    path = saved(tmp_path / "m", kernel)
    network = as_network(path, SHAPE)
    assert (network.input_shape, network.output_shape) == ((None, *SHAPE), (None, 4))
    images = np.random.default_rng(1).random((5, *SHAPE), np.float32)
    flat = images.reshape(5, 6).astype(np.float64)
    expected = np.log1p(np.exp(flat)) @ kernel
    point = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(point)
        logits = network(point, training=False)
        first = tf.reduce_sum(logits[:, 1])
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    np.testing.assert_allclose(ServedModel(path)(point), expected, rtol=1e-5)
    gradient = tape.gradient(first, point).numpy().reshape(5, 6)
    np.testing.assert_allclose(gradient, kernel[:, 1] / (1 + np.exp(-flat)), rtol=1e-5)


def test_it_has_the_same_configuration_whatever_was_made_before(tmp_path, kernel):
    """Caches of a teacher's gradients go by configuration and weights."""
    path = saved(tmp_path / "m", kernel)
    first = as_network(path, SHAPE)
    keras.layers.TFSMLayer(str(path), "serving_default")
    again = as_network(path, SHAPE)
    assert first.get_config() == again.get_config()
    (weight,) = again.get_weights()
    np.testing.assert_array_equal(weight, kernel)
    assert again.trainable_variables == []


def test_a_free_size_stays_free(tmp_path):
    module = tf.Module()
    spec = tf.TensorSpec([None, None, None, 2], tf.float32, name="images")
    module.run = tf.function(
        lambda images: {"logits": tf.reduce_mean(images, [1, 2])},
        input_signature=[spec],
    )
    signature = module.run.get_concrete_function()
    tf.saved_model.save(module, str(tmp_path), {"serving_default": signature})
    network = as_network(tmp_path, (None, None, 2))
    for side in (2, 5):
        assert network(tf.ones([1, side, 3, 2])).numpy().tolist() == [[1.0, 1.0]]
