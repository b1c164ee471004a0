"""What every penalty shares: the check of a weight and the default behaviour."""

import dataclasses

import numpy as np
import pytest

from tfrobust.penalties import (
    Curvature,
    GradientNorm,
    Penalty,
    StepContext,
    WeightDecay,
)
from tfrobust.penalties.base import check_weight


@pytest.mark.parametrize("value", [0, 1e-3, np.float32(2.0)])
def test_weights_of_at_least_zero_become_floats(value):
    """Any number from 0 on is kept, as a Python float."""
    assert type(check_weight("weight", value)) is float
    assert check_weight("weight", value) == value


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("penalty", "name"),
    [
        (lambda value: Curvature(beta=value), "beta"),
        (lambda value: Curvature(gamma=value), "gamma"),
        (GradientNorm, "weight"),
        (WeightDecay, "weight"),
    ],
)
def test_other_weights_are_refused(penalty, name, value):
    """Every penalty refuses a negative, infinite or undefined weight by its name."""
    with pytest.raises(ValueError) as caught:
        penalty(value)
    assert str(caught.value) == (
        f"`{name}` must be finite and at least 0. Received: {name}={value}"
    )


def test_a_penalty_asks_for_nothing_and_fits_all_networks_unless_it_says_so():
    """The defaults of the base class cost nothing and refuse nothing."""
    assert not Penalty().needs_input_gradient
    assert Penalty().check(network=None) is None
    with pytest.raises(NotImplementedError):
        Penalty()(context=None)


def test_a_context_is_frozen():
    """A penalty cannot change what the next one sees."""
    fields = dict.fromkeys(("network", "images", "labels", "logits", "losses"))
    context = StepContext(**fields)
    assert context.input_gradient is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.losses = 0.0
