"""The tensors of a PyTorch network, out of whatever wraps them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tfrobust.models.pytorch.files import read_file

# What programs that train put a state_dict under, beside the epoch and the optimizer.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
# What data parallelism, compilation and modules around the network put before names.
_PREFIXES = ("module.", "model.", "_orig_mod.")
# Where networks keep the mean and the deviation that they normalise images by.
_STATISTICS = (
    ("mu", "sigma"),
    ("mean", "std"),
    ("normalize.mean", "normalize.std"),
    ("normalizer.mean", "normalizer.std"),
    ("normalizer.new_mean", "normalizer.new_std"),
    ("0.mean", "0.std"),
    ("0.mu", "0.sigma"),
)


class State(NamedTuple):
    """The tensors of a network, and how it normalises its images.

    Attributes:
        tensors: Arrays by the name that the network itself gives them.
        statistics: Mean and deviation of pixels, each `[C]` or `[1]`, if the network
            holds them.
    """

    tensors: dict[str, np.ndarray]
    statistics: tuple[np.ndarray, np.ndarray] | None


def read_state(source: Any) -> State:
    """The tensors of a network from a file, a mapping or the network itself.

    Args:
        source: A path, as for `read_file`; a mapping from names to PyTorch tensors or
            NumPy arrays, or one that holds such a mapping as its "state_dict",
            "model_state_dict", "model" or "net"; or an object whose `state_dict()`
            returns one.

    Returns:
        The tensors without the prefixes `module.`, `model.` and `_orig_mod.`, and
        without counts of batches, which no network computes with.

    Raises:
        ValueError: If it is none of these.

    Example:
        >>> state = read_state({"state_dict": {"module.fc.bias": np.ones(3)}})
        >>> state.tensors["fc.bias"], state.statistics
        (array([1., 1., 1.]), None)
    """
    if isinstance(source, (str, os.PathLike)):
        source = read_file(pathlib.Path(source).expanduser())
    elif callable(getattr(source, "state_dict", None)):
        source = source.state_dict()
    tensors: dict[str, np.ndarray] = {}
    for name, value in _unwrapped(source).items():
        short = _short(str(name))
        if short in tensors:
            raise ValueError(
                "`state_dict` must hold one network. Received: two tensors named "
                f"{short} behind their prefixes"
            )
        if not short.endswith("num_batches_tracked"):
            tensors[short] = _array(str(name), value)
    return _split(tensors)


def _unwrapped(source: Any) -> Mapping[str, Any]:
    """The mapping of tensors in the mapping that a program has saved."""
    while isinstance(source, Mapping):
        inner = [source[k] for k in _WRAPPERS if isinstance(source.get(k), Mapping)]
        if not inner:
            break
        source = inner[0]
    if not isinstance(source, Mapping):
        raise ValueError(
            "`state_dict` must be a path or a mapping from names to tensors. "
            f"Received: a {type(source).__name__}"
        )
    if not source:
        raise ValueError("`state_dict` must hold tensors. Received: an empty mapping")
    return source


def _short(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _array(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        # A PyTorch tensor, without importing PyTorch. NumPy has no bfloat16.
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    if not isinstance(value, (np.ndarray, np.generic)):
        raise ValueError(
            "`state_dict` must map names to tensors. "
            f"Received: a {type(value).__name__} as {name}"
        )
    return np.asarray(value)


def _split(tensors: dict[str, np.ndarray]) -> State:
    """Takes the statistics of pixels out, and the place of what comes after them."""
    found = [pair for pair in _STATISTICS if any(name in tensors for name in pair)]
    if not found:
        return State(tensors, None)
    if len(found) > 1 or any(name not in tensors for name in found[0]):
        held = [name for pair in found for name in pair if name in tensors]
        raise ValueError(
            "`state_dict` must hold one mean and one deviation of pixels. Received: "
            f"{', '.join(held)}"
        )
    mean, deviation = (tensors.pop(name).reshape(-1) for name in found[0])
    if found[0][0].startswith("0."):
        # A sequence of two: the normalisation, then the network.
        tensors = {_short(name.removeprefix("1.")): a for name, a in tensors.items()}
    return State(tensors, (mean, deviation))
