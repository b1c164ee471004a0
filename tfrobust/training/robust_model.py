"""A Keras model whose training step knows penalties and an adversary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrobust.attacks import Attack
from tfrobust.core.gradients import gradient_scale, pullback
from tfrobust.core.vectors import squared_norms
from tfrobust.layers import (
    LipschitzBatchNormalization,
    NetworkWrapper,
    find_layers,
    learnable_activations,
    network_of,
)
from tfrobust.penalties import Penalty, StepContext
from tfrobust.settings import require
from tfrobust.training.batches import unpack
from tfrobust.training.steps import RunningMeans, distributed

# What the step itself reports; a penalty of the same name would be lost.
_OWN_NAMES = ("loss", "accuracy", "cross_entropy", "gradient_norm", "beta", "gamma")


@keras.saving.register_keras_serializable(package="tfrobust")
class RobustModel(NetworkWrapper):
    """Trains any Keras classifier with penalties on its loss and adversarial examples.

    The wrapped network is left as it is: call, save and export `network` itself, and
    it loads anywhere without training code. This class brings another `train_step`:

        images -> adversary (if any) -> network in training mode -> cross-entropy
        -> input-gradient (if a penalty asks) -> penalties -> one optimiser step

    Every shared quantity is computed once however many penalties ask for it. It runs
    under `tf.distribute` strategies, several workers included, where it replaces the
    parts of Keras's own loop that fail there; build network and model in the
    strategy's scope.

    Args:
        network: A built `keras.Model` from images float32 `[B,H,W,C]` in [0, 1] to
            logits `[B,K]`. Of another `RobustModel`, say one that was loaded to go on
            with, its network.

    Raises:
        ValueError: If the shapes of `network` are not known or it does not end in
            logits of rank 2.

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

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        _check_network(network_of(network))
        super().__init__(network, **kwargs)
        self.penalties: tuple[Penalty, ...] = ()
        self.adversary: Attack | None = None
        self.adversary_share = 1.0
        self._running = RunningMeans(())

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "sgd",
        penalties: Sequence[Penalty] = (),
        adversary: Attack | None = None,
        *,
        adversary_share: float = 1.0,
        run_eagerly: bool = False,
        jit_compile: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: A Keras optimiser or its name.
            penalties: Terms added to the mean cross-entropy.
            adversary: An attack from `tfrobust.attacks`; what its `perturb` returns
                takes the place of the clean images in the whole step. It sees the
                network in inference mode.
            adversary_share: Share of each batch that is attacked, above 0 and at most
                1: the first `round(share * B)` rows, at least one, of the B that a
                replica gets. The others stay clean and cost the adversary nothing, so
                batches should be shuffled. All rows weigh the same in the loss.
            run_eagerly: Whether to run step by step, for debugging.
            jit_compile: Whether to compile the step by XLA. On a CPU that is slower;
                under a strategy of several replicas it is refused.
            steps_per_execution: Steps run in one call into the graph; a divisor of
                `steps_per_epoch` where `fit` is given one.

        Raises:
            ValueError: If two penalties share a name, one does not apply to the
                network, `adversary` has no `perturb`, `adversary_share` is out of
                range or there is nothing to share, or `jit_compile` is asked for
                with several replicas.

        Reference: Kurakin et al. 2017, Adversarial Machine Learning at Scale, section
        3 (a batch of clean and adversarial images); Goodfellow et al. 2015, section 6.
        """
        strategy = self.distribute_strategy
        if jit_compile and strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "`jit_compile` must be False under a strategy with several replicas, "
                "which cannot reduce inside a compiled step. Received: jit_compile="
                f"True, replicas={strategy.num_replicas_in_sync}"
            )
        if adversary is not None and not hasattr(adversary, "perturb"):
            raise ValueError(
                "`adversary` must be an attack from `tfrobust.attacks`. "
                f"Received: adversary={adversary!r}"
            )
        self.penalties = _checked_penalties(penalties, self.network)
        _check_share(adversary_share, adversary)
        self.adversary, self.adversary_share = adversary, float(adversary_share)
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
        )
        with strategy.scope():
            self.optimizer.build(self.network.trainable_variables)
            self._running = RunningMeans(self._tracker_names())

    def _tracker_names(self) -> list[str]:
        names = ["loss", "accuracy", "cross_entropy"]
        if self._needs_input_gradient:
            names.append("gradient_norm")
        return names + [penalty.name for penalty in self.penalties]

    @property
    def _needs_input_gradient(self) -> bool:
        return any(penalty.needs_input_gradient for penalty in self.penalties)

    @property
    def _needs_pullback(self) -> bool:
        return any(penalty.needs_pullback for penalty in self.penalties)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means of the current epoch."""
        return list(self._running.trackers.values())

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update from one (per-replica) batch of images and integer labels."""
        images, labels, weights, extras = unpack(data)
        if self.adversary is not None:
            images = self._attacked(self.adversary, images, labels)
        with tf.GradientTape() as tape:
            context = self._forward(images, labels, extras)
            cross_entropy = _weighted_mean(context.losses, weights)
            terms = {penalty.name: penalty.term(context) for penalty in self.penalties}
            # Stacked: a chain of additions may be reordered from run to run.
            loss = tf.reduce_sum(tf.stack([cross_entropy, *terms.values()]))
            # Replicas' gradients are summed, each is of its share of the batch.
            replicas = self.distribute_strategy.num_replicas_in_sync
            scaled = self.optimizer.scale_loss(loss / replicas)
        variables = self.network.trainable_variables
        gradients = tape.gradient(scaled, variables)
        if replicas > 1 and _scales_loss(self.optimizer):
            gradients = _share_overflow(gradients)
        self.optimizer.apply(gradients, variables)
        values = {"loss": loss, "cross_entropy": cross_entropy, **terms}
        if context.input_gradient is not None:
            norms = tf.sqrt(squared_norms(context.input_gradient))
            values["gradient_norm"] = tf.reduce_mean(norms)
        self._update(context, weights, values)
        return {**self._running.results(), **self._coefficients()}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Loss and accuracy on one (per-replica) batch; weights may mask padding."""
        images, labels, weights, _ = unpack(data)
        logits = tf.cast(self.network(images, training=False), tf.float32)
        context = StepContext(
            network=self.network,
            images=images,
            labels=labels,
            logits=logits,
            losses=_cross_entropy(labels, logits),
        )
        self._update(context, weights, {})
        for name in ("loss", "cross_entropy"):
            self._running.trackers[name].update_state(context.losses, weights)
        return self._running.results(("loss", "accuracy", "cross_entropy"))

    def _attacked(
        self, adversary: Attack, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        """The batch with the adversary's share of its rows perturbed."""
        if self.adversary_share == 1.0:
            return adversary.perturb(self.network, images, labels)
        count = _rows(self.adversary_share, images)
        moved = adversary.perturb(self.network, images[:count], labels[:count])
        return tf.concat([moved, tf.cast(images[count:], moved.dtype)], axis=0)

    def _forward(
        self, images: tf.Tensor, labels: tf.Tensor, extras: dict[str, tf.Tensor]
    ) -> StepContext:
        gradients: dict[str, Any] = {}
        if self._needs_input_gradient or self._needs_pullback:
            persistent = self._needs_pullback
            with tf.GradientTape(persistent, watch_accessed_variables=False) as tape:
                tape.watch(images)
                logits, losses = self._logits_and_losses(images, labels)
                scale = gradient_scale(self.network)
                total = tf.reduce_sum(losses) * scale
            if self._needs_input_gradient:
                gradients["input_gradient"] = tape.gradient(total, images) / scale
            if self._needs_pullback:
                gradients["pullback"] = pullback(tape, logits, images, scale)
        else:
            logits, losses = self._logits_and_losses(images, labels)
        return StepContext(
            network=self.network,
            images=images,
            labels=labels,
            logits=logits,
            losses=losses,
            extras=extras,
            step=tf.cast(self.optimizer.iterations, tf.int64),
            **gradients,
        )

    def _logits_and_losses(
        self, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.cast(self.network(images, training=True), tf.float32)
        return logits, _cross_entropy(labels, logits)

    def _update(
        self,
        context: StepContext,
        weights: tf.Tensor | None,
        values: dict[str, tf.Tensor],
    ) -> None:
        examples = tf.cast(tf.shape(context.labels)[0], tf.float32)
        for name, value in values.items():
            self._running.trackers[name].update_state(value, examples)
        self._running.trackers["accuracy"].update_state(
            _is_correct(context.labels, context.logits), weights
        )

    def _coefficients(self) -> dict[str, tf.Tensor]:
        """Mean beta and gamma now, not averaged over the epoch."""
        betas = [layer.beta for layer in learnable_activations(self.network)]
        norms = find_layers(self.network, LipschitzBatchNormalization)
        gammas = [layer.gamma for layer in norms]
        means = {"beta": betas, "gamma": gammas}
        return {name: tf.reduce_mean(tf.stack(v)) for name, v in means.items() if v}

    # Keras's own loop fails with several workers: it builds the model from a batch that
    # it reduces outside of a replica, then reduces scalars along axis 0. Both are
    # replaced by the documented way to run a step under a strategy.

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        """Nothing to build: network, optimiser and metrics exist since `compile`."""

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
            self._running.weight,
            steps=self.steps_per_execution,
            eagerly=self.run_eagerly,
            jit_compile=self.jit_compile,
        )

    def get_compile_config(self) -> None:
        """Nothing: penalties are not saved, and a loaded model is compiled anew."""


def _check_network(network: keras.Model) -> None:
    if not network.built:
        raise ValueError(
            "`network` must be built, so that its input shape is known. "
            f"Received: network={network.name!r}, not built"
        )
    if not hasattr(network, "output_shape"):
        raise ValueError(
            "`network` must be a functional or sequential model, whose shapes are "
            f"known. Received: network={network.name!r} of class "
            f"{type(network).__name__}"
        )
    if len(network.output_shape) != 2:
        raise ValueError(
            "`network` must end in logits of shape (batch, classes). "
            f"Received: output_shape={network.output_shape}"
        )


def _checked_penalties(
    penalties: Sequence[Penalty], network: keras.Model
) -> tuple[Penalty, ...]:
    names = [penalty.name for penalty in penalties]
    if len({*names, *_OWN_NAMES}) < len(names) + len(_OWN_NAMES):
        raise ValueError(
            "`penalties` must have different names, none of them one of "
            f"{', '.join(_OWN_NAMES)}. Received: names={names}"
        )
    for penalty in penalties:
        penalty.check(network)
    return tuple(penalties)


def _check_share(share: float, adversary: Attack | None) -> None:
    require(0 < share <= 1, "adversary_share", share, "above 0 and at most 1")
    if adversary is None and share != 1:
        raise ValueError(
            "`adversary_share` must be 1 without an adversary. "
            f"Received: adversary_share={share}, adversary=None"
        )


def _rows(share: float, images: tf.Tensor) -> int | tf.Tensor:
    """How many rows of a batch a share is; one at least, since none cannot be run."""
    if images.shape[0] is not None:
        return max(1, round(share * images.shape[0]))
    # In double precision, as Python: the same number of rows in any kind of graph.
    size = tf.cast(tf.shape(images)[0], tf.float64)
    return tf.maximum(1, tf.cast(tf.round(share * size), tf.int32))


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _scales_loss(optimizer: keras.optimizers.Optimizer) -> bool:
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def _share_overflow(gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Makes a gradient that is not finite on one replica so on all of them.

    Keras's loss scaling decides from a replica's own gradients whether to skip the
    step. Replicas that decide differently would wait for each other for ever, or take
    over the infinite one's update.
    """
    finite = [
        tf.reduce_all(tf.math.is_finite(gradient))
        for gradient in gradients
        if gradient is not None
    ]
    flaw = tf.where(tf.reduce_all(finite), 0.0, float("nan"))
    context = tf.distribute.get_replica_context()
    flaw = context.all_reduce(tf.distribute.ReduceOp.SUM, flaw)
    return [
        None if gradient is None else gradient + tf.cast(flaw, gradient.dtype)
        for gradient in gradients
    ]


def _is_correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    predicted = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    return tf.cast(predicted == labels, tf.float32)


def _weighted_mean(losses: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Mean over the batch; weights scale examples and do not change the divisor."""
    return tf.reduce_mean(losses if weights is None else losses * weights)
