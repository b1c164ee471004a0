"""Success against distortion: worked by hand, by NumPy, and in closed form."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.results import result
from tests.attacks.common import (
    conv_images,
    convnet,
    distances,
    gray,
)
from tfrobust.analysis import (
    Characteristic,
    characteristic,
    remeasure,
)
from tfrobust.attacks import (
    PGD,
    AttackOutcome,
    AttackResult,
    ThreatModel,
    evaluate,
)
from tfrobust.core.estimates import Estimate


def random_characteristic(seed=0, count=40):
    rng = np.random.default_rng(seed)
    distortion = np.round(rng.exponential(2.0, count), 1)  # with ties
    return Characteristic(distortion=distortion, success=rng.random(count) < 0.7)


def test_a_worked_example():
    """Six images: one was wrong from the start, one withstood, distortions 1 2 2 5."""
    found = characteristic(
        result(
            [0.0, 2.0, 9.0, 5.0, 1.0, 2.0],
            [True, True, False, True, True, True],
            [True, False, False, False, False, False],
        )
    )
    assert found.index.tolist() == [1, 2, 3, 4, 5]
    share, error = found.success_rate()
    assert share == pytest.approx(0.8)
    assert error == pytest.approx(math.sqrt(0.8 * 0.2 / 4))
    value, error = found.mean_distortion()
    assert value == pytest.approx(2.5)
    assert error == pytest.approx(math.sqrt((2.25 + 0.25 + 0.25 + 6.25) / 3) / 2)
    np.testing.assert_allclose(
        found.at([0.0, 0.99, 1.0, 2.0, 4.9, 5.0, 100.0]),
        [0.0, 0.0, 0.2, 0.6, 0.6, 0.8, 0.8],
    )
    assert float(found.at(2)) == pytest.approx(0.6)
    assert float(found.standard_error(2)) == pytest.approx(math.sqrt(0.6 * 0.4 / 4))
    distortions, shares = found.curve()
    assert distortions.tolist() == [0.0, 1.0, 2.0, 5.0]
    np.testing.assert_allclose(shares, [0.0, 0.2, 0.6, 0.8])
    # Of the two at distance 2 the first; the failure at distance 9 is no success.
    assert found.worst(2).tolist() == [3, 1]
    assert found.worst(10).tolist() == [3, 1, 5, 4]


def test_shares_are_counts():
    """At any D, by counting; rising in D, up to the probability of success."""
    found = random_characteristic()
    grid = np.concatenate([np.linspace(0, 12, 50), found.distortion, [math.inf]])
    grid = np.sort(grid).reshape(-1, 7)
    shares = found.at(grid)
    assert shares.shape == grid.shape and np.all(np.diff(shares.ravel()) >= 0)
    for distortion, share in zip(grid.ravel(), shares.ravel(), strict=True):
        assert share == np.mean(found.success & (found.distortion <= distortion))
    assert shares[-1, -1] == found.success_rate().value
    middle = found.standard_error(grid)[3, 3]
    rows = (found.success & (found.distortion <= grid[3, 3])).astype(float)
    assert middle == pytest.approx(np.std(rows, ddof=1) / math.sqrt(len(rows)))


def test_the_curve_steps_where_the_share_does():
    """At each of its points, and just before the next, `at` reads the curve."""
    found = random_characteristic()
    distortions, shares = found.curve()
    np.testing.assert_array_equal(found.at(distortions), shares)
    np.testing.assert_array_equal(found.at(distortions[1:] - 1e-9), shares[:-1])
    assert distortions[0] == 0 and np.all(np.diff(distortions) > 0)
    assert distortions[-1] == found.distortion[found.success].max()


def test_rounded_images_are_judged_by_their_own_fields():
    """An image may succeed before and fail after it was rounded."""
    both = result([1.0, 2.0], [True, True], rounded=([1.25, 2.5], [False, True]))
    assert characteristic(both).mean_distortion().value == 1.5
    rounded = characteristic(both, rounded=True)
    assert rounded.success.tolist() == [False, True]
    assert rounded.mean_distortion().value == 2.5


def test_batches_and_outcomes_are_as_one_result():
    """Rows in their order, `worst` counting through; an outcome does as well."""
    first = result([3.0, 1.0, 0.0], [True, True, True], [False, False, True])
    second = result([2.0, 4.0], [False, True])
    found = characteristic(first, second)
    assert found.distortion.tolist() == [3.0, 1.0, 2.0, 4.0]
    assert found.index.tolist() == [0, 1, 3, 4] and found.worst(2).tolist() == [4, 0]
    arrays = {name: np.asarray(value) for name, value in first._asdict().items()}
    outcome = AttackOutcome(threat=ThreatModel(2), **(arrays | {"adversarial": None}))
    assert characteristic(outcome).curve()[0].tolist() == [0.0, 1.0, 3.0]
    assert characteristic(outcome).mean_distortion() == outcome.mean_distortion()


def test_without_images_or_successes_there_is_no_number():
    """NaN, not 0 and not an error."""
    none = characteristic(result([0.0], [True], [True]))
    assert math.isnan(none.success_rate().value) and np.isnan(none.at([1.0]))[0]
    assert np.isnan(none.standard_error(1.0)) and none.worst(3).tolist() == []
    failed = characteristic(result([2.0, 2.0], [False, False]))
    assert failed.success_rate() == Estimate(0.0, 0.0)
    assert math.isnan(failed.mean_distortion().value)
    distortions, shares = failed.curve()
    assert distortions.tolist() == [0.0] and shares.tolist() == [0.0]


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_distances_are_measured_anew(norm):
    """By NumPy, of the images as found and rounded; nothing else changes."""
    images, labels = conv_images(5)
    evaluation = evaluate(
        convnet(),
        [(images, labels)],
        {"a": PGD(norm="inf", eps=0.1, steps=2)},
        keep_images=True,
    )
    outcome = evaluation.results["a"]
    found = remeasure(outcome, images, norm)
    np.testing.assert_allclose(
        found.distortion, distances(images, outcome.adversarial, norm), rtol=1e-5
    )
    saved = np.round(outcome.adversarial * 255.0) / 255.0
    np.testing.assert_allclose(
        found.distortion_rounded, distances(images, saved, norm), rtol=1e-5
    )
    assert isinstance(found, AttackResult) and found.distortion.dtype == tf.float32
    for name in ("adversarial", "success", "success_rounded", "already"):
        np.testing.assert_array_equal(getattr(found, name), getattr(outcome, name))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Characteristic(distortion=[1.0], success=[True, False]),
            "`distortion`, `success` and `index` must have one shape [M]. "
            "Received: shapes [(1,), (2,), (2,)]",
        ),
        (
            lambda: Characteristic(distortion=[1, -1, 7], success=[1, 1, 0]),
            "`distortion` must be finite and at least 0 where there is a success. "
            "Received: values from -1 to 1",
        ),
        (
            lambda: Characteristic(distortion=[math.nan], success=[True]),
            "`distortion` must be finite and at least 0 where there is a success. "
            "Received: values from nan to nan",
        ),
        (
            lambda: random_characteristic().worst(0),
            "`count` must be an integer of at least 1. Received: count=0",
        ),
        (characteristic, "`results` must hold at least one result. Received: none"),
        (
            lambda: characteristic([result([1.0], [True]), result([2.0], [True])]),
            "`results` must be results, each an argument of its own. Received: list",
        ),
        (
            lambda: characteristic(*result([1.0], [True])),
            "`results` must be results, each an argument of its own. "
            "Received: EagerTensor",
        ),
        (
            lambda: remeasure(result([1.0], [True]), gray(0.5)),
            "`images` must have the shape of the adversarial images, (1, 1, 1, 1). "
            "Received: shape=(1, 2, 3, 1)",
        ),
        (
            lambda: remeasure(
                result([1.0], [True])._replace(adversarial=None), gray(0.5)
            ),
            "`result` must hold its adversarial images; `evaluate` keeps them with "
            "`keep_images=True`. Received: adversarial=None",
        ),
        (
            lambda: remeasure(result([1.0], [True]), gray(0.5), norm=3),
            '`norm` must be 0, 1, 2 or "inf". Received: norm=3',
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    """One sentence each."""
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
