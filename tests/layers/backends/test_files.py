"""Layers in `.keras` files: there and back, and from TensorFlow to another backend."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.layers.backends.cases import CASES, as_numpy, images, model_of
from tests.layers.backends.test_training import fit
from tfrobust import layers

REPOSITORY = Path(__file__).resolve().parents[3]
BACKEND = keras.backend.backend()


def test_every_layer_has_a_case():
    """A new layer is tested on every backend as soon as it is there."""
    kinds = {
        name
        for name in layers.__all__
        if isinstance(kind := getattr(layers, name), type)
        and issubclass(kind, keras.layers.Layer)
        and not issubclass(kind, keras.Model)
        # What others derive from is registered under no name.
        and keras.saving.get_registered_object(f"tfrobust>{name}") is kind
    }
    assert kinds == {case.kind for case in CASES.values()}


def test_layers_stand_on_keras_alone():
    """TensorFlow is neither imported nor needed where it is not the backend."""
    others = {"tensorflow", "jax", "torch"} - {BACKEND}
    loaded = {name for name in others if sys.modules.get(name) is not None}
    assert loaded == set()


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name, tmp_path):
    """What training left comes back bit by bit in safe mode, with every argument."""
    case = CASES[name]
    model = model_of(case)
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    config = loaded.layers[1].get_config()
    for argument, value in case.arguments.items():
        given = config[argument]
        pair = isinstance(given, (tuple, list)) and not isinstance(value, tuple)
        assert tuple(given) == (value, value) if pair else given == value, argument
    assert type(loaded.layers[1]).from_config(config).get_config() == config
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(as_numpy(theirs.value), as_numpy(ours.value))
    x = images(3, *case.shape)
    np.testing.assert_array_equal(as_numpy(loaded(x)), as_numpy(model(x)))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder of files that another process wrote, with TensorFlow as the backend."""
    folder = tmp_path_factory.mktemp("trained")
    environment = os.environ | {"KERAS_BACKEND": "tensorflow"}
    subprocess.run(
        [sys.executable, "-m", "tests.layers.backends.train", str(folder)],
        cwd=REPOSITORY,
        env=environment,
        check=True,
        timeout=300,
    )
    return folder


@pytest.mark.skipif(BACKEND == "tensorflow", reason="this is where files come from")
@pytest.mark.parametrize("name", [*CASES, "network"])
def test_trained_with_tensorflow(name, trained):
    """The same answers here, and training goes on from there."""
    model = keras.saving.load_model(trained / f"{name}.keras", safe_mode=True)
    expected = np.load(trained / f"{name}.npy")
    answers = as_numpy(model(images(3, *model.input_shape[1:]), training=False))
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-4)
    fit(model)
