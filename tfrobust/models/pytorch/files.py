"""Tensors by name from a file: NumPy's `.npz`, `.safetensors`, PyTorch's own."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrobust.core.errors import first_line

_KINDS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    # The upper half of a float32.
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_file(path: pathlib.Path) -> Mapping[str, Any]:
    """What a file of a PyTorch network holds, by name.

    `.npz` and `.safetensors` are read by NumPy alone. Any other file is PyTorch's, and
    is read by it, its weights only: no code of the file is run.

    Args:
        path: The file.

    Returns:
        Arrays, or what `torch.save` was given.

    Raises:
        ValueError: If there is none, it is broken, or PyTorch is needed and missing.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "net.npz"
        >>> np.savez(path, **{"fc.bias": np.zeros(3)})
        >>> read_file(path)["fc.bias"].shape
        (3,)
    """
    if not path.is_file():
        raise ValueError(f"`state_dict` must be an existing file. Received: {path}")
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    try:
        return readers.get(path.suffix, _read_pytorch)(path)
    except Exception as error:
        # Each reader raises whatever the first broken part does.
        raise ValueError(
            "`state_dict` must be a file that PyTorch, safetensors or NumPy wrote. "
            f"Received: {path}, which does not load: {first_line(error)}"
        ) from error


def _read_npz(path: pathlib.Path) -> Mapping[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_pytorch(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError:
        raise ValueError(
            "PyTorch, which wrote it, is not installed (`pip install torch`; .npz and "
            ".safetensors files are read without it)"
        ) from None
    # With `weights_only` the file can hold tensors and plain values alone.
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: pathlib.Path) -> Mapping[str, Any]:
    """The format: length of the header as uint64, a header of JSON, then the numbers.

    Reference: https://huggingface.co/docs/safetensors
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    numbers = memoryview(content)[8 + length :]
    header.pop("__metadata__", None)
    return {name: _array(name, entry, numbers) for name, entry in header.items()}


def _array(name: str, entry: dict[str, Any], numbers: memoryview) -> np.ndarray:
    """One tensor of a `.safetensors` file."""
    if entry["dtype"] not in _KINDS:
        raise ValueError(f"{name} has the dtype {entry['dtype']}")
    kind, shape = _KINDS[entry["dtype"]], [int(size) for size in entry["shape"]]
    begin, end = entry["data_offsets"]
    # Slices reach past the end without a word.
    if not 0 <= begin <= end <= len(numbers):
        raise ValueError(f"{name} reaches past the end of the file")
    if end - begin != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{name} has {end - begin} bytes, which are not {shape}")
    array = np.frombuffer(numbers[begin:end], kind).reshape(shape)
    if entry["dtype"] == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    return array
