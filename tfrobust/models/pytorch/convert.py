"""A Keras network with the weights of a PyTorch one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfrobust.core.specs import Spec
from tfrobust.models.parts import check_image_shape
from tfrobust.models.pytorch.builder import Builder
from tfrobust.models.pytorch.registry import ARCHITECTURES, spelt_out
from tfrobust.models.pytorch.state import State, read_state
from tfrobust.settings import require_steps

Statistics = tuple[Any, Any]

STATISTICS: dict[str, Statistics] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    # The mean over images of each image's deviation, which many programs have.
    "cifar10_per_image": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
}
"""Means and deviations of pixels in [0, 1] by name; `half` maps them to [-1, 1]."""

# Settings of every architecture, beside its own.
_COMMON = ("normalization", "size")
# DeepMind's networks normalise by the numbers of their data set and do not store them.
_UNSTORED = ("init_conv.weight", "conv_2d.weight")
_OF_CLASSES = {10: "cifar10", 100: "cifar100"}


def from_pytorch(
    state_dict: Any,
    architecture: str,
    input_shape: Sequence[int] | None = None,
    normalization: str | Statistics | None = None,
    *,
    name: str = "",
) -> keras.Model:
    """A Keras network with the weights of a PyTorch one, such as RobustBench's.

    The architectures are those of RobustBench's CIFAR networks and torchvision's
    ResNets. The network answers as the PyTorch one does in evaluation, to rounding.
    While it trains, it differs in one thing: PyTorch's running variance is of the batch
    with one image less in the denominator.

    Args:
        state_dict: A mapping from names to PyTorch tensors or NumPy arrays, bare or
            under "state_dict", "model_state_dict", "model" or "net"; a PyTorch module;
            or the path of a file of such a mapping: `.npz` or `.safetensors`, or any
            other that `torch.save` wrote, which PyTorch reads. Prefixes `module.` and
            `model.` of names do not matter.
        architecture: One of `models.pytorch.architectures()`, with settings behind a
            colon: `preactresnet18`, `wideresnet-28-10`, which is short for
            `wideresnet:depth=28,width=10`, `resnet50:normalization=imagenet,size=288`.
            Names of the tensors tell whose implementation it is.
        input_shape: `(H, W, C)` of the images; by default what `size` says, and without
            it 32x32, or 224x224 for torchvision's, with 3 channels.
        normalization: What the network does to its images first: a pair of means and
            deviations of the channels, one of `models.pytorch.STATISTICS`, or "none".
            By default what the tensors say (`mu` and `sigma`, or their like), and where
            they say nothing, nothing; but for DeepMind's, which never say it, "cifar10"
            with 10 classes and "cifar100" with 100. Many files of RobustBench lack what
            its code adds: see the network's class there.
        name: Name of the model; by default that of the architecture.

    Returns:
        A functional `keras.Model` from images float32 `[B,H,W,C]` in [0, 1] to logits
        float32 `[B,K]`, made of Keras's own layers alone.

    Raises:
        ValueError: If there is no such architecture or setting, the file does not load,
            or a tensor is missing, of another shape, not finite, or not in the
            architecture.

    Example:
        >>> import numpy as np
        >>> from tfrobust import models
        >>> tensors = {"conv1.weight": np.zeros((64, 3, 5, 5))}
        >>> try:
        ...     models.from_pytorch(tensors, "resnet18")
        ... except ValueError as error:
        ...     print(error)  # doctest: +NORMALIZE_WHITESPACE
        resnet18: `state_dict` must hold the tensors of this architecture, all of them
        and no others. Received: conv1.weight of shape [64, 3, 5, 5], not [64, 3, 3, 3]

    Reference: Croce et al. 2021, RobustBench: a standardized adversarial robustness
    benchmark, https://arxiv.org/abs/2010.09670
    """
    spec, common = _parsed(architecture, normalization)
    state = read_state(state_dict)
    shape = _image_shape(input_shape, common.get("size"), state)
    images = keras.Input(shape, name="images")
    statistics = _statistics(common.get("normalization", normalization), state)
    x = images if statistics is None else _normalized(images, statistics)
    logits = ARCHITECTURES.make(str(spec), Builder(state.tensors), x)
    return keras.Model(images, logits, name=name or spec.name)


def check_architecture(text: str) -> None:
    """Raises `ValueError` unless a text names an architecture, with its settings.

    Example:
        >>> check_architecture("wideresnet-28-10")
        >>> check_architecture("wideresnet:depth=28,width=wide")
        Traceback (most recent call last):
        ...
        ValueError: `width` of wideresnet must be an integer. Received: width=wide
    """
    _parsed(text, None)


def _parsed(text: str, normalization: Any) -> tuple[Spec, dict[str, Any]]:
    """An architecture with its own settings, and the settings that all have."""
    spec = Spec.parse(spelt_out(text))
    common: dict[str, Any] = {
        name: spec.settings[name] for name in _COMMON if name in spec.settings
    }
    own = {name: v for name, v in spec.settings.items() if name not in common}
    spec = Spec(spec.name, own)
    ARCHITECTURES.settings(str(spec), 2)
    if "size" in common:
        size = common["size"]
        common["size"] = int(size) if size.isdecimal() else size
        require_steps("size", common["size"])
    if "normalization" in common:
        if normalization is not None:
            raise ValueError(
                "`normalization` must be given once. Received: "
                f"normalization={normalization!r} beside {text!r}"
            )
        _check_statistics(common["normalization"])
    return spec, common


def _image_shape(input_shape: Any, size: int | None, state: State) -> Any:
    if input_shape is not None:
        shape = check_image_shape(input_shape)
        if size not in (None, *shape[:2]):
            raise ValueError(
                "`input_shape` must be of the architecture's `size`. "
                f"Received: input_shape={shape} beside size={size}"
            )
        return shape
    # That of torchvision, whose first convolution is 7x7.
    first = state.tensors.get("conv1.weight", np.zeros(0))
    usual = 224 if first.shape[2:] == (7, 7) else 32
    return (size or usual, size or usual, 3)


def _check_statistics(value: Any) -> None:
    if isinstance(value, str) and value not in (*STATISTICS, "none"):
        raise ValueError(
            f"`normalization` must be one of {', '.join(STATISTICS)}, none, or a pair "
            f"of means and deviations. Received: normalization={value!r}"
        )


def _statistics(value: Any, state: State) -> Statistics | None:
    """What images are normalised by, from the tensors or from what was given."""
    _check_statistics(value)
    if value is not None and state.statistics is not None:
        raise ValueError(
            "`normalization` must be left out where `state_dict` holds its own. "
            f"Received: normalization={value!r}"
        )
    if isinstance(value, str):
        return STATISTICS.get(value)
    if value is not None:
        return value
    if state.statistics is not None:
        return state.statistics
    if not any(name in state.tensors for name in _UNSTORED):
        return None
    bias = state.tensors.get("logits.bias", np.zeros(0))
    if len(bias) not in _OF_CLASSES:
        raise ValueError(
            "`normalization` must be given for a network of DeepMind's implementation "
            "with other than 10 or 100 classes, since it does not store its own. "
            f"Received: normalization=None with {len(bias)} classes"
        )
    return STATISTICS[_OF_CLASSES[len(bias)]]


def _normalized(images: Any, statistics: Statistics) -> Any:
    """`(images - mean) / deviation` as one scaling and one shift."""
    try:
        mean, deviation = (np.asarray(n, np.float64).reshape(-1) for n in statistics)
        channels = images.shape[-1]
        shift = np.broadcast_to(-mean / deviation, (channels,))
        scale = np.broadcast_to(1 / deviation, (channels,))
        if not np.all(np.isfinite([shift, scale])) or np.any(scale <= 0):
            raise ValueError("out of range")
    except (TypeError, ValueError):
        raise ValueError(
            "`normalization` must be the means of the channels and their positive "
            f"deviations. Received: {statistics}"
        ) from None
    layer: Callable[[Any], Any] = keras.layers.Rescaling(
        scale.tolist(), shift.tolist(), name="normalization"
    )
    return layer(images)
