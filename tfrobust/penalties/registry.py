"""Penalties by name, as `--penalty` of the trainers knows them: `cure:weight=0.5`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tfrobust.core.registry import Makers
from tfrobust.penalties.base import Penalty

_PENALTIES: Makers[Penalty] = Makers("penalty")

_Maker = TypeVar("_Maker", bound=Callable[..., Penalty])


def register(name: str) -> Callable[[_Maker], _Maker]:
    """Makes a penalty known by name; a decorator of its class.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.

    Returns:
        A function that registers a class and returns it. The settings that a text can
        give are the parameters of the class that are numbers, booleans or words.

    Raises:
        ValueError: If the name is malformed or belongs to another penalty.

    Example:
        >>> import tensorflow as tf
        >>> from tfrobust import penalties
        >>> @penalties.register("small_logits")
        ... class SmallLogits(penalties.Penalty):
        ...     name = "logit_penalty"
        ...     def __init__(self, weight: float = 0.1):
        ...         self.weight = weight
        ...     def __call__(self, context):
        ...         return self.weight * context.mean(
        ...             tf.reduce_sum(tf.square(context.logits), axis=-1))
        >>> penalties.parse("small_logits:weight=1/2").weight
        0.5
    """
    return _PENALTIES.register(name)


def names() -> tuple[str, ...]:
    """Names of all registered penalties, in alphabetical order.

    Example:
        >>> from tfrobust import penalties
        >>> {"cure", "curvature", "gradient_norm"} <= set(penalties.names())
        True
    """
    return _PENALTIES.names()


def parse(text: str) -> Penalty:
    """The penalty that a text names, with its settings.

    Args:
        text: A name, and after a colon any number of settings with commas between.

    Returns:
        The penalty.

    Raises:
        ValueError: If there is no such penalty or setting, or a value is refused.

    Example:
        >>> from tfrobust import penalties
        >>> penalties.parse("cure:weight=0.5,direction=gradient").direction
        'gradient'
    """
    penalty = _PENALTIES.make(text)
    if not isinstance(penalty, Penalty):
        raise ValueError(
            "A registered penalty must be a `tfrobust.penalties.Penalty`. Received: a "
            f"{type(penalty).__name__} of {text}"
        )
    return penalty
