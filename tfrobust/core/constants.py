"""Lipschitz constant and largest second derivative of single Keras layers.

Every number is that of the layer at inference with its present weights, as a map from
one flattened example to another with Euclidean norms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers as kl

from tfrobust.core.map_norms import (
    average_norm,
    convolution_norm,
    depthwise_norm,
    map_norm,
    matrix_norm,
    transposed_norm,
)
from tfrobust.layers import (
    CenteredSoftplus,
    ChannelAffine,
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
    SpectralDepthwiseConv2D,
)


class Constants(NamedTuple):
    """Bounds on the derivatives of a map, over all inputs.

    Attributes:
        lipschitz: On the operator norm of the first derivative.
        hessian: On that of the second derivative, a bilinear map: the largest
            `norm(D2 f[a, b])` of unit vectors a and b. Infinite where the first
            derivative jumps.
    """

    lipschitz: float
    hessian: float = 0.0


# name -> (largest first, largest second derivative) of elementwise functions.
_ACTIVATIONS = {
    "linear": Constants(1.0),
    "relu": Constants(1.0, math.inf),
    "softplus": Constants(1.0, 0.25),
    "tanh": Constants(1.0, 4.0 / math.sqrt(27.0)),
    "sigmoid": Constants(0.25, 1.0 / math.sqrt(108.0)),
}


def compose(outer: Constants, inner: Constants) -> Constants:
    """Constants of `outer(inner(x))`, by the chain rule.

    `D2(g o f)[a, b] = D2g[Df a, Df b] + Dg D2f[a, b]`.

    Example:
        >>> compose(Constants(2.0, 1.0), Constants(3.0, 5.0))
        Constants(lipschitz=6.0, hessian=19.0)
    """
    bend = _product(outer.hessian, inner.lipschitz**2)
    bend += _product(outer.lipschitz, inner.hessian)
    return Constants(outer.lipschitz * inner.lipschitz, bend)


def layer_constants(layer: Any, shape: Any) -> Constants:
    """Constants of a layer with one input.

    Args:
        layer: A built Keras layer.
        shape: Shape of its input, batch first.

    Returns:
        Its `Constants`.

    Raises:
        ValueError: If the layer's kind, or a setting of it, is not known.

    Example:
        >>> import keras
        >>> layer_constants(keras.layers.Rescaling(1 / 4), (None, 8, 8, 3))
        Constants(lipschitz=0.25, hessian=0.0)
    """
    # Not isinstance: a subclass may compute something else.
    rule = _RULES.get(type(layer))
    if rule is None:
        raise ValueError(
            "`network` must be made of layers whose constants are known. "
            f"Received: a {type(layer).__name__} named {layer.name!r}"
        )
    return rule(layer, shape)


def without_activation(layer: Any, shape: Any) -> Constants:
    """Constants of what a layer gives its activation.

    Args:
        layer: A built Keras layer with an activation, or one that is nothing else.
        shape: Shape of its input, batch first.

    Returns:
        Its `Constants`.

    Raises:
        ValueError: As for `layer_constants`.

    Example:
        >>> import keras
        >>> without_activation(keras.layers.Softmax(), (None, 3))
        Constants(lipschitz=1.0, hessian=0.0)
    """
    if type(layer) is kl.Dense:
        return _linear_dense(layer)
    if type(layer) is kl.Conv2D:
        return _linear_convolution(layer, shape)
    if type(layer) in (kl.Activation, kl.Softmax):
        return Constants(1.0)
    return layer_constants(layer, shape)


def merge_constants(layer: Any, inputs: list[Constants]) -> Constants | None:
    """Constants of a layer that merges several inputs, `None` for other layers.

    Args:
        layer: A Keras layer.
        inputs: The constants of each input as functions of the network's input.

    Returns:
        The constants of the output as a function of the network's input.
    """
    slopes = [constants.lipschitz for constants in inputs]
    bends = [constants.hessian for constants in inputs]
    if type(layer) in (kl.Add, kl.Subtract):
        return Constants(sum(slopes), sum(bends))
    if type(layer) is kl.Average:
        return Constants(sum(slopes) / len(slopes), sum(bends) / len(bends))
    if type(layer) is kl.Concatenate:
        return Constants(math.hypot(*slopes), math.hypot(*bends))
    return None


def _product(a: float, b: float) -> float:
    """`a * b`, where zero times infinity is zero."""
    return 0.0 if 0.0 in (a, b) else a * b


def _isometry(layer: Any, shape: Any) -> Constants:
    return Constants(1.0)


def _activation(layer: Any, shape: Any) -> Constants:
    return _named_activation(layer, layer.activation)


def _named_activation(layer: Any, function: Any) -> Constants:
    name = getattr(function, "__name__", "a function")
    # By identity: a function of the user's may carry the same name.
    if name not in _ACTIVATIONS or function is not keras.activations.get(name):
        raise ValueError(
            f"`network` must have activations among {', '.join(_ACTIVATIONS)}. "
            f"Received: {name} in the layer named {layer.name!r}"
        )
    return _ACTIVATIONS[name]


def _relu(layer: Any, shape: Any) -> Constants:
    return Constants(max(1.0, abs(float(layer.negative_slope))), math.inf)


def _centered_softplus(layer: CenteredSoftplus, shape: Any) -> Constants:
    return Constants(1.0, float(layer.beta) / 4.0)


def _rescaling(layer: Any, shape: Any) -> Constants:
    return Constants(float(np.max(np.abs(np.asarray(layer.scale)))))


def _batch_norm(layer: Any, shape: Any) -> Constants:
    stretch = 1.0 / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
    if layer.gamma is not None:
        stretch = stretch * np.abs(np.asarray(layer.gamma))
    return Constants(float(np.max(stretch)))


def _lipschitz_batch_norm(layer: LipschitzBatchNormalization, shape: Any) -> Constants:
    return Constants(float(layer.lipschitz_constant()))


def _dense(layer: Any, shape: Any) -> Constants:
    return compose(_named_activation(layer, layer.activation), _linear_dense(layer))


def _linear_dense(layer: Any) -> Constants:
    dtype = keras.backend.standardize_dtype(layer.kernel.dtype)
    if "int" in dtype:  # Quantized: the numbers of the kernel are without their scales.
        raise ValueError(
            "`network` must have kernels of floating-point numbers. "
            f"Received: {dtype} in the layer named {layer.name!r}"
        )
    return Constants(matrix_norm(layer.kernel))


def _spectral_dense(layer: SpectralDense, shape: Any) -> Constants:
    return Constants(matrix_norm(layer.normalized_kernel()))


def _convolution(layer: Any, shape: Any) -> Constants:
    linear = _linear_convolution(layer, shape)
    return compose(_named_activation(layer, layer.activation), linear)


def _linear_convolution(layer: Any, shape: Any) -> Constants:
    norm = convolution_norm(
        layer.kernel,
        _image(layer, shape),
        layer.strides,
        layer.padding,
        layer.dilation_rate,
        layer.groups,
    )
    return Constants(norm)


def _depthwise(layer: Any, shape: Any) -> Constants:
    norm = depthwise_norm(
        layer.kernel,
        _image(layer, shape),
        layer.strides,
        layer.padding,
        layer.dilation_rate,
    )
    return compose(_named_activation(layer, layer.activation), Constants(norm))


def _separable(layer: Any, shape: Any) -> Constants:
    """The bound of its two convolutions, one after the other."""
    size = _image(layer, shape)
    kernels = layer.depthwise_kernel, layer.pointwise_kernel
    settings = (layer.strides, layer.padding, layer.dilation_rate)
    norm = depthwise_norm(kernels[0], size, *settings)
    norm *= matrix_norm(np.asarray(kernels[1])[0, 0])
    return compose(_named_activation(layer, layer.activation), Constants(norm))


def _transposed(layer: Any, shape: Any) -> Constants:
    padding, dilation = layer.output_padding, tuple(layer.dilation_rate)
    if padding is not None or dilation != (1, 1):
        raise ValueError(
            "`network` must have transposed convolutions without output padding or "
            f"dilation. Received: output_padding={padding}, dilation_rate={dilation} "
            f"in the layer named {layer.name!r}"
        )
    norm = transposed_norm(
        layer.kernel, _image(layer, shape), layer.strides, layer.padding
    )
    return compose(_named_activation(layer, layer.activation), Constants(norm))


def _spectral_image(layer: Any, shape: Any) -> Constants:
    """Of the kernel that it really applies."""
    kernel = layer.normalized_kernel()

    def apply(x: Any) -> Any:
        return layer.linear_map(keras.ops.convert_to_tensor(x), kernel)

    def adjoint(y: Any) -> Any:
        return layer.adjoint_map(y, kernel)

    return Constants(map_norm(apply, adjoint, _static_size(shape[1:])))


def _global_average(layer: Any, shape: Any) -> Constants:
    _check_channels_last(layer)
    return Constants(1.0 / math.sqrt(math.prod(_static_size(shape[1:3]))))


def _average_pooling(layer: Any, shape: Any) -> Constants:
    """The pooling matrix is the Kronecker product of one for each axis."""
    _check_channels_last(layer)
    axes = zip(_static_size(shape[1:3]), layer.pool_size, layer.strides, strict=True)
    return Constants(math.prod(average_norm(*axis, layer.padding) for axis in axes))


def _max_pooling(layer: Any, shape: Any) -> Constants:
    """Each pixel may win in every window that covers it."""
    windows = [
        -(-pool // stride)
        for pool, stride in zip(layer.pool_size, layer.strides, strict=True)
    ]
    return Constants(math.sqrt(math.prod(windows)), math.inf)


def _global_max(layer: Any, shape: Any) -> Constants:
    return Constants(1.0, math.inf)


def _upsampling(layer: Any, shape: Any) -> Constants:
    """Each pixel is repeated."""
    if layer.interpolation != "nearest":
        raise ValueError(
            "`network` must have upsampling by repetition. Received: interpolation="
            f"{layer.interpolation!r} in the layer named {layer.name!r}"
        )
    return Constants(math.sqrt(math.prod(layer.size)))


def _normalization(layer: Any, shape: Any) -> Constants:
    # Keras divides by the deviation or by its epsilon, whichever is larger.
    spread = np.sqrt(np.asarray(layer.variance, np.float64))
    spread = np.maximum(spread, keras.config.epsilon())
    stretch = float(np.max(spread if layer.invert else 1.0 / spread))
    return Constants(stretch)


def _leaky_relu(layer: Any, shape: Any) -> Constants:
    return Constants(max(1.0, abs(float(layer.negative_slope))), math.inf)


def _affine(layer: ChannelAffine, shape: Any) -> Constants:
    return Constants(float(layer.lipschitz_constant()))


def _image(layer: Any, shape: Any) -> tuple[int, ...]:
    _check_channels_last(layer)
    return _static_size(shape[1:])


def _check_channels_last(layer: Any) -> None:
    if layer.data_format != "channels_last":
        raise ValueError(
            "`network` must have its channels last. "
            f"Received: {layer.data_format!r} in the layer named {layer.name!r}"
        )


def _static_size(size: Any) -> tuple[int, ...]:
    if None in size:
        raise ValueError(
            "`network` must have a known image size, on which the norm of a "
            f"convolution depends. Received: {tuple(size)}"
        )
    return tuple(size)


_RULES: dict[type, Callable[[Any, Any], Constants]] = {
    kl.Activation: _activation,
    kl.AveragePooling2D: _average_pooling,
    kl.BatchNormalization: _batch_norm,
    kl.Conv2D: _convolution,
    kl.Conv2DTranspose: _transposed,
    kl.Cropping2D: _isometry,
    kl.Dense: _dense,
    kl.DepthwiseConv2D: _depthwise,
    kl.Dropout: _isometry,
    kl.Flatten: _isometry,
    kl.GaussianDropout: _isometry,
    kl.GaussianNoise: _isometry,
    kl.GlobalAveragePooling2D: _global_average,
    kl.GlobalMaxPooling2D: _global_max,
    kl.Identity: _isometry,
    kl.LeakyReLU: _leaky_relu,
    kl.MaxPooling2D: _max_pooling,
    kl.Normalization: _normalization,
    kl.Permute: _isometry,
    kl.ReLU: _relu,
    kl.Rescaling: _rescaling,
    kl.Reshape: _isometry,
    kl.SeparableConv2D: _separable,
    kl.SpatialDropout2D: _isometry,
    kl.UpSampling2D: _upsampling,
    kl.ZeroPadding2D: _isometry,
    CenteredSoftplus: _centered_softplus,
    ChannelAffine: _affine,
    LipschitzBatchNormalization: _lipschitz_batch_norm,
    SpectralConv2D: _spectral_image,
    SpectralConv2DTranspose: _spectral_image,
    SpectralDense: _spectral_dense,
    SpectralDepthwiseConv2D: _spectral_image,
}
