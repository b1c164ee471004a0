"""What stands for one layer in a low-curvature network, and takes its weights over."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from tfrobust.core.errors import first_line
from tfrobust.layers import (
    CenteredSoftplus,
    ChannelAffine,
    LipschitzBatchNormalization,
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
    SpectralDepthwiseConv2D,
    SpectralLayer,
)

_IMAGE = ("kernel_size", "strides", "padding")
# What a layer becomes, with the settings that the two share.
_SPECTRAL = {
    kl.Conv2D: (SpectralConv2D, ("filters", "dilation_rate", "groups", *_IMAGE)),
    kl.Conv2DTranspose: (SpectralConv2DTranspose, ("filters", *_IMAGE)),
    kl.Dense: (SpectralDense, ("units",)),
    kl.DepthwiseConv2D: (
        SpectralDepthwiseConv2D,
        ("depth_multiplier", "dilation_rate", *_IMAGE),
    ),
}
# Of Krylov iteration, for the norms that weights are divided by.
_ROUNDS = 30
# Layers that are a linear map and an activation.
LINEAR = (*_SPECTRAL, kl.SeparableConv2D)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """How a network is converted.

    Attributes:
        beta: Where each centered softplus starts.
        gamma: Where each gamma-Lipschitz batch norm starts.
        spectral: Whether linear maps are divided by their norms.
        affine: Whether scale and shift of batch norms are kept.
        power_iterations: Of the spectral layers.
    """

    beta: float
    gamma: float
    spectral: bool
    affine: bool
    power_iterations: int = 1


def can_be_spectral(layer: Any) -> bool:
    """Whether a layer's linear map has a spectral layer of this library.

    Exact types, since a subclass may do anything; channels last; no adapter's or
    quantized weights.

    Example:
        >>> import keras
        >>> layer = keras.layers.Conv2D(4, 3)
        >>> layer.build((None, 8, 8, 3))
        >>> can_be_spectral(layer)
        True
    """
    kernels = 2 if type(layer) is kl.SeparableConv2D else 1
    return (
        type(layer) in LINEAR
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and len(layer.weights) == kernels + bool(layer.use_bias)
        and all(
            weight.dtype.startswith(("float", "bfloat")) for weight in layer.weights
        )
        and not (type(layer) is kl.Conv2DTranspose and _is_odd_transpose(layer))
    )


def _is_odd_transpose(layer: Any) -> bool:
    return layer.output_padding is not None or max(layer.dilation_rate) > 1


def spectral_layers(layer: Any, form: Form, name: str) -> list[SpectralLayer]:
    """The spectral layers that stand for a linear one: two of a separable convolution.

    Args:
        layer: One that `can_be_spectral`.
        form: The settings.
        name: Of the first where there are two; the last has the layer's own.
    """
    shared = {
        "power_iterations": form.power_iterations,
        "trainable": layer.trainable,
        "dtype": layer.dtype_policy,
    }
    if type(layer) is kl.SeparableConv2D:
        settings = {
            key: getattr(layer, key)
            for key in ("depth_multiplier", "dilation_rate", *_IMAGE)
        }
        depthwise = SpectralDepthwiseConv2D(**settings, **shared, name=name)
        pointwise = SpectralConv2D(
            layer.filters, 1, use_bias=layer.use_bias, **shared, name=layer.name
        )
        return [depthwise, pointwise]
    kind, keys = _SPECTRAL[type(layer)]
    settings = {key: getattr(layer, key) for key in keys}
    settings["use_bias"] = layer.use_bias
    return [kind(**settings, **shared, name=layer.name)]


def carry_linear(layer: Any, spectral: list[SpectralLayer]) -> float:
    """Gives spectral layers the weights of the one that they stand for.

    Returns:
        The norm by which the layer's answers are divided now, bias included; 1 for a
        kernel of zeros.
    """
    if type(layer) is kl.SeparableConv2D:
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    else:
        kernels = [layer.kernel]
    product = 1.0
    for new, kernel in zip(spectral, kernels, strict=True):
        new.kernel.assign(np.asarray(kernel, np.float32))
        new.refresh(_ROUNDS)
        norm = float(new.spectral_norm())
        product *= norm if norm > 0.0 else 1.0
    bias = spectral[-1].bias
    if bias is not None:
        bias.assign(np.asarray(layer.bias, np.float32) / product)
    return product


def is_batch_norm(layer: Any) -> bool:
    """Whether a layer is Keras's batch norm over the last axis.

    Example:
        >>> import keras
        >>> is_batch_norm(keras.layers.LayerNormalization())
        False
    """
    return type(layer) is kl.BatchNormalization and layer.axis in (
        -1,
        layer.input_spec.ndim - 1,
    )


def norm_layers(
    layer: kl.BatchNormalization, form: Form, name: str, norm: float
) -> list[kl.Layer]:
    """The gamma-Lipschitz batch norm, and behind it scale and shift if they are kept.

    Args:
        layer: The batch norm.
        form: The settings.
        name: Of scale and shift.
        norm: By which its input has been divided; epsilon is in its square's units.
    """
    shared = {"trainable": layer.trainable, "dtype": layer.dtype_policy}
    first = LipschitzBatchNormalization(
        gamma=form.gamma,
        momentum=layer.momentum,
        epsilon=layer.epsilon / norm**2,
        synchronized=layer.synchronized,
        name=layer.name,
        **shared,
    )
    if not (form.affine and (layer.scale or layer.center)):
        return [first]
    bound = 1.0 if form.spectral else None
    return [first, ChannelAffine(bound, name=name, **shared)]


def carry_norm(
    layer: kl.BatchNormalization, layers: list[kl.Layer], norm: float
) -> None:
    """Gives statistics, of features divided by `norm`, and scale and shift."""
    first, *affine = layers
    first.moving_mean.assign(np.asarray(layer.moving_mean) / norm)
    first.moving_variance.assign(np.asarray(layer.moving_variance) / norm**2)
    for new in affine:
        if layer.gamma is not None:
            new.scale.assign(layer.gamma)
        if layer.beta is not None:
            new.shift.assign(layer.beta)


def softplus(
    layer: Any, form: Form, name: str, max_value: float | None
) -> CenteredSoftplus:
    """The centered softplus for an activation, or for that of a layer."""
    return CenteredSoftplus(
        form.beta,
        max_value,
        name=name,
        trainable=getattr(layer, "trainable", True),
        dtype=getattr(layer, "dtype_policy", None),
    )


def copy_of(layer: Any, **changes: Any) -> kl.Layer:
    """A layer of the same configuration with weights of its own.

    Args:
        layer: Any Keras layer.
        **changes: Settings to change.

    Raises:
        ValueError: If its configuration does not rebuild it.
    """
    try:
        return layer.__class__.from_config({**layer.get_config(), **changes})
    # A layer may be anything.
    except Exception as error:
        if not layer.variables and not changes:
            return layer  # There is nothing that two networks could train.
        raise ValueError(
            "`network` must have layers that their configuration rebuilds. "
            f"Received: a {type(layer).__name__} named {layer.name!r}, which says: "
            f"{first_line(error)}"
        ) from error


def carry_copy(layer: Any, copy: Any) -> None:
    """Gives a copy the layer's weights."""
    if copy is layer:
        return
    copy.set_weights(layer.get_weights())
    if isinstance(copy, kl.Normalization):
        copy.finalize_state()


def lost_settings(layer: Any) -> list[str]:
    """Regularizers and constraints that the layers of this library do not have.

    Example:
        >>> import keras
        >>> lost_settings(keras.layers.Dense(2, kernel_regularizer="l2"))
        ['without its kernel_regularizer']
    """
    return [
        f"without its {name}"
        for name, value in layer.get_config().items()
        if name.endswith(("_regularizer", "_constraint")) and value is not None
    ]


def scaling_of(
    kind: str, arguments: tuple[Any, ...], name: str, dtype: Any
) -> keras.layers.Rescaling | None:
    """The layer for arithmetic of one tensor and one number.

    Keras marks a scaled symbolic tensor as sparse, which layers of one's own refuse,
    and bounds know layers alone.

    Args:
        kind: Class name of the operation.
        arguments: Its two arguments, a tensor and a number in either order.
        name: Of the layer.
        dtype: Of the tensor.

    Returns:
        The layer, or `None` for other arithmetic.
    """
    numbers = [a for a in arguments if isinstance(a, (int, float, np.number))]
    if len(arguments) != 2 or len(numbers) != 1:
        return None
    number, first = float(numbers[0]), isinstance(arguments[0], keras.KerasTensor)
    scale_and_offset = {
        "Add": (1.0, number),
        "Multiply": (number, 0.0),
        "Subtract": (1.0, -number) if first else (-1.0, number),
        "TrueDivide": (1.0 / number, 0.0) if first and number else None,
    }.get(kind)
    if scale_and_offset is None:
        return None
    scale, offset = scale_and_offset
    return kl.Rescaling(scale, offset, name=name, dtype=dtype)
