"""The images an evaluation looks at, and where each stands in its split."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfrobust import data
from tfrobust.cli.loading import Loaded
from tfrobust.cli.program import UsageError
from trainers.suites.options import EvaluateConfig

# The flags that say how many images of a split a suite needs.
_USED = {
    ("lcnn", "test"): ("clean_examples", "examples", "geometry_examples"),
    ("lcnn", "train"): ("geometry_examples",),
    ("smooth", "test"): ("clean_examples", "examples"),
    ("pag", "test"): ("clean_examples", "examples"),
    ("dissect", "test"): ("clean_examples", "examples"),
}


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some images of a split, and the position of each in the split.

    Args:
        images: The images with their labels, N of them.
        index: int64 `[N]`.
        origin: Where they were drawn from, in words.
    """

    images: data.Dataset
    index: np.ndarray
    origin: str

    def batches(self, batch_size: int) -> Any:
        """Batches of (images, labels), in order."""
        size = min(batch_size, len(self.images))
        return data.eval_pipeline(self.images, batch_size=size)


def check(config: EvaluateConfig) -> data.DatasetInfo:
    """What is known of the data; `UsageError` if it cannot be evaluated on.

    Nothing is downloaded. Sizes that are not known yet are looked at by `load`.
    """
    folder = config.data_dir or None
    try:
        data.check(config.dataset, folder, splits=("train", "test"))
        info = data.describe(config.dataset, folder)
    except ValueError as error:
        raise UsageError(f"--dataset={config.dataset}: {error}") from error
    for split, size in info.sizes.items():
        _check_size(config, split, size)
    return info


def load(config: EvaluateConfig) -> tuple[data.Dataset, data.Dataset]:
    """All training and test images; downloads what is missing."""
    parts = []
    for split in ("train", "test"):
        try:
            part = data.load(config.dataset, split, config.data_dir or None)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"--dataset={config.dataset} could not be loaded: {error}"
            ) from error
        _check_size(config, split, len(part))
        parts.append(part)
    return parts[0], parts[1]


def _check_size(config: EvaluateConfig, split: str, size: int) -> None:
    for flag in _USED.get((config.suite, split), ()):
        wanted = getattr(config, flag)
        if wanted > size:
            raise UsageError(
                f"--{flag}={wanted} is more than the {size} images in the {split} split"
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
    model: Loaded, train: data.Dataset, config: EvaluateConfig
) -> Sample:
    """Training images for one model: some that it has learnt from, if that is known.

    A run may have been trained on a part of the training images; its flags say which.
    Other images would be no different from test images.
    """
    whole = Sample(train, np.arange(len(train)), "all training images")
    count, seed = _trained_on(model, config)
    if config.geometry_examples <= count < len(train):
        origin = f"the {count} images it was trained on"
        whole = dataclasses.replace(_numbered(whole, count, seed), origin=origin)
    return _numbered(whole, config.geometry_examples, config.seed)


def _numbered(sample: Sample, count: int, seed: int) -> Sample:
    """`Dataset.subset` that keeps account of positions.

    They ride through it as the bytes of images of one pixel.
    """
    riders = sample.index.astype("<i8").view(np.uint8).reshape(-1, 1, 1, 8)
    chosen = dataclasses.replace(sample.images, images=riders).subset(count, seed)
    index = np.ascontiguousarray(chosen.images).view("<i8").reshape(-1)
    return Sample(sample.images.subset(count, seed), index, sample.origin)


def _trained_on(model: Loaded, config: EvaluateConfig) -> tuple[int, int]:
    """How many training images, drawn by which seed; 0 images if unknown or all."""
    stated = model.training
    if stated.get("dataset") != config.dataset:
        return 0, 0
    return int(stated.get("train_examples", 0)), int(stated.get("seed", 0))
