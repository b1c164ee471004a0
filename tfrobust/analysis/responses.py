"""How far an adversarial perturbation moves what a network computes, layer by layer.

The local response difference of "Dissecting Local Properties of Adversarial Examples":
features of the adversarial image less those of the natural one, in absolute value. A
perturbation whose neighbouring pixels disagree is answered by a kernel whose
neighbouring weights disagree; smooth kernels average it away.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import gathered
from tfrobust.analysis.layers import Layers, chosen_layers, functional_network
from tfrobust.core.estimates import Estimate, mean
from tfrobust.core.examples import gather
from tfrobust.core.selection import selected
from tfrobust.data import Dataset
from tfrobust.settings import require_steps


class LayerMean(NamedTuple):
    """What one layer's response is on average.

    Attributes:
        layer: Its label.
        images: How many were averaged.
        maximum: Mean over images of the largest difference in the layer.
        total: Mean over images of the sum of the layer's differences.
        relative: Mean over images of that sum over the sum of the natural features;
            NaN if it was not measured, or an image has no features to compare with.

    Example:
        >>> import math
        >>> nothing = Estimate(math.nan, math.nan)
        >>> str(LayerMean("Layer 1", 0, nothing, nothing, nothing))
        'Layer 1: no images'
    """

    layer: str
    images: int
    maximum: Estimate
    total: Estimate
    relative: Estimate

    def __str__(self) -> str:
        if not self.images:
            return f"{self.layer}: no images"
        return (
            f"{self.layer}: maximum {self.maximum.value:.4g}, total "
            f"{self.total.value:.4g}, {self.images} images"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class LocalResponse:
    """Local response differences of N pairs of images at L layers.

    Attributes:
        layers: The L labels, in the order of the network.
        maximum: float32 `[N,L]`, largest difference over places and channels.
        total: float32 `[N,L]`, sum of the differences over places and channels.
        relative: float32 `[N,L]`, that sum over the sum of the natural features'
            absolute values: the one to compare networks by, since it does not depend on
            how large a network's features are. NaN where there are none but 0, and
            everywhere if left out.

    Raises:
        ValueError: If the arrays are not of one shape `[N,L]`.

    Example:
        >>> response = LocalResponse(("a",), maximum=[[1], [3]], total=[[2], [6]])
        >>> response.means()[0].total.value, len(response)
        (4.0, 2)
        >>> success, failure = response.split([False, False])
        >>> [str(row) for row in success.means()]
        ['a: no images']
    """

    layers: tuple[str, ...]
    maximum: np.ndarray
    total: np.ndarray
    relative: np.ndarray = dataclasses.field(default_factory=lambda: np.array(np.nan))

    def __post_init__(self) -> None:
        """Check the arrays and bring them to their dtype."""
        object.__setattr__(self, "layers", tuple(self.layers))
        if not np.ndim(self.relative):
            unknown = np.full(np.shape(self.maximum), self.relative)
            object.__setattr__(self, "relative", unknown)
        for name in ("maximum", "total", "relative"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32))
        shape = self.maximum.shape
        good = len(shape) == 2 and shape[1] == len(self.layers)
        if not good or not shape == self.total.shape == self.relative.shape:
            raise ValueError(
                f"`maximum`, `total` and `relative` must have shape [N, "
                f"{len(self.layers)}], a column a layer. Received: shapes {shape}, "
                f"{self.total.shape} and {self.relative.shape}"
            )

    def __len__(self) -> int:
        """Number of images, N."""
        return len(self.maximum)

    def select(self, mask: Any) -> LocalResponse:
        """The responses of some of the images.

        Args:
            mask: bool `[N]`. It may hold nowhere.

        Returns:
            Those where it holds, in their order.

        Raises:
            ValueError: If it is no bool `[N]`.
        """
        columns = self.maximum, self.total, self.relative
        return LocalResponse(self.layers, *selected(columns, mask))

    def split(self, success: Any) -> tuple[LocalResponse, LocalResponse]:
        """The responses to the successful and to the unsuccessful examples.

        Args:
            success: bool `[N]`, as `AttackResult.success`. An image that was
                misclassified before the attack is a success there, without a
                perturbation; leave such images out first (`AttackResult.already`).

        Returns:
            Two parts, of which one may be empty: its means are NaN and say so.

        Raises:
            ValueError: If it is no bool `[N]`.
        """
        success = np.asarray(success)
        successful = self.select(success)
        return successful, self.select(~success)

    def means(self) -> tuple[LayerMean, ...]:
        """Mean maximum, total and relative total of every layer, with their errors.

        Returns:
            One row a layer. Of no image, the estimates are NaN and `images` is 0.
        """
        columns = (self.maximum.T, self.total.T, self.relative.T)
        return tuple(
            LayerMean(layer, len(self), *map(mean, values))
            for layer, *values in zip(self.layers, *columns, strict=True)
        )


def local_response(
    model: keras.Model,
    natural: Any,
    adversarial: Any,
    layers: Layers | None = None,
    batch_size: int = 128,
    *,
    bounds: Any = None,
) -> LocalResponse:
    """|features(adversarial) - features(natural)| at layers, largest and summed.

    In inference mode, and in float32 whatever the network computes in. Transferred
    examples are looked at by a second call, with images that another network's attack
    found.

    Args:
        model: A functional or sequential Keras model with one input, or a `RobustModel`
            or `models.Classifier` around one. Only layers of its own graph are seen,
            not those inside of a network nested in it.
        natural: `[N,H,W,C]` within the bounds in any form; N may be 0.
        adversarial: The same images, perturbed, in any form.
        layers: Names of layers, or `{label: name}`; `default_layers(model)` if left
            out. Of a layer that is called several times, its first call counts.
        batch_size: Pairs of images at a time. Nothing depends on it, up to rounding.
        bounds: The range of the pixels, as for an attack's call.

    Returns:
        The differences of every pair at every layer, labelled.

    Raises:
        ValueError: If the model is of another kind or its images of another size,
            images are of a wrong shape, type or range, a layer is not there (the
            sentence lists those that are), or a setting is out of range.

    Reference: the paper's section on local responses, its Tables 1 to 5, Figure 4.

    Example:
        >>> import keras
        >>> image = keras.Input((1, 1, 1))
        >>> doubled = keras.layers.Rescaling(2.0, name="twice")(image)
        >>> network = keras.Model(image, doubled)
        >>> natural, adversarial = np.zeros((3, 1, 1, 1)), np.full((3, 1, 1, 1), 0.25)
        >>> response = local_response(network, natural, adversarial, ["twice"])
        >>> response.maximum.ravel().tolist()
        [0.5, 0.5, 0.5]
    """
    network = functional_network(model)
    chosen = chosen_layers(network, layers)
    natural, adversarial = _pair(natural, adversarial, model, network, bounds)
    require_steps("batch_size", batch_size)
    compare = _comparison(network, list(chosen.values()), natural.shape[1:])
    starts = range(0, len(natural), batch_size)
    parts = [
        compare(natural[i : i + batch_size], adversarial[i : i + batch_size])
        for i in starts
    ]
    none = np.zeros((3, 0, len(chosen)), np.float32)
    return LocalResponse(tuple(chosen), *np.concatenate([none, *parts], axis=1))


def local_responses(
    models: Mapping[str, keras.Model] | Iterable[tuple[str, keras.Model]],
    natural: Any,
    adversarial: Any | Callable[[keras.Model], Any],
    layers: Layers | None = None,
    batch_size: int = 128,
    *,
    bounds: Any = None,
) -> dict[str, LocalResponse]:
    """Responses of several networks to the same images, such as a run's checkpoints.

    Args:
        models: Networks by name, or pairs. A generator may load them one by one: none
            is kept after its turn.
        natural: As for `local_response`.
        adversarial: The same images perturbed, alike for all networks; or what maps a
            network to them, such as an attack on each.
        layers: As for `local_response`; each network's own `default_layers` if left
            out.
        batch_size: As for `local_response`.
        bounds: As for `local_response`, of all networks.

    Returns:
        The response of each network, in their order.

    Raises:
        ValueError: As for `local_response`; also if there is no network, or two have
            one name.

    Reference: the paper's Figures 5 and 9, responses over the epochs of training.

    Example:
        >>> from tfrobust.models import MLP
        >>> runs = ((f"epoch {i}", MLP((1, 1, 1), 2, hidden=(3,))) for i in (1, 2))
        >>> gray = np.full((4, 1, 1, 1), 0.5)
        >>> list(local_responses(runs, gray, lambda model: gray + 0.25))
        ['epoch 1', 'epoch 2']
    """
    responses: dict[str, LocalResponse] = {}
    # Iterators can be read once.
    natural = _kept(natural, "natural")
    if not callable(adversarial):
        adversarial = _kept(adversarial, "adversarial")
    pairs = models.items() if isinstance(models, Mapping) else models
    for name, model in pairs:
        if name in responses:
            raise ValueError(f"`models` must differ in name. Received: {name!r} twice")
        other = adversarial(model) if callable(adversarial) else adversarial
        responses[name] = local_response(
            model, natural, other, layers, batch_size, bounds=bounds
        )
    if not responses:
        raise ValueError("`models` must hold at least one network. Received: none")
    return responses


def _kept(images: Any, name: str) -> Any:
    """Images as an array; a data set as it is, for each network to scale."""
    if isinstance(images, Dataset):
        return images
    return gather(images, name=name).images


def _pair(
    natural: Any, adversarial: Any, model: Any, network: keras.Model, bounds: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Both within the bounds, as the network takes them."""
    natural, adversarial = (
        gathered(images, None, model, bounds, name=name)[0].given
        for name, images in (("natural", natural), ("adversarial", adversarial))
    )
    if natural.shape != adversarial.shape:
        raise ValueError(
            "`adversarial` must have the shape of `natural`, "
            f"{natural.shape}. Received: shape={adversarial.shape}"
        )
    expected = network.inputs[0].shape[1:]
    if not tf.TensorShape(expected).is_compatible_with(natural.shape[1:]):
        raise ValueError(
            f"`model` must take images {list(natural.shape[1:])} as `natural` holds. "
            f"Received: a model of images {list(expected)}"
        )
    return natural, adversarial


def _comparison(
    network: keras.Model, names: list[str], image_shape: Any
) -> Callable[[tf.Tensor, tf.Tensor], np.ndarray]:
    """One graph, for batches of any size: what a response holds, `[3,B,L]`."""
    outputs = [network.get_layer(name).output for name in names]
    try:
        features = keras.Model(network.inputs[0], outputs)
    except ValueError as error:
        raise ValueError(
            "`layers` must name layers of the model's own graph, not of a network "
            f"nested in it. Received: {', '.join(names)}"
        ) from error

    def compared(natural: tf.Tensor, adversarial: tf.Tensor) -> Any:
        # Keras gives a single output without the list around it.
        before = map(_rows, tf.nest.flatten(features(natural, training=False)))
        after = map(_rows, tf.nest.flatten(features(adversarial, training=False)))
        layers = [_measured(*pair) for pair in zip(before, after, strict=True)]
        return tf.stack(layers, axis=-1)

    spec = tf.TensorSpec([None, *image_shape], tf.float32)
    graph = tf.function(compared, autograph=False).get_concrete_function(spec, spec)
    return lambda natural, adversarial: graph(natural, adversarial).numpy()


def _rows(features: tf.Tensor) -> tf.Tensor:
    """All values of an image in a row, float32."""
    return tf.reshape(tf.cast(features, tf.float32), [tf.shape(features)[0], -1])


def _measured(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Largest, summed and relative difference of each image in one layer, `[3,B]`."""
    change = tf.abs(after - before)
    total, natural = tf.reduce_sum(change, 1), tf.reduce_sum(tf.abs(before), 1)
    ratio = total / tf.where(natural > 0.0, natural, 1.0)
    relative = tf.where(natural > 0.0, ratio, math.nan)
    return tf.stack([tf.reduce_max(change, 1), total, relative])
