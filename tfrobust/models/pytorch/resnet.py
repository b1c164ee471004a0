"""Residual networks whose blocks end in an activation, for CIFAR and for ImageNet."""

from __future__ import annotations

from typing import Any

import keras

from tfrobust.models.pytorch.builder import Builder
from tfrobust.models.pytorch.registry import ARCHITECTURES

_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_BOTTLENECK = 50
"""From this depth on blocks have three convolutions, and four times the channels."""


def resnet(build: Builder, x: Any, depth: int, width_factor: int = 1) -> Any:
    """The body of a ResNet in either of its two forms, told apart by names.

    RobustBench's for CIFAR begins with a 3x3 convolution and ends in `linear`;
    torchvision's for ImageNet begins with a 7x7 convolution of stride 2 and max pooling
    and ends in `fc`. Strides are in the 3x3 convolution of a block, as in both.

    Args:
        build: With the tensors.
        x: Images.
        depth: 18, 34, 50, 101 or 152.
        width_factor: How much wider the inner convolutions of a bottleneck are.

    Returns:
        Logits.

    Reference: He et al. 2016, Deep Residual Learning for Image Recognition.
    """
    imagenet = build.has("fc.weight")
    x = _stem(build, x, imagenet)
    shortcut = "downsample" if imagenet else "shortcut"
    for stage, count in enumerate(_BLOCKS[depth]):
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            strides = 2 if stage > 0 and block == 0 else 1
            filters = 64 * 2**stage
            x = _block(
                build,
                x,
                name,
                filters,
                strides,
                shortcut=f"{name}.{shortcut}",
                inner=filters * width_factor if depth >= _BOTTLENECK else 0,
            )
    return build.logits(x, "fc" if imagenet else "linear")


def _stem(build: Builder, x: Any, imagenet: bool) -> Any:
    size, strides = (7, 2) if imagenet else (3, 1)
    x = build.norm(build.convolution(x, "conv1", 64, size, strides), "bn1")
    x = build.activation(x, "relu")
    if not imagenet:
        return x
    # PyTorch pads with -inf, which after a ReLU is as good as zero.
    x = build.zeros(x, (1, 1), "maxpool.padding")
    return keras.layers.MaxPooling2D(3, 2, name="maxpool")(x)


def _block(
    build: Builder,
    x: Any,
    name: str,
    filters: int,
    strides: int,
    *,
    shortcut: str,
    inner: int,
) -> Any:
    """A basic block, or with `inner` channels a bottleneck."""
    outputs = 4 * filters if inner else filters
    # Filters, kernel size and strides of each convolution.
    steps = [(filters, 3, strides), (filters, 3, 1)]
    if inner:
        steps = [(inner, 1, 1), (inner, 3, strides), (outputs, 1, 1)]
    branch = x
    for number, step in enumerate(steps, 1):
        branch = build.convolution(branch, f"{name}.conv{number}", *step)
        branch = build.norm(branch, f"{name}.bn{number}")
        if number < len(steps):
            branch = build.activation(branch, f"{name}.relu{number}")
    if strides != 1 or x.shape[-1] != outputs:
        x = build.convolution(x, f"{shortcut}.0", outputs, 1, strides)
        x = build.norm(x, f"{shortcut}.1")
    return build.activation(build.add([branch, x], f"{name}.add"), f"{name}.relu")


def _registered(name: str, depth: int, width_factor: int = 1) -> None:
    def make(build: Builder, x: Any) -> Any:
        return resnet(build, x, depth, width_factor)

    ARCHITECTURES.add(name, make)


for _depth in _BLOCKS:
    _registered(f"resnet{_depth}", _depth)
# torchvision's: the width is that of the inner convolutions alone.
_registered("wide_resnet50_2", 50, 2)
_registered("wide_resnet101_2", 101, 2)
