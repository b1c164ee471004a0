"""Robust image classifiers: train, attack, measure and serve them.

Importing this package costs next to nothing. Its parts import TensorFlow, and are
loaded the first time that they are named:

    from tfrobust import models, penalties

    import tfrobust
    network = tfrobust.models.ResNet18(input_shape=(32, 32, 3), classes=10)
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_SUBMODULES = (
    "analysis",
    "attacks",
    "data",
    "geometry",
    "layers",
    "models",
    "pag",
    "penalties",
    "smoothing",
    "training",
    "viz",
)

# What measurements return; it does not need TensorFlow.
_CLASSES = {"Estimate": "core.estimates"}

__all__ = ["__version__", *_CLASSES, *_SUBMODULES]


def __getattr__(name: str) -> Any:
    """Loads a part of the library the first time that it is named (PEP 562)."""
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _CLASSES:
        module = importlib.import_module(f"{__name__}.{_CLASSES[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists the parts that are not loaded yet as well."""
    return sorted({*globals(), *_CLASSES, *_SUBMODULES})
