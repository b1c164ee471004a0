"""Turning a trained model into a SavedModel that any TensorFlow can serve.

Command line: `tfrobust export --model=run/model.keras --out=served/NAME`, or
`python -m export` in a folder that has no `export` of its own.
"""

from typing import Any

__all__ = ["export_saved_model"]


def __getattr__(name: str) -> Any:
    """Imports TensorFlow once it is needed, not for a command line to be read."""
    if name == "export_saved_model":
        from export.saved_model import export_saved_model

        return export_saved_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
