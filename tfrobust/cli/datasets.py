"""The data set of `--dataset`, with what is wrong with it in the words of a flag."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import tqdm

from tfrobust import data
from tfrobust.cli import dataset_names
from tfrobust.cli.program import UsageError
from tfrobust.core.terminal import columns

SPLITS = ("train", "test")
VALIDATION = "val"


def check(name: str, data_dir: str, splits: Sequence[str] = SPLITS) -> data.DatasetInfo:
    """What is known of a data set without downloading an image.

    Images in a folder are decoded, all of them, so that a broken one is found now.

    Args:
        name: Value of `--dataset`.
        data_dir: Value of `--data_dir`; may be empty.
        splits: Those that will be loaded.

    Raises:
        UsageError: If there is no such data set, split or folder.
    """
    try:
        data.check(name, data_dir or None, splits=splits, progress=_bar)
        return data.describe(name, data_dir or None)
    except ValueError as error:
        raise UsageError(f"--dataset={name}: {error}") from error


def load(name: str, split: str, data_dir: str) -> data.Dataset:
    """A split of a data set; downloads what is missing.

    Raises:
        UsageError: If it cannot be loaded.
    """
    try:
        if dataset_names.is_own(name):
            data.check(name, data_dir or None, splits=[split], progress=_bar)
        return data.load(name, split, data_dir or None)
    except (OSError, ValueError) as error:
        raise UsageError(f"--dataset={name} could not be loaded: {error}") from error


def has_validation(info: data.DatasetInfo) -> bool:
    """Whether a folder of one's own has a `val/` beside its `test/`.

    Args:
        info: What is known of the data set.
    """
    return dataset_names.is_own(info.name) and VALIDATION in info.sizes


def _bar(images: Iterable[Any], count: int) -> Iterable[Any]:
    """How many images have been read, on a terminal only."""
    return tqdm.tqdm(
        images,
        "reading images",
        total=count,
        leave=False,
        ncols=columns(sys.stderr),
        disable=None,
    )
