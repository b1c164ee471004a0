"""Arrays as they are sent, and as JSON has them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
"""Arrays by name."""


def checked_array(name: str, value: Any) -> np.ndarray:
    """An array of numbers, truth values or bytes."""
    # NumPy's own strings lose zeros at their ends, which files may have, and are all as
    # long as the longest.
    array = np.asarray(value, object if _holds_text(value) else None)
    if array.dtype.kind not in "fiubSUO":
        raise ValueError(
            f"`inputs` must be numbers or bytes. Received: {name} of {array.dtype}"
        )
    return array


def _holds_text(value: Any) -> bool:
    """Whether the first leaf of nested lists is a string or bytes."""
    while isinstance(value, list | tuple) and len(value):
        value = value[0]
    return isinstance(value, str | bytes)


def to_json(name: str, value: Any) -> Any:
    """Nested lists; bytes as TF Serving wants them."""
    array = checked_array(name, value)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"`inputs` must be finite, since JSON has no NaN and no infinity. "
            f"Received: {name} with such a value"
        )
    if array.dtype.kind in "fiub":
        # A float32 is written as the double that it is, so that it is read as itself.
        return array.tolist()
    return _map(_encoded, array.tolist())


def _encoded(text: Any) -> dict[str, str]:
    content = text.encode() if isinstance(text, str) else text
    if not isinstance(content, bytes):
        raise ValueError(
            f"`inputs` must be numbers or bytes. Received: {type(text).__name__}"
        )
    return {"b64": base64.b64encode(content).decode()}


def _decoded(text: Any) -> bytes:
    """Bytes of a string, or of what a server makes of a tensor NAME_bytes."""
    return base64.b64decode(text["b64"]) if isinstance(text, dict) else text.encode()


def _map(function: Callable[[Any], Any], nested: Any) -> Any:
    """A function of every leaf of nested lists."""
    if isinstance(nested, list):
        return [_map(function, item) for item in nested]
    return function(nested)


def from_json(answer: Any, dtype: np.dtype) -> np.ndarray:
    """An array of the lists in an answer."""
    if dtype.kind == "O":
        answer = _map(_decoded, answer)
    return np.asarray(answer, dtype)


def dtype_of(name: str) -> np.dtype:
    """NumPy's type for TensorFlow's `DT_FLOAT` and so on."""
    named = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}
    if name in ("DT_STRING", "DT_INVALID"):
        return np.dtype(object)
    return np.dtype(named.get(name, name.removeprefix("DT_").lower()))
