"""Residual networks for small images: plain, standard and low-curvature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tfrobust.models.parts import Parts, check_image_shape
from tfrobust.models.registry import register
from tfrobust.settings import require_steps

# Channels that a bottleneck block returns, over those that its 3x3 convolution has.
_EXPANSION = 4


@register("resnet18")
def ResNet18(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    variant: str = "standard",
    width: int = 64,
    *,
    beta: float = 5.0,
    gamma: float = 10.0,
    synchronized: bool = False,
    lcnn_parts: str = "all",
    name: str = "resnet18",
) -> keras.Model:
    """ResNet-18, 17 convolutions on the main path and one dense layer.

    The CIFAR form: a 3x3 first convolution at full resolution, four stages of basic
    blocks at 1, 2, 4 and 8 times `width` channels, global average pooling, one dense
    layer. Convolutions have no bias. In the variants of the LCNN paper each block
    returns half the sum of branch and shortcut, so that a block of 1-Lipschitz parts is
    1-Lipschitz; they share this skeleton.

    `"plain"` is the network as published, which the PAG (PAG-S1) and Dissect papers
    (DIS-S1) train: ReLU, batch norms with scale and shift, blocks that return the sum;
    11,173,962 weights to train at width 64 and 10 classes. ReLU has a second derivative
    of 0 almost everywhere, but the gradient in the image is a product of weights and
    depends on them: `penalties.GradientNorm` and `GradientAlignment`, which
    differentiate it once more, train this variant through its linear pieces.
    Its curvature is that of the loss alone, and it has no beta for
    `penalties.Curvature`.

    Args:
        input_shape: `(height, width, channels)` of the images.
        classes: Number of classes K.
        variant: `"standard"` (softplus at beta = 1000), `"plain"` (ReLU, as published),
            `"softplus"` (at `beta`) or `"lcnn"` (low-curvature layers).
        width: Channels of the first stage; 64 is the published network.
        beta: Of every activation: where `lcnn` starts, what `softplus` keeps.
        gamma: Initial gamma of every norm (`lcnn` only).
        synchronized: Whether batch norms share statistics over the replicas of a
            `tf.distribute` strategy.
        lcnn_parts: Which parts of `lcnn` are low-curvature: `"all"`, or some of
            `activation`, `spectral` and `norm` with + between, the others being those
            of `standard`.
        name: Name of the model.

    Returns:
        A functional `keras.Model` from images float32 `[B,H,W,C]` in [0, 1] to logits
        float32 `[B,K]`.

    Raises:
        ValueError: If an argument is out of range.

    Reference: He et al. 2016; Srinivas et al. 2022 (LCNN), section 5 and LCNN-R10.

    Example:
        >>> from tfrobust import models
        >>> network = models.ResNet18((32, 32, 3), classes=10, width=4)
        >>> network.output_shape
        (None, 10)
    """
    parts = Parts(
        variant=variant,
        beta=beta,
        gamma=gamma,
        synchronized=synchronized,
        lcnn_parts=lcnn_parts,
    )
    return _resnet((2, 2, 2, 2), input_shape, classes, width, parts, name)


@register("resnet34")
def ResNet34(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    variant: str = "standard",
    width: int = 64,
    *,
    beta: float = 5.0,
    gamma: float = 10.0,
    synchronized: bool = False,
    lcnn_parts: str = "all",
    name: str = "resnet34",
) -> keras.Model:
    """ResNet-34, 33 convolutions on the main path and one dense layer.

    Skeleton, arguments, result and errors are those of `ResNet18`, with blocks of
    3, 4, 6 and 3 in the four stages.

    Reference: He et al. 2016; Srinivas et al. 2022 (LCNN), section 5 and LCNN-R10.

    Example:
        >>> from tfrobust import models
        >>> network = models.ResNet34((32, 32, 3), classes=100, width=4)
        >>> network.output_shape
        (None, 100)
    """
    parts = Parts(
        variant=variant,
        beta=beta,
        gamma=gamma,
        synchronized=synchronized,
        lcnn_parts=lcnn_parts,
    )
    return _resnet((3, 4, 6, 3), input_shape, classes, width, parts, name)


@register("resnet50")
def ResNet50(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    variant: str = "standard",
    width: int = 64,
    *,
    beta: float = 5.0,
    gamma: float = 10.0,
    synchronized: bool = False,
    lcnn_parts: str = "all",
    name: str = "resnet50",
) -> keras.Model:
    """ResNet-50 for small images, 49 convolutions on the main path and a dense layer.

    Skeleton, arguments, result and errors are those of `ResNet18`, with bottleneck
    blocks of 3, 4, 6 and 3 in the four stages: 1x1, 3x3, which has the stride, and 1x1
    to four times the channels. The plain variant has 23,520,842 weights to train at
    width 64 and 10 classes. `ResNet50V2` is Keras's network for ImageNet.

    Reference: He et al. 2016; Ganz et al. 2023 (PAG), whose teachers on CIFAR-10 are
    such networks (PAG-S5).

    Example:
        >>> from tfrobust import models
        >>> network = models.ResNet50((32, 32, 3), variant="plain", width=4)
        >>> network.output_shape
        (None, 10)
    """
    parts = Parts(
        variant=variant,
        beta=beta,
        gamma=gamma,
        synchronized=synchronized,
        lcnn_parts=lcnn_parts,
    )
    blocks = (3, 4, 6, 3)
    return _resnet(blocks, input_shape, classes, width, parts, name, _bottleneck)


def _resnet(
    blocks: tuple[int, ...],
    input_shape: tuple[int, int, int],
    classes: int,
    width: int,
    parts: Parts,
    name: str,
    make_block: Callable[..., Any] | None = None,
) -> keras.Model:
    make_block = make_block or _basic_block
    require_steps("classes", classes)
    require_steps("width", width)
    images = keras.Input(check_image_shape(input_shape), name="images")
    x = parts.convolution_block(images, width, name="stem")
    for stage, count in enumerate(blocks):
        for block in range(count):
            x = make_block(
                x,
                filters=width * 2**stage,
                strides=2 if stage > 0 and block == 0 else 1,
                parts=parts,
                name=f"stage{stage + 1}_block{block + 1}",
            )
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, parts.dense(x, classes, name="logits"), name=name)


def _basic_block(x: Any, filters: int, strides: int, parts: Parts, name: str) -> Any:
    shortcut = _shortcut(x, filters, strides, parts, name)
    branch = parts.convolution_block(x, filters, f"{name}_a", strides)
    branch = parts.convolution(branch, filters, 3, 1, name=f"{name}_b_conv")
    branch = parts.norm(branch, name=f"{name}_b_norm")
    x = parts.joined(branch, shortcut, name)
    return parts.activation(x, name=f"{name}_activation")


def _bottleneck(x: Any, filters: int, strides: int, parts: Parts, name: str) -> Any:
    """1x1 to `filters`, 3x3 with the stride, 1x1 to four times `filters`."""
    branch = parts.convolution(x, filters, 1, 1, name=f"{name}_a_conv")
    branch = parts.norm(branch, name=f"{name}_a_norm")
    branch = parts.activation(branch, name=f"{name}_a_activation")
    branch = parts.convolution_block(branch, filters, f"{name}_b", strides)
    wide = _EXPANSION * filters
    branch = parts.convolution(branch, wide, 1, 1, name=f"{name}_c_conv")
    branch = parts.norm(branch, name=f"{name}_c_norm")
    x = parts.joined(branch, _shortcut(x, wide, strides, parts, name), name)
    return parts.activation(x, name=f"{name}_activation")


def _shortcut(x: Any, filters: int, strides: int, parts: Parts, name: str) -> Any:
    """The input, by a 1x1 convolution and a norm where its shape is another."""
    if strides == 1 and x.shape[-1] == filters:
        return x
    x = parts.convolution(x, filters, 1, strides, name=f"{name}_short_conv")
    return parts.norm(x, name=f"{name}_short_norm")
