"""The multilayer perceptron against NumPy, its Lipschitz bound, and saved files."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrobust import models
from tfrobust.layers import SpectralDense, find_layers


def in_numpy(network, x, betas, normalize):
    """The network in float64: dense, centered softplus, dense."""
    x = np.float64(x).reshape(len(x), -1)
    layers = [layer for layer in network.layers if hasattr(layer, "kernel")]
    for index, layer in enumerate(layers):
        kernel = np.float64(layer.kernel.numpy())
        if normalize:
            kernel = kernel / np.linalg.norm(kernel, 2)
        x = x @ kernel + np.float64(layer.bias.numpy())
        if index < len(betas):
            beta = betas[index]
            x = (np.logaddexp(0, beta * x) - np.log(2)) / beta
    return x


def shake(network, seed=0):
    """Moves every bias away from zero."""
    generator = np.random.default_rng(seed)
    for layer in network.layers:
        if hasattr(layer, "kernel"):
            layer.bias.assign(generator.standard_normal(layer.bias.shape))


@pytest.mark.parametrize("variant", ["standard", "lcnn"])
def test_values(variant):
    """The function is the formula, with beta 1000 or the one given."""
    network = models.MLP((4, 3), 5, variant=variant, hidden=(7, 6), beta=2.0)
    shake(network)
    for layer in find_layers(network, SpectralDense):
        layer.refresh()
    x = np.random.default_rng(0).standard_normal((3, 4, 3)).astype("float32")
    beta = 2.0 if variant == "lcnn" else 1000.0
    expected = in_numpy(network, x, (beta, beta), normalize=variant == "lcnn")
    np.testing.assert_allclose(network(x).numpy(), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(-3, 2))
def test_the_low_curvature_network_is_one_lipschitz(seed, log_scale):
    """No pair of points, near or far, is moved apart: every part has constant one."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((8, 6)).astype("float32")
    step = 10**log_scale * generator.standard_normal((8, 6))
    y = x + step.astype("float32")
    moved = np.linalg.norm(_NETWORK(x).numpy() - _NETWORK(y).numpy(), axis=1)
    apart = np.linalg.norm(x - y, axis=1)
    assert np.all(moved <= 1.001 * apart + 1e-6)


class _Lazy:
    """One refreshed network for all examples, made when it is first called."""

    network = None

    def __call__(self, x):
        if self.network is None:
            self.network = models.MLP((6,), 4, variant="lcnn", hidden=(9, 8), beta=50.0)
            for layer in find_layers(self.network, SpectralDense):
                layer.kernel.assign(5 * layer.kernel.numpy())
                layer.refresh()
        return self.network(x)


_NETWORK = _Lazy()


def test_parameters():
    """Dense weights and biases by hand, and one beta more per activation in lcnn."""
    dense = (12 + 1) * 7 + (7 + 1) * 6 + (6 + 1) * 5
    for variant, more in (("standard", 0), ("lcnn", 2)):
        network = models.MLP((4, 3), 5, variant=variant, hidden=(7, 6))
        trainable = sum(int(np.prod(w.shape)) for w in network.trainable_variables)
        assert trainable == dense + more


def test_no_hidden_layer_is_a_linear_classifier():
    """`hidden=()` leaves one dense layer."""
    network = models.MLP((3,), classes=2, hidden=())
    x = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    expected = in_numpy(network, x, (), normalize=False)
    np.testing.assert_allclose(network(x).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", ["standard", "lcnn"])
def test_mixed_precision(variant):
    """Logits stay float32."""
    keras.config.set_dtype_policy("mixed_float16")
    network = models.MLP((4,), 3, variant=variant, hidden=(5,))
    logits = network(np.ones((2, 4), "float32"))
    assert logits.dtype == "float32"
    assert network.get_layer("hidden1_activation").output.dtype == "float16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"variant": ""},
            "`variant` must be one of standard, plain, softplus, lcnn. "
            "Received: variant=''",
        ),
        (
            {"classes": 0},
            "`classes` must be an integer of at least 1. Received: classes=0",
        ),
        (
            {"hidden": (8, 0)},
            "`hidden` must be an integer of at least 1. Received: hidden=0",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    """Each argument out of range is refused, by name and value."""
    with pytest.raises(ValueError) as error:
        models.MLP((2,), **arguments)
    assert str(error.value) == message


_LOAD = """
import sys
import numpy as np
import tfrobust.layers
import keras

folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
for name in sys.argv[2:]:
    network = keras.models.load_model(f"{folder}/{name}.keras", safe_mode=True)
    np.save(f"{folder}/{name}.npy", network(images).numpy())
for part in ("models", "training", "penalties", "attacks", "data", "viz"):
    if f"tfrobust.{part}" in sys.modules:
        sys.exit(f"tfrobust.{part} was imported")
"""


def saved(folder):
    """Both variants of two networks as files, and their logits on one batch."""
    images = np.random.default_rng(0).random((3, 9, 8, 3), "float32")
    np.save(folder / "images.npy", images)
    logits = {}
    for variant in ("standard", "lcnn"):
        networks = {
            "mlp": models.MLP((9, 8, 3), 4, variant=variant, hidden=(5,)),
            "resnet": models.ResNet18((9, 8, 3), 4, variant=variant, width=2),
        }
        for name, network in networks.items():
            network(images, training=True)
            network.save(folder / f"{name}_{variant}.keras")
            logits[f"{name}_{variant}"] = network(images).numpy()
    return logits


@pytest.mark.slow
def test_files_load_with_the_layers_alone(tmp_path):
    """A new process needs `import tfrobust.layers` and gets no other code of ours."""
    logits = saved(tmp_path)
    finished = subprocess.run(
        [sys.executable, "-c", _LOAD, str(tmp_path), *logits],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    for name, expected in logits.items():
        loaded = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_allclose(loaded, expected, rtol=1e-5, atol=1e-6)
