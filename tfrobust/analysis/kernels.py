"""How smooth the kernels of a network's convolutions are.

"Dissecting Local Properties of Adversarial Examples" ties robustness to smooth kernels:
one whose neighbouring weights are alike averages a disordered perturbation away, one
whose weights alternate adds it up (figure 4).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np

from tfrobust.layers import SpectralConv2D, SpectralDepthwiseConv2D, find_layers

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    SpectralConv2D,
    SpectralDepthwiseConv2D,
)


class KernelSmoothness(NamedTuple):
    """How much a layer's weights vary within its kernels.

    Attributes:
        name: The layer's.
        size: Height and width of its kernels.
        variation: From `kernel_variation`, the less the smoother; NaN for 1x1 kernels.
    """

    name: str
    size: tuple[int, int]
    variation: float


def kernel_variation(kernel: Any) -> float:
    """Variation between neighbouring weights over the weights' norm.

    `sum (w_i - w_j)^2 / sum (w_i^2 + w_j^2)`, both over all pairs of weights above and
    beside each other in the kernel from one input channel to one output channel, and
    over all such kernels. So

    - 0 is a constant kernel, 1 what independent weights about 0 have on average, and 2,
      the largest value there is, a checkerboard;
    - 1 less the value is how much neighbours correlate;
    - a factor does not matter, so neither does a division by the spectral norm, and
      values of 3x3 and 7x7 kernels compare, since a weight counts in the norm once for
      each of its neighbours;
    - kernels count by their energy: those near 0 do not matter.

    Args:
        kernel: Numbers `[h,w,...]`; all axes but the first two are kernels apart.

    Returns:
        A number in [0, 2]; NaN where there are no neighbours, as in 1x1 kernels, or all
        weights that have some are 0, or a weight is not finite.

    Raises:
        ValueError: If the kernel is not of rank 2 or more.

    Reference: Dissect, figure 4 and its smooth kernels; the formula is ours.

    Example:
        >>> kernel_variation([[1.0, -1.0], [-1.0, 1.0]])
        2.0
        >>> kernel_variation([[1.0, 1.0, 0.0]])
        0.3333333333333333
    """
    weights = np.asarray(kernel, np.float64)
    if weights.ndim < 2:
        raise ValueError(
            f"`kernel` must have shape [h, w, ...]. Received: shape={weights.shape}"
        )
    if not np.isfinite(weights).all():
        return math.nan
    # The value is the same at any size; this keeps squares of small weights from 0.
    weights = weights / (np.abs(weights).max(initial=0.0) or 1.0)
    pairs = ((weights[:-1], weights[1:]), (weights[:, :-1], weights[:, 1:]))
    varied = sum(float(np.sum((a - b) ** 2)) for a, b in pairs)
    norm = sum(float(np.sum(a**2) + np.sum(b**2)) for a, b in pairs)
    return varied / norm if norm else math.nan


def kernel_smoothness(model: keras.Model) -> list[KernelSmoothness]:
    """`kernel_variation` of every two-dimensional convolution of a model.

    Plain and depthwise ones, Keras's and spectral, in nested models too. The neighbours
    in a dilated kernel are those in its array.

    Args:
        model: A Keras model that is built.

    Returns:
        A row a layer, in the order of the network; none for a network without
        convolutions.

    Raises:
        ValueError: If `model` is not a Keras model, or a convolution is not built.

    Example:
        >>> layers = [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 1, name="mix")]
        >>> kernel_smoothness(keras.Sequential(layers))
        [KernelSmoothness(name='mix', size=(1, 1), variation=nan)]
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a Keras model. Received: {type(model).__name__}"
        )
    layers = find_layers(model, keras.layers.Layer)
    return [_of_layer(layer) for layer in layers if isinstance(layer, _CONVOLUTIONS)]


def _of_layer(layer: keras.layers.Layer) -> KernelSmoothness:
    if not layer.built:
        raise ValueError(
            "`model` must be built, so that it has weights. "
            f"Received: a model whose layer {layer.name!r} is not"
        )
    kernel = np.asarray(layer.kernel)
    height, width = kernel.shape[:2]
    variation = kernel_variation(kernel)
    return KernelSmoothness(layer.name, (int(height), int(width)), variation)
