"""Objects that Keras saves by the arguments that they were made with."""

from __future__ import annotations

import inspect
from typing import Any, Self

import keras


class Configured:
    """An object that is described by the arguments of its constructor.

    Each argument must be kept as an attribute of its name. Subclasses are registered
    with Keras, under their package, when they are defined: a file that holds one loads
    wherever the module that defines it has been imported.

    Example:
        >>> class Scaled(Configured):
        ...     def __init__(self, weight=1.0):
        ...         self.weight = weight
        >>> Scaled(2.0).get_config()
        {'weight': 2.0}
        >>> Scaled.from_config({"weight": 3.0}).weight
        3.0
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        package = cls.__module__.split(".")[0]
        keras.saving.register_keras_serializable(package=package)(cls)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this object again.

        Raises:
            ValueError: If one is not kept as an attribute of its name.
        """
        names = list(inspect.signature(type(self)).parameters)
        for name in names:
            if not hasattr(self, name):
                raise ValueError(
                    f"`{name}` must be kept as an attribute for {type(self).__name__} "
                    "to be saved. Received: no such attribute"
                )
        return {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in names
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The object that `get_config` describes."""
        arguments = {
            name: keras.saving.deserialize_keras_object(value)
            for name, value in config.items()
        }
        return cls(**arguments)
