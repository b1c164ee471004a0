"""The devices that share an evaluation."""

from __future__ import annotations

import tensorflow as tf

from tfrobust import training
from tfrobust.cli.devices import check_shared, split_cpu
from trainers.suites.options import EvaluateConfig


def prepare(run: EvaluateConfig) -> tf.distribute.Strategy:
    """The strategy in whose scope models are loaded and measured.

    To be called before anything else touches TensorFlow.

    Args:
        run: The settings of the evaluation.

    Raises:
        UsageError: If the devices there are cannot share a batch alike.
    """
    split_cpu(run.logical_cpus)
    strategy = training.make_strategy(run.distribute)
    check_shared(run.batch_size, strategy.num_replicas_in_sync)
    return strategy
