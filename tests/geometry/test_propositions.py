"""Equation 1, Propositions 1 and 2 on losses whose every derivative is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrobust import geometry

curvatures = st.floats(1e-6, 50.0)
radii = st.floats(1e-4, 2.0)
slopes = st.floats(1e-3, 100.0)


@given(seed=st.integers(0, 10**6), radius=radii)
def test_taylor_bounds_hold_for_quadratics(seed, radius):
    """`g x + x' H x / 2` in float64, in random directions and the worst one."""
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((4, 4))
    hessian, gradient = matrix + matrix.T, random.standard_normal(4)
    values, vectors = np.linalg.eigh(hessian)
    slope = np.linalg.norm(gradient)
    curvature = np.abs(values).max() / slope
    worst = vectors[:, np.abs(values).argmax()]
    change = geometry.relative_gradient_bound(curvature, radius)
    rise = geometry.loss_bound(slope, curvature, radius)
    left_out = geometry.linearization_bound(curvature, radius)
    for direction in (*random.standard_normal((20, 4)), worst, -worst, gradient):
        d = radius * direction / np.linalg.norm(direction)
        assert np.linalg.norm(hessian @ d) / slope <= change * (1 + 1e-9)
        assert gradient @ d + d @ hessian @ d / 2 <= rise * (1 + 1e-9)
        assert abs(d @ hessian @ d / 2) / slope <= left_out * (1 + 1e-9)
    attained = np.linalg.norm(hessian @ worst) * radius / slope
    np.testing.assert_allclose(attained, change, rtol=1e-9)
    attained = abs(worst @ hessian @ worst) * radius**2 / 2 / slope
    np.testing.assert_allclose(attained, left_out, rtol=1e-9)


@given(slope=slopes, curvature=curvatures, radius=radii)
def test_taylor_loss_bound_is_attained_along_the_gradient(slope, curvature, radius):
    """One dimension: `g x + g C x^2 / 2` rises by exactly that much."""
    expected = slope * radius + slope * curvature * radius**2 / 2
    result = geometry.loss_bound(slope, curvature, radius)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


@given(curvature=st.floats(0.01, 20.0), radius=radii)
def test_maximal_bounds_are_attained_by_the_exponential(curvature, radius):
    """`exp(C x) / C` has curvature C everywhere, and slope 1 at 0."""
    grown = np.exp(curvature * radius) - 1
    change = geometry.relative_gradient_bound(curvature, radius, maximal=True)
    rise = geometry.loss_bound(1.0, curvature, radius, maximal=True)
    np.testing.assert_allclose(change, grown, rtol=1e-9)
    np.testing.assert_allclose(rise, grown / curvature, rtol=1e-9)
    left_out = geometry.linearization_bound(curvature, radius, maximal=True)
    expected = sum(
        curvature ** (k - 1) * radius**k / math.factorial(k) for k in range(2, 150)
    )
    np.testing.assert_allclose(left_out, expected, rtol=1e-9)
    # The paper's form of the first is not smaller.
    assert change <= curvature * radius * np.exp(curvature * radius) * (1 + 1e-12)


@given(frequency=st.floats(0.1, 5.0), start=st.floats(0.3, 0.9), part=st.floats(0, 1))
def test_maximal_bounds_hold_where_the_taylor_ones_fail(frequency, start, part):
    """`log(1 + exp(k x))`: curvature `k (1 - sigmoid)`, largest at the left end."""
    sigmoid = lambda x: 1 / (1 + np.exp(-frequency * x))  # noqa: E731
    loss = lambda x: np.log1p(np.exp(frequency * x))  # noqa: E731
    radius = part * start
    slope, end = frequency * sigmoid(start), start - radius
    largest = frequency * (1 - sigmoid(end))
    change = abs(frequency * sigmoid(end) - slope) / slope
    bound = geometry.relative_gradient_bound(largest, radius, maximal=True)
    assert change <= bound * (1 + 1e-9) + 1e-12
    for x in (start - radius, start + radius):
        rise = loss(x) - loss(start)
        bound = geometry.loss_bound(slope, largest, radius, maximal=True)
        assert rise <= bound * (1 + 1e-9) + 1e-12
        left_out = abs(rise - slope * (x - start)) / slope
        bound = geometry.linearization_bound(largest, radius, maximal=True)
        assert left_out <= bound * (1 + 1e-9) + 1e-9


def test_pointwise_curvature_alone_is_no_bound():
    """Left of 0, `log(1 + exp(k x))` bends more: a Taylor bound can be exceeded."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    start, radius = 3.0, 3.0
    change = (sigmoid(start) - sigmoid(0.0)) / sigmoid(start)
    pointwise = 1 - sigmoid(start)
    assert change > geometry.relative_gradient_bound(pointwise, radius)


@pytest.mark.parametrize("maximal", [False, True])
@given(gap=st.floats(1e-6, 10.0), slope=slopes, curvature=st.floats(0, 50.0))
def test_robust_radius_inverts_the_loss_bound(maximal, gap, slope, curvature):
    """At the radius the bound on the rise is the gap."""
    radius = geometry.robust_radius(gap, slope, curvature, maximal=maximal)
    rise = geometry.loss_bound(slope, curvature, radius, maximal=maximal)
    np.testing.assert_allclose(rise, gap, rtol=1e-9)


@pytest.mark.parametrize("maximal", [False, True])
def test_robust_radius_does_not_cancel(maximal):
    """As C goes to 0: `gap / g`, where `(sqrt(1 + 2 C gap/g) - 1) / C` gives 0."""
    radius = geometry.robust_radius(
        3.0, 2.0, [0.0, 1e-300, 1e-18, 1e-9], maximal=maximal
    )
    np.testing.assert_allclose(radius, [1.5, 1.5, 1.5, 1.5], rtol=1e-8)
    assert np.sqrt(1 + 2 * 1e-18 * 1.5) - 1 == 0.0


def test_edges_of_the_radius():
    """No gap left, no gradient, and both."""
    radius = geometry.robust_radius([-1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], 2.0)
    np.testing.assert_array_equal(radius, [0.0, 0.0, np.inf, 0.0])


def test_the_tangent_plane_is_left_quadratically():
    """To second order `r^2 C / 2`, whatever the radius; nothing cancels on the way."""
    radii = np.array([1e-12, 1e-6, 1e-3])
    result = geometry.linearization_bound(4.0, radii, maximal=True)
    np.testing.assert_allclose(result, 2 * radii**2 * (1 + 4 * radii / 3), rtol=1e-5)
    assert geometry.linearization_bound(0.0, 3.0, maximal=True) == 0.0


def test_the_printed_forms_are_exceeded():
    """`x^2 / 2` at 0.5 has slope 0.5 and curvature 2. Over 4 it leaves its tangent by
    16 slopes, where equation 1 as printed allows 4 (LCNN-X8); a rise of 1.5 over 1 is
    what it has, and Proposition 2 as printed allows more than that (LCNN-X6).
    """
    loss = lambda x: x**2 / 2  # noqa: E731
    slope, curvature = 0.5, 1 / 0.5
    left_out = (loss(4.5) - loss(0.5) - slope * 4) / slope
    assert left_out == geometry.linearization_bound(curvature, 4.0) == 16.0
    assert left_out > 0.5 * curvature * 4
    rise = loss(1.5) - loss(0.5)
    assert rise == geometry.loss_bound(slope, curvature, 1.0) == 1.0
    assert rise < slope * (1 + curvature)


def test_arguments_broadcast():
    result = geometry.loss_bound([1.0, 2.0], 0.0, np.array([[1.0], [3.0]]))
    np.testing.assert_array_equal(result, [[1.0, 2.0], [3.0, 6.0]])


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (
            geometry.relative_gradient_bound,
            (1.0, -0.5),
            "`radius` must be at least 0. Received: a smallest value of -0.5",
        ),
        (
            geometry.linearization_bound,
            (-2.0, 1.0),
            "`curvature` must be at least 0. Received: a smallest value of -2.0",
        ),
        (
            geometry.loss_bound,
            (1.0, np.nan, 1.0),
            "`curvature` must be at least 0. Received: a smallest value of nan",
        ),
        (
            geometry.robust_radius,
            (1.0, [-1.0, 2.0], 1.0),
            "`gradient_norm` must be at least 0. Received: a smallest value of -1.0",
        ),
    ],
)
def test_wrong_arguments_are_named(function, arguments, message):
    with pytest.raises(ValueError) as error:
        function(*arguments)
    assert str(error.value) == message
