"""The images an evaluation looks at, and where each stands in its split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrobust import data
from tfrobust.cli import datasets
from tfrobust.cli.loading import Loaded
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import Images
from trainers.suites.options import EvaluateConfig


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some images of a split, and the position of each in the split.

    Args:
        images: The images with their labels, N of them.
        index: int64 `[N]`.
        origin: Where they were drawn from, in words.
        split: "test" or "train".
    """

    images: data.Dataset
    index: np.ndarray
    origin: str
    split: str = "test"

    @property
    def pixels(self) -> np.ndarray:
        """The images as float32 `[N,H,W,C]` in [0, 1]."""
        return self.images.images.astype(np.float32) / np.float32(255)

    @property
    def labels(self) -> np.ndarray:
        """Int `[N]`."""
        return self.images.labels

    def first(self, count: int | None = None) -> Images:
        """Which images these are, or the first of them, for records."""
        return Images(self.split, self.index[:count], self.labels[:count])

    def batches(self, batch_size: int) -> Any:
        """Batches of (images, labels), in order."""
        size = min(batch_size, len(self.images))
        return data.eval_pipeline(self.images, batch_size=size)


Counts = Mapping[str, Mapping[str, int]]
"""How many images of a split are asked for, by split and flag."""


def check(
    config: EvaluateConfig, counts: Counts, splits: Sequence[str] = datasets.SPLITS
) -> data.DatasetInfo:
    """What is known of the data; `UsageError` if it cannot be evaluated on.

    Nothing is downloaded. Sizes that are not known yet are looked at by `load`.

    Args:
        config: The settings.
        counts: How many images are asked for.
        splits: Those that will be loaded.
    """
    info = datasets.check(config.dataset, config.data_dir, splits)
    for split, size in info.sizes.items():
        _check_size(config, counts, split, size)
    return info


def load(
    config: EvaluateConfig, counts: Counts, splits: Sequence[str] = datasets.SPLITS
) -> tuple[data.Dataset | None, data.Dataset]:
    """All training and test images; downloads what is missing.

    Args:
        config: The settings.
        counts: How many images are asked for.
        splits: "test", and "train" if training images are wanted; else they are `None`.
    """
    parts = {}
    for split in splits:
        part = datasets.load(config.dataset, split, config.data_dir)
        _check_size(config, counts, split, len(part))
        parts[split] = part
    return parts.get("train"), parts["test"]


def _check_size(config: EvaluateConfig, counts: Counts, split: str, size: int) -> None:
    for flag, count in counts.get(split, {}).items():
        if count > size:
            raise UsageError(
                f"--{flag}={count} is more than the {size} images in the {split} split"
                f" of {config.dataset}."
            )


def draw(part: data.Dataset, count: int, seed: int) -> Sample:
    """A random sample, balanced over classes; a smaller one begins a larger one."""
    return _numbered(Sample(part, np.arange(len(part)), "all"), count, seed)


def first_correct(part: data.Dataset, correct: np.ndarray, count: int) -> Sample:
    """The first images that a model classifies correctly, in the data set's order.

    Args:
        part: All images.
        correct: bool `[N]`, of the first N of them.
        count: How many; there must be so many.
    """
    index = np.flatnonzero(correct)[:count]
    chosen = dataclasses.replace(
        part, images=part.images[index], labels=part.labels[index]
    )
    return Sample(chosen, index, "the first that it classifies correctly")


def training_sample(
    model: Loaded, train: data.Dataset, config: EvaluateConfig, count: int
) -> Sample:
    """Training images for one model: some that it has learnt from, if that is known.

    A run may have been trained on a part of the training images; its flags say which.
    Other images would be no different from test images.

    Args:
        model: The model.
        train: All training images.
        config: The settings.
        count: How many.
    """
    whole = Sample(train, np.arange(len(train)), "all training images", "train")
    trained, seed = _trained_on(model, config)
    if count <= trained < len(train):
        origin = f"the {trained} images it was trained on"
        whole = dataclasses.replace(_numbered(whole, trained, seed), origin=origin)
    return _numbered(whole, count, config.seed)


def _numbered(sample: Sample, count: int, seed: int) -> Sample:
    """`Dataset.subset` that keeps account of positions.

    They ride through it as the bytes of images of one pixel.
    """
    riders = sample.index.astype("<i8").view(np.uint8).reshape(-1, 1, 1, 8)
    chosen = dataclasses.replace(sample.images, images=riders).subset(count, seed)
    index = np.ascontiguousarray(chosen.images).view("<i8").reshape(-1)
    return dataclasses.replace(
        sample, images=sample.images.subset(count, seed), index=index
    )


def _trained_on(model: Loaded, config: EvaluateConfig) -> tuple[int, int]:
    """How many training images, drawn by which seed; 0 images if unknown or all."""
    training = model.training
    if training.get("dataset") != config.dataset:
        return 0, 0
    return int(training.get("train_examples", 0)), int(training.get("seed", 0))
