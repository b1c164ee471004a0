"""What an exported model answers: one function a signature.

Each takes tensors with the batch in front, so that a server may batch requests, and
answers each image by itself: an answer does not depend on who shares the batch. A
signature of one's own takes part once what makes it is registered.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import keras
import tensorflow as tf

from export import decoding, inputs, limits
from tfrobust import attacks, geometry, smoothing
from tfrobust.core.differentiable import layers_named, require_gradient
from tfrobust.core.pixels import UNIT, Bounds, from_unit, to_unit
from tfrobust.core.registry import Registry
from tfrobust.models.served import SIGNATURE
from tfrobust.settings import require, require_steps
from tfrobust.smoothing import checks

DEFAULT = SIGNATURE
"""What a server answers by unless it is asked for another signature."""

NAMES = (DEFAULT, "predict_bytes", "explain", "robustness", "smooth", "attack")
"""The signatures that come with the library."""

WITH_GRADIENTS = ("explain", "robustness", "attack")
"""Those that take gradients, and for each image several times the memory."""

NEEDS = {
    "predict_bytes": "it needs images of one size with 1 or 3 channels",
    "smooth": "it needs images of one size",
}
"""Why a model may not have a signature, in words."""

_HIGHEST = 2**20
# What the solver of `smooth` leaves of the error at the start.
_SMOOTH_ERROR = 1e-4

Answer = dict[str, tf.Tensor]


class Signature(NamedTuple):
    """A function that is served, and what it takes.

    Attributes:
        function: Takes the tensors of `specs` in their order.
        specs: Their names, shapes and types.
    """

    function: Callable[..., Answer]
    specs: list[tf.TensorSpec]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is fixed at export, since a request may not choose it.

    Args:
        attack: What `attack` runs, if it is served.
        alpha: How far `smooth` smooths, in [0, 1).
        bandwidth: Of its kernel on pixel values.
        smooth_iterations: Steps of its solver (`Smoother`, "checkerboard"); `None`: as
            many as leave at most 1e-4 of the error at the start, whatever alpha.
        max_batch: Images that a request may hold.
        max_gradients: Images that one to a signature `WITH_GRADIENTS` may hold, if
            `max_batch` is not less.
        max_iterations: Power iterations that a request may ask of `robustness`.

    Raises:
        ValueError: If a setting is out of range.
    """

    attack: attacks.Attack | None = None
    alpha: float = 0.95
    bandwidth: float = 0.1
    smooth_iterations: int | None = None
    max_batch: int = limits.MAX_BATCH
    max_gradients: int = limits.MAX_GRADIENTS
    max_iterations: int = limits.MAX_ITERATIONS

    def __post_init__(self) -> None:
        """Refuse what `Smoother` would, before anything is written."""
        checks.check_alpha(self.alpha)
        checks.check_graph("laplacian", self.bandwidth, 4, None)
        if self.smooth_iterations is not None:
            require_steps("smooth_iterations", self.smooth_iterations)
        for name in ("max_batch", "max_gradients", "max_iterations"):
            value = getattr(self, name)
            require_steps(name, value)
            # The graph compares it to numbers of 32 bits.
            require(value <= _HIGHEST, name, value, f"at most {_HIGHEST}")

    @property
    def smooth_steps(self) -> int:
        """Steps of the solver: those that were set, or enough."""
        if self.smooth_iterations is not None:
            return self.smooth_iterations
        # A step of the checkerboard takes the error as far as two of Chebyshev's.
        return math.ceil(smoothing.iterations_for(self.alpha, _SMOOTH_ERROR) / 2)


Maker = Callable[[keras.Model, "list[str] | None", Settings], Signature]
"""Makes a signature of a model, the names of its classes and the settings."""

_OWN: Registry[Maker] = Registry("signature")

_AnyMaker = TypeVar("_AnyMaker", bound=Maker)


def register(name: str) -> Callable[[_AnyMaker], _AnyMaker]:
    """Makes a signature known by name; a decorator of the function that makes it.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.

    Returns:
        A function that registers a function and returns it. What it registers takes the
        model, the names of its classes (or `None`) and the `Settings`, and returns a
        `Signature`; over a model that cannot have it, it raises `ValueError`.

    Raises:
        ValueError: If the name is malformed or belongs to another signature.

    Example:
        >>> from export import inputs, signatures
        >>> @signatures.register("margin")
        ... def margin(model, labels, settings):
        ...     shape = model.input_shape[1:]
        ...     def answer(images):
        ...         images = inputs.checked_images(images, shape, settings.max_batch)
        ...         two = tf.math.top_k(model(images, training=False), 2).values
        ...         return {"margin": two[:, 0] - two[:, 1]}
        ...     spec = tf.TensorSpec([None, *shape], tf.float32, name="images")
        ...     return signatures.Signature(answer, [spec])
        >>> model = keras.Sequential([keras.Input((2, 1, 1)), keras.layers.Flatten()])
        >>> served = signatures.make_signatures(
        ...     model, None, signatures.Settings(), ["margin"])
        >>> served["margin"].function(tf.constant([[[[0.25]], [[1.0]]]]))["margin"]
        <tf.Tensor: shape=(1,), dtype=float32, numpy=array([0.75], dtype=float32)>
    """
    if name in NAMES:
        raise ValueError(
            f"The name of a registered signature must be new. Received: {name!r}"
        )

    def add(maker: _AnyMaker) -> _AnyMaker:
        _OWN.add(name, maker)
        return maker

    return add


def registered() -> tuple[str, ...]:
    """Names of the signatures that were registered, in alphabetical order."""
    return _OWN.names()


def available(model: keras.Model, settings: Settings) -> tuple[str, ...]:
    """Names of the signatures that a model can have by its shape.

    `predict_bytes` needs images of one size with 1 or 3 channels, `smooth` of a fixed
    size, `attack` an attack in the settings. Those that were registered are not among
    them: they are served when they are named.
    """
    shape = model.input_shape[1:]
    has_size = all(size is not None for size in shape)
    possible = {
        "predict_bytes": has_size and shape[-1] in (1, 3),
        "smooth": has_size,
        "attack": settings.attack is not None,
    }
    return tuple(name for name in NAMES if possible.get(name, True))


def make_signatures(
    model: keras.Model,
    labels: list[str] | None,
    settings: Settings,
    names: Iterable[str],
    bounds: Bounds = UNIT,
) -> dict[str, Signature]:
    """What is served.

    Args:
        model: Keras classifier from images in [0, 1] to logits.
        labels: Names of the classes.
        settings: What is fixed.
        names: Which signatures, out of those `available`.
        bounds: The range of the pixels of `images` in a request and of the adversarial
            images in the answer. Gradients, distances and curvatures are those in
            images of [0, 1] all the same.

    Returns:
        The signatures by name.
    """
    shape = model.input_shape[1:]
    images = tf.TensorSpec([None, *shape], tf.float32, name="images")
    classes = tf.TensorSpec([None], tf.int32, name="classes")
    iterations = tf.TensorSpec([None], tf.int32, name="iterations")
    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    changes = tf.TensorSpec([None, *shape], tf.float32, name="perturbations")
    most = settings.max_batch
    fewer = min(most, settings.max_gradients)
    every = {
        DEFAULT: Signature(_predict(model, labels, most, bounds), [images]),
        "predict_bytes": Signature(_predict_bytes(model, labels, most), [files]),
        "explain": Signature(_explain(model, fewer, bounds), [images, classes]),
        "robustness": Signature(
            _robustness(model, labels, fewer, settings.max_iterations, bounds),
            [images, iterations],
        ),
        "smooth": Signature(_smooth(shape, settings, bounds), [images, changes]),
    }
    if settings.attack is not None:
        attack = _attack(model, settings.attack, fewer, bounds)
        every["attack"] = Signature(attack, [images, classes])
    names = list(names)
    for name in names:
        if name in _OWN:
            every[name] = _made(name, model, labels, settings)
    return {name: every[name] for name in names}


def _made(
    name: str, model: keras.Model, labels: list[str] | None, settings: Settings
) -> Signature:
    """A registered signature, if it is one."""
    signature = _OWN[name](model, labels, settings)
    if not isinstance(signature, Signature):
        raise ValueError(
            "A registered signature must be an `export.signatures.Signature`. "
            f"Received: a {type(signature).__name__} of {name}"
        )
    return signature


def _predict(
    model: keras.Model, names: list[str] | None, most: int, bounds: Bounds
) -> Callable[..., Answer]:
    def predict(images: tf.Tensor) -> Answer:
        images = _units(images, model.input_shape[1:], most, bounds)
        return _answer(_logits(model, images), names)

    return predict


def _predict_bytes(
    model: keras.Model, names: list[str] | None, most: int
) -> Callable[..., Answer]:
    def predict_bytes(image_bytes: tf.Tensor) -> Answer:
        images = decoding.decode_images(image_bytes, model.input_shape[1:], most)
        return _answer(_logits(model, images), names)

    return predict_bytes


def _explain(model: keras.Model, most: int, bounds: Bounds) -> Callable[..., Answer]:
    def explain(images: tf.Tensor, classes: tf.Tensor) -> Answer:
        images = _units(images, model.input_shape[1:], most, bounds)
        classes = _checked_classes(classes, images, model)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = _logits(model, images)
            chosen = _chosen(classes, logits)
            score = tf.gather(logits, chosen, axis=1, batch_dims=1)
        gradient = tape.gradient(score, images)
        if gradient is None:
            raise ValueError("its logits have no gradient in the image")
        with layers_named(model):
            require_gradient(images, logits)
        square = tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3])
        return {
            "gradient": gradient,
            "gradient_norm": tf.sqrt(square),
            "classes": chosen,
        }

    return explain


def _robustness(
    model: keras.Model,
    names: list[str] | None,
    most: int,
    max_iterations: int,
    bounds: Bounds,
) -> Callable[..., Answer]:
    def robustness(images: tf.Tensor, iterations: tf.Tensor) -> Answer:
        images = _units(images, model.input_shape[1:], most, bounds)
        iterations = inputs.checked_numbers(
            "iterations", iterations, images, 1, max_iterations
        )
        answer = geometry.robustness(model, images, iterations)._asdict()
        return answer | _labels(answer["classes"], names)

    return robustness


def _smooth(shape: Any, settings: Settings, bounds: Bounds) -> Callable[..., Answer]:
    def smooth(images: tf.Tensor, perturbations: tf.Tensor) -> Answer:
        images = _units(images, shape, settings.max_batch, bounds)
        changes = inputs.checked_changes("perturbations", perturbations, images)
        smoother = smoothing.Smoother(
            images,
            alpha=settings.alpha,
            bandwidth=settings.bandwidth,
            iterations=settings.smooth_steps,
            for_export=True,
        )
        return {"smoothed": smoother(changes)}

    return smooth


def _attack(
    model: keras.Model, attack: attacks.Attack, most: int, bounds: Bounds
) -> Callable[..., Answer]:
    def run(images: tf.Tensor, classes: tf.Tensor) -> Answer:
        images = _units(images, model.input_shape[1:], most, bounds)
        classes = _checked_classes(classes, images, model)
        labels = _chosen(classes, _logits(model, images))
        result = attack(model, images, labels)
        return {
            "adversarial": from_unit(result.adversarial, bounds),
            "success": result.success,
            "distortion": result.distortion,
            "classes": labels,
        }

    return run


def _units(
    images: tf.Tensor, shape: Sequence[int | None], most: int, bounds: Bounds
) -> tf.Tensor:
    """Images of a request in [0, 1]."""
    return to_unit(inputs.checked_images(images, shape, most, bounds), bounds)


def _logits(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    return tf.cast(model(images, training=False), tf.float32)


def _checked_classes(
    classes: tf.Tensor, images: tf.Tensor, model: keras.Model
) -> tf.Tensor:
    last = model.output_shape[-1] - 1
    return inputs.checked_numbers("classes", classes, images, inputs.PREDICTED, last)


def _chosen(classes: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The classes asked for, and the most likely one where none was."""
    predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return tf.where(classes == inputs.PREDICTED, predicted, classes)


def _answer(logits: tf.Tensor, names: list[str] | None) -> Answer:
    classes = tf.argmax(logits, axis=-1, output_type=tf.int32)
    probabilities = tf.nn.softmax(logits)
    answer = {"logits": logits, "probabilities": probabilities, "classes": classes}
    return answer | _labels(classes, names)


def _labels(classes: tf.Tensor, names: list[str] | None) -> Answer:
    return {} if names is None else {"labels": tf.gather(tf.constant(names), classes)}
