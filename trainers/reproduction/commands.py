"""The settings that a command line stands for, without running its program."""

from __future__ import annotations

from collections.abc import Sequence

from tfrobust.cli import flags
from trainers.suites import options as suite_options
from trainers.suites import suite as registry
from trainers.train import options as train_options
from trainers.train.options import TrainConfig


def train_config(arguments: Sequence[str]) -> TrainConfig:
    """The settings of a training.

    Args:
        arguments: Of `trainers.cifar`.

    Raises:
        UsageError: If they are refused.

    Example:
        >>> train_config(["--flagfile=lcnn_cifar10", "--width=8"]).width
        8
    """
    with flags.command_line(train_options.define_flags, arguments):
        return train_options.config_from_flags()


def train_lines(arguments: Sequence[str]) -> list[str]:
    """What `run.flags` of a training will hold."""
    return train_options.flag_lines(train_config(arguments))


def evaluation_lines(arguments: Sequence[str]) -> list[str]:
    """What `evaluation.flags` of an evaluation will hold.

    Args:
        arguments: Of `trainers.evaluate`, `--dataset` among them.

    Raises:
        UsageError: If they are refused.
    """
    with flags.command_line(_define_evaluation, arguments):
        run = suite_options.config_from_flags()
        return registry.flag_lines(run, registry.chosen(run))


def _define_evaluation() -> None:
    flags.define(suite_options.EvaluateConfig)
    for suite in registry.all_suites().values():
        flags.define(suite.settings)
