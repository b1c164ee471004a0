"""Iterations for `L x = b`, L symmetric and positive definite, many systems at once.

Neither stores its iterations: memory does not depend on how many there are. Called
eagerly, each is compiled once for each operator, which is traced as by `tf.function`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfrobust.core.graphs import GraphCache
from tfrobust.core.loops import loop
from tfrobust.core.vectors import largest_entry
from tfrobust.settings import (
    require,
    require_not_negative,
    require_positive,
    require_steps,
)

Operator = Callable[[tf.Tensor], tf.Tensor]
"""A linear map on `[B, H, W, C]` that treats every image by itself."""

# After so many steps of a solver the residual is computed anew: it drifts in float32.
_ANEW = 50

_GRAPHS = GraphCache()


class Solution(NamedTuple):
    """The solution of a solver, and how good it is.

    Attributes:
        x: float32 `[B, H, W, C]`.
        residual: float32 `[B]`, `|b - L x| / |b|` computed from x, `|L x|` where b
            is 0.
        iterations: int32 `[B]`, steps that changed each system.
        converged: bool `[B]`, whether the residual is within the tolerance asked
            for.
    """

    x: tf.Tensor
    residual: tf.Tensor
    iterations: tf.Tensor
    converged: tf.Tensor


class _State(NamedTuple):
    """Where conjugate gradients stand; rows `[B, H, W, C]` or `[B, 1, 1, 1]`."""

    x: tf.Tensor
    residual: tf.Tensor
    direction: tf.Tensor
    length: tf.Tensor  # inner product of residual and preconditioned residual
    count: tf.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConjugateGradient:
    """The method of conjugate gradients (Hestenes and Stiefel 1952).

    The operator must be symmetric and positive definite. Every image is a system with
    step lengths of its own, its channels together; one that has converged stands still
    while others go on, and the loop ends when all have, or at the cap. Differs from the
    textbook in that the residual is computed anew every 50 steps, and a system whose
    direction has no length left, as with `b = 0`, stops rather than divide by zero.

    Attributes:
        iterations: The cap, at least 1.
        tolerance: Stops where `|b - L x| <= tolerance * |b|`, at least 0.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> b = tf.constant([1.0, 4.0])[None, :, None, None]
        >>> diagonal = tf.constant([1.0, 2.0])[None, :, None, None]
        >>> result = ConjugateGradient(iterations=9).solve(lambda x: diagonal * x, b)
        >>> result.x.numpy().ravel().round(4).tolist(), int(result.iterations[0])
        ([1.0, 2.0], 2)
    """

    iterations: int = 50
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        """Check the settings."""
        require_steps("iterations", self.iterations)
        require_not_negative("tolerance", self.tolerance)

    def solve(
        self,
        operator: Operator,
        b: tf.Tensor,
        start: tf.Tensor | None = None,
        preconditioner: Operator | None = None,
    ) -> Solution:
        """Solve `operator(x) = b`.

        Args:
            operator: The map, symmetric and positive definite.
            b: float32 `[B, H, W, C]`.
            start: float32 `[B, H, W, C]`, where to begin; zeros if `None`.
            preconditioner: An approximation of the inverse, symmetric and positive
                definite; the identity if `None`.

        Returns:
            The last x of each system, with its true residual.
        """
        x = tf.zeros_like(b) if start is None else tf.convert_to_tensor(start)
        warm = start is not None

        def solve(operator: Operator, other: Operator | None) -> Callable[..., Any]:
            return functools.partial(_gradients, operator, other, warm)

        run = solve(operator, preconditioner)
        if tf.executing_eagerly():
            key = ("conjugate gradients", warm)
            run = _compiled(solve, key, b, operator, preconditioner)
        return Solution(*run(b, x, self.tolerance, self.iterations))


def _gradients(
    operator: Operator,
    preconditioner: Operator | None,
    warm: bool,
    b: tf.Tensor,
    x: tf.Tensor,
    tolerance: Any,
    iterations: Any,
) -> Solution:
    """Conjugate gradients from x, which is zero unless `warm`."""
    precondition = preconditioner or (lambda residual: residual)
    # Inner products of small gradients would underflow.
    scale = tf.maximum(largest_entry(b), largest_entry(x))
    scale = tf.where(scale > 0.0, scale, 1.0)
    b, x = b / scale, x / scale
    target = tolerance**2 * _dot(b, b)
    residual = b - operator(x) if warm else b
    direction = precondition(residual)
    length = _dot(residual, direction)
    count = tf.zeros(tf.shape(length), tf.int32)

    def is_open(state: _State) -> tf.Tensor:
        far = _dot(state.residual, state.residual) > target
        return far & (state.length > 0.0)

    def is_needed(step: tf.Tensor, state: _State) -> tf.Tensor:
        return (step < iterations) & tf.reduce_any(is_open(state))

    def advance(step: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
        active = is_open(state)
        image = operator(state.direction)
        size = tf.math.divide_no_nan(state.length, _dot(state.direction, image))
        size = tf.where(active, size, 0.0)
        x = state.x + size * state.direction
        residual = tf.cond(
            (step + 1) % _ANEW == 0,
            lambda: b - operator(x),
            lambda: state.residual - size * image,
        )
        towards = precondition(residual)
        length = _dot(residual, towards)
        turn = tf.math.divide_no_nan(length, state.length)
        direction = towards + turn * state.direction
        return step + 1, _State(
            x=x,
            residual=residual,
            direction=tf.where(active, direction, state.direction),
            length=tf.where(active, length, state.length),
            count=state.count + tf.cast(active, tf.int32),
        )

    _, last = loop(
        is_needed,
        advance,
        (tf.constant(0), _State(x, residual, direction, length, count)),
    )
    return _judged(operator, b, last.x, last.count, tolerance, scale)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chebyshev:
    """Chebyshev's semi-iteration for `(I - M) x = b`, M symmetric with known norm.

    With every eigenvalue of M in [-radius, radius] no method that multiplies by M so
    many times has a smaller worst error: it shrinks by
    `radius / (1 + sqrt(1 - radius^2))` a step, and `iterations_for` says in advance how
    many are needed. There are no inner products and no decisions, so from a start of
    zeros the result is a fixed polynomial of M times b: linear in b, and symmetric.

    Attributes:
        radius: Bound of the eigenvalues, in [0, 1).
        iterations: Products with M, at least 1.

    Raises:
        ValueError: If a setting is out of range.

    Reference: Golub and Varga 1961, Numerische Mathematik 3.

    Example:
        >>> b = tf.constant([1.0, 4.0])[None, :, None, None]
        >>> m = tf.constant([0.0, 0.5])[None, :, None, None]
        >>> x = Chebyshev(radius=0.5, iterations=12).solve(lambda x: m * x, b)
        >>> x.numpy().ravel().round(4).tolist()
        [1.0, 8.0]
    """

    radius: float
    iterations: int

    def __post_init__(self) -> None:
        """Check the settings."""
        require(0 <= self.radius < 1, "radius", self.radius, "in [0, 1)")
        require_steps("iterations", self.iterations)

    def solve(
        self, multiply: Operator, b: tf.Tensor, start: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Solve `x - multiply(x) = b`.

        Args:
            multiply: The product with M.
            b: float32 `[B, H, W, C]`.
            start: float32 `[B, H, W, C]`, where to begin; zeros if `None`.

        Returns:
            float32 `[B, H, W, C]`.
        """
        x = tf.zeros_like(b) if start is None else tf.convert_to_tensor(start)

        def solve(multiply: Operator, _: Operator | None = None) -> Callable[..., Any]:
            return functools.partial(_semi_iteration, multiply)

        run = solve(multiply)
        if tf.executing_eagerly():
            run = _compiled(solve, "semi-iteration", b, multiply)
        return run(b, x, self.radius, self.iterations)


def _semi_iteration(
    multiply: Operator, b: tf.Tensor, x: tf.Tensor, radius: Any, iterations: Any
) -> tf.Tensor:
    """Chebyshev's semi-iteration from x."""

    def advance(step: Any, x: Any, before: Any, weight: Any) -> tuple[Any, ...]:
        following = before + weight * (multiply(x) + b - before)
        return step + 1, following, x, next_weight(radius, step, weight)

    def is_needed(step: Any, *_: Any) -> tf.Tensor:
        return step < iterations

    return loop(is_needed, advance, (tf.constant(0), x, x, tf.constant(1.0)))[1]


def next_weight(radius: float, step: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Chebyshev's relaxation after a step: 1, then `1/(1-r^2/2)`, `1/(1-r^2 w/4)`."""
    divisor = tf.where(step == 0, 2.0, 4.0)
    return 1.0 / (1.0 - radius**2 * weight / divisor)


def iterations_for(radius: float, tolerance: float) -> int:
    """Products after which Chebyshev's worst error is within a tolerance.

    The error in the Euclidean norm, relative to that at the start, is at most
    `1 / T_k(1 / radius)`, T_k Chebyshev's polynomial.

    Args:
        radius: Bound of the eigenvalues, in [0, 1).
        tolerance: Above 0.

    Returns:
        The smallest such count, at least 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> iterations_for(0.997, 1e-3), iterations_for(0.95, 1e-3)
        (99, 24)
    """
    require(0 <= radius < 1, "radius", radius, "in [0, 1)")
    require_positive("tolerance", tolerance)
    if radius == 0 or tolerance >= 1:
        return 1
    return max(1, math.ceil(math.acosh(1.0 / tolerance) / math.acosh(1.0 / radius)))


def _compiled(
    solve: Callable[..., Callable[..., Any]],
    key: Any,
    b: tf.Tensor,
    operator: Operator,
    other: Operator | None = None,
) -> Any:
    """A solver as a graph of b, a start and two settings; weak in the operators.

    Args:
        solve: From the operators to what is traced.
        key: Of the solver.
        b: `[B, ...]`; the graph is for any B.
        operator: The map.
        other: The preconditioner, if there is one.
    """
    images = tf.TensorSpec([None, *b.shape[1:]], b.dtype)
    specs = images, images, tf.TensorSpec([]), tf.TensorSpec([], tf.int32)

    def trace(first: Any, second: Any) -> Any:
        function = tf.function(solve(first(), second()), autograph=False)
        return function.get_concrete_function(*specs)

    key = (key, tuple(b.shape[1:]), b.dtype)
    if other is None:
        return _GRAPHS.get(operator, key, lambda first: trace(first, lambda: None))
    inner = _GRAPHS.get(operator, "preconditioned", lambda _: GraphCache())
    return inner.get(other, key, lambda second: trace(lambda: operator, second))


def _judged(
    operator: Operator,
    b: tf.Tensor,
    x: tf.Tensor,
    count: tf.Tensor,
    tolerance: float,
    scale: tf.Tensor,
) -> Solution:
    """The solution in the units of the problem, of b and x over `scale`."""
    difference, size = b - operator(x), _dot(b, b)
    length = tf.sqrt(_dot(difference, difference))
    relative = tf.math.divide_no_nan(length, tf.sqrt(size))
    residual = tf.reshape(tf.where(size > 0.0, relative, scale * length), [-1])
    # The recurrence that stopped the loop and the true residual differ by rounding.
    converged = residual <= tolerance + 1e-6
    # Nothing was solved where b is no number; zeros would look like an answer.
    x = tf.where(tf.math.is_finite(size), scale * x, math.nan)
    return Solution(x, residual, tf.reshape(count, [-1]), converged)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Inner product of each image, `[B, 1, 1, 1]`."""
    return tf.reduce_sum(a * b, axis=[1, 2, 3], keepdims=True)
