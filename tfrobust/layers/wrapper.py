"""A network, and what has to be known to use it as a classifier."""

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
        network: Any Keras model; of another wrapper, its network.
        output: Which of several outputs holds the answer, by its name; of another
            wrapper its own if `None`.
        bounds: The least and the largest value of a pixel, such as `(0, 255)`; of
            another wrapper its own if `None`.

    Example:
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> NetworkWrapper(NetworkWrapper(network)).network is network
        True
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        output: str | None = None,
        bounds: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        # The network decides what to compute in, whatever the global policy is.
        super().__init__(**{"dtype": "float32"} | kwargs)
        if isinstance(network, NetworkWrapper):
            output = output or getattr(network, "output_name", None)
            bounds = bounds or getattr(network, "bounds", None)
        self.network = network_of(network)
        self.output_name: str | None = output
        self.bounds: tuple[float, float] | None = (
            None if bounds is None else (float(bounds[0]), float(bounds[1]))
        )
        if self.network.built:
            self.build(getattr(self.network, "input_shape", None))

    def build(self, input_shape: Any) -> None:
        """Builds the network, where that is still to be done."""
        if not self.network.built:
            self.network.build(input_shape)
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
        config: dict[str, Any] = {"name": self.name, "network": network}
        if self.output_name is not None:
            config["output"] = self.output_name
        if self.bounds is not None:
            config["bounds"] = list(self.bounds)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The model that `get_config` describes, with fresh weights."""
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(network, **{k: v for k, v in config.items() if k != "network"})


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
