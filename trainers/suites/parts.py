"""What suites have in common: a model's logits, its clean accuracy, a bar."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from tfrobust import data
from tfrobust.attacks import AttackResult
from tfrobust.cli.loading import Loaded
from tfrobust.cli.prose import Prose
from tfrobust.cli.records import Images, Record, Records, measured
from tfrobust.core.classifier import as_classifier
from tfrobust.core.estimates import Estimate
from tfrobust.core.terminal import columns
from trainers.suites.options import EvaluateConfig

ERROR = "+- is one standard error of the mean."
"""The sentence that a table with errors ends with."""


def prose(
    package: str, run: EvaluateConfig, own: Any, records: Records, **more: Any
) -> Prose:
    """The words of a suite's page, with what all of its blocks may use.

    Args:
        package: The suite's package.
        run: The settings of the evaluation, `run` in a block.
        own: Those of the suite, `own`.
        records: What was measured; `clean` says on which images the clean accuracy.
        **more: What else blocks use.
    """
    count = records.where("accuracy", attacked=None)[0].images
    clean = f"{'the first' if run.clean_examples else 'all'} {count}"
    return Prose(package, run=run, own=own, error=ERROR, clean=clean, **more)


def plain_name(quantity: str) -> str:
    """A quantity as people read it.

    Example:
        >>> plain_name("hessian_norm")
        'Hessian norm'
    """
    return quantity.replace("_", " ").replace("hessian", "Hessian")


def exactly(
    model: str, quantity: str, value: Any, images: int, setting: Mapping[str, Any]
) -> Record:
    """The record of a number that has no error."""
    estimate = Estimate(float(value), math.nan)
    return Record(model, quantity, setting, images, estimate)


def logits_of(model: Loaded, images: Any) -> np.ndarray:
    """What a model answers in use, not in training, `[B, K]`.

    In the scope of a strategy its replicas share the images.
    """
    return as_classifier(model.call)(images).numpy()


def clean_correct(
    config: EvaluateConfig, model: Loaded, test: data.Dataset
) -> np.ndarray:
    """Which of the first --clean_examples test images a model has right, bool `[N]`."""
    count = config.clean_examples or len(test)
    return _clean_correct(model, test, count, min(config.batch_size, count))


# Several suites ask for the same of one model.
@functools.lru_cache(maxsize=1)
def _clean_correct(
    model: Loaded, test: data.Dataset, count: int, size: int
) -> np.ndarray:
    batches = data.eval_pipeline(test.take(count), batch_size=size)
    correct = [
        np.argmax(logits_of(model, images), axis=-1) == labels.numpy()
        for images, labels in bar(batches, "clean accuracy")
    ]
    return np.concatenate(correct)


def accuracy(config: EvaluateConfig, model: Loaded, test: data.Dataset) -> Record:
    """The record of the clean accuracy on the first --clean_examples test images."""
    correct = clean_correct(config, model, test)
    count = len(correct)
    of = Images("test", np.arange(count), test.labels[:count])
    return measured(model.name, "accuracy", correct, of, split="test")


def joined(parts: Sequence[AttackResult]) -> AttackResult:
    """The results of all batches as one, in NumPy's arrays."""
    return AttackResult(
        *(
            np.concatenate([np.asarray(field) for field in fields])
            for fields in zip(*parts, strict=True)
        )
    )


def bar(batches: Any, title: str) -> Any:
    """The batches with a progress bar, on a terminal only."""
    # The end of a path tells more than its beginning; the time left needs the room.
    title = title if len(title) <= 30 else f"...{title[-27:]}"
    return tqdm(
        batches,
        title,
        total=len(batches),
        leave=False,
        ncols=columns(sys.stderr),
        disable=None,
    )
