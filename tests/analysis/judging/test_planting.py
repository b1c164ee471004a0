"""Planted images are there, hard to meet by chance, and found by a gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.judging.cases import SHAPE, answers, case, images, linear
from tests.seeds import set_seeds
from tfrobust.analysis.judging.claims import Claims
from tfrobust.analysis.judging.planting import (
    features_of,
    planted,
    planted_check,
    readout_of,
)

COUNT = 10
NOTHING = Claims(
    broken={"a": np.zeros(COUNT, bool)}, rounded={"a": np.zeros(COUNT, bool)}
)


def test_the_normal_is_that_of_a_discriminant_analysis():
    """Against the dense covariance of D x D."""
    rng = np.random.default_rng(0)
    inner = rng.normal(size=(40, 7)) * np.arange(1, 8)
    edge, fresh = 12.0 * np.eye(7)[0], rng.normal(size=(5, 7))
    found = readout_of(inner, edge, fresh)
    centred = inner - inner.mean(axis=0)
    spread = centred.T @ centred
    ridge = 1e-3 * np.trace(spread) / 40
    normal = np.linalg.solve(spread + ridge * np.eye(7), edge - inner.mean(axis=0))
    cosine = normal @ found.weights / np.linalg.norm(normal)
    assert cosine / np.linalg.norm(found.weights) == pytest.approx(1.0, abs=1e-10)
    assert found.parts
    lead = found.weights @ edge - found.offset
    others = inner @ found.weights - found.offset
    # Nine tenths of the way from the farthest of the cloud.
    assert lead > 0 > others.max()
    assert -others.max() / (lead - others.max()) == pytest.approx(0.9)


def test_what_cannot_be_parted():
    cloud = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert not readout_of(cloud, np.zeros(2) + 0.01, cloud).parts
    assert not readout_of(np.ones((4, 2)), np.zeros(2), cloud).parts
    assert not readout_of(cloud, np.array([np.inf, 0.0]), cloud).parts
    edge = np.array([3.0, 0.0])
    assert readout_of(cloud, edge, cloud).parts
    # A fresh draw beyond the boundary is one too many.
    assert not readout_of(cloud, edge, np.array([[2.99, 0.0]])).parts


def network(quantum=0.0):
    set_seeds(1)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(24, 3, padding="same", activation="softplus")(inputs)
    if quantum:
        x = keras.layers.Rescaling(1.0)(keras.ops.round(x / quantum) * quantum)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def given(model):
    pixels = images(COUNT)
    return case(model, pixels, answers(model, pixels), eps=0.1)


def test_a_network_of_its_features():
    model = network()
    built = given(model)
    features, where = features_of(built)
    assert where == "features"
    known = features(built.images).numpy()
    top = model.layers[-1]
    by_hand = known @ top.kernel.numpy() + top.bias.numpy()
    np.testing.assert_allclose(by_hand, built.logits(built.images), atol=1e-5)
    assert sum(each.parts for each in planted(built, np.arange(4), features)) >= 2
    found = planted_check(built, NOTHING, False)
    assert found.outcome == "passed", found.evidence
    assert "behind a boundary in the features" in found.evidence


@pytest.mark.filterwarnings("ignore:`model` has gradients of exactly 0")
def test_an_attack_without_gradients_finds_nothing():
    found = planted_check(given(network(quantum=1e-3)), NOTHING, False)
    assert found.outcome == "doubtful", found.evidence
    assert found.reason.startswith("PGD misses ")
    assert found.evidence.startswith("the judge's own PGD finds 0 of ")


def test_a_function_has_logits_only():
    assert features_of(given(linear(3)))[1] == "logits"
    idle = planted_check(given(linear(3)), NOTHING, True)
    assert idle.outcome == "not applicable"


def test_constant_features_part_nothing():
    w = linear(3)
    found = planted_check(given(lambda x: w(tf.round(x))), NOTHING, False)
    assert found.outcome == "not applicable"
