"""Directions by name, as `--pag` of the trainers knows them: `cluster:clusters=5`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tfrobust.core.registry import Makers
from tfrobust.core.specs import Spec
from tfrobust.pag.base import Directions

_DIRECTIONS: Makers[Directions] = Makers("directions")
_GOALS: dict[str, str] = {}

_Maker = TypeVar("_Maker", bound=Callable[..., Directions])


def register(name: str, goal: str) -> Callable[[_Maker], _Maker]:
    """Makes directions known by name; a decorator of their class.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.
        goal: What they lead towards, in words, as it follows "towards" in the plan of a
            run.

    Returns:
        A function that registers a class and returns it. What it registers takes the
        training images, float32 `[N,H,W,C]` in [0, 1] (as bytes, uint8, if it has an
        attribute `takes_bytes` that is true), their labels `[N]` and the number of
        classes, and after these any settings. The trainers give it those of `seed` and
        `teacher` that it has.

    Raises:
        ValueError: If the name is malformed or belongs to other directions.

    Example:
        >>> import numpy as np, tensorflow as tf
        >>> from tfrobust import pag
        >>> @pag.register("brightness", "a brighter image")
        ... class Brightness(pag.Directions):
        ...     def __init__(self, images, labels, classes, step: float = 1.0):
        ...         self.classes, self.image_shape = classes, images.shape[1:]
        ...         self.step = step
        ...     def __call__(self, images, chosen, extras=None):
        ...         chosen = tf.shape(chosen)[1]
        ...         return tf.repeat(self.step + 0 * images[:, None], chosen, axis=1)
        >>> images, labels = np.zeros((4, 2, 2, 1), "float32"), np.arange(4) % 2
        >>> pag.build("brightness:step=2", images, labels, 2).step
        2
        >>> pag.goal("brightness:step=2")
        'a brighter image'
    """

    def add(maker: _Maker) -> _Maker:
        _DIRECTIONS.add(name, maker)
        _GOALS[name] = goal
        return maker

    return add


def names() -> tuple[str, ...]:
    """Names of all registered directions, in alphabetical order.

    Example:
        >>> from tfrobust import pag
        >>> {"class_mean", "nearest_neighbor", "rigd"} <= set(pag.names())
        True
    """
    return _DIRECTIONS.names()


def settings(text: str) -> tuple[str, ...]:
    """The settings of the directions that a text names.

    Raises:
        ValueError: If there are no such directions or setting.

    Example:
        >>> from tfrobust import pag
        >>> pag.settings("cluster:clusters=5"), pag.settings("rigd")
        (('clusters', 'seed'), ('teacher',))
    """
    return _DIRECTIONS.settings(text, 3)


def goal(text: str) -> str:
    """What the directions that a text names lead towards, in words.

    Raises:
        ValueError: If there are no such directions.

    Example:
        >>> from tfrobust import pag
        >>> pag.goal("class_mean")
        'the mean of each class'
    """
    name = Spec.parse(text).name
    _DIRECTIONS[name]
    return _GOALS[name]


def build(
    text: str, images: Any, labels: Any, classes: int, **defaults: Any
) -> Directions:
    """The directions that a text names, made from training images.

    Args:
        text: A name, and after a colon any number of settings with commas between:
            `one_image`, `nearest_neighbor:samples=20`.
        images: `[N,H,W,C]` in [0, 1], or uint8.
        labels: Integers `[N]` in [0, K).
        classes: K, at least 2.
        **defaults: Settings that they take, if they have them, where the text does not
            give them: a `seed`, or the `teacher` of `rigd`.

    Returns:
        The directions.

    Raises:
        ValueError: If there are no such directions or setting, or a value or the
            images are refused.

    Example:
        >>> import numpy as np
        >>> from tfrobust import pag
        >>> images, labels = np.zeros((4, 2, 2, 1), "float32"), np.arange(4) % 2
        >>> pag.build("class_mean:scale=2", images, labels, 2).classes
        2
    """
    maker = _DIRECTIONS[Spec.parse(text).name]
    images = np.asarray(images)
    if images.dtype == np.uint8 and not getattr(maker, "takes_bytes", False):
        images = images.astype(np.float32) / np.float32(255)
    made = _DIRECTIONS.make(text, images, labels, classes, **defaults)
    if not all(hasattr(made, name) for name in ("classes", "image_shape")):
        raise ValueError(
            "Registered directions must set `classes` and `image_shape`. Received: a "
            f"{type(made).__name__} of {text} without"
        )
    return made
