"""A classifier from any path, and what the programs say where there is none.

What a path may be is said by `tfrobust.models.load`, which loads it; here a run's flags
are added, and errors name the flag that the path was given to.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib

from tfrobust import models
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import RunFolder, model_name, run_around
from tfrobust.models.loading import (
    PRETRAINED,
    PYTORCH,
    LoadedClassifier,
    find,
    plain_shape,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded(LoadedClassifier):
    """A classifier that was given to a program.

    Args:
        training: Flags of the training run it came from; empty where none is at hand.
        flag: That its path was given to; empty if to none.
    """

    training: dict[str, str]
    flag: str = "model"

    def check(self, image_shape: tuple[int, ...], classes: int, data: str) -> None:
        """Raises `UsageError` if it does not fit the images and classes of `data`."""
        named = _named(self.flag, self.source)
        pairs = zip(self.input_shape, image_shape, strict=True)
        if any(own not in (None, size) for own, size in pairs):
            raise UsageError(
                f"{named} takes images {plain_shape(self.input_shape)}, but those of "
                f"{data} are {plain_shape(image_shape)}."
            )
        if self.classes != classes:
            own = f"{self.classes} class{'es' if self.classes > 1 else ''}"
            raise UsageError(f"{named} tells {own} apart, but {data} has {classes}.")


def find_model(path: str | os.PathLike[str], flag: str = "model") -> pathlib.Path:
    """The `.keras` file or the folder with `saved_model.pb` that a path stands for.

    Args:
        path: As for `tfrobust.models.load`.
        flag: That it was given to; empty if to none.

    Returns:
        The path to load; `pretrained:NAME` and `robustbench:FILE:ARCHITECTURE` stay
        as they are.

    Raises:
        UsageError: If there is none.
    """
    try:
        return find(path)
    except models.LoadError as error:
        run = RunFolder(error.path)
        if run.flags.is_file():
            raise UsageError(
                f"{_named(flag, error.path)} is a run without {run.model.name}: it has "
                "not finished."
            ) from error
        raise _in_flags(error, flag) from error


def load_classifier(
    path: str | os.PathLike[str],
    name: str = "",
    flag: str = "model",
    bounds: tuple[float, float] | None = None,
) -> Loaded:
    """Loads a classifier, whatever its form.

    Args:
        path: As for `tfrobust.models.load`.
        name: What to call it; by default named after its run, file or served model.
        flag: That its path was given to; empty if to none.
        bounds: As for `tfrobust.models.load`.

    Returns:
        The classifier. Keep it as long as its `call` is in use.

    Raises:
        UsageError: If there is none, it does not load, or it is no classifier that
            maps images `[B, H, W, C]` to logits.
    """
    source = find_model(path, flag)
    try:
        loaded = models.load(path, bounds=bounds)
    except models.LoadError as error:
        raise _in_flags(error, flag) from error
    shipped = str(path).removeprefix(PRETRAINED)
    if shipped != str(path):
        own, training = shipped, models.pretrained_card(shipped)["training"]
    elif str(path).startswith(PYTORCH):
        own, training = loaded.name, {}
    else:
        run = run_around(source)
        own, training = model_name(source), run.stated_flags() if run else {}
    return Loaded(
        name or own,
        loaded.call,
        loaded.input_shape,
        loaded.classes,
        source,
        training,
        flag,
        own=loaded.own,
    )


def _in_flags(error: models.LoadError, flag: str) -> UsageError:
    """What the library says of a path as a sentence about a flag."""
    hint = "; name the module that does by --import" if error.missing else ""
    return UsageError(f"{_named(flag, error.path)} {error.problem}{hint}.")


def _named(flag: str, path: str | os.PathLike[str]) -> str:
    return f"--{flag}={path}" if flag else str(path)
