"""Numbers as JSON can have them: `None` in place of NaN and infinity."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any


def finite_or_none(value: float | None) -> float | None:
    """A number as JSON has it: `None` for NaN and infinity.

    Args:
        value: Of Python or NumPy; `None` stays.

    Returns:
        The number as Python's own.

    Example:
        >>> import numpy as np
        >>> finite_or_none(np.float32(0.5)), finite_or_none(math.nan)
        (0.5, None)
    """
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def plain(value: Any) -> Any:
    """A value whose numbers are as JSON has them, however deep they are.

    Args:
        value: Dictionaries, sequences, numbers and strings, of Python or NumPy.

    Returns:
        The same in plain Python, `None` for NaN and infinity. Anything else stays, for
        JSON to refuse.

    Example:
        >>> import numpy as np
        >>> plain({"a": float("nan"), "b": (np.float32(0.5), np.int64(2))})
        {'a': None, 'b': [0.5, 2]}
    """
    import numpy as np  # not to be waited for where only flags are read

    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    return finite_or_none(value) if isinstance(value, numbers.Real) else value  # type: ignore[arg-type]
