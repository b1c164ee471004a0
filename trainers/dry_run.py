"""What a run would do and cost, without doing it."""

from __future__ import annotations

import math
import time

import keras
import tensorflow as tf

from tfrobust import data, models, penalties
from trainers import build
from trainers.loading import Loaded
from trainers.options import TrainConfig, decay_shares


def describe(config: TrainConfig) -> None:
    """Prints network, data, schedule and cost; trains and writes nothing."""
    info = build.check_data(config)
    teacher = build.check_teacher(config, info)
    network = build.make_network(config, info.image_shape, info.classes)
    examples = build.examples_of(config, info.sizes.get("train"))
    steps = None if examples is None else examples // config.batch_size
    weights = sum(tf.size(weight).numpy() for weight in network.trainable_variables)
    print(
        f"network   {config.model}, {config.variant}, width {config.width}: "
        f"{weights:,} trainable weights\n"
        f"data      {config.dataset}: {_sizes(info)}; images {info.image_shape}, "
        f"{info.classes} classes; trains on {_count(examples)}, augmented by "
        f"{config.augment}{_held_out(config)}\n"
        f"loss      {' + '.join(['cross-entropy', *_terms(config)])}\n"
        f"schedule  {config.epochs} epochs of {_count(steps)} steps of "
        f"{config.batch_size} images; {config.optimizer}, learning rate "
        f"{config.learning_rate:g}, divided by 10 after epochs {_decays(config)}\n"
        f"cost      {_cost(config, network, steps, teacher)}\n"
        f"writes    {config.workdir} (nothing yet: this is a dry run)"
    )


def _sizes(info: data.DatasetInfo) -> str:
    if not info.sizes:
        return "not downloaded yet"
    return ", ".join(f"{size:,} {split}" for split, size in info.sizes.items())


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _held_out(config: TrainConfig) -> str:
    if not config.watch_robust:
        return ""
    return f"; {config.watch_robust:,} more are held out and attacked after each epoch"


def _decays(config: TrainConfig) -> str:
    """The epochs of `step_decay`."""
    shares = decay_shares(config.decay_at)
    return " and ".join(str(int(share * config.epochs + 1e-9)) for share in shares)


def _terms(config: TrainConfig) -> list[str]:
    """Names of the penalties; alignment's directions would need the data."""
    names = [term.name for term in build.make_penalties(config)]
    if config.pag != "off" and config.pag_weight:
        names.append(penalties.GradientAlignment.name)
    return names


def _cost(
    config: TrainConfig,
    network: keras.Model,
    steps: int | None,
    teacher: Loaded | None = None,
) -> str:
    forward = 2 * models.multiply_adds(network)
    one = f"{forward / 1e9:.3g} GFLOP a forward pass of one image"
    if steps is None:
        return f"{one}; of an epoch not known before the data is there"
    classes = network.output_shape[-1]
    example = forward * _passes(config, classes)
    once = ""
    if teacher is not None:
        taught = _taught(config, teacher, classes)
        if config.teacher_cache:
            size = 2e-9 * classes * math.prod(network.input_shape[1:])
            count = steps * config.batch_size
            once = (
                f"; before that, unless it is there, {taught * count / 1e12:.3g} TFLOP "
                f"for {size * count:.3g} GB in {config.teacher_cache}"
            )
        else:
            example += taught
        if teacher.kind == "SavedModel":
            once += (
                "; the cost of the teacher, a SavedModel, is not known and not in it"
            )
    epoch = example * steps * config.batch_size
    rate = _matrix_rate()
    return (
        f"{one}, {epoch / 1e12:.3g} TFLOP an epoch; at this machine's matrix-product "
        f"rate of {rate / 1e9:.0f} GFLOP/s (measured now) at least "
        f"{epoch / rate:.0f} s an epoch, {epoch * config.epochs / rate / 3600:.2g} h "
        "in all; networks of small images usually reach a quarter to a half of that "
        f"rate{once}"
    )


def _taught(config: TrainConfig, teacher: Loaded, classes: int) -> float:
    """Operations of a teacher's gradients for one image, as far as they are known."""
    if teacher.kind == "SavedModel":
        return 0.0
    wanted = classes if config.teacher_cache else config.pag_classes or classes
    return 2 * models.multiply_adds(teacher.network) * (1 + wanted)


def _passes(config: TrainConfig, classes: int = 10) -> float:
    """What a step costs in forward passes.

    A backward pass costs about two: one for the weights, one for what comes in, which
    alone is what an attack needs. The gradient of an input-gradient's norm needs each
    pass once more; CURE does so at two points besides the training pass. Alignment
    shares the forward pass and the last way back through it; it needs one pass back for
    each class and three for the signs, or three for each class if it is exact.
    """
    passes = 6.0 if config.gradient_norm else 3.0
    if config.cure:
        passes += 2 * 6
    if config.adversary != "off":
        steps = 1 if config.adversary == "fgsm" else config.adversary_steps
        passes += config.adversary_share * (2 * steps + 1)
    if config.adversary == "trades":
        passes += 3
    if config.pag != "off" and config.pag_weight:
        wanted = config.pag_classes or classes
        exact = config.pag_exact or wanted == 1
        passes += 3 * wanted if exact else wanted + 3
    return passes


def _matrix_rate(size: int = 2048) -> float:
    """Floating-point operations a second in the best of three matrix products."""
    matrix = tf.random.stateless_normal([size, size], seed=[0, 0])
    times = []
    for _ in range(4):
        began = time.perf_counter()
        tf.linalg.matmul(matrix, matrix).numpy()
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times[1:])
