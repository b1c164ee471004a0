"""Perceptually aligned gradients: each logit's gradient should point somewhere."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.differentiable import layers_named, require_second_derivative
from tfrobust.core.errors import ExtensionError
from tfrobust.core.gradients import Pullback, class_gradients
from tfrobust.core.vectors import cosine, lengths, spread
from tfrobust.pag import Directions
from tfrobust.penalties.base import Penalty, StepContext, check_weight
from tfrobust.settings import require, require_steps

# What a step draws, each from a stream of its own.
_CLASSES, _OTHERS, _MIXED = 0, 1, 2


class GradientAlignment(Penalty):
    """`weight * mean_i sum_t (1 - cos(grad_x f(x_i)_t, g(x_i, t)))`.

    The sum runs over all K classes, or over `classes_per_step` of them drawn anew for
    each image and step and scaled by `K / classes_per_step`, which has the same
    expectation.

    The value is that of the gradients themselves. Its derivative in the weights is too
    with `exact=True`, for which each class costs one pass back to the image and two
    more through that one. By default the latter two are shared by all classes: with
    random signs s_t of each image, the derivative of `sum_t <u_t, grad_x f_t>` is the
    mean over s of that of `<sum_t s_t n_t u_t, grad_x sum_t s_t f_t / n_t>`, for any
    constants n_t; the lengths of the gradients make the noise smallest. Signs are drawn
    anew in each step, so that it averages out over images and steps.

    Gradients are taken through the step's own forward pass, in training mode. There
    batch norm lets an image's logits depend a little on other images. These terms get
    random signs as well, so that they are noise in an image's gradient, of mean zero;
    what is said above of value and derivative holds up to that noise.

    Args:
        directions: Where g comes from, one of `tfrobust.pag`.
        weight: Strength, at least 0.
        classes_per_step: Classes drawn for each image, from 1 to K; `None` for all.
        exact: Whether to take the gradient of each class's term by itself.
        seed: Of classes and signs.

    Raises:
        ValueError: If `weight` is negative or `classes_per_step` is out of range.

    Reference: Ganz et al. 2023 (PAG), equations 1 and 2; the random signs are
    Hutchinson's estimator of a trace (1989).

    Example:
        >>> import keras, numpy as np
        >>> from tfrobust import models, pag, penalties
        >>> from tfrobust.training import RobustModel
        >>> x, y = np.eye(2, dtype="float32"), np.array([0, 1])
        >>> model = RobustModel(models.MLP((2,), classes=2, hidden=(8,)))
        >>> aligned = penalties.GradientAlignment(pag.OneImage(x, y, 2), weight=0.5)
        >>> model.compile(keras.optimizers.SGD(0.1), penalties=[aligned])
        >>> sorted(model.fit(x, y, verbose=0).history)
        ['accuracy', 'alignment_penalty', 'cross_entropy', 'loss']
    """

    name = "alignment_penalty"
    needs_pullback = True

    def __init__(
        self,
        directions: Directions,
        weight: float = 0.4,
        *,
        classes_per_step: int | None = None,
        exact: bool = False,
        seed: int = 0,
    ) -> None:
        self.weight = check_weight("weight", weight)
        classes = directions.classes
        if classes_per_step is not None:
            require_steps("classes_per_step", classes_per_step)
            require(
                classes_per_step <= classes,
                "classes_per_step",
                classes_per_step,
                f"from 1 to {classes}, the number of classes, or None",
            )
        self.directions, self.seed, self.exact = directions, seed, exact
        self.classes_per_step = classes_per_step or classes

    def check(self, network: keras.Model) -> None:
        """Raises `ValueError` if the directions are not of the network's shapes."""
        # Those of a subclassed network are not known before it is used.
        if hasattr(network, "input_shape"):
            self.directions.check(network.input_shape[1:], network.output_shape[-1])

    def __call__(self, context: StepContext) -> tf.Tensor:
        """The penalty of this step, a float32 scalar."""
        pull = context.pullback
        if pull is None:
            raise ValueError(
                "`context.pullback` must be given, as `needs_pullback` asks. "
                "Received: None"
            )
        chosen = self._choose(context)
        goals = self.directions(context.images, chosen, context.extras)
        _check_goals(goals, context.images, self.directions)
        goals = tf.stop_gradient(goals)
        with layers_named(context.network):
            gradients = class_gradients(
                pull,
                chosen,
                self.directions.classes,
                signs=self._signs(context, chosen, _OTHERS),
                # Replicas that reduce batch statistics inside a vectorised pass would
                # wait for each other for ever.
                vectorize=tf.distribute.get_strategy().num_replicas_in_sync == 1,
            )
            require_second_derivative(context.images, gradients, variables=True)
        if self.exact or self.classes_per_step == 1:
            total = _misaligned(context, gradients, goals)
        else:
            signs = self._signs(context, chosen, _MIXED)
            total = self._mixed(context, pull, chosen, signs, gradients, goals)
        return self.weight * self.directions.classes / self.classes_per_step * total

    def _mixed(
        self,
        context: StepContext,
        pull: Pullback,
        chosen: tf.Tensor,
        signs: tf.Tensor,
        gradients: tf.Tensor,
        goals: tf.Tensor,
    ) -> tf.Tensor:
        """The exact value, with a gradient in the weights that is so in the mean."""
        gradients = tf.stop_gradient(gradients)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(gradients)
            total = _misaligned(context, gradients, goals)
        slopes = tf.stop_gradient(tape.gradient(total, gradients))
        sizes = lengths(gradients)
        sizes = tf.where(sizes > 0.0, sizes, math.inf)
        # At least 1, so that no cotangent is too large for half precision.
        sizes /= tf.reduce_min(sizes, axis=1, keepdims=True)
        sizes = tf.where(tf.math.is_finite(sizes), sizes, 1.0)
        mixed = tf.reduce_sum(spread(signs * sizes, slopes) * slopes, axis=1)
        logits = tf.one_hot(chosen, self.directions.classes)
        gradients = pull(tf.reduce_sum((signs / sizes)[:, :, None] * logits, axis=1))
        linear = tf.reduce_sum(mixed * gradients)
        # Added as an exact zero: the sum alone would lose digits of the value.
        return tf.stop_gradient(total) + (linear - tf.stop_gradient(linear))

    def _choose(self, context: StepContext) -> tf.Tensor:
        """The classes of each image, int32 `[B,k]`, different from each other."""
        shape = [tf.shape(context.images)[0], self.directions.classes]
        if self.classes_per_step == self.directions.classes:
            return tf.broadcast_to(tf.range(shape[1]), shape)
        seed = self._seed(context, _CLASSES)
        draws = tf.random.stateless_uniform(shape, seed, alg="philox")
        return tf.math.top_k(draws, self.classes_per_step).indices

    def _signs(self, context: StepContext, chosen: tf.Tensor, stream: int) -> tf.Tensor:
        """-1 or 1 for each chosen class of each image, float32 `[B,k]`."""
        draws = tf.random.stateless_uniform(
            tf.shape(chosen), self._seed(context, stream), -1.0, 1.0, alg="philox"
        )
        return tf.where(draws < 0.0, -1.0, 1.0)

    def _seed(self, context: StepContext, stream: int) -> tf.Tensor:
        """A stateless seed of this step, this replica and one purpose."""
        replica = tf.distribute.get_replica_context()
        place = 0 if replica is None else replica.replica_id_in_sync_group
        seed = tf.constant([self.seed, stream], tf.int64)
        for part in (context.step, place):
            part = tf.cast(part, tf.int64)
            seed = tf.random.experimental.stateless_fold_in(seed, part, alg="philox")
        return seed


def _misaligned(
    context: StepContext, gradients: tf.Tensor, goals: tf.Tensor
) -> tf.Tensor:
    """Mean over images of the sum over classes of what cosines miss to 1."""
    return context.mean(tf.reduce_sum(1.0 - cosine(gradients, goals), axis=1))


def _check_goals(goals: Any, images: tf.Tensor, directions: Directions) -> None:
    """Raises `ValueError` unless there is a direction for each image and class."""
    shape = images.shape[:1].concatenate([None]).concatenate(images.shape[1:])
    if not (tf.is_tensor(goals) and goals.shape.is_compatible_with(shape)):
        received = f"a tensor {goals.shape}" if tf.is_tensor(goals) else repr(goals)
        raise ExtensionError(
            "Directions must be a tensor [B, k, ...] for images [B, ...] and k classes "
            f"of each. Received: {received} from {type(directions).__name__}, for "
            f"images {images.shape}"
        )
