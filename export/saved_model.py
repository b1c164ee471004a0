"""Writes a classifier as a versioned SavedModel.

The graph holds standard TensorFlow operations only, so the process that serves it needs
neither Keras nor this library. It checks its input before anything else: a server does
not enforce the signature, and a tensor of the wrong rank can take the process down.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from export.card import Facts, write_card
from export.compatibility import check_clients, versions
from export.facts import facts_of
from export.folding import fold_or_keep
from export.inputs import free_side
from export.signatures import (
    DEFAULT,
    NEEDS,
    WITH_GRADIENTS,
    Settings,
    available,
    make_signatures,
    registered,
)
from export.warmup import write_warmup
from tfrobust import models
from tfrobust.core.answers import are_probabilities
from tfrobust.core.black_box import BlackBox
from tfrobust.core.classifier import PROBABILITIES
from tfrobust.core.errors import first_line
from tfrobust.core.pixels import Bounds, bounds_of
from tfrobust.core.unit_network import UnitNetwork
from tfrobust.layers import network_of
from tfrobust.models.loading import PRETRAINED, PYTORCH

SIGNATURE = DEFAULT


# Operations that call the Python they were traced in.
_PYTHON = ("EagerPyFunc", "PyFunc", "PyFuncStateless")


def export_saved_model(
    model: keras.Model | str | os.PathLike[str],
    directory: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    *,
    signatures: Sequence[str] | None = (SIGNATURE,),
    folded: bool = True,
    settings: Settings | None = None,
    output: str | None = None,
    bounds: tuple[float, float] | None = None,
    warmup: bool = False,
    facts: Facts | None = None,
    overwrite: bool = False,
    extras: Iterable[Callable[[Path], object]] = (),
) -> Path:
    """Write a model as the next version below a directory.

    The version is one above the highest there, or 1. It is written under a temporary
    name and renamed when complete, so that a server that watches the directory never
    sees half a model. Nothing that exists is changed.

    The signature `serving_default` takes `images`, float32 `[B, H, W, C]` within the
    bounds, [0, 1] by default, B at least 1, and returns a dictionary of

    - `logits`, float32 `[B, K]`; of a network that ends in a softmax what that was
      given, of one with a single output z for two classes `(-z/2, z/2)`;
    - `probabilities`, float32 `[B, K]`, the softmax of the logits;
    - `classes`, int32 `[B]`, the most likely class;
    - `labels`, string `[B]`, its name, if the names of the classes are known.

    An input of another shape, with a pixel outside of the bounds or NaN, without any
    image or with too many is an `InvalidArgumentError`. Gradients flow through the
    signature once loaded. The other signatures are those of `export.signatures`;
    docs/SERVING.md has all of them.

    Args:
        model: Keras classifier of images, that ends in logits, a softmax or, for two
            classes, in one output; a `RobustModel` or `models.Classifier` around one;
            or the path of any form of one that `tfrobust.models.load` takes. A
            SavedModel is written anew, with the signatures of today around its own
            `serving_default`, whose limits on a request stay.
        directory: Where the versions go, made if need be. Its name is the model's name
            to a server.
        class_names: One name for each class, in order; by default those that `facts`
            know, which are those of the run that the model's file lies in.
        signatures: What is served, `serving_default` among it; each other one takes
            some seconds to trace. `None`: all that the model can have, with a warning
            for each that it cannot.
        folded: Whether spectral norms and batch norms go into constant kernels, which
            is faster and the same function, rounded differently (`export.folding`). A
            model that is no graph of layers is served as it is, and so is, with a
            warning, one that cannot be folded or that answers otherwise then.
        settings: What the signatures fix; without an attack by default. A radius is in
            units of [0, 1] whatever the bounds.
        output: Which of several outputs is served, by its name; by default the one that
            the model around the network names, or the one named "logits".
        bounds: The range of the pixels of a request, such as `(0, 255)`, which is that
            of the network. By default what a `RobustModel` or `models.Classifier` says,
            or a `Rescaling` of bytes at the network's start; else (0, 1).
        warmup: Whether a request for each signature goes along, which a server answers
            before it serves the model; each is answered here first.
        facts: What the model card says of training and accuracy; by default what lies
            around the model's file, and nothing for a model in memory.
        overwrite: Whether the version may break what clients of the newest one rely on:
            signatures, and their tensors, by name, type and shape. No version that
            exists is changed or deleted either way.
        extras: Called with the folder of the complete version before a server can see
            it, to put more into its `assets.extra`.

    Returns:
        The folder of the new version, `directory/N`.

    Raises:
        FileExistsError: If clients of the newest version would be answered otherwise,
            and `overwrite` is not set.
        FileNotFoundError: If there is nothing at the model's path.
        NotADirectoryError: If `directory` is a file.
        ValueError: If the path is no classifier that loads, the model does not map one
            batch of images to logits, `directory` is empty, the names are too few or
            many, or the model cannot have a signature.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten()])
        >>> folder = export_saved_model(model, tempfile.mkdtemp() + "/flat")
        >>> folder.name
        '1'
        >>> import tensorflow as tf
        >>> served = tf.saved_model.load(folder)  # Keep it: it owns the variables.
        >>> serve = served.signatures["serving_default"]
        >>> serve(images=tf.ones([1, 2, 2, 1]))["classes"].numpy().tolist()
        [0]
    """
    if isinstance(model, BlackBox):
        raise ValueError(
            "`model` must be a Keras model or the path of a saved one. Received: a "
            "BlackBox, whose function is Python and cannot be exported"
        )
    target = _check_directory(directory)
    if not isinstance(model, keras.Model):
        facts = facts or facts_of(model)
        model = load_model(model, output, bounds)
    output = output or getattr(model, "output_name", None)
    box, network = bounds_of(model, bounds), network_of(model)
    unit = UnitNetwork(network, box, output)
    classes = _check_model(unit)
    labels = _check_names(class_names, classes) or _known_names(facts, classes)
    settings = settings or Settings()
    served = fold_or_keep(network, box) if folded else network
    unit = UnitNetwork(served, box, output)
    possible = available(unit, settings)
    if signatures is not None:
        _check_signatures(signatures, (*possible, *registered()))
    _check_answers(unit)
    archive = _archive(unit, box, labels, settings, signatures, possible)
    target.mkdir(parents=True, exist_ok=True)
    # On the same file system as the target, or the rename would be a copy. A server
    # looks at names that are numbers and passes over this one.
    workspace = Path(tempfile.mkdtemp(prefix=".exporting-", dir=target))
    try:
        written = workspace / "model"
        archive.write_out(str(written), verbose=False)
        if not overwrite:
            check_clients(target, written)
        name = target.absolute().name
        fixed = _fixed(settings) | {"folded": served is not network}
        fixed["bounds"] = list(box)
        write_card(written, name, facts or Facts(), labels, fixed)
        if warmup:
            _warm_up(written, name)
        for extra in extras:
            extra(written)
        return _publish(written, target, overwrite)
    finally:
        shutil.rmtree(workspace)


def _archive(
    model: keras.Model,
    bounds: Bounds,
    labels: list[str] | None,
    settings: Settings,
    requested: Sequence[str] | None,
    possible: Sequence[str],
) -> keras.export.ExportArchive:
    """The requested signatures, traced; `None`: those with gradients where needed."""
    # Only what the endpoints use is saved: tracking the model would save every weight
    # a second time, and with it what only training needs.
    archive = keras.export.ExportArchive()
    names = possible if requested is None else requested
    for name, reason in NEEDS.items():
        if requested is None and name not in possible:
            warnings.warn(f"{name} is left out: {reason}", stacklevel=3)
    made = make_signatures(model, labels, settings, names, bounds)
    for name, signature in made.items():
        traced = tf.function(
            signature.function, input_signature=signature.specs, autograph=False
        )
        try:
            traced.get_concrete_function()
        # No gradient at all is the former, none of a gradient the latter.
        except (ValueError, LookupError) as error:
            if name not in WITH_GRADIENTS:
                raise
            reason = first_line(error)
            # An attack has to be asked for.
            if requested is not None or name == "attack":
                raise ValueError(
                    f"`signatures` must be ones that the model's layers allow. "
                    f"Received: {name} ({reason})"
                ) from error
            warnings.warn(f"{name} is left out: {reason}", stacklevel=3)
            continue
        _check_is_served(name, traced)
        archive.add_endpoint(name, traced)
    return archive


def _check_is_served(name: str, traced: Any) -> None:
    """Raises `ValueError` if a signature would call Python, which a server has not."""
    graph = traced.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    if any(node.op in _PYTHON for node in nodes):
        raise ValueError(
            "`signatures` must be made of TensorFlow's operations. Received: "
            f"{name}, which calls Python (py_function or numpy_function)"
        )


def _warm_up(written: Path, name: str) -> None:
    try:
        write_warmup(written, name)
    except ValueError as error:
        raise ValueError(
            "`warmup` must be off for a model that does not answer grey images. "
            f"Received: {error}"
        ) from error


def _fixed(settings: Settings) -> dict[str, Any]:
    """The settings by name, for people."""
    fixed = dataclasses.asdict(settings)
    fixed["smooth_iterations"] = settings.smooth_steps
    if settings.attack is not None:
        fixed["attack"] = {"method": type(settings.attack).__name__} | fixed["attack"]
    return fixed


def _publish(written: Path, target: Path, overwrite: bool) -> Path:
    """Rename a complete model to the next free version, if it may still be that."""
    while True:
        # Another export may have published something meanwhile.
        if not overwrite:
            check_clients(target, written)
        version = target / str(max(versions(target), default=0) + 1)
        try:
            return written.rename(version)
        except OSError:
            # Another export may have taken the number; any other failure is real.
            if not version.exists():
                raise


def load_model(
    path: str | os.PathLike[str],
    output: str | None = None,
    bounds: tuple[float, float] | None = None,
) -> keras.Model:
    """Load whatever `tfrobust.models.load` takes, without running code from a file."""
    given = str(path)
    if (
        not given.startswith((PRETRAINED, PYTORCH))
        and not Path(given).expanduser().exists()
    ):
        raise FileNotFoundError(
            f"`model` must be an existing file or folder. Received: {path}"
        )
    try:
        return models.load(path, output=output, bounds=bounds).network
    except models.LoadError as error:
        sentence = str(error).replace("`path`", "`model`", 1)
        raise ValueError(sentence.replace("path=", "model=", 1)) from error


def _check_directory(directory: str | os.PathLike[str]) -> Path:
    if not str(directory).strip():
        raise ValueError("`directory` must not be empty. Received: ''")
    path = Path(directory)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"`directory` must not be a file. Received: {path}")
    return path


def _check_model(model: UnitNetwork) -> int:
    """The number of classes of a classifier."""
    images: Any = getattr(model, "input_shape", None)
    logits: Any = None if images is None else model.output_shape
    if not (_has_rank(images, 4) and _has_rank(logits, 2) and logits[1]):
        raise ValueError(
            "`model` must be a built Keras model from images [B, H, W, C] to logits "
            f"[B, K]. Received: input shape {images}, output shape {logits}"
        )
    return int(logits[1])


def _check_answers(model: UnitNetwork) -> None:
    """Raises `ValueError` over probabilities whose logits cannot be had."""
    shape = model.input_shape[1:]
    side = free_side(shape, lambda images: model.answer(images, training=False))
    sides = [size or side for size in shape]
    images = tf.random.stateless_uniform([2, *sides], [0, 1])
    answer = model.answer(images, training=False)
    if answer.is_doubtful and are_probabilities(answer.logits):
        raise ValueError(PROBABILITIES)


def _has_rank(shape: Any, rank: int) -> bool:
    """Whether a shape is that of one tensor; several inputs have a list of shapes."""
    return (
        isinstance(shape, tuple)
        and len(shape) == rank
        and all(size is None or isinstance(size, int) for size in shape)
    )


def _check_signatures(signatures: Sequence[str], possible: Sequence[str]) -> None:
    wrong = [name for name in signatures if name not in possible]
    if wrong or SIGNATURE not in signatures:
        raise ValueError(
            f"`signatures` must be {SIGNATURE} and any of the others of this model, "
            f"{', '.join(possible[1:])}. Received: {', '.join(signatures) or 'none'}"
        )


def _check_names(names: Sequence[str] | None, classes: int) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, str) or len(names) != classes:
        raise ValueError(
            f"`class_names` must name each of the {classes} classes. "
            f"Received: {names!r}"
        )
    return [str(name) for name in names]


def _known_names(facts: Facts | None, classes: int) -> list[str] | None:
    """The names of classes that a run or a card knows, if they are of this model."""
    names = None if facts is None else facts.class_names
    return list(names) if names is not None and len(names) == classes else None
