"""Norm balls around an image: how far, which way is up, how to get back inside.

A constraint knows the four things an attack asks of a norm. Nothing here depends on a
model. Every function treats each row of the batch by itself, so an example's result
does not depend on what else is in the batch.
"""

from __future__ import annotations

import abc
import dataclasses
import math

import tensorflow as tf

from tfrobust.core.vectors import (
    largest_entry,
    norms,
    spread,
    unit,
    zero_where_not_finite,
)

# float32 rounds a projected point either way. Aiming this much inside keeps the result
# within the ball when a caller measures it in float64.
_INSIDE = 1.0 - 1e-6


class Constraint(abc.ABC):
    """What an attack needs to know about a norm.

    All tensors are float32. Perturbations and gradients are `[B, H, W, C]`; distances
    are `[B]`, in units of pixel values in [0, 1].
    """

    @abc.abstractmethod
    def distance(self, delta: tf.Tensor) -> tf.Tensor:
        """Norm of each perturbation, `[B]`."""

    @abc.abstractmethod
    def normalize(self, gradient: tf.Tensor) -> tf.Tensor:
        """Unit step that climbs `gradient` fastest, `[B, H, W, C]`.

        The step has norm 1 however small the gradient is. A zero gradient gives a zero
        step, and an entry that is not finite counts as zero.
        """

    @abc.abstractmethod
    def project(self, delta: tf.Tensor, eps: float | tf.Tensor) -> tf.Tensor:
        """Nearest perturbation of norm at most `eps`, `[B, H, W, C]`.

        `eps` is a number, or a radius for each row as `[B, 1, 1, 1]`.
        """

    @abc.abstractmethod
    def random_start(
        self, shape: tf.Tensor, seeds: tf.Tensor, eps: float | tf.Tensor
    ) -> tf.Tensor:
        """One uniform draw from the ball of radius `eps` for each seed.

        Args:
            shape: int32 `[3]`, the shape `(H, W, C)` of one image.
            seeds: int64 `[B, 2]`. Equal rows give equal draws, whatever the batch.
            eps: Radius of the ball in pixel units, or one for each row,
                `[B, 1, 1, 1]`.

        Returns:
            float32 `[B, H, W, C]`.
        """


@dataclasses.dataclass(frozen=True)
class L2(Constraint):
    """The Euclidean norm of all pixels and channels of an image.

    Example:
        >>> delta = tf.reshape(tf.constant([3.0, 4.0]), [1, 1, 2, 1])
        >>> L2().distance(delta).numpy().tolist()
        [5.0]
        >>> L2().project(delta, 0.0).numpy().ravel().tolist()
        [0.0, 0.0]
    """

    def distance(self, delta: tf.Tensor) -> tf.Tensor:
        """Euclidean norm of each perturbation, `[B]`."""
        return norms(delta)

    def normalize(self, gradient: tf.Tensor) -> tf.Tensor:
        """The gradient divided by its Euclidean norm, with no floor under the norm."""
        return unit(zero_where_not_finite(gradient))

    def project(self, delta: tf.Tensor, eps: float | tf.Tensor) -> tf.Tensor:
        """Scale a perturbation that is too long back to norm `eps`."""
        norm = spread(norms(delta), delta)
        scale = tf.math.divide_no_nan(eps * _INSIDE, norm)
        return tf.where(norm > eps * _INSIDE, delta * scale, delta)

    def random_start(
        self, shape: tf.Tensor, seeds: tf.Tensor, eps: float | tf.Tensor
    ) -> tf.Tensor:
        """Uniform in the Euclidean ball of d dimensions.

        The first d coordinates of a uniform point on the sphere in d + 2 dimensions are
        uniform in the ball (Barthe et al. 2005, Annals of Probability 33(2)): one draw
        gives direction and radius.
        """
        size = _size(shape)

        def draw(seed: tf.Tensor) -> tf.Tensor:
            return tf.random.stateless_normal([size + 2], seed, alg="philox")

        normals = tf.map_fn(draw, seeds, fn_output_signature=tf.float32)
        on_sphere = self.normalize(normals[:, :, None, None])
        delta = tf.reshape(on_sphere[:, :size], tf.concat([[-1], shape], axis=0))
        return delta * (eps * _INSIDE)


@dataclasses.dataclass(frozen=True)
class Linf(Constraint):
    """The largest change of any one pixel value.

    Example:
        >>> delta = tf.reshape(tf.constant([0.5, -0.25]), [1, 1, 2, 1])
        >>> Linf().distance(delta).numpy().tolist()
        [0.5]
        >>> Linf().project(delta, 0.125).numpy().ravel().tolist()
        [0.125, -0.125]
    """

    def distance(self, delta: tf.Tensor) -> tf.Tensor:
        """Largest absolute entry of each perturbation, `[B]`."""
        return tf.reshape(largest_entry(delta), [-1])

    def normalize(self, gradient: tf.Tensor) -> tf.Tensor:
        """The sign of the gradient."""
        return tf.sign(zero_where_not_finite(gradient))

    def project(self, delta: tf.Tensor, eps: float | tf.Tensor) -> tf.Tensor:
        """Clip every entry to [-eps, eps]."""
        return tf.clip_by_value(delta, -eps, eps)

    def random_start(
        self, shape: tf.Tensor, seeds: tf.Tensor, eps: float | tf.Tensor
    ) -> tf.Tensor:
        """Every entry uniform in [-eps, eps), independently."""

        def draw(seed: tf.Tensor) -> tf.Tensor:
            return tf.random.stateless_uniform(
                shape, seed, minval=-1.0, maxval=1.0, alg="philox"
            )

        return eps * tf.map_fn(draw, seeds, fn_output_signature=tf.float32)


@dataclasses.dataclass(frozen=True)
class L1(Constraint):
    """The sum of absolute changes of all pixels and channels.

    The steepest step of norm 1 changes one entry alone, which fills an image too
    slowly. As in SLIDE (Tramer and Boneh 2019) the step is shared by the entries with
    the largest gradients, a hundredth of them.

    Example:
        >>> delta = tf.reshape(tf.constant([3.0, -1.0]), [1, 1, 2, 1])
        >>> L1().distance(delta).numpy().tolist()
        [4.0]
        >>> result = tf.reshape(L1().project(delta, 2.0), [-1])
        >>> [abs(round(float(x), 3)) for x in result]
        [2.0, 0.0]
    """

    share: float = 0.01

    def distance(self, delta: tf.Tensor) -> tf.Tensor:
        """Sum of absolute entries of each perturbation, `[B]`."""
        return tf.reduce_sum(tf.abs(delta), axis=[1, 2, 3])

    def normalize(self, gradient: tf.Tensor) -> tf.Tensor:
        """Equal steps in the entries with the largest gradients, L1 norm 1 in all."""
        gradient = zero_where_not_finite(gradient)
        rows = tf.reshape(tf.abs(gradient), [tf.shape(gradient)[0], -1])
        size = tf.shape(rows)[1]
        count = tf.maximum(1, tf.cast(self.share * tf.cast(size, tf.float32), tf.int32))
        least = tf.math.top_k(rows, count).values[:, -1]
        large = tf.abs(gradient) >= tf.reshape(least, [-1, 1, 1, 1])
        step = tf.where(large, tf.sign(gradient), 0.0)
        total = tf.reduce_sum(tf.abs(step), axis=[1, 2, 3], keepdims=True)
        return tf.math.divide_no_nan(step, total)

    def project(self, delta: tf.Tensor, eps: float | tf.Tensor) -> tf.Tensor:
        """Nearest point of the L1 ball (Duchi et al. 2008, figure 1).

        All entries shrink towards 0 by the same amount, the one that leaves a norm of
        eps.
        """
        shape = tf.shape(delta)
        sizes = tf.abs(tf.reshape(delta, [shape[0], -1]))
        eps = tf.reshape(tf.cast(eps, tf.float32), [-1, 1]) * _INSIDE
        ordered = tf.sort(sizes, axis=1, direction="DESCENDING")
        excess = tf.cumsum(ordered, axis=1) - eps
        rank = tf.cast(tf.range(1, tf.shape(sizes)[1] + 1), tf.float32)
        kept = tf.reduce_sum(
            tf.cast(ordered * rank > excess, tf.int32), axis=1, keepdims=True
        )
        last = tf.maximum(kept - 1, 0)
        shrink = tf.gather(excess / rank, last, axis=1, batch_dims=1)
        shrunk = tf.maximum(sizes - tf.maximum(shrink, 0.0), 0.0)
        # The sums above lose digits to the entries that end at 0.
        total = tf.reduce_sum(shrunk, axis=1, keepdims=True)
        shrunk *= tf.math.divide_no_nan(eps, total)
        outside = tf.reduce_sum(sizes, axis=1, keepdims=True) > eps
        shrunk = tf.where(outside, shrunk, sizes)
        return tf.sign(delta) * tf.reshape(shrunk, shape)

    def random_start(
        self, shape: tf.Tensor, seeds: tf.Tensor, eps: float | tf.Tensor
    ) -> tf.Tensor:
        """Uniform in the ball.

        The first d of d + 1 exponential draws over their sum are uniform in the
        simplex; random signs spread it over the ball (Devroye 1986, chapter V).
        """
        size = _size(shape)

        def draw(seed: tf.Tensor) -> tf.Tensor:
            return tf.random.stateless_uniform(
                [2 * size + 1], seed, minval=1e-7, alg="philox"
            )

        uniform = tf.map_fn(draw, seeds, fn_output_signature=tf.float32)
        sizes = -tf.math.log(uniform[:, : size + 1])
        shares = sizes[:, :size] / tf.reduce_sum(sizes, axis=1, keepdims=True)
        signed = tf.sign(uniform[:, size + 1 :] - 0.5) * shares
        return tf.reshape(signed, tf.concat([[-1], shape], axis=0)) * (eps * _INSIDE)


@dataclasses.dataclass(frozen=True)
class L0(Constraint):
    """The number of changed entries, pixels times channels, however far they change.

    No norm in the strict sense, and without a direction: a perturbation may be as long
    as pixels allow. An entry counts as changed where it differs from 0 at all.

    Example:
        >>> delta = tf.reshape(tf.constant([0.5, 0.0, -0.25]), [1, 1, 3, 1])
        >>> L0().distance(delta).numpy().tolist()
        [2.0]
        >>> L0().project(delta, 1.0).numpy().ravel().tolist()
        [0.5, 0.0, 0.0]
    """

    def distance(self, delta: tf.Tensor) -> tf.Tensor:
        """How many entries of each perturbation are not 0, `[B]`."""
        changed = tf.cast(tf.not_equal(delta, 0.0), tf.float32)
        return tf.reduce_sum(changed, axis=[1, 2, 3])

    def normalize(self, gradient: tf.Tensor) -> tf.Tensor:
        """The sign of the entry with the largest gradient, zeros elsewhere."""
        gradient = zero_where_not_finite(gradient)
        return tf.sign(_largest(gradient, tf.abs(gradient), 1.0))

    def project(self, delta: tf.Tensor, eps: float | tf.Tensor) -> tf.Tensor:
        """Keep the largest `floor(eps)` entries; of equal ones those that come first.

        It is what stays nearest to the perturbation in every other norm.
        """
        return _largest(delta, tf.abs(delta), eps)

    def random_start(
        self, shape: tf.Tensor, seeds: tf.Tensor, eps: float | tf.Tensor
    ) -> tf.Tensor:
        """`floor(eps)` entries at random, each uniform in [-1, 1), independently.

        There is no uniform draw from a ball without a bound; these are perturbations
        of images in [0, 1].
        """
        size = _size(shape)

        def draw(seed: tf.Tensor) -> tf.Tensor:
            return tf.random.stateless_uniform([2 * size], seed, alg="philox")

        uniform = tf.map_fn(draw, seeds, fn_output_signature=tf.float32)
        whole = tf.concat([[-1], shape], axis=0)
        values = tf.reshape(2.0 * uniform[:, :size] - 1.0, whole)
        return _largest(values, tf.reshape(uniform[:, size:], whole), eps)


def from_norm(norm: float | str) -> Constraint:
    """The constraint a norm stands for.

    Args:
        norm: 0, 1, 2, `"inf"` or `math.inf`.

    Returns:
        `L0()`, `L1()`, `L2()` or `Linf()`.

    Raises:
        ValueError: If the norm is none of these.

    Example:
        >>> from_norm("inf")
        Linf()
    """
    if norm == 0:
        return L0()
    if norm == 1:
        return L1()
    if norm == 2:
        return L2()
    if norm == "inf" or norm == math.inf:
        return Linf()
    raise ValueError(f'`norm` must be 0, 1, 2 or "inf". Received: norm={norm!r}')


def listed(norms: tuple[float | str, ...]) -> str:
    """Norms as a message lists them.

    Example:
        >>> listed((1, 2, "inf"))
        '1, 2 or "inf"'
    """
    words = [f'"{norm}"' if isinstance(norm, str) else f"{norm:g}" for norm in norms]
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _largest(delta: tf.Tensor, sizes: tf.Tensor, eps: float | tf.Tensor) -> tf.Tensor:
    """The entries of the `floor(eps)` largest sizes, zeros elsewhere, `[B,H,W,C]`."""
    shape = tf.shape(delta)
    sizes = tf.reshape(sizes, [shape[0], -1])
    count = tf.reshape(tf.floor(tf.cast(eps, tf.float32)), [-1, 1])
    # The rank of each entry: where it stands once they are sorted.
    order = tf.argsort(sizes, axis=1, direction="DESCENDING", stable=True)
    rank = tf.cast(tf.argsort(order, axis=1, stable=True), tf.float32)
    return tf.where(tf.reshape(rank < count, shape), delta, tf.zeros_like(delta))


def _size(shape: tf.Tensor) -> tf.Tensor | int:
    """Entries of one image; a number where known, or an empty batch has no shape."""
    static = tf.get_static_value(tf.convert_to_tensor(shape))
    return tf.reduce_prod(shape) if static is None else int(static.prod())
