"""Softplus before and after it is centred, by equation 4 of the LCNN paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust import layers, viz
from tfrobust.cli.tables import Column, Table, number
from trainers.toys.options import ToyConfig
from trainers.toys.parts import ToyReport

# The paper does not say its own. 5 is where LCNNs start (LCNN-R9), 10 the softplus
# baseline (LCNN-R8), 1000 the standard networks (LCNN-S3).
_BETAS = (1.0, 5.0, 10.0, 1000.0)
_SHOWN = np.linspace(-2.0, 2.0, 401, dtype=np.float32)
# Times 1 / beta, where the curve bends: derivatives are looked at here. In float64: far
# below 0 the slope is smaller than float32's rounding of the largest.
_BEND = np.linspace(-16.0, 16.0, 2001)
_MEASURES = (
    "softplus at 0",
    "centered at 0",
    "largest slope",
    "largest second derivative",
    "largest normalised curvature",
)


def run(config: ToyConfig) -> ToyReport:
    """Figure 1(c) of the LCNN paper (Srinivas et al. 2022), equations 3 and 4.

    Args:
        config: Nothing of it matters here: nothing is trained.

    Returns:
        The figure, and for each beta the values at 0 and the largest derivatives.

    Example:
        >>> from trainers.toys.options import ToyConfig
        >>> report = run(ToyConfig(task="softplus"))
        >>> len(report.figure.axes), len(report.table.rows)
        (2, 4)
    """
    del config
    curves = {}
    for beta in _BETAS:
        centered = np.asarray(layers.centered_softplus(_SHOWN, beta))
        curves[beta] = (_uncentered(centered, beta), centered)
    columns = [Column("beta", number), *(Column(name, number) for name in _MEASURES)]
    table = Table(columns, [[beta, *_measure(beta)] for beta in _BETAS])
    sentence = (
        "Softplus, log(1 + exp(beta x)) / beta, and centered softplus, which is lower "
        "by log(2) / beta. The second derivative is at most beta / 4, the normalised "
        "curvature, second derivative over slope, at most beta."
    )
    return ToyReport(sentence, table, viz.softplus_curves(_SHOWN, curves))


def _uncentered(centered: Any, beta: float) -> Any:
    """Softplus from its centred form, by equation 4."""
    return centered + math.log(2.0) / beta


def _measure(beta: float) -> tuple[float, ...]:
    """What `_MEASURES` names, of one beta."""
    at_zero = float(layers.centered_softplus(0.0, beta))
    x = tf.constant(_BEND / beta)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = layers.centered_softplus(x, beta)
        slope = inner.gradient(value, x)
    second = outer.gradient(slope, x)
    largest = (slope, second, second / slope)
    return (
        _uncentered(at_zero, beta),
        at_zero,
        *(float(tf.reduce_max(values)) for values in largest),
    )
