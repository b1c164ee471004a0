"""Turning a trained model into a SavedModel that any TensorFlow can serve.

Command line: `python -m export --model=run/model.keras --out=served/NAME`.
"""

from export.saved_model import export_saved_model

__all__ = ["export_saved_model"]
