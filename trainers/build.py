"""From a `TrainConfig` to the library's objects: data, network, penalties, model."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfrobust import data, models, penalties
from tfrobust.training import RobustModel, step_decay
from trainers.options import TrainConfig
from trainers.program import UsageError

_NETWORKS = {
    "resnet18": models.ResNet18,
    "resnet34": models.ResNet34,
    "vgg11": models.VGG11,
}
_POLICIES = {
    "off": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def load_data(config: TrainConfig) -> tuple[data.Dataset, data.Dataset]:
    """Training and test data, cut down as the flags say."""
    folder = config.data_dir or None
    train = data.load(config.dataset, "train", folder)
    test = data.load(config.dataset, "test", folder)
    try:
        if config.train_examples:
            train = train.subset(config.train_examples, config.seed)
        if config.eval_examples:
            test = test.take(min(config.eval_examples, len(test)))
        data.steps_per_epoch(train, config.batch_size)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return train, test


def make_network(
    config: TrainConfig, input_shape: tuple[int, int, int], classes: int
) -> keras.Model:
    """The network that the flags describe, freshly initialised."""
    keras.config.set_dtype_policy(_POLICIES[config.mixed_precision])
    if config.model == "mlp":
        return models.MLP(
            input_shape,
            classes,
            config.variant,
            hidden=(config.width, config.width),
            beta=config.initial_beta,
        )
    return _NETWORKS[config.model](
        input_shape,
        classes,
        config.variant,
        config.width,
        beta=config.initial_beta,
        gamma=config.initial_gamma,
        synchronized=config.distribute != "off",
    )


def make_penalties(config: TrainConfig) -> list[penalties.Penalty]:
    """The terms of the loss beside cross-entropy; none with weight 0."""
    terms: list[penalties.Penalty] = []
    if config.curvature_beta or config.curvature_gamma:
        terms.append(
            penalties.Curvature(
                config.curvature_beta,
                config.curvature_gamma,
                absolute=config.curvature_absolute,
            )
        )
    if config.gradient_norm:
        terms.append(penalties.GradientNorm(config.gradient_norm))
    if config.weight_decay:
        terms.append(penalties.WeightDecay(config.weight_decay))
    return terms


def make_model(
    config: TrainConfig, train: data.Dataset, strategy: tf.distribute.Strategy
) -> RobustModel:
    """Network, optimiser and penalties as one compiled model."""
    with strategy.scope():
        model = RobustModel(make_network(config, train.image_shape, train.classes))
        optimizer = keras.optimizers.SGD(
            step_decay(
                config.learning_rate,
                config.epochs,
                data.steps_per_epoch(train, config.batch_size),
            ),
            momentum=config.momentum,
        )
        if config.mixed_precision == "float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(
            optimizer, make_penalties(config), jit_compile=config.jit_compile
        )
    return model
