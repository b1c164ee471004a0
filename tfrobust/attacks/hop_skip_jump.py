"""HopSkipJump, an attack that asks a model for classes alone."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple

import tensorflow as tf

from tfrobust.attacks.base import MinimumNorm
from tfrobust.attacks.draws import draws_of, keys_of, normals_of, uniform_of
from tfrobust.attacks.problem import Problem
from tfrobust.attacks.registry import register
from tfrobust.core.loops import loop
from tfrobust.core.seeds import seeds_of
from tfrobust.core.vectors import spread, unit
from tfrobust.settings import require, require_seed, require_steps

# Images of noise that a search may start from.
_STARTS = 200
# Probes of one direction at most, as published.
_MOST_PROBES = 10_000
# Probes of an image that are asked about at once; memory grows with it.
_AT_ONCE = 8
# Length of the first probes, in pixel units.
_FIRST_PROBE = 0.1
# A blend of two images in float32 has no more digits to search.
_MOST_HALVINGS = 22
# A step so often halved is none.
_MOST_SHORTENINGS = 20


class _State(NamedTuple):
    """The search of each image; rows `[B]` or `[B,H,W,C]`."""

    number: tf.Tensor  # int32 scalar, of the next direction, from 1
    queries: tf.Tensor  # int32, answers used
    found: tf.Tensor  # whether there is any image that fools the model
    point: tf.Tensor  # such an image, near the boundary
    best: tf.Tensor  # the nearest of them, or the image
    distance: tf.Tensor  # of the best, or infinity


@register("hopskipjump")
@dataclasses.dataclass(frozen=True, kw_only=True)
class HopSkipJump(MinimumNorm):
    """HopSkipJump (Chen et al. 2020, https://arxiv.org/abs/1904.02144).

    Looks for the smallest perturbation by asking for classes alone, as anybody may who
    is served: neither gradients nor logits, so that no masking of either matters. It
    starts from uniform noise of another class, goes straight towards the image until
    the boundary, and then repeats three steps (algorithm 2):

    - The direction in which the boundary falls away is estimated from random probes
      around the point (equations 9, 12 and 16), `first_probes` at first and
      `first_probes * sqrt(t)` in the t-th round.
    - A step of `distance / sqrt(t)` along it is halved until it is across the boundary.
    - A binary search between that and the image ends at the boundary again.

    The nearest image found is kept. Differs from the paper: the search ends after so
    many queries, not rounds, and spends what is left of them on a last round with fewer
    probes; and the relative precision of the binary search is no finer than float32 is.

    The draws depend on the image and `seed` alone, not on the batch around it, and are
    the same under XLA. Costs at most `queries + 3` forward passes for an image and no
    gradient; what is used is in `AttackResult.queries`. The model is asked about eight
    times the batch at once. Where no image of noise is of another class, the attack
    fails.

    Attributes:
        norm: 2, `"inf"` or `math.inf`.
        queries: Answers of the model that the search may use for each image, at
            least 1. The paper has 1,000 to 25,000.
        first_probes: Probes of the first direction, at least 1.
        seed: Of the draws, in [0, 2**31).

    Raises:
        ValueError: If a setting is out of range; called, if there are targets, of whose
            classes no noise is likely to be.

    Example:
        >>> import numpy as np
        >>> from tfrobust import attacks
        >>> def ask(images):  # class 1 where the mean is below 0.4875
        ...     return (images.mean(axis=(1, 2, 3)) < 0.4875).astype(int)
        >>> model = attacks.BlackBox(ask, classes=2, answers="classes")
        >>> images = np.full([1, 2, 2, 1], 0.5, np.float32)
        >>> result = HopSkipJump(queries=500)(model, images, [0])
        >>> 0.0249 < float(result.distortion[0]) < 0.03  # 0.025 is the exact distance
        True
        >>> int(result.queries[0]) <= 500
        True
    """

    needs_gradient: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = False

    norm: float | str = 2
    queries: int = 1000
    first_probes: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self.norm in (2, "inf", math.inf), "norm", self.norm, '2 or "inf"')
        require_steps("queries", self.queries)
        require_steps("first_probes", self.first_probes)
        require_seed(self.seed)

    @tf.autograph.experimental.do_not_convert  # it takes several times the tracing
    def run(self, problem: Problem) -> tuple[tf.Tensor, tf.Tensor]:
        """Start from noise, then hop along the boundary until nothing is left to ask.

        Raises:
            ValueError: If there are targets.
        """
        if problem.goal.targeted:
            raise ValueError(
                "`targets` must be left out for HopSkipJump, which starts from noise: "
                "of a given class there may be none. Received: targets"
            )
        search = _Search(self, problem)
        state = search.start()

        def is_needed(state: _State) -> tf.Tensor:
            return tf.reduce_any(search.is_open(state))

        def step(state: _State) -> tuple[_State]:
            return (search.round(state),)

        (last,) = loop(is_needed, step, (state,))
        return last.best, last.queries


class _Search:
    """The steps of a search over a batch, each of whose rows counts for itself."""

    def __init__(self, attack: HopSkipJump, problem: Problem) -> None:
        self._attack, self._problem = attack, problem
        self._images = problem.images
        self._keys = keys_of(seeds_of(problem.images, attack.seed))
        shape = problem.images.shape[1:]
        # Numbers where they are known, as XLA needs them.
        known = shape.is_fully_defined()
        self._size = (
            shape.num_elements() if known else tf.size(problem.images[0], tf.int32)
        )
        self._entries = tf.cast(self._size, tf.float32)
        # To a relative precision of 1 / (d sqrt(d)) in L2, 1 / d^2 in L-infinity.
        power = 1.5 if attack.norm == 2 else 2.0
        halvings = tf.math.ceil(power * tf.math.log(self._entries) / math.log(2.0))
        halvings = tf.cast(halvings, tf.int32)
        self._halvings = tf.clip_by_value(halvings, 1, _MOST_HALVINGS)

    def is_open(self, state: _State) -> tf.Tensor:
        """Rows that have a point, and queries for one more round of any use."""
        left = self._attack.queries - state.queries
        return state.found & (left > self._halvings + 1)

    def start(self) -> _State:
        """Noise of another class, brought to the boundary."""
        images, keys = self._images, self._keys_for(0)
        rows = tf.shape(images)[:1]
        none = tf.zeros(rows, tf.int32)
        number, found = tf.constant(0), tf.zeros(rows, tf.bool)

        def is_needed(
            number: tf.Tensor, queries: tf.Tensor, found: tf.Tensor, _point: tf.Tensor
        ) -> tf.Tensor:
            limit = min(_STARTS, self._attack.queries)
            return (number < limit) & tf.reduce_any(self._problem.active & ~found)

        def step(
            number: tf.Tensor, queries: tf.Tensor, found: tf.Tensor, point: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            active = self._problem.active & ~found
            noise = self._as_images(uniform_of(draws_of(keys, number, self._size)))
            reached = self._reached(noise, active)
            point = tf.where(spread(reached, point), noise, point)
            queries += tf.cast(active, tf.int32)
            return number + 1, queries, found | reached, point

        _, queries, found, point = loop(is_needed, step, (number, none, found, images))
        state = _State(
            number=tf.constant(1),
            queries=queries,
            found=found,
            point=point,
            best=images,
            distance=tf.fill(rows, math.inf),
        )
        return self._to_boundary(state, point, found)

    def round(self, state: _State) -> _State:
        """A direction, a step along it, and back to the boundary."""
        open_rows = self.is_open(state)
        direction, state = self._direction(state, open_rows)
        moved, reached, state = self._step(state, direction, open_rows)
        state = self._to_boundary(state, moved, reached)
        return state._replace(number=state.number + 1)

    def _direction(self, state: _State, active: tf.Tensor) -> tuple[tf.Tensor, _State]:
        """Where the boundary falls away from the image, unit, `[B,H,W,C]`."""
        round_number = tf.cast(state.number, tf.float32)
        planned = tf.math.ceil(self._attack.first_probes * tf.sqrt(round_number))
        planned = tf.minimum(tf.cast(planned, tf.int32), _MOST_PROBES)
        left = self._attack.queries - state.queries - self._halvings - 1
        count = tf.where(active, tf.clip_by_value(left, 0, planned), 0)
        near = self._distance(state.point) / self._entries
        length = tf.where(state.number == 1, _FIRST_PROBE, near)
        keys = self._keys_for(state.number)
        zeros = tf.zeros_like(state.point)

        def is_needed(asked: tf.Tensor, *_sums: tf.Tensor) -> tf.Tensor:
            return asked < tf.reduce_max(tf.concat([count, [0]], axis=0))

        def step(
            asked: tf.Tensor, total: tf.Tensor, across: tf.Tensor, hits: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            number = asked + tf.range(_AT_ONCE)
            used = number < count[:, None]
            probes, reached = self._probed(
                state.point, length, draws_of(keys, asked, _AT_ONCE), used
            )
            share = tf.cast(used, tf.float32)[..., None, None, None] * probes
            hit = tf.cast(reached & used, tf.float32)
            total += tf.reduce_sum(share, axis=1)
            across += tf.reduce_sum(hit[..., None, None, None] * share, axis=1)
            return asked + _AT_ONCE, total, across, hits + tf.reduce_sum(hit, axis=1)

        start = (tf.constant(0), zeros, zeros, tf.zeros(tf.shape(count), tf.float32))
        _, total, across, hits = loop(is_needed, step, start)
        # The mean of the signs is taken off, unless all are alike (equation 16): with
        # signs 2 h - 1, twice the sum of h minus its mean.
        mean = tf.math.divide_no_nan(hits, tf.cast(count, tf.float32))
        weighed = across - spread(mean, total) * total
        alike = (mean == 0.0) | (mean == 1.0)
        weighed = tf.where(
            spread(alike, total), spread(2.0 * mean - 1.0, total) * total, weighed
        )
        direction = self._attack.constraint.normalize(weighed)
        return direction, state._replace(queries=state.queries + count)

    def _probed(
        self, point: tf.Tensor, length: tf.Tensor, keys: tf.Tensor, used: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Random directions around each point, as far as the box lets them go.

        Args:
            point: float32 `[B,H,W,C]`.
            length: float32 `[B]`, of the probes.
            keys: int64 `[B,M]`.
            used: bool `[B,M]`, those that count.

        Returns:
            float32 `[B,M,H,W,C]`, and whether the model was fooled, bool `[B,M]`.
        """
        draws = draws_of(tf.reshape(keys, [-1]), 0, self._size)
        is_l2 = self._attack.norm == 2
        drawn = normals_of(draws) if is_l2 else 2.0 * uniform_of(draws) - 1.0
        index = tf.repeat(tf.range(tf.shape(point)[0]), _AT_ONCE)
        around = tf.gather(point, index)
        reach = spread(tf.gather(length, index), around)
        moved = around + reach * unit(self._as_images(drawn))
        moved = tf.clip_by_value(moved, 0.0, 1.0)
        moved = tf.ensure_shape(moved, [None, *point.shape[1:]])
        goal = self._problem.goal.rows(index)
        logits = self._problem.logits(moved, tf.reshape(used, [-1]))
        probes = tf.math.divide_no_nan(moved - around, reach)
        shape = tf.shape(point)
        probes = tf.reshape(
            probes, tf.concat([shape[:1], [_AT_ONCE], shape[1:]], axis=0)
        )
        return probes, tf.reshape(goal.reached(logits), tf.shape(used))

    def _step(
        self, state: _State, direction: tf.Tensor, active: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, _State]:
        """A step along the direction, halved until it stays across the boundary.

        Returns:
            Points `[B,H,W,C]`; whether there is one, bool `[B]`; and the state.
        """
        length = self._distance(state.point)
        length /= tf.sqrt(tf.cast(state.number, tf.float32))

        def searched(reached: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
            # What is left has to do for the way back to the boundary.
            left = self._attack.queries - queries - self._halvings
            return active & ~reached & (left > 0)

        def is_needed(
            number: tf.Tensor, reached: tf.Tensor, queries: tf.Tensor, _moved: tf.Tensor
        ) -> tf.Tensor:
            rows = searched(reached, queries)
            return (number < _MOST_SHORTENINGS) & tf.reduce_any(rows)

        def step(
            number: tf.Tensor, reached: tf.Tensor, queries: tf.Tensor, moved: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            rows = searched(reached, queries)
            size = length * 0.5 ** tf.cast(number, tf.float32)
            tried = state.point + spread(size, moved) * direction
            tried = tf.clip_by_value(tried, 0.0, 1.0)
            hit = self._reached(tried, rows)
            moved = tf.where(spread(hit, moved), tried, moved)
            return number + 1, reached | hit, queries + tf.cast(rows, tf.int32), moved

        nowhere = tf.zeros_like(active)
        start = (tf.constant(0), nowhere, state.queries, state.point)
        _, reached, queries, moved = loop(is_needed, step, start)
        return moved, reached, state._replace(queries=queries)

    def _to_boundary(
        self, state: _State, point: tf.Tensor, active: tf.Tensor
    ) -> _State:
        """A binary search from a point that fools the model towards the image.

        Args:
            state: The search so far.
            point: float32 `[B,H,W,C]`.
            active: bool `[B]`, the rows to search; others stay as they are.
        """
        reach = spread(self._distance(point), point)

        def blend(share: tf.Tensor) -> tf.Tensor:
            share = spread(share, point)
            delta = point - self._images
            if self._attack.norm != 2:
                limit = share * reach
                return self._images + tf.clip_by_value(delta, -limit, limit)
            return self._images + share * delta

        def searched(queries: tf.Tensor) -> tf.Tensor:
            return active & (queries < self._attack.queries)

        def is_needed(
            number: tf.Tensor,
            _low: tf.Tensor,
            _high: tf.Tensor,
            queries: tf.Tensor,
            _nearest: tf.Tensor,
        ) -> tf.Tensor:
            return (number < self._halvings) & tf.reduce_any(searched(queries))

        def step(
            number: tf.Tensor,
            low: tf.Tensor,
            high: tf.Tensor,
            queries: tf.Tensor,
            nearest: tf.Tensor,
        ) -> tuple[tf.Tensor, ...]:
            rows = searched(queries)
            middle = 0.5 * (low + high)
            tried = tf.clip_by_value(blend(middle), 0.0, 1.0)
            hit = self._reached(tried, rows)
            return (
                number + 1,
                tf.where(rows & ~hit, middle, low),
                tf.where(hit, middle, high),
                queries + tf.cast(rows, tf.int32),
                tf.where(spread(hit, tried), tried, nearest),
            )

        low, high = tf.zeros_like(state.distance), tf.ones_like(state.distance)
        start = (tf.constant(0), low, high, state.queries, point)
        *_, queries, nearest = loop(is_needed, step, start)
        distance = self._distance(nearest)
        better = active & (distance < state.distance)
        return state._replace(
            queries=queries,
            point=tf.where(spread(active, nearest), nearest, state.point),
            best=tf.where(spread(better, nearest), nearest, state.best),
            distance=tf.where(better, distance, state.distance),
        )

    def _keys_for(self, number: tf.Tensor | int) -> tf.Tensor:
        """Keys for the draws of one round, from 1, or of the start, 0; int64 `[B]`."""
        return draws_of(self._keys, number, 1)[:, 0]

    def _reached(self, points: tf.Tensor, active: tf.Tensor) -> tf.Tensor:
        """Which of the active rows fool the model, bool `[B]`; one query each."""
        points = tf.ensure_shape(points, self._images.shape)
        logits = self._problem.logits(points, active)
        return active & self._problem.goal.reached(logits)

    def _distance(self, points: tf.Tensor) -> tf.Tensor:
        return self._attack.threat.distance(self._images, points)

    def _as_images(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows `[N, d]` as `[N, H, W, C]`."""
        shape = tf.concat([tf.shape(rows)[:1], tf.shape(self._images)[1:]], axis=0)
        return tf.reshape(rows, shape)
