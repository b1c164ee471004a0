"""The network of a run, from its flags."""

from __future__ import annotations

import keras

from tfrobust import models
from tfrobust.cli.loading import load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.core.specs import Spec
from trainers.train.options import TrainConfig

# Settings that a network may have and that flags give, with the flag of each.
_NETWORK_FLAGS = {
    "variant": "variant",
    "width": "width",
    "beta": "initial_beta",
    "gamma": "initial_gamma",
    "synchronized": "",
}
_POLICIES = {
    "off": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def check(config: TrainConfig) -> None:
    """Raises `UsageError` over a name that is not registered, or a flag it lacks."""
    try:
        settings = models.settings(config.model)
    except ValueError as error:
        raise UsageError(f"--model={config.model}: {error}") from error
    given = Spec.parse(config.model).settings
    for setting, flag in _NETWORK_FLAGS.items():
        if setting in given:
            raise UsageError(
                f"--model={config.model} must leave {setting} to "
                f"--{flag or 'distribute'}."
            )
        changed = flag and getattr(config, flag) != getattr(TrainConfig, flag)
        if changed and setting not in settings:
            raise UsageError(
                f"--{flag} needs a --model with a setting {setting}; that of "
                f"{config.model} are {', '.join(settings) or 'none'}."
            )


def title(config: TrainConfig) -> str:
    """The network in words: name, variant and width, as far as it has these."""
    settings = models.settings(config.model)
    words = [config.model]
    words += [config.variant] * ("variant" in settings)
    words += [f"width {config.width}"] * ("width" in settings)
    return ", ".join(words)


def make(
    config: TrainConfig, input_shape: tuple[int, int, int], classes: int
) -> keras.Model:
    """The network that the flags describe, freshly initialised.

    Raises `UsageError` if it does not fit the images.
    """
    keras.config.set_dtype_policy(_POLICIES[config.mixed_precision])
    # A teacher that was loaded before has drawn from the same stream.
    keras.utils.set_random_seed(config.seed)
    try:
        network = models.build(
            config.model,
            input_shape,
            classes,
            variant=config.variant,
            width=config.width,
            beta=config.initial_beta,
            gamma=config.initial_gamma,
            synchronized=config.distribute != "off",
        )
    except ValueError as error:
        raise UsageError(
            f"--model={config.model} does not fit --dataset={config.dataset}: {error}"
        ) from error
    if config.variant == "lcnn":
        _check_coefficients(network, config)
    if config.initial:
        _take_weights(network, config)
    return network


def _check_coefficients(network: keras.Model, config: TrainConfig) -> None:
    """Raises `UsageError` over a flag of beta or gamma that the network lacks."""
    learnt = {"beta": models.betas(network), "gamma": models.gammas(network)}
    for name in (name for name, values in learnt.items() if not values):
        for flag in (f"curvature_{name}", f"initial_{name}"):
            if getattr(config, flag) != getattr(TrainConfig, flag):
                raise UsageError(
                    f"--{flag} needs a --model that learns a {name}; there is none in "
                    f"{config.model}."
                )


def _take_weights(network: keras.Model, config: TrainConfig) -> None:
    """Gives a network the weights of `--initial`, or raises `UsageError`."""
    trained = load_classifier(config.initial, flag="initial")
    if trained.kind != "Keras":
        raise UsageError(
            f"--initial={config.initial} must be a Keras model: the weights of a "
            "SavedModel are those of a graph, not of layers."
        )
    weights = trained.network.get_weights()
    own = [tuple(weight.shape) for weight in network.weights]
    if [weight.shape for weight in weights] != own:
        raise UsageError(
            f"--initial={config.initial} must be of the same --model, --variant, "
            "--width, image shape and classes as the network to train, but its "
            "weights have other shapes."
        )
    fixed = network.get_weights() if config.variant == "softplus" else weights
    names = [weight.name for weight in network.weights]
    for name, own_value, value in zip(names, fixed, weights, strict=True):
        if name == "log_beta" and own_value != value:
            raise UsageError(
                f"--initial={config.initial} has fixed activations of another beta "
                f"than --initial_beta={config.initial_beta:g}."
            )
    network.set_weights(weights)
