"""What a run would do and cost, without doing it."""

from __future__ import annotations

import math
import textwrap
import time

import keras
import tensorflow as tf

from tfrobust import attacks, data, models, pag, penalties
from tfrobust.cli.loading import Loaded
from tfrobust.core.fractions import format_fraction
from trainers.train import build, networks, rates
from trainers.train.options import TrainConfig


def describe(config: TrainConfig) -> None:
    """Prints network, data, schedule and cost; trains and writes nothing."""
    info = build.check_data(config)
    teacher = build.check_teacher(config, info)
    network = build.make_network(config, info.image_shape, info.classes)
    validation = build.validation_size(info)
    examples = build.examples_of(config, info.sizes.get("train"), validation)
    steps = None if examples is None else examples // config.batch_size
    weights = sum(tf.size(weight).numpy() for weight in network.trainable_variables)
    lines = {
        "network": f"{networks.title(config)}: {weights:,} trainable weights",
        "data": f"{config.dataset}: {_sizes(info)}; images {info.image_shape}, "
        f"{info.classes} classes; trains on {_count(examples)}, augmented by "
        f"{config.augment}{_held_out(config, validation)}",
        "loss": " + ".join(["cross-entropy", *_terms(config)]),
        "adversary": _adversary(config),
        "aligned": _aligned(config, info.classes),
        "schedule": f"{config.epochs} epoch{'s' * (config.epochs > 1)} of "
        f"{_count(steps)} steps of {config.batch_size} images; {config.optimizer}, "
        f"{rates.describe(config)}",
        "cost": _cost(config, network, steps, teacher),
        "writes": f"{config.workdir} (nothing yet: this is a dry run)",
    }
    for title, text in lines.items():
        if text:
            print(_paragraph(title, text))


def _paragraph(title: str, text: str) -> str:
    """A title and what it says beside it; no word is broken, as a path must not be."""
    return textwrap.fill(
        text,
        80,
        initial_indent=f"{title:<10}",
        subsequent_indent=" " * 10,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sizes(info: data.DatasetInfo) -> str:
    if not info.sizes:
        return "not downloaded yet"
    return ", ".join(f"{size:,} {split}" for split, size in info.sizes.items())


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _held_out(config: TrainConfig, validation: int | None) -> str:
    if not config.watch_robust:
        return ""
    if validation is not None:
        return f"; {config.watch_robust:,} of val/ are attacked after each epoch"
    return f"; {config.watch_robust:,} more are held out and attacked after each epoch"


def _adversary(config: TrainConfig) -> str:
    """What is attacked, in which ball, by how many steps; empty if nothing is."""
    attack = build.make_attack(config)
    if attack is None:
        return ""
    attacked = f"{attacks.title(attack)}{_effort(attack)}"
    if config.trades:
        return (
            f"TRADES: clean images, and {config.trades:g} times the divergence of the "
            f"prediction under {attacked}"
        )
    if config.adversary_share == 1:
        return f"{attacked}, in place of all images"
    share = f"{100 * config.adversary_share:g}%"
    return f"{attacked}, in place of {share} of each batch; the others stay clean"


def _effort(attack: attacks.Attack) -> str:
    """How long an attack searches: `, 10 steps of 1.6/255`.

    Example:
        >>> _effort(attacks.PGD(norm=2, eps=0.5, steps=1, step_size=1 / 255))
        ', 1 step of 1/255'
        >>> _effort(attacks.Square(norm=2, eps=0.5)), _effort(attacks.FGSM(eps=0.1))
        (', 1000 queries', '')
    """
    settings = attacks.describe(attack)
    words = ""
    if (count := settings.get("steps")) is not None:
        size = settings.get("step_size")
        length = size or 2 * settings["eps"] / count
        in_levels = "/" in format_fraction(length if size else settings["eps"])
        words = f"{255 * length:.3g}/255" if in_levels else f"{length:.3g}"
        words = f", {count} step{'s' * (count > 1)} of {words}"
    for name in ("restarts", "queries"):
        if settings.get(name, 1) > 1:
            words += f", {settings[name]} {name}"
    return words


def _aligned(config: TrainConfig, classes: int) -> str:
    """Where the logits' gradients are to point; empty where nowhere."""
    if not config.aligned:
        return ""
    towards = pag.goal(config.pag)
    if config.teacher:
        towards += f", {config.teacher}"
    if config.teacher_cache:
        towards += f", kept in {config.teacher_cache}"
    elif config.stored:
        towards += ", from the image before augmentation"
    count = config.pag_classes or classes
    drawn = f"all {classes}" if count == classes else f"{count} of {classes}"
    signs = "each exactly" if config.pag_exact or count == 1 else "by random signs"
    return (
        f"{config.pag}, weight {config.pag_weight:g}: towards {towards}; {drawn} "
        f"classes a step, {signs}"
    )


def _terms(config: TrainConfig) -> list[str]:
    """Names of the penalties; alignment's directions would need the data."""
    names = [term.name for term in build.make_penalties(config)]
    if config.aligned:
        names.append(penalties.GradientAlignment.name)
    return names


def _cost(
    config: TrainConfig,
    network: keras.Model,
    steps: int | None,
    teacher: Loaded | None = None,
) -> str:
    forward = 2 * models.multiply_adds(network)
    forward_cost = f"{forward / 1e9:.3g} GFLOP a forward pass of one image"
    if steps is None:
        return f"{forward_cost}; of an epoch not known before the data is there"
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
    if own := [text for text in config.penalty if not _is_counted(text)]:
        once += f"; what {' and '.join(own)} costs is not known and not in it"
    rate = _matrix_rate()
    return (
        f"{forward_cost}, {epoch / 1e12:.3g} TFLOP an epoch; at this machine's "
        f"matrix-product rate of {rate / 1e9:.0f} GFLOP/s (measured now) at least "
        f"{epoch / rate:.0f} s an epoch, {epoch * config.epochs / rate / 3600:.2g} h "
        "in all; networks of small images usually reach a quarter to a half of that "
        f"rate{once}"
    )


def _taught(config: TrainConfig, teacher: Loaded, classes: int) -> float:
    """Operations of a teacher's gradients for one image, as far as they are known."""
    if teacher.kind == "SavedModel":
        return 0.0
    count = classes if config.teacher_cache else config.pag_classes or classes
    return 2 * models.multiply_adds(teacher.network) * (1 + count)


def _is_counted(text: str) -> bool:
    """Whether `_passes` knows what a penalty costs."""
    return type(penalties.parse(text)).__module__.startswith("tfrobust.")


def _passes(config: TrainConfig, classes: int = 10) -> float:
    """What a step costs in forward passes.

    A backward pass costs about two: one for the weights, one for what comes in, which
    alone is what an attack needs. The gradient of an input-gradient's norm needs each
    pass once more; CURE does so at two points besides the training pass. Alignment
    shares the forward pass and the last way back through it; it needs one pass back for
    each class and three for the signs, or three for each class if it is exact.
    """
    terms = build.make_penalties(config)
    passes = 6.0 if any(term.needs_input_gradient for term in terms) else 3.0
    passes += 2 * 6 * sum(isinstance(term, penalties.Cure) for term in terms)
    attack = build.make_attack(config)
    if attack is not None:
        passes += config.adversary_share * _searched(attack) + 3 * bool(config.trades)
    if config.aligned:
        aligned = config.pag_classes or classes
        exact = config.pag_exact or aligned == 1
        passes += 3 * aligned if exact else aligned + 3
    return passes


def _searched(attack: attacks.Attack) -> float:
    """Forward passes of an attack on one image: two a gradient, and a last look."""
    settings = attacks.describe(attack)
    if "queries" in settings:
        return settings["queries"] + 1
    return settings.get("restarts", 1) * (2 * settings.get("steps", 1) + 1)


def _matrix_rate(size: int = 2048) -> float:
    """Floating-point operations a second in the best of three matrix products."""
    matrix = tf.random.stateless_normal([size, size], seed=[0, 0])
    times = []
    for _ in range(4):
        began = time.perf_counter()
        tf.linalg.matmul(matrix, matrix).numpy()
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times[1:])
