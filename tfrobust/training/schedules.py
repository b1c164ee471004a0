"""Learning-rate schedules: those of the papers, and one for short runs."""

from __future__ import annotations

import keras

from tfrobust.settings import require_steps


def step_decay(
    learning_rate: float,
    epochs: int,
    steps_per_epoch: int,
    milestones: tuple[float, ...] = (0.75, 0.875),
    factor: float = 0.1,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A constant learning rate, multiplied by `factor` at each milestone.

    Args:
        learning_rate: Initial rate.
        epochs: Length of the whole run.
        steps_per_epoch: Optimiser steps an epoch.
        milestones: Shares of the run, increasing, in (0, 1); each is rounded down to
            a whole epoch, as in the paper's release. None at all, `()`, is a constant
            rate.
        factor: What the rate is multiplied by at each milestone.

    Returns:
        A serialisable Keras schedule over optimiser steps. In a run so short that a
        milestone falls into its first epoch, that milestone is left out.

    Raises:
        ValueError: If `milestones` are not increasing shares in (0, 1).

    Reference: Srinivas et al. 2022 (LCNN), section 5: 0.1, divided by 10 at 150 and 175
    of 200 epochs (LCNN-S2). Ganz et al. 2023 (PAG), PAG-S2: 0.01, and no schedule is
    mentioned.

    Example:
        >>> from tfrobust.training import step_decay
        >>> schedule = step_decay(0.1, epochs=200, steps_per_epoch=391)
        >>> [round(float(schedule(391 * epoch)), 4) for epoch in (0, 151, 176)]
        [0.1, 0.01, 0.001]
    """
    increasing = all(a < b for a, b in zip(milestones, milestones[1:], strict=False))
    within = all(0 < share < 1 for share in milestones)
    if not (within and increasing):
        raise ValueError(
            "`milestones` must be increasing shares in (0, 1), or none. "
            f"Received: milestones={milestones}"
        )
    # 0.57 * 100 is a little less than 57 in floating point.
    rounded = [int(share * epochs + 1e-9) for share in milestones]
    boundaries = [epoch * steps_per_epoch for epoch in rounded if epoch > 0]
    values = [learning_rate * factor**k for k in range(len(boundaries) + 1)]
    if not boundaries:  # Keras needs one; the rate stays as it is behind the last step
        boundaries, values = [epochs * steps_per_epoch], [learning_rate] * 2
    # Keras keeps a value up to and including its boundary; the new rate holds from the
    # milestone's first step on.
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [boundary - 1 for boundary in boundaries], values
    )


def one_cycle(
    learning_rate: float,
    epochs: int,
    steps_per_epoch: int,
    warmup: float = 0.2,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A rate that rises in a straight line to its peak and falls to 0 along a cosine.

    It is meant for short runs, which have no epochs to spend at a rate that is already
    too low to move the weights.

    Args:
        learning_rate: The peak.
        epochs: Length of the whole run.
        steps_per_epoch: Optimiser steps an epoch.
        warmup: Share of the run, from 0 to below 1, over which the rate rises from 0.

    Returns:
        A serialisable Keras schedule over optimiser steps. The last step of the run
        still has a rate above 0, the one behind it would have 0.

    Raises:
        ValueError: If an argument is out of range.

    Reference: Smith and Topin 2019, Super-Convergence; the cosine is Loshchilov and
    Hutter 2017, equation 5, without restarts.

    Example:
        >>> from tfrobust.training import one_cycle
        >>> schedule = one_cycle(0.4, epochs=10, steps_per_epoch=100, warmup=0.2)
        >>> [round(float(schedule(step)), 3) for step in (0, 100, 200, 600, 1000)]
        [0.0, 0.2, 0.4, 0.2, 0.0]
    """
    require_steps("epochs", epochs)
    require_steps("steps_per_epoch", steps_per_epoch)
    if not 0 <= warmup < 1:
        raise ValueError(f"`warmup` must be in [0, 1). Received: warmup={warmup}")
    steps = epochs * steps_per_epoch
    rising = min(round(warmup * steps), steps - 1)
    if rising == 0:
        return keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - rising, warmup_target=learning_rate, warmup_steps=rising
    )
