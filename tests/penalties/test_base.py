"""What every penalty shares: the check of a weight and the default behaviour."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfrobust import models
from tfrobust.core.errors import ExtensionError
from tfrobust.penalties import (
    Curvature,
    GradientNorm,
    Penalty,
    StepContext,
    WeightDecay,
)
from tfrobust.penalties.base import check_weight
from tfrobust.training import RobustModel


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


class Returns(Penalty):
    """A penalty that returns what it is made with."""

    name = "returns_penalty"

    def __init__(self, value):
        self.value = value

    def __call__(self, context):
        return self.value


@pytest.mark.parametrize("value", [2.5, np.float64(2.5), tf.constant(2.5, tf.bfloat16)])
def test_a_term_is_one_float32(value):
    term = Returns(value).term(None)
    assert (term.dtype, term.shape, float(term)) == (tf.float32, (), 2.5)


@pytest.mark.parametrize(
    ("value", "received"),
    [
        (None, "None"),
        (tf.zeros([3]), "float32 of shape (3,)"),
        (tf.constant(2), "int32 of shape ()"),
    ],
)
def test_what_is_no_term_names_the_penalty(value, received):
    with pytest.raises(ExtensionError) as caught:
        Returns(value).term(None)
    assert str(caught.value) == (
        "A penalty must return one floating-point number. Received: "
        f"{received} from 'returns_penalty'"
    )


def test_a_wrong_term_is_refused_at_the_first_batch():
    """In the words of the check, also from inside of the compiled step."""
    model = RobustModel(models.MLP((2,), classes=2, hidden=(3,)))
    model.compile("sgd", penalties=[Returns(tf.zeros([3]))])
    with pytest.raises(ExtensionError, match="from 'returns_penalty'"):
        model.fit(np.zeros((4, 2), np.float32), np.zeros(4, int), verbose=0)
