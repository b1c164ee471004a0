"""Figures from results, by matplotlib; nothing in the library imports this."""

from tfrobust.viz.curves import training_curves
from tfrobust.viz.files import save

__all__ = ["save", "training_curves"]
