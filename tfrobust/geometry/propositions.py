"""What a curvature says about a neighbourhood: equation 1, Propositions 1 and 2.

Write g for the gradient norm at an image, C for its curvature and r for a distance.
Each function has two forms.

- By default it is the Taylor estimate from the curvature at the image itself. For a
  quadratic loss the change of the gradient is at most `r C` of it, the loss leaves its
  tangent plane by at most `g r^2 C / 2` and rises by at most `r g (1 + r C / 2)`,
  exactly; for another loss they hold up to terms of the next order in r. The paper
  prints the second with r to the first power (equation 1, LCNN-X8) and the third
  without the 1/2 (LCNN-X6).
- With `maximal=True` the curvature given is taken for the largest one anywhere within
  r, and the bound holds for every twice differentiable loss. Along a straight line the
  gradient norm then grows at most like `g exp(t C)` (Gronwall), so the gradient changes
  by at most `exp(r C) - 1` of itself, the loss by at most `g (exp(r C) - 1) / C`, and
  from its tangent plane by that less `g r`; `exp(C x) / C` in one dimension attains
  all three. The paper's `r C exp(r C)` is larger, and equal to first order.

The arithmetic is NumPy's, in float64, and arguments broadcast.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def relative_gradient_bound(
    curvature: Any, radius: Any, *, maximal: bool = False
) -> np.ndarray:
    """Bound on `norm(g(x + d) - g(x)) / norm(g(x))` for every d of norm `radius`.

    Args:
        curvature: At least 0: at the image, or the largest within `radius` of it.
        radius: Euclidean norm of the perturbation, at least 0.
        maximal: Which of the two `curvature` is. `False` gives `r C`, exact for
            quadratics and first order in r otherwise; `True` gives `exp(r C) - 1`,
            which always holds.

    Returns:
        float64, of the shape that the arguments broadcast to.

    Raises:
        ValueError: If an argument is negative or NaN.

    Reference: Srinivas et al. 2022 (LCNN), section 4.1, Proposition 1.

    Example:
        >>> float(relative_gradient_bound(2.0, 0.25))
        0.5
        >>> round(float(relative_gradient_bound(2.0, 0.25, maximal=True)), 4)
        0.6487
    """
    product = _check("radius", radius) * _check("curvature", curvature)
    return np.expm1(product) if maximal else product


def linearization_bound(
    curvature: Any, radius: Any, *, maximal: bool = False
) -> np.ndarray:
    """Bound on `|l(x + d) - l(x) - g(x)'d| / norm(g(x))` for every d of norm `radius`.

    Args:
        curvature: At least 0: at the image, or the largest within `radius` of it.
        radius: Euclidean norm of the perturbation, at least 0.
        maximal: Which of the two `curvature` is. `False` gives `r^2 C / 2`, exact for
            quadratics and second order in r otherwise; `True` gives
            `(exp(r C) - 1 - r C) / C`, which always holds.

    Returns:
        float64, of the shape that the arguments broadcast to, in units of distance.

    Raises:
        ValueError: If an argument is negative or NaN.

    Reference: Srinivas et al. 2022 (LCNN), section 3.1, equation 1, whose printed
    `r C / 2` lacks a factor of the distance (LCNN-X8).

    Example:
        >>> float(linearization_bound(curvature=4.0, radius=0.5))
        0.5
    """
    distance = _check("radius", radius)
    product = distance * _check("curvature", curvature)
    bend = _second_order(product) if maximal else 0.5 * product
    return distance * bend


def loss_bound(
    gradient_norm: Any, curvature: Any, radius: Any, *, maximal: bool = False
) -> np.ndarray:
    """Bound on the rise of the loss, `l(x + d) - l(x)`, for every d of norm `radius`.

    Args:
        gradient_norm: Norm of the gradient at the image, at least 0.
        curvature: At least 0: at the image, or the largest within `radius` of it.
        radius: Euclidean norm of the perturbation, at least 0.
        maximal: Which of the two `curvature` is. `False` gives `r g (1 + r C / 2)`,
            exact for quadratics and second order in r otherwise; `True` gives
            `g (exp(r C) - 1) / C`, which always holds.

    Returns:
        float64, of the shape that the arguments broadcast to.

    Raises:
        ValueError: If an argument is negative or NaN.

    Reference: Srinivas et al. 2022 (LCNN), section 4.2, Proposition 2.

    Example:
        >>> float(loss_bound(gradient_norm=2.0, curvature=4.0, radius=0.5))
        2.0
    """
    slope = _check("gradient_norm", gradient_norm)
    distance = _check("radius", radius)
    product = distance * _check("curvature", curvature)
    growth = _over(np.expm1, product) if maximal else 1.0 + 0.5 * product
    return slope * distance * growth


def robust_radius(
    loss_gap: Any, gradient_norm: Any, curvature: Any, *, maximal: bool = False
) -> np.ndarray:
    """Distance below which the loss cannot rise by `loss_gap`; inverts `loss_bound`.

    For instance with `loss_gap = log(2) - loss`: while the cross-entropy is below
    log(2), the probability of the label is above one half.

    Args:
        loss_gap: Rise of the loss. 0 or less gives a radius of 0.
        gradient_norm: Norm of the gradient at the image, at least 0. A gradient of 0
            gives an infinite radius for a positive gap: with a finite curvature, the
            Hessian is 0 there as well.
        curvature: At least 0: at the image, or the largest within the radius returned.
        maximal: Which of the two `curvature` is. `False` gives
            `(sqrt(1 + 2 C gap / g) - 1) / C`, exact for quadratics; `True` gives
            `log(1 + C gap / g) / C`, which always holds. Both go to `gap / g` as C goes
            to 0, and are computed without cancellation there.

    Returns:
        float64, of the shape that the arguments broadcast to.

    Raises:
        ValueError: If a gradient norm or a curvature is negative, or one is NaN.

    Reference: Srinivas et al. 2022 (LCNN), section 4.2, Proposition 2.

    Example:
        >>> float(robust_radius(loss_gap=2.0, gradient_norm=2.0, curvature=4.0))
        0.5
        >>> float(robust_radius(loss_gap=2.0, gradient_norm=2.0, curvature=0.0))
        1.0
    """
    gap = np.maximum(np.asarray(loss_gap, np.float64), 0.0)
    slope = _check("gradient_norm", gradient_norm)
    bend = _check("curvature", curvature)
    gap, slope, bend = np.broadcast_arrays(_check("loss_gap", gap), slope, bend)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(gap > 0, gap / slope, 0.0)  # of a loss that is linear
    finite = np.where(np.isfinite(distance), distance, 0.0)
    product = bend * finite
    if maximal:
        radius = finite * _over(np.log1p, product)
    else:
        radius = finite * 2.0 / (1.0 + np.sqrt(1.0 + 2.0 * product))
    return np.where(np.isfinite(distance), radius, np.inf)


def _over(function: Any, x: np.ndarray) -> np.ndarray:
    """`function(x) / x`, and its limit 1 at zero."""
    x = np.asarray(x)
    nonzero = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, function(nonzero) / nonzero)


def _second_order(x: np.ndarray) -> np.ndarray:
    """`(exp(x) - 1 - x) / x`, by its series where the difference would cancel."""
    x = np.asarray(x)
    series = x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6))))
    large = np.where(x < 1e-2, 1.0, x)
    return np.where(x < 1e-2, series, (np.expm1(large) - large) / large)


def _check(name: str, values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if not np.all(values >= 0):
        raise ValueError(
            f"`{name}` must be at least 0. Received: a smallest value of {values.min()}"
        )
    return values
