"""The learning rate of a run, from its flags: the schedule, and the same in words."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import keras

from tfrobust.training import one_cycle, step_decay
from trainers.train.options import TrainConfig, decay_shares


def make(
    config: TrainConfig, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The rate at each step of a run, as an optimiser takes it."""
    rate, epochs = config.learning_rate, config.epochs
    if config.schedule == "one_cycle":
        return one_cycle(rate, epochs, steps_per_epoch, config.warmup)
    return step_decay(rate, epochs, steps_per_epoch, decay_shares(config.decay_at))


def describe(config: TrainConfig) -> str:
    """`learning rate 0.1, divided by 10 after epochs 150 and 175`."""
    rate = f"learning rate {config.learning_rate:g}"
    if config.schedule == "one_cycle":
        return (
            f"{rate} after {config.warmup:.0%} of the run, which begins and ends at 0"
        )
    return f"{rate}, {_decays(config)}"


def _decays(config: TrainConfig) -> str:
    """What `step_decay` does to the rate, read off a run of one step an epoch."""
    shares = decay_shares(config.decay_at)
    if not shares:
        return "constant"
    schedule = step_decay(config.learning_rate, config.epochs, 1, shares)
    # A rate ends with its boundary; one at the end of the run changes nothing.
    ends = [int(step) + 1 for step in schedule.get_config()["boundaries"]]
    times = Counter(epoch for epoch in ends if epoch < config.epochs)
    early = shares[: len(shares) - times.total()]
    if not times:
        fall = "falls" if len(early) == 1 else "fall"
        return f"not divided: {_listed(early)} of the run {fall} into epoch 1"
    parts = [
        f"by {10**count} after epoch{'s' * (len(epochs) > 1)} {_listed(epochs)}"
        for count, epochs in _alike(times)
    ]
    return f"divided {', '.join(parts)}" + (
        f"; not at {_listed(early)} of the run, in epoch 1" if early else ""
    )


def _alike(times: Counter[int]) -> Iterator[tuple[int, list[int]]]:
    """Neighbouring epochs after which the rate is divided equally often."""
    for count, epochs in itertools.groupby(sorted(times), times.__getitem__):
        yield count, list(epochs)


def _listed(values: Iterable[float]) -> str:
    """`0.5, 0.75 and 0.875`."""
    *before, last = map(str, values)
    return f"{', '.join(before)} and {last}" if before else last
