"""Figures from results, by matplotlib; nothing in the library imports this."""

import importlib.util

if importlib.util.find_spec("matplotlib") is None:
    raise ModuleNotFoundError(
        "tfrobust.viz needs the package matplotlib: install tfrobust[viz], or "
        "tfrobust[train] for everything that training needs.",
        name="matplotlib",
    )

from tfrobust.viz.boundary import decision_boundaries
from tfrobust.viz.correlation_points import correlations
from tfrobust.viz.curves import training_curves
from tfrobust.viz.fallen import fallen_images
from tfrobust.viz.files import save
from tfrobust.viz.images import image_rows
from tfrobust.viz.local_response import local_responses, local_responses_over_epochs
from tfrobust.viz.magnification import magnified
from tfrobust.viz.operating import operating_characteristics
from tfrobust.viz.perturbations import perturbation_panels
from tfrobust.viz.robustness import accuracy_over_eps
from tfrobust.viz.softplus import softplus_curves
from tfrobust.viz.spectra import accuracy_over_scale, amplitude_spectra
from tfrobust.viz.stability import gradient_stability
from tfrobust.viz.towards import towards_classes
from tfrobust.viz.tradeoff import accuracy_against_beta, accuracy_against_curvature
from tfrobust.viz.worst import worst_cases

__all__ = [
    "accuracy_against_beta",
    "accuracy_against_curvature",
    "accuracy_over_eps",
    "accuracy_over_scale",
    "amplitude_spectra",
    "correlations",
    "decision_boundaries",
    "fallen_images",
    "gradient_stability",
    "image_rows",
    "local_responses",
    "local_responses_over_epochs",
    "magnified",
    "operating_characteristics",
    "perturbation_panels",
    "save",
    "softplus_curves",
    "towards_classes",
    "training_curves",
    "worst_cases",
]
