"""Networks that others made, converted, trained, saved and served.

Norms are held to their SVD elsewhere; here few rounds find them, which takes seconds
in place of minutes.
"""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.saved_model import export_saved_model
from tests.models.conversions import some_images
from tests.seeds import set_seeds
from tfrobust import models, penalties
from tfrobust.core.pixels import bounds_of
from tfrobust.layers import linear_maps, spectral_layer
from tfrobust.models import conversion_parts
from tfrobust.training import RobustModel

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = (32, 32, 3)
APPLICATIONS = {
    "MobileNetV3Small": (9, "Multiply"),
    "ConvNeXtTiny": (23 + 18, "LayerNormalization LayerScale"),
    "ResNet50V2": (0, ""),
}


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(spectral_layer, "_WARM_START_ITERATIONS", 1)
    monkeypatch.setattr(conversion_parts, "_ROUNDS", 2)


def application(name):
    """One of Keras's, with logits."""
    set_seeds(0)
    make = getattr(keras.applications, name)
    return make(input_shape=SMALL, weights=None, classes=5, classifier_activation=None)


def check_life(low, folder):
    """One step with the curvature penalty, a file in safe mode, a served model."""
    shape = low.input_shape[1:]
    low_end, high_end = bounds_of(low)  # those of Keras take bytes, by their layers
    images = low_end + (high_end - low_end) * some_images(2, shape)
    labels = np.array([0, 1])
    before = sum(models.betas(low).values())
    model = RobustModel(low)
    optimizer = keras.optimizers.SGD(0.01)
    penalty = penalties.Curvature(1e-2, 1e-2)
    # Eagerly, since tracing takes longer than the step.
    model.compile(optimizer, penalties=[penalty], run_eagerly=True)
    history = model.fit(images, labels, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"][0])
    assert sum(models.betas(low).values()) != before
    low.save(folder / "low.keras")
    loaded = keras.models.load_model(folder / "low.keras", safe_mode=True)
    truth = low(images).numpy()
    np.testing.assert_array_equal(loaded(images), truth)
    served = export_saved_model(loaded, folder / "served")
    signature = tf.saved_model.load(str(served)).signatures["serving_default"]
    answers = signature(images=tf.constant(images))["logits"].numpy()
    size = np.abs(truth).max()
    # Folding rounds each of a hundred layers anew.
    np.testing.assert_allclose(answers, truth, atol=2e-4 * size)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_network_of_keras(name, tmp_path):
    network = application(name)
    low, report = models.to_low_curvature(network)
    count, kinds = APPLICATIONS[name]
    assert len(report.unbounded) == count
    kept = {c.before for c in report.changes if c.name in report.unbounded}
    assert kept == set(kinds.split())
    check_life(low, tmp_path)


@pytest.fixture
def lite():
    """EfficientNet-Lite0 with trained weights, 224x224, of plain Keras layers."""
    default = REPOSITORY.parent / "shared" / "models"
    folder = Path(os.environ.get("TFROBUST_MODELS_DIR") or default)
    path = folder / "efficientnet_lite0.keras"
    if not path.is_file():
        pytest.skip(f"no network at {path}; TFROBUST_MODELS_DIR names another folder")
    return keras.models.load_model(path, compile=False)


def test_a_trained_network_keeps_its_function(lite, tmp_path):
    """49 batch norms with scale and shift, 33 capped ReLU, nine sums.

    The recipe's logits are the network's to 1e-3 of their size: 7e-7 an activation, and
    the rounding of norms that are computed in another order.
    """
    same, report = models.curvature_recipe(lite, beta=1e6, gamma=1e6)
    images = some_images(2, (224, 224, 3))
    truth = lite(images).numpy()
    np.testing.assert_allclose(same(images), truth, atol=1e-3 * np.abs(truth).max())
    assert report.unbounded == report.not_smooth == ()
    check_life(models.curvature_recipe(lite).network, tmp_path)


def test_a_trained_network_in_its_low_curvature_form(lite):
    """Every layer is bounded, and the first one is the trained one over its norm."""
    low, report = models.to_low_curvature(lite)
    assert report.unbounded == report.not_smooth == ()
    layer = low.layers[2]
    kernel = lite.layers[2].kernel.numpy()
    np.testing.assert_array_equal(layer.kernel.numpy(), kernel)
    image = some_images(1, (224, 224, 3))
    ours = layer.linear_map(tf.constant(image), layer.normalized_kernel())
    norm = float(layer.spectral_norm())
    theirs = linear_maps.convolution(
        tf.constant(image), tf.constant(kernel), layer.strides, layer.padding
    )
    np.testing.assert_allclose(ours, theirs / norm, rtol=1e-4, atol=1e-6)
