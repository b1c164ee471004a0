"""Figures from results, by matplotlib; nothing in the library imports this."""

from tfrobust.viz.curves import training_curves
from tfrobust.viz.files import save
from tfrobust.viz.images import image_rows

__all__ = ["image_rows", "save", "training_curves"]
