"""Fills the folder of `--teacher_cache`, with a bar that says how long it will take."""

from __future__ import annotations

import pathlib
import sys

import keras
from tqdm import tqdm

from tfrobust import data, pag
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import check_writable
from tfrobust.core.terminal import columns
from tfrobust.training import is_chief_process
from trainers.train.options import TrainConfig


def check(config: TrainConfig) -> None:
    """Raises `UsageError` if there is something to write, and the folder is not for it.

    What of a complete cache is not this teacher's or data set's, `directions` finds.
    """
    folder = pathlib.Path(config.teacher_cache).expanduser()
    if not pag.is_cache_complete(folder):
        check_writable("teacher_cache", folder)


def directions(
    config: TrainConfig, train: data.Dataset, teacher: keras.Model
) -> pag.CachedDirections:
    """The teacher's gradients for the training data, computed where they are missing.

    Raises `UsageError` if the folder is of another teacher or data, or too small.
    """
    folder = config.teacher_cache
    try:
        done = pag.cached_rows(teacher, train, folder)
        chief = is_chief_process()
        if chief:
            _announce(config, train, teacher.output_shape[-1], done)
        bar = _Bar(chief)
        return pag.CachedDirections(
            pag.cache_directions(teacher, train, folder, progress=bar)
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"--teacher_cache={folder}: {error}") from error


def _announce(
    config: TrainConfig, train: data.Dataset, classes: int, done: int
) -> None:
    size = pag.cache_size(train, classes) / 1e9
    print(
        f"gradients of {config.teacher} in {config.teacher_cache}: {size:.3g} GB for "
        f"{len(train)} images, {done} of them done",
        flush=True,
    )


class _Bar:
    """Shows finished images; begins where an earlier process ended."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._bar: tqdm | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=total,
                initial=done,
                unit="image",
                ncols=columns(sys.stderr),
                disable=not self._shown,
            )
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()
