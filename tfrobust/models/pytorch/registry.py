"""Architectures of PyTorch networks by name: `wideresnet-28-10`, `resnet50`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from tfrobust.core.registry import Makers

ARCHITECTURES: Makers[Any] = Makers("architecture")
"""The functions by name; see `register`."""

_Maker = TypeVar("_Maker", bound=Callable[..., Any])

# `wideresnet-28-10` is short for `wideresnet:depth=28,width=10`.
_SHORT = re.compile(r"(\w+)-(\d+)-(\d+)(?::(.*))?")


def register(name: str) -> Callable[[_Maker], _Maker]:
    """Makes a PyTorch architecture known by name; a decorator of what builds it.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.

    Returns:
        A function that registers a function and returns it. What it registers takes a
        `Builder` and images `[B,H,W,C]`, after these any settings, and returns logits
        `[B,K]`.

    Raises:
        ValueError: If the name is malformed or belongs to another architecture.

    Example:
        >>> import numpy as np
        >>> from tfrobust.models import pytorch
        >>> @pytorch.register("one_convolution")
        ... def one_convolution(build, x, width: int = 4):
        ...     x = build.convolution(x, "features.0", width, strides=2)
        ...     return build.logits(build.activation(x, "relu"), "fc")
        >>> tensors = {"features.0.weight": np.zeros((4, 3, 3, 3)),
        ...            "fc.weight": np.zeros((10, 4)), "fc.bias": np.zeros(10)}
        >>> pytorch.from_pytorch(tensors, "one_convolution").output_shape
        (None, 10)
    """
    return ARCHITECTURES.register(name)


def architectures() -> tuple[str, ...]:
    """Names of the PyTorch architectures that `from_pytorch` knows, sorted.

    Example:
        >>> from tfrobust import models
        >>> {"preactresnet18", "wideresnet"} <= set(models.pytorch.architectures())
        True
    """
    return ARCHITECTURES.names()


def spelt_out(text: str) -> str:
    """The text with the two numbers after a name as settings, in lower case.

    Example:
        >>> spelt_out("WideResNet-28-10"), spelt_out("resnet50")
        ('wideresnet:depth=28,width=10', 'resnet50')
        >>> spelt_out("wideresnet-34-20:activation=silu")
        'wideresnet:depth=34,width=20,activation=silu'
    """
    text = text.strip().lower()
    short = _SHORT.fullmatch(text)
    if short is None:
        return text
    name, depth, width, settings = short.groups()
    settings = f",{settings}" if settings else ""
    return f"{name}:depth={depth},width={width}{settings}"
