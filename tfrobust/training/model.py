"""A Keras model whose training step knows penalties and an adversary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrobust.layers import CenteredSoftplus, LipschitzBatchNormalization, find_layers
from tfrobust.penalties import Penalty, StepContext
from tfrobust.penalties.gradient_norm import squared_norms

# float16 stops at 6e-8; input-gradients of a trained network are smaller than that.
_FLOAT16_GRADIENT_SCALE = 1024.0


@keras.saving.register_keras_serializable(package="tfrobust")
class RobustModel(keras.Model):
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
            logits `[B,K]`.

    Raises:
        ValueError: If `network` has no known input shape or does not end in logits of
            rank 2.

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

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_network(network)
        self.network = network
        self.penalties: tuple[Penalty, ...] = ()
        self.adversary: Callable[..., Any] | None = None
        self._running = _RunningMeans(())
        self.build(network.input_shape)

    def build(self, input_shape: Any) -> None:
        """Nothing to create: the network is built already."""
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The network's logits `[B,K]`."""
        return self.network(inputs, training=training)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "sgd",
        penalties: Sequence[Penalty] = (),
        adversary: Callable[..., Any] | None = None,
        *,
        run_eagerly: bool = False,
        jit_compile: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: A Keras optimiser or its name.
            penalties: Terms added to the mean cross-entropy.
            adversary: An attack from `tfrobust.attacks`; its perturbed images take the
                place of the clean ones in the whole step. It sees the network in
                inference mode.
            run_eagerly: Whether to run step by step, for debugging.
            jit_compile: Whether to compile the step by XLA. On a CPU that is slower;
                under a strategy of several replicas it is refused.
            steps_per_execution: Steps run in one call into the graph.

        Raises:
            ValueError: If two penalties share a name, one does not apply to the
                network, or `jit_compile` is asked for with several replicas.
        """
        strategy = self.distribute_strategy
        if jit_compile and strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "`jit_compile` must be False under a strategy with several replicas, "
                "which cannot reduce inside a compiled step. Received: jit_compile="
                f"True, replicas={strategy.num_replicas_in_sync}"
            )
        self.penalties = _checked_penalties(penalties, self.network)
        self.adversary = adversary
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
        )
        with strategy.scope():
            self.optimizer.build(self.network.trainable_variables)
            self._running = _RunningMeans(self._tracker_names())

    def _tracker_names(self) -> list[str]:
        names = ["loss", "accuracy", "cross_entropy"]
        if self._needs_input_gradient:
            names.append("gradient_norm")
        return names + [penalty.name for penalty in self.penalties]

    @property
    def _needs_input_gradient(self) -> bool:
        return any(penalty.needs_input_gradient for penalty in self.penalties)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means of the current epoch."""
        return list(self._running.trackers.values())

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update from one (per-replica) batch of images and integer labels."""
        images, labels, weights = _unpack(data)
        if self.adversary is not None:
            images = tf.stop_gradient(self._perturb(images, labels))
        with tf.GradientTape() as tape:
            context = self._forward(images, labels)
            cross_entropy = _weighted_mean(context.losses, weights)
            terms = {penalty.name: penalty(context) for penalty in self.penalties}
            loss = cross_entropy + sum(terms.values(), tf.constant(0.0))
            # Replicas' gradients are summed, each is of its share of the batch.
            replicas = self.distribute_strategy.num_replicas_in_sync
            scaled = self.optimizer.scale_loss(loss / replicas)
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        values = {"loss": loss, "cross_entropy": cross_entropy, **terms}
        if context.input_gradient is not None:
            norms = tf.sqrt(squared_norms(context.input_gradient))
            values["gradient_norm"] = tf.reduce_mean(norms)
        self._update(context, weights, values)
        return {**self._running.results(), **self._coefficients()}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Loss and accuracy on one (per-replica) batch; weights may mask padding."""
        images, labels, weights = _unpack(data)
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

    def _perturb(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return self.adversary.perturb(self.network, images, labels)

    def _forward(self, images: tf.Tensor, labels: tf.Tensor) -> StepContext:
        gradient = None
        if self._needs_input_gradient:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(images)
                logits, losses = self._logits_and_losses(images, labels)
                scale = self._gradient_scale()
                total = tf.reduce_sum(losses) * scale
            gradient = tape.gradient(total, images) / scale
        else:
            logits, losses = self._logits_and_losses(images, labels)
        return StepContext(
            network=self.network,
            images=images,
            labels=labels,
            logits=logits,
            losses=losses,
            input_gradient=gradient,
        )

    def _logits_and_losses(
        self, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.cast(self.network(images, training=True), tf.float32)
        return logits, _cross_entropy(labels, logits)

    def _gradient_scale(self) -> float:
        half = any(
            layer.compute_dtype == "float16"
            for layer in find_layers(self.network, keras.layers.Layer)
        )
        return _FLOAT16_GRADIENT_SCALE if half else 1.0

    def _update(
        self,
        context: StepContext,
        weights: tf.Tensor | None,
        values: dict[str, tf.Tensor],
    ) -> None:
        for name, value in values.items():
            self._running.trackers[name].update_state(value)
        self._running.trackers["accuracy"].update_state(
            _is_correct(context.labels, context.logits), weights
        )

    def _coefficients(self) -> dict[str, tf.Tensor]:
        """Mean beta and gamma now, not averaged over the epoch."""
        betas = [
            layer.beta
            for layer in find_layers(self.network, CenteredSoftplus)
            if layer.trainable
        ]
        norms = find_layers(self.network, LipschitzBatchNormalization)
        gammas = [layer.gamma for layer in norms]
        means = {"beta": betas, "gamma": gammas}
        return {name: tf.add_n(v) / len(v) for name, v in means.items() if v}

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
        strategy = self.distribute_strategy
        step = tf.autograph.experimental.do_not_convert(step)
        if self.jit_compile and not self.run_eagerly:
            step = tf.function(step, jit_compile=True, reduce_retracing=True)
        steps = self.steps_per_execution

        def run(iterator: Any) -> dict[str, tf.Tensor]:
            if steps > 1:
                for _ in tf.range(steps - 1):
                    strategy.run(step, args=(next(iterator),))
            outputs = strategy.run(step, args=(next(iterator),))
            return {
                name: strategy.reduce("MEAN", value, axis=None)
                for name, value in outputs.items()
            }

        return run if self.run_eagerly else tf.function(run, reduce_retracing=True)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this model."""
        return {"network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RobustModel:
        """The model that `get_config` describes, with fresh weights."""
        return cls(keras.saving.deserialize_keras_object(config["network"]))


class _RunningMeans:
    """The epoch's running means, by name.

    Held outside of Keras's tracking: a built model refuses new state, and these are
    made anew by each `compile`, whose penalties name them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def results(self, names: Sequence[str] | None = None) -> dict[str, tf.Tensor]:
        names = tuple(self.trackers) if names is None else names
        return {name: self.trackers[name].result() for name in names}


def _check_network(network: keras.Model) -> None:
    if not network.built:
        raise ValueError(
            "`network` must be built, so that its input shape is known. "
            f"Received: network={network.name!r}, not built"
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
    if len(set(names)) < len(names):
        raise ValueError(
            f"`penalties` must have different names. Received: names={names}"
        )
    for penalty in penalties:
        penalty.check(network)
    return tuple(penalties)


def _unpack(data: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    if labels is None:
        raise ValueError(
            "Training and evaluation need batches of (images, labels). "
            "Received: images alone"
        )
    if not images.dtype.is_floating:
        raise ValueError(
            "`images` must be floating point, in [0, 1]. "
            f"Received: images.dtype={images.dtype.name}"
        )
    return images, labels, weights


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _is_correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    predicted = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    return tf.cast(predicted == labels, tf.float32)


def _weighted_mean(losses: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Mean over the batch; weights scale examples and do not change the divisor."""
    return tf.reduce_mean(losses if weights is None else losses * weights)
