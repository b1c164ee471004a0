"""Figures from results, by matplotlib; nothing in the library imports this."""

from tfrobust.viz.curves import training_curves
from tfrobust.viz.files import save
from tfrobust.viz.images import image_rows
from tfrobust.viz.tradeoff import accuracy_against_beta

__all__ = ["accuracy_against_beta", "image_rows", "save", "training_curves"]
