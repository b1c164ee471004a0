"""A Keras model whose training step knows penalties and an adversary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrobust.attacks import Attack
from tfrobust.core.answers import shape_of_output
from tfrobust.core.pixels import check_bounds, to_unit
from tfrobust.core.unit_network import input_shape_of
from tfrobust.core.vectors import norms
from tfrobust.layers import (
    NetworkWrapper,
    find_layers,
)
from tfrobust.penalties import Penalty
from tfrobust.training.batches import (
    TrainingBatch,
    checked,
    unpack,
)
from tfrobust.training.compile_checks import (
    check_adversary,
    check_names,
    check_network,
)
from tfrobust.training.compiled import Compiled
from tfrobust.training.empty_replicas import Presence
from tfrobust.training.forward import forward
from tfrobust.training.saving import CompileSettings
from tfrobust.training.steps import (
    distributed,
    scales_loss,
    share_of,
    share_overflow,
)


@keras.saving.register_keras_serializable(package="tfrobust")
class RobustModel(NetworkWrapper):
    """Trains any Keras classifier with penalties on its loss and adversarial examples.

    The wrapped network is left as it is: call, save and export `network` itself, and
    it loads anywhere without training code. This class brings another `train_step`:

        images -> adversary (if any) -> network in training mode -> loss
        -> input-gradient (if a penalty asks) -> penalties -> one optimiser step

    Every shared quantity is computed once however many penalties ask for it. It runs
    under `tf.distribute` strategies, several workers included, where it replaces the
    parts of Keras's own loop that fail there; build network and model in the
    strategy's scope. A batch may be divided unevenly, down to a replica without an
    image: loss, gradients and metrics are those of one device, and such a replica
    leaves the statistics of batch norm alone, synchronized or not.

    Everything else is Keras's: the network may be functional, sequential or subclassed,
    end in logits, a softmax, or one output for two classes, and hold augmentation,
    regularizers and losses of its own; labels may be integers, one-hot rows or shares;
    `fit` takes arrays, `tf.data`, generators, `PyDataset` and dictionaries.

    Penalties and the adversary work on images in [0, 1] and on logits, whatever the
    network takes and answers with: a radius or a gradient is in units of [0, 1].

    Args:
        network: A `keras.Model` that maps images `[B,H,W,C]` to one answer for each of
            K classes, or one in all for two. Of another `RobustModel`, say one that was
            loaded to go on with, its network. A subclassed network that is not built
            learns its shapes from the first batch.
        output: Which of several outputs is trained, by its name; by default the one
            named "logits".
        bounds: The least and the largest value of a pixel, such as `(0, 255)`. By
            default 0 and 255 if the network begins with a `Rescaling` or
            `Normalization` of bytes or takes integers, and else 0 and 1. A batch with a
            pixel that is not within them is an error.

    Raises:
        ValueError: If `network` is no classifier of one image.

    Example:
        >>> import keras, numpy as np
        >>> from tfrobust import models, penalties
        >>> from tfrobust.training import RobustModel
        >>> network = models.MLP((2,), classes=2, hidden=(8,), variant="lcnn")
        >>> model = RobustModel(network)
        >>> model.compile(keras.optimizers.SGD(0.1), penalties=[penalties.Curvature()])
        >>> x, y = np.eye(2, dtype="float32"), np.array([0, 1])
        >>> history = model.fit(x, y, epochs=2, verbose=0)
        >>> sorted(history.history)  # doctest: +NORMALIZE_WHITESPACE
        ['accuracy', 'beta', 'cross_entropy', 'curvature_penalty', 'loss']
    """

    train_function: Callable[[Any], Any] | None
    test_function: Callable[[Any], Any] | None

    def __init__(
        self,
        network: keras.Model,
        *,
        output: str | None = None,
        bounds: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if bounds is not None:
            bounds = check_bounds(bounds)
        super().__init__(network, output=output, bounds=bounds, **kwargs)
        check_network(self.network, self.output_name)
        self.penalties: tuple[Penalty, ...] = ()
        self.adversary: Attack | None = None
        self.adversary_share = 1.0
        self._state = Compiled(self)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "sgd",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        *,
        penalties: Sequence[Penalty] = (),
        adversary: Attack | None = None,
        adversary_share: float = 1.0,
    ) -> None:
        """Says how to train, as `keras.Model.compile` does.

        Args:
            optimizer: A Keras optimiser or its name.
            loss: A Keras loss, its name, or a function of labels and of what the
                network answers with. By default the cross-entropy of the logits, which
                needs no `from_logits`, takes integer labels, one-hot rows and shares,
                and is exact where the network ends in a softmax or a sigmoid. Whatever
                the network's own layers add - regularizers, activity losses, `add_loss`
                - is added, and reported as `regularization`.
            loss_weights: What `loss` is multiplied by, a number, or one by the name of
                the output.
            metrics: Keras's metrics, of labels and what the network answers with. By
                default the accuracy.
            weighted_metrics: The same, weighted by `sample_weight` and `class_weight`.
            run_eagerly: Whether to run step by step, for debugging.
            steps_per_execution: Steps run in one call into the graph; a divisor of
                `steps_per_epoch` where `fit` is given one.
            jit_compile: Whether to compile the step by XLA; "auto" is False. On a CPU
                that is slower; under a strategy of several replicas it is refused.
            auto_scale_loss: Whether a network that computes in float16 is trained with
                a scaled loss.
            penalties: Terms added to the loss.
            adversary: An attack from `tfrobust.attacks`; what its `perturb` returns
                takes the place of the clean images in the whole step. It sees the
                network in inference mode.
            adversary_share: Share of each batch that is attacked, above 0 and at most
                1: the first `round(share * B)` rows, at least one, of the B that a
                replica gets. The others stay clean and cost the adversary nothing, so
                batches should be shuffled. All rows weigh the same in the loss.

        `sample_weight` and `class_weight` of `fit` multiply each example's loss, and in
        every penalty that is a mean over examples its part of that mean. The adversary
        attacks each image by itself, so that a weight does not change what it finds,
        only how much that counts.

        Raises:
            ValueError: If two penalties share a name, one does not apply to the
                network, `adversary` has no `perturb`, `adversary_share` is out of
                range or there is nothing to share, there is no such loss or metric, or
                `jit_compile` is asked for with several replicas.

        Reference: Kurakin et al. 2017, Adversarial Machine Learning at Scale, section
        3 (a batch of clean and adversarial images); Goodfellow et al. 2015, section 6.
        """
        strategy = self.distribute_strategy
        jit_compile = jit_compile is True
        if jit_compile and strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "`jit_compile` must be False under a strategy with several replicas, "
                "which cannot reduce inside a compiled step. Received: jit_compile="
                f"True, replicas={strategy.num_replicas_in_sync}"
            )
        check_adversary(adversary, adversary_share)
        check_names(penalties)
        settings = CompileSettings(
            optimizer=keras.optimizers.get(optimizer),
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
            penalties=tuple(penalties),
            adversary=adversary,
            adversary_share=float(adversary_share),
        )
        optimizer = settings.optimizer
        if auto_scale_loss and _computes_in_float16(self.network):
            optimizer = _scaling(optimizer)
        self.penalties, self.adversary = tuple(penalties), adversary
        self.adversary_share = float(adversary_share)
        self._state = Compiled(self, settings)
        super().compile(
            optimizer=optimizer,
            metrics=self._state.metrics,
            run_eagerly=run_eagerly,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
            auto_scale_loss=False,
        )
        self.loss = loss
        with strategy.scope():
            # Metrics that exist do not ask of what shape labels and answers are.
            pair = keras.KerasTensor((None,)), keras.KerasTensor((None, 2))
            self._compile_metrics.build(*pair)
        self._state.trackers["loss"] = self._loss_tracker
        if self.built:
            self._prepare()

    def _prepare(self) -> None:
        """What needs the network's weights and shapes."""
        for penalty in self.penalties:
            penalty.check(self._state.unit)
        with self.distribute_strategy.scope():
            self.optimizer.build(self.network.trainable_variables)
            self._state.learn_shapes(self)

    @property
    def _step(self) -> tf.Tensor:
        """Updates of the weights so far."""
        return tf.cast(self.optimizer.iterations, tf.int64)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update from one (per-replica) batch of images and labels."""
        batch, presence = self._batch(data)
        share = share_of(batch, self.distribute_strategy)
        batch = presence.filled(batch, self._state.unit.pixel_bounds)
        images = to_unit(batch.images, self._state.unit.pixel_bounds)
        if self.adversary is not None:
            images = self._attacked(self.adversary, images, batch.labels)
        with presence.training(self.network), tf.GradientTape() as tape:
            state = self._state
            passed = forward(
                state.unit, state.loss, images, batch, self.penalties, self._step
            )
            context, answer, added = passed
            self._state.check(batch.labels, answer)
            data_loss = self._state.mean_loss(context.losses, batch.weights, share)
            terms = {penalty.name: penalty.term(context) for penalty in self.penalties}
            # Stacked: a chain of additions may be reordered from run to run.
            own = data_loss * self._state.loss_weight
            loss = tf.reduce_sum(tf.stack([own, *added, *terms.values()]))
            # Replicas' gradients are summed, each is of its share of the batch.
            scaled = self.optimizer.scale_loss(loss * share.of_examples)
        variables = self.network.trainable_variables
        gradients = presence.own(tape.gradient(scaled, variables))
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1 and scales_loss(self.optimizer):
            gradients = share_overflow(gradients)
        self.optimizer.apply(gradients, variables)
        values = {"loss": loss, self._state.loss_name: data_loss, **terms}
        if added:
            values["regularization"] = tf.reduce_sum(tf.stack(added))
        if context.input_gradient is not None:
            values["gradient_norm"] = context.mean(norms(context.input_gradient))
        return self._state.update(
            batch, context.logits, answer, values, share.examples, presence
        )

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Loss and metrics on one (per-replica) batch; weights may mask padding."""
        batch, presence = self._batch(data)
        batch = presence.filled(batch, self._state.unit.pixel_bounds)
        images = to_unit(batch.images, self._state.unit.pixel_bounds)
        answer, added = self._state.unit.answer_and_losses(images, training=False)
        self._state.check(batch.labels, answer)
        losses = self._state.loss(batch.targets, answer)
        total = losses * self._state.loss_weight
        if added:
            total += tf.reduce_sum(tf.stack(added))
        return self._state.update_test(batch, answer, total, losses, presence)

    def _batch(self, data: Any) -> tuple[TrainingBatch, Presence]:
        """A replica's batch, and whether there is anything in it."""
        batch = self._unpacked(data)
        return batch, Presence(batch, self.distribute_strategy)

    def _unpacked(self, data: Any) -> TrainingBatch:
        return unpack(
            data,
            self._state.unit.pixel_bounds,
            inputs=[image.name for image in getattr(self.network, "inputs", [])],
            output=self.output_name,
        )

    def _attacked(
        self, adversary: Attack, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        """The batch with the adversary's share of its rows perturbed."""
        unit = self._state.unit
        if self.adversary_share == 1.0:
            return adversary.perturb(unit, images, labels)
        count = _rows(self.adversary_share, images)
        moved = adversary.perturb(unit, images[:count], labels[:count])
        return tf.concat([moved, tf.cast(images[count:], moved.dtype)], axis=0)

    @property
    def input_shape(self) -> Any:
        """That of the network's images."""
        return input_shape_of(self.network)

    @property
    def output_shape(self) -> Any:
        """That of the network's answer."""
        return shape_of_output(self.network, self.output_name)

    def export(self, *arguments: Any, **settings: Any) -> None:
        """Keras's export of the network; `export.export_saved_model` is for serving."""
        self.network.export(*arguments, **settings)

    # Keras's own loop fails with several workers: it builds the model from a batch that
    # it reduces outside of a replica, then reduces scalars along axis 0. Both are
    # replaced by the documented way to run a step under a strategy.

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        """Builds a network whose shapes the first batch says; else there is nothing."""
        if self.built:
            return
        if data_batch is None:
            data_batch = next(next(iter(iterator))[2])
        batch = self.distribute_strategy.experimental_local_results(data_batch)[0]
        images: Any = keras.utils.unpack_x_y_sample_weight(batch)[0]
        images = images["images"] if isinstance(images, dict) else images
        with self.distribute_strategy.scope():
            self.network(tf.cast(images[:1], tf.float32), training=False)
            self.built = True
            check_network(self.network, self.output_name)
            self._state.unit.built = True
            self._prepare()

    def make_train_function(self, force: bool = False) -> Callable[[Any], Any]:
        """The function that takes one training step from an iterator."""
        if self.train_function is None or force:
            self.train_function = self._distributed(self.train_step)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[[Any], Any]:
        """The function that takes one evaluation step from an iterator."""
        if self.test_function is None or force:
            self.test_function = self._distributed(self.test_step)
        return self.test_function

    def _distributed(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return distributed(
            step,
            self.distribute_strategy,
            self._state.weight,
            prepare=self._checked,
            whole=self._state.whole,
            steps=self.steps_per_execution,
            eagerly=self.run_eagerly,
            jit_compile=self.jit_compile,
        )

    def _checked(self, data: Any) -> tuple[Any, ...]:
        """The batch as a step takes it, whose pixels and labels are in range."""
        state = self._state
        batch = checked(self._unpacked(data), state.unit.pixel_bounds, state.classes)
        images = (
            {"images": batch.images, **batch.extras} if batch.extras else batch.images
        )
        parts = (images, batch.targets, batch.weights)
        return parts if batch.weights is not None else parts[:2]

    def _get_metrics_result_or_logs(self, logs: Any) -> Any:
        """What the last step reported, which is of the whole epoch already."""
        return logs

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile` was given, penalties and adversary included.

        Empty, with a warning, where a part of it cannot be saved: a loaded model is
        then to be compiled anew.
        """
        settings = self._state.settings
        return {} if settings is None else settings.serialize()

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as `get_compile_config` says."""
        settings = CompileSettings.deserialize(config)
        if settings is not None:
            self.compile(**settings.arguments())


def _computes_in_float16(network: keras.Model) -> bool:
    layers = find_layers(network, keras.layers.Layer)
    return any(layer.compute_dtype == "float16" for layer in layers)


def _scaling(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    if scales_loss(optimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer")


def _rows(share: float, images: tf.Tensor) -> int | tf.Tensor:
    """How many rows of a batch a share is; one at least, since none cannot be run."""
    if images.shape[0] is not None:
        return max(1, round(share * images.shape[0]))
    # In double precision, as Python: the same number of rows in any kind of graph.
    size = tf.cast(tf.shape(images)[0], tf.float64)
    return tf.maximum(1, tf.cast(tf.round(share * size), tf.int32))
