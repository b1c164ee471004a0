"""Sharper copies of a network with smooth activations, and what fools them."""

from __future__ import annotations

import math

import keras
import numpy as np

from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.analysis.judging.rivals import shown
from tfrobust.analysis.masking_report import speaks
from tfrobust.core.estimates import mean
from tfrobust.layers import CenteredSoftplus, LipschitzBatchNormalization, find_layers

_FACTORS = (10.0, 100.0)
# From here on an activation is a ReLU for every purpose.
_SHARP = 500.0
_CHECK = "sharper", "sharper activations help no attack"


def sharper_check(case: Case, broken: np.ndarray) -> Check:
    """Whether images made on a sharper copy break what direct attacks do not.

    A smooth activation may flatten the loss around an image without moving the
    boundary. The copies have 10 and 100 times the sharpness, and the statistics of
    their normalisations are those of inference, as in every attack.

    Args:
        case: What is judged.
        broken: bool `[N]`, what gradient attacks break.
    """
    network = case.network
    if not isinstance(network, keras.Model):
        return idle(*_CHECK, "not a Keras model")
    smooth = [each for each in find_layers(network, CenteredSoftplus) if _bends(each)]
    if not smooth:
        return idle(*_CHECK, "no smooth activation")
    rows = np.flatnonzero(case.correct & ~broken)
    alone = np.zeros(len(case.labels), bool)
    for factor in _FACTORS if len(rows) else ():
        copy = sharpened(network, factor)
        if copy is None:
            return idle(*_CHECK, "the network cannot be copied")
        alone[rows] |= shown(case, rows, copy)
    frozen = len(find_layers(network, LipschitzBatchNormalization))
    evidence = (
        f"copies with 10 and 100 times the sharpness of {len(smooth)} layers break "
        f"{alone.sum()} of the {len(rows)} images that withstood"
        + (f"; the statistics of {frozen} layers are frozen" if frozen else "")
    )
    reason = f"sharper activations lead to {alone.sum()} images that gradients miss"
    share = mean(alone[case.correct])
    return check(*_CHECK, evidence, speaks(share), reason)


def sharpened(network: keras.Model, factor: float) -> keras.Model | None:
    """A copy of a network with activations so many times as sharp.

    Args:
        network: It stays as it is.
        factor: Of every `CenteredSoftplus` that is no ReLU already.

    Returns:
        `None` where a layer cannot be copied.

    Example:
        >>> network = keras.Sequential([keras.Input((2,)), CenteredSoftplus(beta=5.0)])
        >>> copy = sharpened(network, 10.0)
        >>> [round(float(net.layers[0].beta)) for net in (network, copy)]
        [5, 50]
    """
    try:
        copy = keras.models.clone_model(network)
        copy.set_weights(network.get_weights())
    except Exception:  # Of a layer of somebody's own, which may raise anything.
        return None
    for layer in find_layers(copy, CenteredSoftplus):
        if _bends(layer):
            layer.log_beta.assign(layer.log_beta + math.log(factor))
    return copy


def _bends(layer: CenteredSoftplus) -> bool:
    return float(layer.beta) < _SHARP
