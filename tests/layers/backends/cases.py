"""Every layer of the library with arguments, for tests that run on every backend.

A new layer is one more entry: `test_files.py` fails until there is one.
"""

import functools
import inspect
from typing import Any, NamedTuple

import keras
import numpy as np

from tests.layers.backends import numpy_layers as numpy_of
from tfrobust import layers


class Case(NamedTuple):
    """A layer and its float64 oracle.

    Attributes:
        kind: Name of the class in `tfrobust.layers`.
        arguments: Those of the layer.
        shape: Of one input, without the batch.
        forward: From `numpy_layers`.
    """

    kind: str
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    forward: Any

    def layer(self):
        return getattr(layers, self.kind)(**self.arguments)


_CONV = numpy_of.spectral(numpy_of.convolution)
_DEPTHWISE = numpy_of.spectral(numpy_of.depthwise)
_TRANSPOSED = numpy_of.spectral(numpy_of.transposed)

_ALL = {
    "softplus": Case(
        "CenteredSoftplus", {"beta": 2.5}, (4, 3, 2), numpy_of.centered_softplus
    ),
    "norm": Case(
        "LipschitzBatchNormalization",
        {"gamma": 0.5, "momentum": 0.7, "epsilon": 1e-3},
        (4, 3, 2),
        numpy_of.batch_norm,
    ),
    "affine": Case("ChannelAffine", {"bound": 0.5}, (4, 3, 2), numpy_of.affine),
    "conv": Case("SpectralConv2D", {"filters": 4, "kernel_size": 3}, (5, 4, 2), _CONV),
    "conv strided": Case(
        "SpectralConv2D",
        {"filters": 3, "kernel_size": (3, 2), "strides": (2, 1), "use_bias": True},
        (5, 4, 2),
        _CONV,
    ),
    "conv valid": Case(
        "SpectralConv2D",
        {"filters": 3, "kernel_size": 2, "strides": 2, "padding": "valid"},
        (6, 5, 2),
        _CONV,
    ),
    "conv even": Case(
        "SpectralConv2D", {"filters": 2, "kernel_size": (4, 2)}, (5, 4, 2), _CONV
    ),
    "conv pixelwise": Case(
        "SpectralConv2D",
        {"filters": 3, "kernel_size": 1, "strides": 2},
        (5, 4, 2),
        _CONV,
    ),
    "conv dilated": Case(
        "SpectralConv2D",
        {"filters": 3, "kernel_size": (3, 2), "dilation_rate": (1, 2)},
        (5, 6, 2),
        _CONV,
    ),
    "conv grouped": Case(
        "SpectralConv2D",
        {"filters": 4, "kernel_size": 3, "strides": 2, "groups": 2},
        (5, 4, 4),
        _CONV,
    ),
    "depthwise": Case(
        "SpectralDepthwiseConv2D",
        {"kernel_size": 3, "strides": 2, "depth_multiplier": 2, "use_bias": True},
        (5, 4, 3),
        _DEPTHWISE,
    ),
    "depthwise dilated": Case(
        "SpectralDepthwiseConv2D",
        {"kernel_size": (2, 3), "padding": "valid", "dilation_rate": 2},
        (5, 6, 2),
        _DEPTHWISE,
    ),
    "transposed": Case(
        "SpectralConv2DTranspose",
        {"filters": 3, "kernel_size": 3, "strides": 2, "use_bias": True},
        (3, 2, 2),
        _TRANSPOSED,
    ),
    "transposed valid": Case(
        "SpectralConv2DTranspose",
        {"filters": 2, "kernel_size": (2, 4), "strides": (1, 3), "padding": "valid"},
        (3, 2, 2),
        _TRANSPOSED,
    ),
    "dense": Case(
        "SpectralDense", {"units": 5}, (4,), numpy_of.spectral(numpy_of.dense)
    ),
    "dense of rank 3": Case(
        "SpectralDense",
        {"units": 2, "use_bias": False, "power_iterations": 3},
        (4, 3),
        numpy_of.spectral(numpy_of.dense),
    ),
}


def _is_here(case):
    kind = getattr(layers, case.kind, None)
    return kind and set(case.arguments) <= set(inspect.signature(kind).parameters)


CASES = {name: case for name, case in _ALL.items() if _is_here(case)}
SPECTRAL = [name for name, case in CASES.items() if case.kind.startswith("Spectral")]


def images(*shape, seed=0):
    """Standard normal float32 numbers, the same on every run and backend."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def as_numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def weights_of(layer):
    return {weight.name: np.float64(as_numpy(weight.value)) for weight in layer.weights}


def model_of(case):
    """The layer alone in a functional model, no weight where it is initialised.

    The singular vectors of a spectral layer are still those of its first kernel.
    """
    inputs = keras.Input(case.shape)
    layer = case.layer()
    model = keras.Model(inputs, layer(inputs))
    for number, weight in enumerate(layer.weights):
        noise = images(*weight.shape, seed=number + 1)
        if weight.name in ("bias", "scale", "shift", "moving_mean", "kernel"):
            weight.assign(noise)
        elif weight.name == "moving_variance":
            weight.assign(0.5 + noise**2)
    return model


@functools.cache
def settled(name):
    """The same with the singular vectors of its kernel, for tests that train nothing.

    Made once for all of them, since JAX compiles each operation.
    """
    model = model_of(CASES[name])
    if name in SPECTRAL:
        model.layers[1].refresh(60)
    return model


def constant_of(model):
    """Lipschitz constant of an affine model: the norm of its matrix, by NumPy."""
    shape = model.input_shape[1:]
    shift = as_numpy(model(np.zeros((1, *shape), "float32"), training=False))
    whole = numpy_of.matrix(
        lambda x: as_numpy(model(x.astype("float32"), training=False)) - shift, shape
    )
    return np.linalg.norm(np.float64(whole), 2)
