"""What `RobustModel` and its `compile` refuse, each in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tfrobust.attacks import Attack
from tfrobust.core.answers import shape_of_output
from tfrobust.penalties import Penalty
from tfrobust.settings import require

# What the step itself reports; a penalty of the same name would be lost.
OWN_NAMES = (
    "loss",
    "accuracy",
    "cross_entropy",
    "data_loss",
    "regularization",
    "gradient_norm",
    "beta",
    "gamma",
)
"""What a training step reports beside its penalties."""


def check_names(penalties: Sequence[Penalty]) -> None:
    """Raises `ValueError` unless penalties have names of their own.

    Example:
        >>> check_names([])
    """
    if not isinstance(penalties, list | tuple) or not all(
        isinstance(penalty, Penalty) for penalty in penalties
    ):
        raise ValueError(
            "`penalties` must be a list of penalties from `tfrobust.penalties`. "
            f"Received: penalties={penalties!r}"
        )
    names = [penalty.name for penalty in penalties]
    if len({*names, *OWN_NAMES}) < len(names) + len(OWN_NAMES):
        raise ValueError(
            "`penalties` must have different names, none of them one of "
            f"{', '.join(OWN_NAMES)}. Received: names={names}"
        )


def check_adversary(adversary: Attack | None, share: float) -> None:
    """Raises `ValueError` unless this can be an adversary, of a share of a batch.

    Example:
        >>> check_adversary(None, 1.0)
    """
    if adversary is not None and not hasattr(adversary, "perturb"):
        raise ValueError(
            "`adversary` must be an attack from `tfrobust.attacks`. "
            f"Received: adversary={adversary!r}"
        )
    require(0 < share <= 1, "adversary_share", share, "above 0 and at most 1")
    if adversary is None and share != 1:
        raise ValueError(
            "`adversary_share` must be 1 without an adversary. "
            f"Received: adversary_share={share}, adversary=None"
        )


def check_network(network: keras.Model, output: str | None) -> None:
    """Raises `ValueError` unless this may be a classifier of images."""
    if not isinstance(network, keras.layers.Layer):
        raise ValueError(
            "`network` must be a Keras model. "
            f"Received: network of type {type(network).__name__}"
        )
    if len(getattr(network, "inputs", None) or [None]) > 1:
        raise ValueError(
            "`network` must have one input, the images. "
            f"Received: network={network.name!r} with {len(network.inputs)}"
        )
    shape = shape_of_output(network, output) if network.built else None
    if shape is not None and len(shape) not in (1, 2):
        raise ValueError(
            "`network` must end in one answer for each class, of shape (batch, "
            f"classes). Received: output_shape={shape}"
        )
