"""Projected gradient descent, the standard attack within a norm ball."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from tfrobust.attacks import constraints
from tfrobust.attacks.base import Attack, Classifier, Goal

LOSSES = ("cross_entropy", "margin")

# The best images so far, their scores, and whether they reach the goal.
_Best = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Projected gradient descent (Madry et al. 2018, https://arxiv.org/abs/1706.06083).

    From a random point of the eps-ball around the image, repeat: step along the
    normalised gradient of the loss, project on the ball, clip to [0, 1]. Kept for each
    image is the best point visited over all steps and restarts, where a point that
    reaches the goal beats one that does not, and then the higher loss wins.

    Adversarial training uses `perturb`, which also moves the images that the network
    already gets wrong; a call returns those as they came.

    Costs `restarts * steps` gradients and `restarts + 2` forward passes.

    Attributes:
        norm: 2, `"inf"` or `math.inf`. The step is the gradient over its L2 norm, or
            the sign of the gradient.
        eps: Radius of the ball in pixel units of [0, 1], for instance `8 / 255`.
        steps: Gradient steps from each start, at least 1.
        step_size: Length of a step in the norm. `2 * eps / steps` if `None`, enough to
            cross the ball.
        random_start: Start at a uniform draw from the ball rather than at the image.
            The draw depends on the image and `seed` alone, not on the batch around it.
        restarts: Searches for each image. More than 1 needs `random_start`.
        loss: `"cross_entropy"` or `"margin"`. The first is climbed through its
            log-odds, which point the same way and do not saturate; see `Goal.log_odds`.
        attacks_reached: Also attack images that reach the goal as they are.
        seed: Of the random starts, in [0, 2**31). Under XLA (`jit_compile=True`) the
            same seed gives other draws than without.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> images = tf.fill([1, 2, 2, 1], 0.5)
        >>> def model(x):
        ...     total = tf.reduce_sum(x, axis=[1, 2, 3])
        ...     return tf.stack([total, 4.0 - total - 0.1], axis=-1)
        >>> result = PGD(norm="inf", eps=0.1)(model, images, tf.constant([0]))
        >>> bool(result.success[0]), round(float(result.distortion[0]), 3)
        (True, 0.1)
    """

    norm: float | str
    eps: float
    steps: int = 20
    step_size: float | None = None
    random_start: bool = True
    restarts: int = 1
    loss: str = "cross_entropy"
    attacks_reached: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        constraints.from_norm(self.norm)
        _require(0 <= self.eps < math.inf, "eps", self.eps, "finite and at least 0")
        _require(self.steps >= 1, "steps", self.steps, "at least 1")
        _require(self.restarts >= 1, "restarts", self.restarts, "at least 1")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "in [0, 2**31)")
        _require(self.loss in LOSSES, "loss", self.loss, f"one of {LOSSES}")
        if self.step_size is not None:
            allowed = "positive and finite, or None"
            _require(
                0 < self.step_size < math.inf, "step_size", self.step_size, allowed
            )
        if self.restarts > 1 and not self.random_start:
            raise ValueError(
                "`restarts` above 1 needs `random_start=True`, or every search is the "
                f"same. Received: restarts={self.restarts}"
            )

    @property
    def constraint(self) -> constraints.Constraint:
        """The norm ball's shape."""
        return constraints.from_norm(self.norm)

    @property
    def budget(self) -> float:
        """The radius of the ball."""
        return self.eps

    def score(self, logits: tf.Tensor, goal: Goal) -> tf.Tensor:
        """The loss that is climbed, float32 `[B]`."""
        return goal.margin(logits) if self.loss == "margin" else goal.log_odds(logits)

    def run(self, classifier: Classifier, images: tf.Tensor, goal: Goal) -> tf.Tensor:
        """Search from every start and keep the best point visited."""
        # Nothing is known yet: any finite point replaces this.
        best = (
            images,
            tf.fill(tf.shape(images)[:1], -math.inf),
            tf.zeros(tf.shape(images)[:1], tf.bool),
        )
        if self.restarts == 1:
            return self._restart(classifier, images, goal, 0, best)[0]
        _, best = tf.while_loop(
            lambda restart, _: restart < self.restarts,
            lambda restart, best: (
                restart + 1,
                self._restart(classifier, images, goal, restart, best),
            ),
            (tf.constant(0), best),
            shape_invariants=_like((tf.constant(0), best)),
            parallel_iterations=1,
        )
        return best[0]

    def _restart(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        goal: Goal,
        restart: tf.Tensor | int,
        best: _Best,
    ) -> _Best:
        """One search: `steps` gradient steps, and a look at the last point."""
        start = self._start(images, restart)

        def body(step: tf.Tensor, point: tf.Tensor, best: _Best) -> tuple:
            gradient, logits = self._gradient(classifier, point, goal)
            best = self._keep_best(best, point, logits, goal)
            return step + 1, self._step(point, gradient, images), best

        state = (tf.constant(0), start, best)
        _, last, best = tf.while_loop(
            lambda step, *_: step < self.steps,
            body,
            state,
            shape_invariants=_like(state),
            parallel_iterations=1,
        )
        return self._keep_best(best, last, classifier(last), goal)

    def _start(self, images: tf.Tensor, restart: tf.Tensor | int) -> tf.Tensor:
        if not self.random_start:
            return images
        seeds = _seeds(images, self.seed, restart)
        shape = tf.shape(images)[1:]
        delta = self.constraint.random_start(shape, seeds, self.eps)
        delta = tf.ensure_shape(delta, images.shape)
        return tf.clip_by_value(images + delta, 0.0, 1.0)

    def _gradient(
        self, classifier: Classifier, point: tf.Tensor, goal: Goal
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Gradient of each example's loss in its own pixels, and the logits."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(point)
            logits = classifier(point)
            loss = tf.reduce_sum(self.score(logits, goal))
        gradient = tape.gradient(loss, point)
        if gradient is None:
            raise ValueError(
                "`model` must be differentiable in its images. Received: a model whose "
                "logits have no gradient path to them"
            )
        return gradient, logits

    def _step(
        self, point: tf.Tensor, gradient: tf.Tensor, images: tf.Tensor
    ) -> tf.Tensor:
        size = 2 * self.eps / self.steps if self.step_size is None else self.step_size
        moved = point + size * self.constraint.normalise(gradient)
        # Ball before box: clipping to the box only brings a point nearer to an image
        # inside it, so the result satisfies both.
        delta = self.constraint.project(moved - images, self.eps)
        return tf.clip_by_value(images + delta, 0.0, 1.0)

    def _keep_best(
        self, best: _Best, point: tf.Tensor, logits: tf.Tensor, goal: Goal
    ) -> _Best:
        """Success first, then the higher loss."""
        image, score, reached = best
        new_score, new_reached = self.score(logits, goal), goal.reached(logits)
        gained = new_reached & ~reached
        higher = (new_reached == reached) & (new_score > score)
        better = gained | higher
        return (
            tf.where(better[:, None, None, None], point, image),
            tf.where(better, new_score, score),
            new_reached | reached,
        )


def _seeds(images: tf.Tensor, seed: int, restart: tf.Tensor | int) -> tf.Tensor:
    """A seed for each image from its own pixels, int64 `[B, 2]`.

    Two images that differ in a bit almost surely get different seeds, and an image gets
    the same seed in any batch. Integers keep the sum exact in any order; no product
    or sum below leaves the range of int64.
    """
    mask = 2**31 - 1
    bits = tf.bitcast(tf.reshape(images, [tf.shape(images)[0], -1]), tf.int32)
    bits = tf.cast(bits, tf.int64)
    position = tf.range(1, tf.shape(bits, tf.int64)[1] + 1, dtype=tf.int64)
    weight = tf.bitwise.bitwise_and(position * 2654435761, mask)
    # Odd, so that no bit of a pixel is lost in the product.
    product = bits * tf.bitwise.bitwise_or(weight, 1)
    # The pixels 0, 1/2 and 1 have zeros for low bits: fold the high ones in.
    folded = tf.bitwise.bitwise_xor(product, tf.bitwise.right_shift(product, 31))
    content = tf.reduce_sum(tf.bitwise.bitwise_and(folded, mask), axis=1)
    run = seed * 2**32 + tf.cast(restart, tf.int64)
    return tf.stack([content, tf.fill(tf.shape(content), run)], axis=1)


def _like(state: tuple) -> tuple:
    """The static shapes of a loop's state, batch size unknown where it is."""
    return tf.nest.map_structure(lambda tensor: tensor.shape, state)


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise ValueError(f"`{name}` must be {allowed}. Received: {name}={value}")
