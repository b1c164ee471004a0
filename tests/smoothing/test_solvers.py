"""Iterations against direct solves and Chebyshev's polynomials."""

import gc
import math
import weakref

import numpy as np
import pytest
import tensorflow as tf
from numpy.polynomial.chebyshev import chebval

from tests.smoothing.common import draw, exact, normal, relative_error
from tfrobust.smoothing import (
    Chebyshev,
    ConjugateGradient,
    grid_graph,
    iterations_for,
)

COUNT = "must be an integer of at least 1. Received: "


def diagonal(*values):
    """Multiplication by numbers, as an operator on images of one row."""
    values = tf.constant(values, tf.float32)[None, None, :, None]
    return lambda x: values * x


def row(*values):
    return tf.constant(values, tf.float32)[None, None, :, None]


def system(images, alpha):
    """The operator L of images."""
    graph = grid_graph(images)
    return lambda z: (z - alpha * graph.multiply(z)) / (1 - alpha)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.95, 0.997])
def test_conjugate_gradients_solve(alpha):
    """Within the error that its residual promises, `1` the least eigenvalue of L."""
    images, z = draw(3, 6, 5, 2), normal(3, 6, 5, 2)
    method = ConjugateGradient(iterations=150, tolerance=1e-4)
    solution = method.solve(system(images, alpha), tf.constant(z))
    expected = exact(images, z, alpha)
    assert np.all(solution.converged)
    assert np.all(solution.residual.numpy() <= 1e-4 + 1e-6)
    promised = (1 + alpha) / (1 - alpha) * (solution.residual.numpy() + 1e-6)
    assert np.all(relative_error(solution.x, expected) <= promised)
    assert relative_error(solution.x, expected).max() < 5e-3
    if alpha == 0:
        np.testing.assert_array_equal(solution.iterations, 1)


def test_the_residual_is_that_of_the_answer():
    """`|b - L x| / |b|` in float64, at the cap and at the tolerance."""
    images, z = draw(2, 6, 5, 2), normal(2, 6, 5, 2)
    operator = system(images, 0.95)
    for iterations, tolerance in ((3, 1e-5), (100, 1e-2)):
        method = ConjugateGradient(iterations=iterations, tolerance=tolerance)
        solution = method.solve(operator, tf.constant(z))
        residual = z - operator(solution.x).numpy().astype(np.float64)
        size = np.linalg.norm(z.reshape(2, -1), axis=1)
        expected = np.linalg.norm(residual.reshape(2, -1), axis=1) / size
        np.testing.assert_allclose(solution.residual, expected, 1e-3)
        np.testing.assert_array_equal(solution.converged, expected <= tolerance)
    assert np.all(solution.converged) and np.all(solution.iterations.numpy() < 100)


def test_the_cap_is_reached_and_told():
    images, z = draw(2, 6, 5, 2), normal(2, 6, 5, 2)
    method = ConjugateGradient(iterations=3, tolerance=1e-5)
    solution = method.solve(system(images, 0.997), tf.constant(z))
    np.testing.assert_array_equal(solution.iterations, 3)
    assert not np.any(solution.converged)
    assert np.all(solution.residual.numpy() > 1e-2)


def test_as_many_steps_as_eigenvalues():
    """Three different ones: solved by the third step, not by the second."""
    operator = diagonal(1.0, 4.0, 4.0, 9.0)
    for steps, solved in ((2, False), (3, True)):
        method = ConjugateGradient(iterations=steps, tolerance=1e-5)
        solution = method.solve(operator, row(1.0, 2.0, 3.0, 4.0))
        assert bool(solution.converged[0]) is solved
    np.testing.assert_allclose(solution.x.numpy().ravel(), [1, 0.5, 0.75, 4 / 9], 1e-5)


def test_easy_systems_stand_still_while_hard_ones_go_on():
    """A zero row and a solved one leave at once, and none changes another's answer."""
    images, z = draw(4, 6, 5, 2), normal(4, 6, 5, 2)
    images[1] = 0.5
    z[0], z[1] = 0, grid_graph(images).root_degrees[1]  # an eigenvector of 1
    method = ConjugateGradient(iterations=100, tolerance=1e-5)
    solution = method.solve(system(images, 0.95), tf.constant(z))
    counts = solution.iterations.numpy()
    assert counts[0] == 0 and counts[1] <= 2 and counts[2:].min() > 10
    np.testing.assert_array_equal(solution.x[0], 0)
    np.testing.assert_allclose(solution.x[1], z[1], 1e-4)
    assert np.all(solution.converged)
    for k in range(4):
        own = slice(k, k + 1)
        alone = method.solve(system(images[own], 0.95), tf.constant(z[own]))
        np.testing.assert_allclose(alone.x[0], solution.x[k], atol=1e-5)
        assert abs(int(alone.iterations[0]) - counts[k]) <= 1


def test_starts_at_the_answer():
    """Nothing to do: no step, the answer untouched."""
    images, z = draw(2, 6, 5, 2), normal(2, 6, 5, 2)
    operator = system(images, 0.95)
    answer = tf.constant(exact(images, z, 0.95), tf.float32)
    method = ConjugateGradient(iterations=50, tolerance=1e-4)
    solution = method.solve(operator, tf.constant(z), start=answer)
    np.testing.assert_array_equal(solution.iterations, 0)
    np.testing.assert_allclose(solution.x, answer, 1e-6)
    assert np.all(solution.converged)


def test_a_start_nearby_saves_steps():
    images, z = draw(2, 6, 5, 2), normal(2, 6, 5, 2)
    operator, answer = system(images, 0.95), exact(images, z, 0.95)
    start = tf.constant(answer * (1 + 1e-3 * normal(*z.shape, seed=5)), tf.float32)
    method = ConjugateGradient(iterations=100, tolerance=1e-4)
    cold = method.solve(operator, tf.constant(z))
    warm = method.solve(operator, tf.constant(z), start)
    assert np.all(warm.iterations.numpy() < 0.8 * cold.iterations.numpy())
    assert relative_error(warm.x, answer).max() < 1e-3


def test_nothing_to_solve_from_somewhere_else():
    """`b = 0` from a start that is not: zero is found, its residual is absolute."""
    method = ConjugateGradient(iterations=1, tolerance=1e-5)
    start = row(3e-6, 4e-6)
    solution = method.solve(diagonal(1.0, 4.0), row(0.0, 0.0), start)
    residual = np.array([1.0, 4.0]) * solution.x.numpy().ravel()
    np.testing.assert_allclose(solution.residual, [np.linalg.norm(residual)], 1e-4)
    method = ConjugateGradient(iterations=9, tolerance=1e-5)
    solution = method.solve(diagonal(1.0, 4.0), row(0.0, 0.0), start)
    np.testing.assert_allclose(solution.x.numpy(), 0, atol=1e-11)


def test_what_is_no_number_has_no_answer():
    """NaN in one system leaves the others as they are."""
    b = normal(3, 4, 5, 1)
    expected = ConjugateGradient(iterations=9).solve(lambda x: 2.0 * x, tf.constant(b))
    b[1, 0, 0, 0] = np.nan
    solution = ConjugateGradient(iterations=9).solve(lambda x: 2.0 * x, tf.constant(b))
    assert np.all(np.isnan(solution.x[1])) and not solution.converged[1]
    for row in (0, 2):
        np.testing.assert_array_equal(solution.x[row], expected.x[row])


@pytest.mark.parametrize("scale", [1e30, 1e-20, 1e-30])
def test_scale_makes_no_difference(scale):
    """Gradients of confident networks are so small that their squares underflow."""
    images, z = draw(2, 6, 5, 2), normal(2, 6, 5, 2)
    method = ConjugateGradient(iterations=100, tolerance=1e-4)
    solution = method.solve(system(images, 0.95), tf.constant(z * scale, tf.float32))
    expected = method.solve(system(images, 0.95), tf.constant(z))
    np.testing.assert_allclose(solution.x / scale, expected.x, atol=1e-4)
    np.testing.assert_array_equal(solution.iterations, expected.iterations)
    assert np.all(solution.converged)


def test_the_exact_inverse_as_preconditioner_needs_one_step():
    values = np.geomspace(1, 1e4, 8)
    method = ConjugateGradient(iterations=20, tolerance=1e-5)
    plain = method.solve(diagonal(*values), row(*range(1, 9)))
    helped = method.solve(
        diagonal(*values), row(*range(1, 9)), preconditioner=diagonal(*(1 / values))
    )
    assert int(plain.iterations[0]) > 5 and int(helped.iterations[0]) == 1
    np.testing.assert_allclose(helped.x.numpy().ravel(), np.arange(1, 9) / values, 1e-5)


@pytest.mark.parametrize("radius", [0.5, 0.95, 0.997])
def test_chebyshev_is_its_polynomial(radius):
    """On an eigenvector of m the error is `T_k(m / radius) / T_k(1 / radius)`."""
    values = np.concatenate([radius * np.linspace(-1, 1, 9), [0.3 * radius]])
    values = np.float32(values).astype(np.float64)
    b = row(*np.ones(len(values)))
    for count in (1, 2, 3, 10, 25):
        solve = Chebyshev(radius=radius, iterations=count).solve
        solution = solve(diagonal(*values), b).numpy().ravel()
        polynomial = [0] * count + [1]
        damping = chebval(values / radius, polynomial) / chebval(1 / radius, polynomial)
        exactly = 1 / (1 - values)
        np.testing.assert_allclose(solution, exactly * (1 - damping), 2e-4)


def test_chebyshev_starts_where_it_is_told():
    m, b = diagonal(-0.5, 0.2, 0.9), row(1.0, 1.0, 1.0)
    solve = Chebyshev(radius=0.9, iterations=7).solve
    answer = row(1 / 1.5, 1 / 0.8, 10.0)
    np.testing.assert_allclose(solve(m, b, answer), answer, 1e-5)
    # The error from a start is the polynomial times the error there.
    cold, warm = solve(m, b), solve(m, b, answer * 0.9)
    np.testing.assert_allclose(warm - answer, 0.1 * (cold - answer), atol=2e-5)


def test_chebyshev_of_no_radius_is_the_identity():
    b = row(1.0, 2.0)
    np.testing.assert_array_equal(
        Chebyshev(radius=0, iterations=3).solve(diagonal(0.0, 0.0), b), b
    )


@pytest.mark.parametrize("radius", [0.1, 0.95, 0.997])
@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-3])
def test_iterations_for_is_the_least_count(radius, tolerance):
    """By Chebyshev's polynomial, and by the iteration at the extreme eigenvalues."""
    count = iterations_for(radius, tolerance)
    assert 1 / chebval(1 / radius, [0] * count + [1]) <= tolerance
    if count > 1:
        assert 1 / chebval(1 / radius, [0] * (count - 1) + [1]) > tolerance
    solution = Chebyshev(radius=radius, iterations=count).solve(
        diagonal(radius, -radius), row(1.0, 1.0)
    )
    exactly = np.array([1 / (1 - radius), 1 / (1 + radius)])
    error = np.abs(solution.numpy().ravel() - exactly) / exactly
    bound = 1 / math.cosh(count * math.acosh(1 / radius))
    np.testing.assert_allclose(error, bound, rtol=2e-2, atol=1e-5)


def test_iterations_for_what_needs_none():
    assert iterations_for(0, 1e-9) == iterations_for(0.9, 1) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ConjugateGradient(iterations=0),
            "`iterations` must be an integer of at least 1.",
        ),
        (
            lambda: ConjugateGradient(tolerance=-1.0),
            "`tolerance` must be finite and at least 0. Received: tolerance=-1.0",
        ),
        (
            lambda: ConjugateGradient(tolerance=math.nan),
            "`tolerance` must be finite and at least 0. Received: tolerance=nan",
        ),
        (
            lambda: Chebyshev(radius=1.0, iterations=3),
            r"`radius` must be in \[0, 1\). Received: radius=1.0",
        ),
        (
            lambda: Chebyshev(radius=0.5, iterations=0),
            f"`iterations` {COUNT}iterations=0",
        ),
        (
            lambda: iterations_for(-0.1, 0.1),
            r"`radius` must be in \[0, 1\). Received: radius=-0.1",
        ),
        (
            lambda: iterations_for(0.5, 0.0),
            "`tolerance` must be a finite number above 0. Received: tolerance=0.0",
        ),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("solver", ["chebyshev", "cg", "preconditioned"])
def test_a_call_is_compiled_once_for_each_operator(solver):
    """For all sizes of the batch and all settings, with the numbers of a graph."""
    traced = []

    def operator(x):
        traced.append(1)
        return (1.0 if solver == "chebyshev" else 2.0) * 0.5 * x

    def precondition(x):
        return 0.5 * x

    def solve(b, steps):
        if solver == "chebyshev":
            return Chebyshev(radius=0.5, iterations=steps).solve(operator, b)
        method = ConjugateGradient(iterations=steps, tolerance=1e-6)
        other = precondition if solver == "preconditioned" else None
        return method.solve(operator, b, preconditioner=other).x

    b = tf.constant(normal(4, 3, 2, 1))
    first = solve(b, 20)
    after = len(traced)
    np.testing.assert_array_equal(solve(b[:1], 20), first[:1])
    solve(b[:3], 7)
    assert len(traced) == after > 0
    graph = tf.function(lambda b: solve(b, 20))
    np.testing.assert_allclose(first, graph(b), rtol=1e-6)


def test_a_graph_goes_with_its_operator():
    """It does not keep alive what the operator holds."""
    graph = grid_graph(draw(1, 4, 3, 1))

    def operator(x):
        return 0.9 * graph.multiply(x)

    Chebyshev(radius=0.9, iterations=3).solve(operator, tf.ones([1, 4, 3, 1]))
    gone = weakref.ref(operator)
    del operator
    gc.collect()
    assert gone() is None
