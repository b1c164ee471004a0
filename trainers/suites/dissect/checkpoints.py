"""The networks of `--checkpoints`, and the layers that are looked at."""

from __future__ import annotations

import pathlib

import numpy as np

from tfrobust import analysis, training
from tfrobust.cli.loading import Loaded, load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import RunFolder
from trainers.suites import parts, samples
from trainers.suites.dissect.suite import DissectSettings
from trainers.suites.options import EvaluateConfig


def find_runs(
    run: EvaluateConfig, own: DissectSettings
) -> dict[str, dict[int, pathlib.Path]]:
    """The networks of --checkpoints, by run and epoch; each is loaded, to be checked.

    Raises:
        UsageError: If a folder holds none, two have one name, or a network does not fit
            the data or has other layers than the rest of its run.
    """
    runs: dict[str, dict[int, pathlib.Path]] = {}
    for path in own.checkpoints:
        folder = pathlib.Path(path).expanduser()
        inside = RunFolder(folder).epochs
        epochs = training.kept_epochs(inside) or training.kept_epochs(folder)
        if not epochs:
            raise UsageError(
                f"--checkpoints={path} holds no epoch-NNN.keras, as trainers.cifar "
                "--keep_epochs=1 leaves them."
            )
        whole = folder.resolve()
        name = whole.parent.name if whole.name == inside.name else whole.name
        if name in runs:
            raise UsageError(f"Two runs of --checkpoints are called {name!r}.")
        runs[name] = epochs
    for path, epochs in zip(own.checkpoints, runs.values(), strict=True):
        _check_run(run, own, path, epochs)
    return runs


def _check_run(
    run: EvaluateConfig,
    own: DissectSettings,
    path: str,
    epochs: dict[int, pathlib.Path],
) -> None:
    """Raises `UsageError` unless its networks fit the data and share their layers."""
    info = samples.check(run, {})
    layers: set[tuple[str, ...]] = set()
    for file in parts.bar(list(epochs.values()), "checkpoints"):
        model = load_classifier(file, flag="checkpoints")
        model.check(info.image_shape, info.classes, run.dataset)
        layers.add(check_layers(own, model))
    if len(layers) > 1:
        shown = " and ".join(", ".join(names) for names in sorted(layers))
        raise UsageError(
            f"--checkpoints={path} must hold networks of the same layers. "
            f"Received: {shown}"
        )


def check_layers(own: DissectSettings, model: Loaded) -> tuple[str, ...]:
    """What the layers to look at are called; none of a SavedModel.

    Raises:
        UsageError: If a model does not have them.
    """
    if model.kind != "Keras":  # A SavedModel has no layers to look at.
        return ()
    shape = [size or 32 for size in model.input_shape]
    none = np.zeros((0, *shape), np.float32)
    try:
        response = analysis.local_response(model.call, none, none, own.layers)
    except ValueError as error:
        shown = str(error).replace("`layers`", "--dissect_layers")
        raise UsageError(f"--{model.flag}={model.source}: {shown}") from error
    return response.layers
