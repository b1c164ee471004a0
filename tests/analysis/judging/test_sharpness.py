"""Copies are sharper, originals stay, and what copies break is counted."""

import keras
import numpy as np
import pytest

from tests.analysis.judging.cases import SHAPE, answers, case, images, linear
from tests.networks import low_curvature
from tfrobust.analysis.judging import sharpness
from tfrobust.layers import CenteredSoftplus, find_layers


def test_only_the_copy_is_sharper():
    network = low_curvature(SHAPE, 3)
    before = [np.copy(each.numpy()) for each in network.weights]
    copy = sharpness.sharpened(network, 10.0)
    for old, new in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(old.numpy(), new)
    (old,), (new,) = (find_layers(each, CenteredSoftplus) for each in (network, copy))
    assert float(new.beta) == pytest.approx(10.0 * float(old.beta), rel=1e-5)
    sharp = keras.Sequential([keras.Input((2,)), CenteredSoftplus(1000.0)])
    copied = sharpness.sharpened(sharp, 10.0).layers[0]
    assert float(copied.beta) == pytest.approx(1000.0, rel=1e-4)


def test_an_honest_network_and_none():
    network = low_curvature(SHAPE, 3)
    pixels = images(12)
    given = case(network, pixels, answers(network, pixels), eps=0.01)
    nothing = np.zeros(12, bool)
    found = sharpness.sharper_check(given, ~nothing)
    assert found.outcome == "passed"
    assert "the statistics of 1 layers are frozen" in found.evidence
    plain = case(linear(2), pixels, answers(linear(2), pixels))
    assert sharpness.sharper_check(plain, nothing).outcome == "not applicable"


@pytest.mark.slow
def test_what_only_copies_break():
    """Claims to break nothing, where direct attacks would: copies do as well."""
    network = low_curvature(SHAPE, 3)
    pixels = images(12)
    given = case(network, pixels, answers(network, pixels), eps=0.9)
    found = sharpness.sharper_check(given, np.zeros(12, bool))
    assert found.outcome == "doubtful"
    assert found.reason.startswith("sharper activations lead to ")
