"""Models on the disk in every form, exported anew."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from tests.seeds import set_seeds
from tfrobust import models
from tfrobust.training import RobustModel


@pytest.fixture(scope="module")
def curved():
    """With gradients of every kind, and layers that folding changes."""
    set_seeds(3)
    return models.MLP((4, 3, 1), 3, "lcnn", hidden=(5,))


@pytest.fixture(scope="module")
def forms(curved, tmp_path_factory):
    """One network in every form that lies on the disk."""
    folder = tmp_path_factory.mktemp("forms")
    run = folder / "run"
    run.mkdir()
    curved.save(run / "model.keras")
    RobustModel(curved).save(folder / "best.keras")
    export_saved_model(curved, folder / "served", signatures=None)
    return folder


def answers(loaded):
    """By name, what the signatures of a loaded model say of three images."""
    images = tf.constant(np.random.default_rng(0).random((3, 4, 3, 1), np.float32))
    return {
        name: loaded.signatures[name](images=images, **more)
        for name, more in (
            ("serving_default", {}),
            ("explain", {"classes": tf.constant([0, 2, -1])}),
            ("robustness", {"iterations": tf.constant([8, 8, 8])}),
        )
    }


@pytest.fixture(scope="module")
def direct(forms):
    """The network's own export: names of its signatures, and what they answer."""
    loaded = tf.saved_model.load(str(forms / "served" / "1"))
    return set(loaded.signatures), answers(loaded)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["run", "run/model.keras", "best.keras", "served", "served/1", ""]
)
def test_every_form_of_a_model_is_exported(curved, forms, direct, tmp_path, path):
    """With all signatures, whose answers are those of the network; the last is what
    trains it, in memory.
    """
    given = forms / path if path else RobustModel(curved)
    version = export_saved_model(given, tmp_path / "net", signatures=None)
    loaded = tf.saved_model.load(str(version))
    names, expected = direct
    assert set(loaded.signatures) == names
    for name, answer in answers(loaded).items():
        assert answer.keys() == expected[name].keys()
        for key, tensor in answer.items():
            np.testing.assert_allclose(
                tensor, expected[name][key], rtol=1e-3, atol=1e-5
            )


def test_a_served_model_is_exported_without_its_folder(curved, tmp_path):
    """The new version holds its own weights: the old one may be deleted."""
    old = export_saved_model(curved, tmp_path / "old")
    version = export_saved_model(old, tmp_path / "new")
    shutil.rmtree(old)
    images = tf.constant(np.random.default_rng(0).random((3, 4, 3, 1), np.float32))
    loaded = tf.saved_model.load(str(version))
    logits = loaded.signatures["serving_default"](images=images)["logits"]
    np.testing.assert_allclose(logits, curved(images), atol=1e-5)


@pytest.mark.slow
def test_a_served_model_without_gradient_lacks_what_needs_it(tmp_path):
    """Left out with the reason where all is wanted, refused where it was asked for."""
    module = tf.Module()
    spec = tf.TensorSpec([None, 2, 2, 1], tf.float32, name="images")
    module.run = tf.function(
        lambda images: {"logits": tf.round(tf.reshape(images, [-1, 4]))},
        input_signature=[spec],
    )
    signature = module.run.get_concrete_function()
    path = tmp_path / "steps"
    tf.saved_model.save(module, str(path), {"serving_default": signature})
    with pytest.warns(UserWarning, match="explain is left out: "):
        version = export_saved_model(path, tmp_path / "net", signatures=None)
    signatures = tf.saved_model.load(str(version)).signatures
    assert "explain" not in signatures and "predict_bytes" in signatures
    with pytest.raises(ValueError, match="`signatures` must be ones that the model's"):
        export_saved_model(
            path, tmp_path / "net", signatures=["serving_default", "explain"]
        )


def test_a_shipped_network_is_exported(tmp_path):
    version = export_saved_model("pretrained:mnist_c4", tmp_path / "net")
    images = tf.constant(np.random.default_rng(0).random((3, 28, 28, 1), np.float32))
    loaded = tf.saved_model.load(str(version))
    logits = loaded.signatures["serving_default"](images=images)["logits"]
    network = models.pretrained("mnist_c4")
    np.testing.assert_allclose(logits, network(images, training=False), atol=1e-4)
