"""Results of images: those of some of them, and means over them."""

import numpy as np
import pytest

from tests.analysis.common import numbers
from tfrobust.analysis import (
    AccuracyCurve,
    Agreement,
    Alignment,
    Characteristic,
    LocalResponse,
    PerturbationStatistics,
    Transfer,
)
from tfrobust.core.estimates import Estimate
from tfrobust.geometry import Curvature, Measurement, Robustness

COUNT = 6
MASK = np.array([True, False, True, True, False, True])
RANDOM = np.random.default_rng(0)
SHARES = RANDOM.random((8, COUNT)).astype(np.float32)
SIGNS = RANDOM.random((3, COUNT)) < 0.5
PAIRS = RANDOM.random((COUNT, 2)).astype(np.float32)
CLASSES = RANDOM.integers(0, 2, (COUNT, 2))
# For both a success among the selected images.
SIGNS[:2, 0] = True

# Each result of the images that `rows` names.
RESULTS = {
    "Alignment": lambda rows: Alignment(PAIRS[rows]),
    "Agreement": lambda rows: Agreement(CLASSES[rows], PAIRS[rows] < 0.7),
    "AccuracyCurve": lambda rows: AccuracyCurve((0.5, 1.0), SIGNS[:2, rows]),
    "Characteristic": lambda rows: Characteristic(
        distortion=SHARES[0, rows],
        success=SIGNS[0, rows],
        index=np.arange(COUNT)[rows],
    ),
    "LocalResponse": lambda rows: LocalResponse(
        ("a", "b"), PAIRS[rows], 2 * PAIRS[rows], PAIRS[rows] / 2
    ),
    "PerturbationStatistics": lambda rows: PerturbationStatistics(*SHARES[:3, rows]),
    "Transfer": lambda rows: Transfer(
        SIGNS[0, rows],
        {"pgd": SIGNS[1, rows]},
        {"pgd": SIGNS[2, rows]},
        {"pgd": LocalResponse(("a", "b"), PAIRS[rows], PAIRS[rows])},
    ),
    "Measurement": lambda rows: Measurement(*SHARES[:3, rows]),
    "Curvature": lambda rows: Curvature(*SHARES[:3, rows]),
    "Robustness": lambda rows: Robustness(CLASSES[rows, 0], *SHARES[1:, rows]),
}


def estimates(means):
    """All estimates in a dictionary, a tuple or several."""
    if isinstance(means, Estimate):
        return [means]
    parts = means.values() if isinstance(means, dict) else means
    parts = [part for part in parts if isinstance(part, tuple | dict)]
    return [one for part in parts for one in estimates(part)]


@pytest.mark.parametrize("name", RESULTS)
def test_some_images_are_as_if_they_were_all(name):
    """Type, arrays and means."""
    found, expected = RESULTS[name](slice(None)).select(MASK), RESULTS[name](MASK)
    assert type(found) is type(expected)
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    values = estimates(found.means())
    assert values
    np.testing.assert_array_equal(values, estimates(expected.means()))
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.filterwarnings("error")
def test_of_no_image_every_mean_is_nan(name):
    none = RESULTS[name](slice(None)).select(np.zeros(COUNT, bool))
    values = estimates(none.means())
    assert values and np.isnan(values).all()


@pytest.mark.parametrize("name", RESULTS)
def test_a_mask_has_a_bool_for_each_image(name):
    for mask in ([True], np.ones(COUNT, int), np.ones((COUNT, 1), bool)):
        with pytest.raises(ValueError, match=r"`mask` must be bool \[6\], one for"):
            RESULTS[name](slice(None)).select(mask)


def test_names_of_the_means():
    """What they are called, and the value of each from NumPy."""
    rate = SIGNS[2][SIGNS[0] & SIGNS[1]].mean()
    shares = SHARES.astype(np.float64).mean(axis=1)
    triple = ("gradient_norm", "hessian_norm", "curvature")
    expected = {
        "Alignment": {"cosine": PAIRS.astype(np.float64).mean()},
        "AccuracyCurve": {0.5: SIGNS[0].mean(), 1.0: SIGNS[1].mean()},
        "Characteristic": {
            "success": SIGNS[0].mean(),
            "distortion": SHARES[0][SIGNS[0]].astype(np.float64).mean(),
        },
        "Transfer": {"pgd": rate},
        "Measurement": dict(zip(triple, shares[:3], strict=True)),
        "Curvature": dict(zip(triple, shares[:3], strict=True)),
        "Robustness": dict(zip(Robustness._fields[1:], shares[1:], strict=True)),
    }
    for name, values in expected.items():
        found = RESULTS[name](slice(None)).means()
        assert list(found) == list(values), name
        for key, value in values.items():
            np.testing.assert_allclose(found[key].value, value, rtol=1e-6)


@pytest.mark.filterwarnings("error")
def test_an_infinite_distance_has_an_infinite_mean():
    values = SHARES.copy()
    values[2, 1] = np.inf
    found = Robustness(CLASSES[:, 0], *values[1:]).means()["margin_distance"]
    assert found.value == np.inf and np.isnan(found.standard_error)
