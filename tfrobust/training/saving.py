"""What a model was compiled with, as it is saved with it."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import keras

from tfrobust.attacks import Attack
from tfrobust.core.errors import first_line
from tfrobust.penalties import Penalty


@dataclasses.dataclass
class CompileSettings:
    """The arguments of `RobustModel.compile`, by their names there.

    Example:
        >>> settings = CompileSettings(keras.optimizers.SGD(0.5), loss="mse")
        >>> again = CompileSettings.deserialize(settings.serialize())
        >>> again.loss, float(again.optimizer.learning_rate)
        ('mse', 0.5)
    """

    optimizer: keras.optimizers.Optimizer
    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None
    run_eagerly: bool = False
    steps_per_execution: int = 1
    jit_compile: bool = False
    auto_scale_loss: bool = True
    penalties: tuple[Penalty, ...] = ()
    adversary: Attack | None = None
    adversary_share: float = 1.0
    _warned: bool = False

    def arguments(self) -> dict[str, Any]:
        """The arguments by name."""
        fields = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in fields if name != "_warned"}

    def serialize(self) -> dict[str, Any]:
        """A description as Keras saves it; empty, with a warning, where there is none.

        There is none where a part cannot be made again from its arguments, such as a
        penalty that holds the images of a data set.
        """
        arguments = self.arguments() | {"penalties": list(self.penalties)}
        try:
            return {
                name: keras.saving.serialize_keras_object(value)
                for name, value in arguments.items()
            }
        except Exception as error:  # Whatever the part raises.
            if not self._warned:
                self._warned = True
                warnings.warn(
                    "What the model was compiled with is not saved, so that it has to "
                    f"be compiled anew once loaded: {first_line(error)}",
                    stacklevel=2,
                )
            return {}

    @classmethod
    def deserialize(cls, config: dict[str, Any]) -> CompileSettings | None:
        """The settings that a description is of; `None`, with a warning, if it fails.

        It fails where a class of one's own that it names has not been imported.
        """
        try:
            values = {
                name: keras.saving.deserialize_keras_object(value)
                for name, value in config.items()
            }
        except Exception as error:  # Keras raises whatever the first broken part does.
            warnings.warn(
                "The model is loaded without what it was compiled with, so that it has "
                f"to be compiled anew: {first_line(error)}",
                stacklevel=2,
            )
            return None
        values["penalties"] = tuple(values["penalties"])
        return cls(**values)
