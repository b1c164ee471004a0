"""Signatures of one's own: served by name, and refused where they cannot be."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model, signatures
from export.signatures import Settings, Signature, available, register
from tfrobust import models
from tfrobust.core.registry import Registry

IMAGES = tf.TensorSpec([None, 3, 2, 1], tf.float32, name="images")


@pytest.fixture
def own(monkeypatch):
    """An empty registry for this test alone."""
    monkeypatch.setattr(signatures, "_OWN", Registry("signature"))


def network():
    keras.utils.set_random_seed(0)
    return models.MLP((3, 2, 1), 4, hidden=(5,))


def export(folder, *names):
    return export_saved_model(
        network(), folder / "net", list("abcd"), signatures=["serving_default", *names]
    )


def test_it_is_served_when_it_is_named_and_knows_the_classes(own, tmp_path):
    @register("largest")
    def largest(model, labels, settings):
        def answer(images):
            logits = model(images, training=False)
            names = tf.gather(tf.constant(labels), tf.argmax(logits, axis=1))
            return {"largest": tf.reduce_max(logits, axis=1), "names": names}

        assert settings == Settings()
        return Signature(answer, [IMAGES])

    assert "largest" not in available(network(), Settings())
    images = np.random.default_rng(0).random((3, 3, 2, 1), np.float32)
    logits = network()(images).numpy()
    loaded = tf.saved_model.load(export(tmp_path, "largest"))
    answer = loaded.signatures["largest"](images=tf.constant(images))
    np.testing.assert_allclose(answer["largest"], logits.max(axis=1), rtol=1e-5)
    expected = [b"abcd"[i : i + 1] for i in logits.argmax(axis=1)]
    assert answer["names"].numpy().tolist() == expected


def test_python_is_not_served(own, tmp_path):
    """It would be gone in any other process."""

    @register("python")
    def python(model, labels, settings):
        def answer(images):
            return {"sum": tf.numpy_function(np.sum, [images], tf.float32)}

        return Signature(answer, [IMAGES])

    with pytest.raises(ValueError) as caught:
        export(tmp_path, "python")
    assert str(caught.value) == (
        "`signatures` must be made of TensorFlow's operations. Received: python, which "
        "calls Python (py_function or numpy_function)"
    )
    assert not (tmp_path / "net").exists()


def test_what_is_no_signature_is_refused(own, tmp_path):
    register("nothing")(lambda model, labels, settings: None)
    with pytest.raises(ValueError) as caught:
        export(tmp_path, "nothing")
    assert str(caught.value) == (
        "A registered signature must be an `export.signatures.Signature`. Received: a "
        "NoneType of nothing"
    )


def test_names_of_the_library_are_taken(own):
    with pytest.raises(ValueError, match="must be new. Received: 'explain'"):
        register("explain")
    register("mine")(network)
    with pytest.raises(ValueError, match="registered signature must be new.*'mine'"):
        register("mine")(export)
