"""The geometry of a classifier's loss: gradients, curvature, and what bounds them.

Everything here is of the per-example cross-entropy as a function of the image in
[0, 1], whatever the range of the pixels that a network takes: `bounds` says it where
the network does not.
"""

from tfrobust.geometry.bounds import CurvatureBound, curvature_bound
from tfrobust.geometry.curvatures import (
    Curvature,
    curvature,
    gradient_norm,
    hessian_norm,
)
from tfrobust.geometry.distances import Robustness, robustness
from tfrobust.geometry.linearization import linearization_error
from tfrobust.geometry.measurement import Measurement, discrepancy, measure
from tfrobust.geometry.propositions import (
    linearization_bound,
    loss_bound,
    relative_gradient_bound,
    robust_radius,
)
from tfrobust.geometry.stability import gradient_stability, stability_bound

__all__ = [
    "Curvature",
    "CurvatureBound",
    "Measurement",
    "Robustness",
    "curvature",
    "curvature_bound",
    "discrepancy",
    "gradient_norm",
    "gradient_stability",
    "hessian_norm",
    "linearization_bound",
    "linearization_error",
    "loss_bound",
    "measure",
    "relative_gradient_bound",
    "robust_radius",
    "robustness",
    "stability_bound",
]
