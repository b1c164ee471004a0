"""The data set of `--dataset`, with what is wrong with it in the words of a flag."""

from __future__ import annotations

from tfrobust import data
from tfrobust.cli.program import UsageError

SPLITS = ("train", "test")


def check(name: str, data_dir: str) -> data.DatasetInfo:
    """What is known of a data set without decoding or downloading an image.

    Args:
        name: Value of `--dataset`.
        data_dir: Value of `--data_dir`; may be empty.

    Raises:
        UsageError: If there is no such data set or folder.
    """
    try:
        data.check(name, data_dir or None, splits=SPLITS)
        return data.describe(name, data_dir or None)
    except ValueError as error:
        raise UsageError(f"--dataset={name}: {error}") from error


def load(name: str, split: str, data_dir: str) -> data.Dataset:
    """A split of a data set; downloads what is missing.

    Raises:
        UsageError: If it cannot be loaded.
    """
    try:
        return data.load(name, split, data_dir or None)
    except (OSError, ValueError) as error:
        raise UsageError(f"--dataset={name} could not be loaded: {error}") from error
