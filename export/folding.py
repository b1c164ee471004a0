"""A network for inference alone: what does not change any more is computed once.

A spectral layer divides its kernel by a norm, and a batch norm or an affine layer
scales and shifts the features, in every call anew. Once training has ended these are
constants, so they go into the kernel and bias of the convolution or dense layer in
front.
"""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from export.inputs import free_side
from tfrobust.core.errors import first_line
from tfrobust.core.keras_graph import is_graph, read_graph
from tfrobust.core.pixels import UNIT, Bounds, from_unit
from tfrobust.layers import (
    ChannelAffine,
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
    SpectralDepthwiseConv2D,
    linear_maps,
    network_of,
)

# Each with Keras's own of the same map, and the settings that the two share.
_IMAGE = ("kernel_size", "strides", "padding")
_PLAIN = {
    SpectralConv2D: (keras.layers.Conv2D, ("filters", "dilation_rate", *_IMAGE)),
    SpectralConv2DTranspose: (keras.layers.Conv2DTranspose, ("filters", *_IMAGE)),
    SpectralDense: (keras.layers.Dense, ("units",)),
    SpectralDepthwiseConv2D: (
        keras.layers.DepthwiseConv2D,
        ("depth_multiplier", "dilation_rate", *_IMAGE),
    ),
}
_LINEAR = (keras.layers.Conv2D, keras.layers.Dense, *_PLAIN)
_NORMS = (keras.layers.BatchNormalization, LipschitzBatchNormalization, ChannelAffine)


class Constant(NamedTuple):
    """What a layer becomes: float64, not rounded to the layer's type yet.

    Attributes:
        kernel: Of the shape of the layer's own.
        bias: `[C]`.
    """

    kernel: np.ndarray
    bias: np.ndarray


def fold(model: keras.Model) -> keras.Model:
    """The same function at inference, of standard layers with constant kernels.

    Spectral layers become Keras's own with the kernel divided by its norm; those of
    several groups stay, since Keras's own need a compiler on a CPU. A batch norm whose
    only input is the output of a convolution or dense layer, which nothing else uses,
    goes into that layer's kernel and bias, and so does a `ChannelAffine` there or
    behind such a norm; others stay. So do activations. Kernels are computed in float64
    and rounded once, so answers agree to float32 rounding.

    Args:
        model: A built functional or sequential Keras model, or a `RobustModel` around
            one. What it computes is not changed. Such models nested in it are folded
            each by itself.

    Returns:
        A new model with layers of the same names; folded norms are
        `keras.layers.Identity`, and layers that folding leaves alone are the model's
        own. Meant for inference: training it would train another network.

    Raises:
        ValueError: If the model is of another kind.

    Example:
        >>> from tfrobust import models
        >>> network = models.ResNet18((8, 8, 3), 10, "lcnn", width=2)
        >>> type(fold(network).get_layer("stem_conv")).__name__
        'Conv2D'
    """
    model = network_of(model)
    _check(model)
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    folded = constants(model)
    norms = {norm.name for _, norm in _pairs(model)}
    weights: dict[str, list[np.ndarray]] = {}

    def replace(layer: Any) -> Any:
        if is_graph(layer):
            return fold(layer)
        if layer.name in norms:
            return keras.layers.Identity(name=layer.name, dtype=layer.dtype_policy)
        if layer.name in folded:
            weights[layer.name] = list(folded[layer.name])
            return _constant(layer)
        # Not a copy: a layer may hold more than its weights and settings tell.
        return layer

    def call(layer: Any, *inputs: Any, **settings: Any) -> Any:
        # A batch norm takes a mask; what stands in for it does not.
        return layer(*inputs) if layer.name in norms else layer(*inputs, **settings)

    clone = keras.models.clone_model(model, clone_function=replace, call_function=call)
    for layer in clone.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
    return clone


def fold_or_keep(model: keras.Model, bounds: Bounds = UNIT) -> keras.Model:
    """The model folded, if it is a graph and answers a batch of noise alike then.

    Args:
        model: Any built Keras model.
        bounds: The range of its pixels, that of the noise.

    Returns:
        The folded model, or else the model or its network itself, with a warning where
        it is a graph.

    Example:
        >>> from tfrobust import models
        >>> network = models.MLP((2, 2, 1), 3, "lcnn", hidden=(5,))
        >>> type(fold_or_keep(network).get_layer("hidden1")).__name__
        'Dense'
    """
    model = network_of(model)
    if not is_graph(model):
        return model
    try:
        served = fold(model)
        if _alike(model, served, bounds):
            return served
        reason = "folding would change its answers"
    # Folding makes layers anew, and a layer may be anything.
    except Exception as error:
        reason = first_line(error)
    warnings.warn(f"The model is served unfolded: {reason}", stacklevel=2)
    return model


def _alike(model: keras.Model, other: keras.Model, bounds: Bounds) -> bool:
    """Whether two models answer a batch of noise alike, but for rounding."""
    shape = model.input_shape[1:]
    free = free_side(shape, functools.partial(model, training=False))
    sides = [side or free for side in shape]
    images = from_unit(tf.random.stateless_uniform([2, *sides], [0, 1]), bounds)
    theirs, ours = (
        [np.asarray(part, np.float64) for part in tf.nest.flatten(each(images))]
        for each in (_at_inference(model), _at_inference(other))
    )
    rounding = np.finfo(np.float16 if _is_half(model) else np.float32).eps
    # Each of many layers rounds; a mistake would move logits by their own size.
    much = min(0.1, 2000 * float(rounding))
    return len(theirs) == len(ours) and all(
        np.allclose(a, b, rtol=0, atol=much * _size(b), equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def _at_inference(model: keras.Model) -> Callable[[tf.Tensor], Any]:
    return functools.partial(model, training=False)


def _size(answer: np.ndarray) -> float:
    return float(np.max(np.abs(answer[np.isfinite(answer)]), initial=1.0))


def _is_half(model: keras.Model) -> bool:
    return any(layer.compute_dtype in ("float16", "bfloat16") for layer in model.layers)


def constants(model: keras.Model) -> dict[str, Constant]:
    """Kernel and bias of every layer that folding changes, before they are rounded.

    Args:
        model: As for `fold`. Models nested in it have constants of their own.

    Returns:
        By name of the layer: those in front of a batch norm that goes into them, and
        spectral ones.

    Raises:
        ValueError: If the model is of another kind.

    Example:
        >>> from tfrobust import models
        >>> network = models.MLP((2, 2, 1), 3, "lcnn", hidden=(5,))
        >>> {k: c.bias.shape for k, c in sorted(constants(network).items())}
        {'hidden1': (5,), 'logits': (3,)}
    """
    model = network_of(model)
    _check(model)
    norms: dict[str, list[keras.layers.Layer]] = {}
    for layer, norm in _pairs(model):
        norms.setdefault(layer.name, []).append(norm)
    return {
        layer.name: _fold_all(layer, norms.get(layer.name, []))
        for layer in model.layers
        if layer.name in norms or _is_spectral(layer)
    }


def _is_spectral(layer: keras.layers.Layer) -> bool:
    # Exact types: a subclass may do anything.
    return type(layer) in _PLAIN and getattr(layer, "groups", 1) == 1


def _check(model: keras.Model) -> None:
    if not is_graph(model):
        raise ValueError(
            "`model` must be a functional or sequential Keras model. "
            f"Received: {type(model).__name__}"
        )


def _pairs(
    model: keras.Model,
) -> Iterator[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Linear layers that end in a norm alone, and that norm; the first in front."""
    layers = {layer.name: layer for layer in model.layers}
    graph = read_graph(model)
    # An output of the model is used by its caller.
    uses = Counter(graph.outputs)
    calls = itertools.chain.from_iterable(graph.calls.values())
    uses.update(itertools.chain.from_iterable(call.inputs for call in calls))
    for norm in model.layers:
        own = graph.calls.get(norm.name, [])
        if type(norm) not in _NORMS or len(own) != 1 or len(own[0].inputs) != 1:
            continue
        (source,) = own[0].inputs
        alone = uses[source] == 1 and len(graph.calls[source[0]]) == 1
        layer = layers.get(source[0])
        if alone and not own[0].training and _is_linear(layer) and _fits(norm, layer):
            # What comes behind this norm finds the layer that it went into.
            layers[norm.name] = layer
            yield layer, norm


def _is_linear(layer: Any) -> bool:
    # Exact types: a subclass may do anything. Half precision would round a folded
    # kernel, where a norm works in float32. More weights are an adapter's or scales.
    return (
        type(layer) in _LINEAR
        and getattr(layer, "activation", None) in (None, keras.activations.linear)
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and layer.compute_dtype in ("float32", "float64")
        and (_is_spectral(layer) or len(layer.weights) == 1 + layer.use_bias)
    )


def _fits(norm: keras.layers.Layer, layer: keras.layers.Layer) -> bool:
    """Whether a norm is over the channels and of the precision of a linear layer."""
    last = len(layer.output.shape) - 1
    return (
        getattr(norm, "axis", -1) in (-1, last)
        and norm.compute_dtype == layer.compute_dtype
    )


def _fold_all(layer: keras.layers.Layer, norms: list[keras.layers.Layer]) -> Constant:
    """Kernel and bias of a layer with the norms behind it, the first in front."""
    kernel = _kernel(layer)
    bias = np.zeros(math.prod(kernel.shape[axis] for axis in _channel_axes(layer)))
    if layer.bias is not None:
        bias = np.asarray(layer.bias, np.float64)
    for norm in norms:
        mean, scale, shift = _mean_scale_and_shift(norm)
        kernel = kernel * _along_channels(layer, kernel, scale)
        bias = (bias - mean) * scale + shift
    return Constant(kernel, bias)


def _channel_axes(layer: keras.layers.Layer) -> tuple[int, ...]:
    """Where a kernel's output channels are."""
    if type(layer) is SpectralDepthwiseConv2D:
        return (-2, -1)
    return (-2,) if type(layer) is SpectralConv2DTranspose else (-1,)


def _along_channels(
    layer: keras.layers.Layer, kernel: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """One number an output channel, to be multiplied with a kernel."""
    shape = [1] * kernel.ndim
    for axis in _channel_axes(layer):
        shape[axis] = kernel.shape[axis]
    return scale.reshape(shape)


def _kernel(layer: keras.layers.Layer) -> np.ndarray:
    """The kernel that a layer uses at inference, float64."""
    kernel = np.asarray(layer.kernel, np.float64)
    if not _is_spectral(layer):
        return kernel

    def apply(image: Any) -> Any:
        return layer.linear_map(image, ops.convert_to_tensor(kernel))

    right = ops.convert_to_tensor(np.asarray(layer.right, np.float64))
    norm = linear_maps.norm_along(apply, right)
    return np.asarray(linear_maps.divide_by_norm(kernel, norm))


def _mean_scale_and_shift(
    norm: keras.layers.Layer,
) -> tuple[np.ndarray | float, np.ndarray, np.ndarray | float]:
    """A norm at inference is `(x - mean) * scale + shift`; float64 `[C]`."""
    if isinstance(norm, ChannelAffine):
        return 0.0, _bounded_scale(norm), np.asarray(norm.shift, np.float64)
    mean = np.asarray(norm.moving_mean, np.float64)
    variance = np.asarray(norm.moving_variance, np.float64)
    deviation = np.sqrt(variance + norm.epsilon)
    if isinstance(norm, LipschitzBatchNormalization):
        bound = np.exp(np.asarray(norm.log_gamma, np.float64))
        return mean, np.minimum(1.0, bound * np.min(deviation)) / deviation, 0.0
    gamma = 1.0 if norm.gamma is None else np.asarray(norm.gamma, np.float64)
    beta = 0.0 if norm.beta is None else np.asarray(norm.beta, np.float64)
    return mean, gamma / deviation, beta


def _bounded_scale(layer: ChannelAffine) -> np.ndarray:
    scale = np.asarray(layer.scale, np.float64)
    if layer.bound is None:
        return scale
    return scale * (layer.bound / max(np.max(np.abs(scale)), layer.bound))


def _constant(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Keras's own layer of the same map, with a bias."""
    config = layer.get_config()
    if type(layer) not in _PLAIN:
        return layer.__class__.from_config({**config, "use_bias": True})
    kind, keys = _PLAIN[type(layer)]
    shared = {"name": layer.name, "dtype": config["dtype"], "use_bias": True}
    return kind(**{key: config[key] for key in keys}, **shared)
