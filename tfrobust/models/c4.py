"""The small MNIST network of the smooth adversarial examples paper, C4."""

from __future__ import annotations

from typing import Any

import keras

from tfrobust.layers import SpectralConv2D
from tfrobust.models.parts import VARIANTS, Parts, check_image_shape
from tfrobust.models.registry import register
from tfrobust.settings import require_steps

# (channels as a multiple of `width`, kernel size, stride, padding) of each convolution.
_CONVOLUTIONS = ((1, 8, 2, "same"), (2, 6, 2, "valid"), (2, 5, 1, "valid"))
# The smallest image of which the last convolution still sees 5x5 places.
_SMALLEST = 27


@register("c4")
def C4(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    classes: int = 10,
    variant: str = "standard",
    width: int = 64,
    *,
    beta: float = 5.0,
    name: str = "c4",
) -> keras.Model:
    """Three convolutions and a dense layer, with biases and without normalisation.

    8x8 at stride 2, 6x6 at stride 2, 5x5, and what is left is 1x1 on a 28x28 image.
    The activation of the standard variant is ReLU itself, as in the published network
    and unlike in the other models here, whose standard is a softplus at beta = 1000:
    C4 is trained and attacked, its curvature is measured on the other two variants.

    Args:
        input_shape: `(height, width, channels)`; height and width at least 27.
        classes: Number of classes K.
        variant: `"standard"` (ReLU), `"softplus"` (centered, at `beta`) or `"lcnn"`
            (spectral layers, centered softplus with a learnable beta).
        width: Channels of the first convolution, half of the others'; 64 is the
            published network of 710,218 weights.
        beta: Of every activation: where `lcnn` starts, what `softplus` keeps.
        name: Name of the model.

    Returns:
        A functional `keras.Model` from images float32 `[B,H,W,C]` in [0, 1] to logits
        float32 `[B,K]`.

    Raises:
        ValueError: If an argument is out of range or the image is too small.

    Reference: Zhang et al. 2020, Smooth Adversarial Examples, the MNIST network
    (SMO-S1).

    Example:
        >>> from tfrobust import models
        >>> models.C4().count_params()
        710218
    """
    require_steps("classes", classes)
    require_steps("width", width)
    shape = check_image_shape(input_shape)
    if min(shape[:2]) < _SMALLEST:
        raise ValueError(
            f"`input_shape` must have a height and width of at least {_SMALLEST}, "
            "which C4's unpadded convolutions shrink to one place. "
            f"Received: input_shape={shape}"
        )
    # Its standard variant is plain already: ReLU, and no norm.
    allowed = [name for name in VARIANTS if name != "plain"]
    if variant not in allowed:
        raise ValueError(
            f"`variant` must be one of {', '.join(allowed)}. "
            f"Received: variant={variant!r}"
        )
    parts = Parts(variant=variant, beta=beta)
    convolution = SpectralConv2D if parts.has("spectral") else keras.layers.Conv2D
    images = keras.Input(shape, name="images")
    x = images
    for index, (multiple, size, strides, padding) in enumerate(_CONVOLUTIONS, start=1):
        x = convolution(
            multiple * width,
            size,
            strides=strides,
            padding=padding,
            use_bias=True,
            kernel_initializer="glorot_uniform",
            name=f"block{index}_conv",
        )(x)
        x = _activation(parts, x, name=f"block{index}_activation")
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(images, parts.dense(x, classes, name="logits"), name=name)


def _activation(parts: Parts, x: Any, name: str) -> Any:
    """True ReLU in the standard variant, the parts' centered softplus in the others."""
    if parts.variant == "standard":
        return keras.layers.ReLU(name=name)(x)
    return parts.activation(x, name=name)
