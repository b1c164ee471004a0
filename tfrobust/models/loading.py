"""A classifier from any path: `.keras`, SavedModel, run, shipped name, PyTorch file."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrobust.core.answers import shape_of_output
from tfrobust.core.errors import first_line
from tfrobust.core.keras_graph import ends_in_softmax
from tfrobust.core.pixels import UNIT, bounds_of
from tfrobust.core.unit_network import UnitNetwork
from tfrobust.layers import NetworkWrapper, network_of
from tfrobust.models import zoo
from tfrobust.models.classifier import Classifier
from tfrobust.models.pytorch import from_pytorch
from tfrobust.models.pytorch.convert import check_architecture
from tfrobust.models.served import (
    GRAPH,
    SIGNATURE,
    ServedModel,
    as_network,
    numbered_versions,
)

PRETRAINED = "pretrained:"
"""What a name of `list_pretrained()` follows where a path could stand."""

PYTORCH = "robustbench:"
"""What `FILE:ARCHITECTURE` of a PyTorch network follows where a path could stand."""

_IN_A_RUN = "model.keras"
_EXPECTED = "be a classifier that loads here"
# A checkpoint of `fit` holds the model that trains, which lives in a part of the
# library that builds upon this one, and must not be imported here. It is not needed:
# what it adds is training, and what is saved of it is what its base class saves. Where
# it is imported, Keras knows the class itself and takes that.
_WRAPPERS = {"tfrobust>RobustModel": NetworkWrapper}


class LoadError(ValueError):
    """A path that stands for no classifier, or for one that does not load.

    Args:
        path: The path.
        problem: What is wrong, as what follows "which" of the path.
        expected: What it must do or be instead.
        missing: A class of the file that Keras does not know, if that is what is wrong.

    Attributes:
        problem: What is wrong, as what follows the path itself in a program's sentence.
        missing: As given.

    Example:
        >>> error = LoadError("a.keras", "does not exist")
        >>> error.problem
        'does not exist'
        >>> print(error)  # doctest: +NORMALIZE_WHITESPACE
        `path` must be a classifier that loads here. Received: path=a.keras, which does
        not exist
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        problem: str,
        expected: str = _EXPECTED,
        missing: str = "",
    ) -> None:
        super().__init__(
            f"`path` must {expected}. Received: path={path}, which {problem}"
        )
        if expected != _EXPECTED:
            problem = f"must {expected}, but {problem}"
        self.path, self.problem, self.missing = str(path), problem, missing


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedClassifier:
    """A classifier that is ready to be called, whatever it was loaded from.

    Args:
        name: What to call it.
        call: Maps images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`. A Keras
            model, so that who calls it decides on `training=False`: the network itself
            where it does so, and else one around it.
        input_shape: `(H, W, C)`; `None` where any size fits.
        classes: K, at least 1.
        source: The file or folder that was loaded.
        own: The network as it was saved, where `call` is one around it.
    """

    name: str
    call: Callable[[tf.Tensor], Any]
    input_shape: tuple[int | None, ...]
    classes: int
    source: pathlib.Path
    own: keras.Model | None = dataclasses.field(default=None, kw_only=True)

    @property
    def kind(self) -> str:
        """What was loaded: "Keras" or "SavedModel"."""
        return "Keras" if isinstance(self.call, keras.Model) else "SavedModel"

    @property
    def network(self) -> keras.Model:
        """The classifier as a Keras model, with pixels and answers of its own.

        Of a SavedModel a new one of a single layer around its signature, at each time:
        gradients flow to the images, but there are no layers to look at.
        """
        if self.own is not None:
            return self.own
        if isinstance(self.call, keras.Model):
            return self.call
        network = as_network(self.source, self.input_shape)
        bounds = bounds_of(self.call)
        return network if bounds == UNIT else Classifier(network, bounds=bounds)


def find(path: str | os.PathLike[str]) -> pathlib.Path:
    """The `.keras` file or the folder with `saved_model.pb` that a path stands for.

    Args:
        path: As for `load`.

    Returns:
        The path to load; `pretrained:NAME` and `robustbench:FILE:ARCHITECTURE` stay
        as they are.

    Raises:
        LoadError: If there is none.

    Example:
        >>> find("pretrained:mnist_c4").name
        'pretrained:mnist_c4'
    """
    if str(path).startswith(PRETRAINED):
        names = zoo.list_pretrained()
        if str(path).removeprefix(PRETRAINED) not in names:
            raise LoadError(
                path, f"is none of those that are shipped: {', '.join(names)}"
            )
        return pathlib.Path(path)
    if str(path).startswith(PYTORCH):
        _check_pytorch(path)
        return pathlib.Path(path)
    place = pathlib.Path(path).expanduser()
    if not str(path).strip() or not place.exists():
        raise LoadError(path, "does not exist")
    if place.is_file():
        if place.suffix != ".keras":
            raise LoadError(path, "is a file, but no .keras file")
        return place
    newest = [version for _, version in reversed(numbered_versions(place))]
    for folder in (place, *newest):
        if (folder / GRAPH).is_file():
            return folder
    if (place / _IN_A_RUN).is_file():
        return place / _IN_A_RUN
    raise LoadError(
        place,
        f"holds no model: neither {_IN_A_RUN} nor {GRAPH} nor a numbered version with "
        "one",
    )


def load(
    path: str | os.PathLike[str],
    name: str = "",
    *,
    output: str | None = None,
    bounds: tuple[float, float] | None = None,
) -> LoadedClassifier:
    """Loads a classifier, whatever its form.

    No code of a file is run but that of registered Keras classes: those of layers of
    your own must have been imported. A SavedModel's graph may read and write files, as
    TensorFlow says; load only what you trust.

    Args:
        path: One of

            - a `.keras` file of a classifier, that ends in logits, a softmax or, for
              two classes, in one output;
            - a `.keras` file of the `RobustModel` that trains one, such as
              `keras.callbacks.ModelCheckpoint` writes, or of a `Classifier`;
            - a SavedModel folder as `export` writes it, or the folder of its numbered
              versions, for the newest;
            - a run folder of `trainers.cifar`, for its `model.keras`;
            - `pretrained:NAME`, for one of `list_pretrained()`;
            - `robustbench:FILE:ARCHITECTURE`, for a PyTorch network as `from_pytorch`
              takes them: `robustbench:Wong2020.pt:preactresnet18`.
        name: What to call it; by default named after its file or folder.
        output: Of a `.keras` file of several outputs the one that counts, by its name.
        bounds: Of a `.keras` file the range of its pixels, such as `(0, 255)`, where
            neither it nor its first layers say so.

    Returns:
        The classifier. Keep it as long as its `call` is in use.

    Raises:
        LoadError: If there is none, it does not load, or it does not map images
            `[B, H, W, C]` to logits; a `ValueError`.

    Example:
        >>> from tfrobust import models
        >>> loaded = models.load("pretrained:mnist_c4")
        >>> loaded.name, loaded.input_shape, loaded.classes
        ('mnist_c4', (28, 28, 1), 10)
    """
    source = find(path)
    own: keras.Model | None = None
    if str(path).startswith(PRETRAINED):
        call: Any = _load_pretrained(path)
        images, logits = call.input_shape, call.output_shape
    elif str(path).startswith(PYTORCH):
        call = _load_pytorch(path)
        images, logits = call.input_shape, call.output_shape
    elif source.is_file():
        call, own, images, logits = _load_keras(source, output, bounds)
    else:
        call, images, logits = _load_served(source)
    if len(images or ()) != 4 or len(logits or ()) != 2 or not logits[1]:
        raise LoadError(
            source,
            f"maps {plain_shape(images)} to {plain_shape(logits)}",
            "map images [B, H, W, C] to logits [B, K]",
        )
    return LoadedClassifier(
        name or _name(source), call, tuple(images[1:]), int(logits[1]), source, own=own
    )


def plain_shape(shape: Any) -> str:
    """A shape for people.

    Example:
        >>> plain_shape((None, 32, 32, 3))
        '[any, 32, 32, 3]'
    """
    if shape is None:
        return "several or unknown tensors"
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def _name(source: pathlib.Path) -> str:
    """Of the file, or of the folder that stands for it."""
    if str(source).startswith(PRETRAINED):
        return str(source).removeprefix(PRETRAINED)
    if str(source).startswith(PYTORCH):
        return _pytorch_file(source)[0].stem
    source = source.resolve()
    # A version is named by its number, the model by the folder around it.
    stands_for = source.name.isdigit() or source.name == _IN_A_RUN
    model = source.parent if stands_for else source
    return model.name.removesuffix(".keras")


def _load_pretrained(path: str | os.PathLike[str]) -> keras.Model:
    try:
        return zoo.pretrained(str(path).removeprefix(PRETRAINED))
    except ValueError as error:
        raise LoadError(path, f"does not load: {first_line(error)}") from error


def _pytorch_file(path: str | os.PathLike[str]) -> tuple[pathlib.Path, str]:
    """The file and the architecture of `robustbench:FILE:ARCHITECTURE`."""
    file, _, architecture = str(path).removeprefix(PYTORCH).partition(":")
    return pathlib.Path(file).expanduser(), architecture


def _check_pytorch(path: str | os.PathLike[str]) -> None:
    file, architecture = _pytorch_file(path)
    if not architecture:
        raise LoadError(
            path, "has no architecture", f"be written {PYTORCH}FILE:ARCHITECTURE"
        )
    if not file.is_file():
        raise LoadError(path, f"names a file that does not exist: {file}")
    try:
        check_architecture(architecture)
    except ValueError as error:
        raise LoadError(path, f"names no architecture: {first_line(error)}") from error


def _load_pytorch(path: str | os.PathLike[str]) -> keras.Model:
    file, architecture = _pytorch_file(path)
    try:
        return from_pytorch(file, architecture)
    except ValueError as error:
        raise LoadError(path, f"does not load: {first_line(error)}") from error


def _load_keras(
    path: pathlib.Path, output: str | None, bounds: Any
) -> tuple[keras.Model, keras.Model | None, Any, Any]:
    """What to call, the network as it was saved if that is another, and its shapes."""
    try:
        model = keras.saving.load_model(
            path, custom_objects=_WRAPPERS, compile=False, safe_mode=True
        )
    except Exception as error:
        # Keras raises whatever the first broken part does, from OSError to KeyError.
        unknown = re.search(r"Could not locate (\w+) '([^']+)'", str(error))
        if unknown is None:
            raise _broken(path, "Keras model", error) from error
        raise LoadError(
            path,
            f"needs the {unknown[1]} {unknown[2]!r}, which nothing that is imported "
            "registers",
            missing=unknown[2],
        ) from error
    network = network_of(model)
    output = output or getattr(model, "output_name", None)
    images = getattr(network, "input_shape", None)
    # A model of several inputs has a list of shapes.
    if not isinstance(images, tuple):
        return network, None, None, None
    try:
        bounds, own = bounds_of(model, bounds), network
        unit = UnitNetwork(network, bounds, output, name=network.name)
        logits = unit.output_shape
        shape = shape_of_output(network, output)
    except ValueError as error:
        raise LoadError(path, f"is no classifier: {first_line(error)}") from error
    if (bounds, output) != (UNIT, None):
        own = Classifier(network, output=output, bounds=bounds, name=network.name)
    elif shape == logits and not ends_in_softmax(network):
        return network, None, images, logits
    return unit, own, images, logits


def _load_served(path: pathlib.Path) -> tuple[ServedModel, Any, Any]:
    try:
        model = ServedModel(path)
    except KeyError as error:
        raise LoadError(path, f"has no signature {SIGNATURE!r}") from error
    except Exception as error:
        raise _broken(path, "SavedModel", error) from error
    _, inputs = model.signature.structured_input_signature
    outputs = model.signature.structured_outputs
    if set(inputs) != {"images"} or "logits" not in outputs:
        raise LoadError(
            path,
            f"takes {_listed(inputs)} and returns {_listed(outputs)} by its signature "
            f"{SIGNATURE!r}",
            "take `images` and return `logits`",
        )
    shapes = (inputs["images"].shape, outputs["logits"].shape)
    images, logits = (None if s.rank is None else tuple(s) for s in shapes)
    return model, images, logits


def _broken(path: pathlib.Path, what: str, error: Exception) -> LoadError:
    return LoadError(path, f"is no {what} that loads here: {first_line(error)}")


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"
