"""Data sets in memory and deterministic `tf.data` pipelines.

Images are uint8 in a `Dataset`, float32 in [0, 1] in every batch.

Example:
    >>> from tfrobust import data
    >>> train = data.make_shapes(100, seed=0)
    >>> batches = data.train_pipeline(
    ...     train, batch_size=25, seed=0, epochs=1, augment="crop_flip")
    >>> len(batches)
    4
"""

from tfrobust.data.augment import crop_flip
from tfrobust.data.base import Dataset
from tfrobust.data.catalog import DatasetInfo, check, describe, load, register
from tfrobust.data.own import files_of
from tfrobust.data.pipeline import eval_pipeline, steps_per_epoch, train_pipeline
from tfrobust.data.shapes import make_shapes
from tfrobust.data.toy import LINES_SIDE, make_lines, make_two_moons

__all__ = [
    "LINES_SIDE",
    "Dataset",
    "DatasetInfo",
    "check",
    "crop_flip",
    "describe",
    "eval_pipeline",
    "files_of",
    "load",
    "make_lines",
    "make_shapes",
    "make_two_moons",
    "register",
    "steps_per_epoch",
    "train_pipeline",
]
