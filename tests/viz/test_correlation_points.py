"""The figure of correlations shows the numbers that it was given."""

import numpy as np
import pytest

from tfrobust import viz
from tfrobust.core.estimates import Estimate

VALUES = {
    "plain": {"curvature": Estimate(-0.4, 0.05), "alignment": Estimate(0.1, 0.1)},
    "flat": {"curvature": Estimate(-0.2, 0.02), "alignment": Estimate(0.0, 0.1)},
}


def test_points_and_errors_stand_where_their_numbers_say():
    """Side by side at their quantity, with bars of twice the error."""
    (axes,) = viz.correlations(VALUES).axes
    for container, each in zip(axes.containers, VALUES.values(), strict=True):
        points, _, (bars,) = container
        np.testing.assert_array_equal(
            points.get_ydata(), [estimate.value for estimate in each.values()]
        )
        np.testing.assert_array_equal(np.round(points.get_xdata()), [0, 1])
        for segment, estimate in zip(bars.get_segments(), each.values(), strict=True):
            half = np.ptp(segment[:, 1]) / 2
            assert half == pytest.approx(2 * estimate.standard_error)
    first, second = (container[0].get_xdata() for container in axes.containers)
    assert np.all(first < second)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(VALUES["flat"])


@pytest.mark.parametrize(
    "values", [{}, {"a": {}}, {"a": {"x": Estimate(0, 0)}, "b": {"y": Estimate(0, 0)}}]
)
def test_quantities_must_be_the_same(values):
    with pytest.raises(ValueError, match="`values` must hold the same quantities"):
        viz.correlations(values)
