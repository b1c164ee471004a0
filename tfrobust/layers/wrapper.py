"""A model that trains a network, and the network in it."""

from __future__ import annotations

from typing import Any, Self

import keras


@keras.saving.register_keras_serializable(package="tfrobust")
class NetworkWrapper(keras.Model):
    """A Keras model around a network, whose answers are the network's.

    What trains a network and saves it whole is one, above all
    `tfrobust.training.RobustModel`. Whatever looks into a model - bounds, folding,
    export, the search for layers - looks at the network in it, by `network_of`.

    Args:
        network: A built functional or sequential Keras model; of another wrapper, its
            network.

    Example:
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> NetworkWrapper(NetworkWrapper(network)).network is network
        True
    """

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network_of(network)
        self.build(self.network.input_shape)

    def build(self, input_shape: Any) -> None:
        """Nothing to create: the network is built already."""
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The network's answer."""
        return self.network(inputs, training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The network's."""
        return self.network.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments that rebuild this model."""
        network = keras.saving.serialize_keras_object(self.network)
        return {"name": self.name, "network": network}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The model that `get_config` describes, with fresh weights."""
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(network, name=config.get("name"))


def network_of(model: Any) -> Any:
    """The network that a model trains, or the model itself if it wraps none.

    Args:
        model: Anything.

    Returns:
        `model.network` of a `NetworkWrapper`, and else `model`.

    Example:
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> network_of(NetworkWrapper(network)) is network_of(network) is network
        True
    """
    return model.network if isinstance(model, NetworkWrapper) else model
