"""How long a step of each training takes on this machine, measured.

Run as a process of its own, so that memory and devices are free again when the work
begins: `python -m trainers.reproduction.steps` reads a list of settings as JSON from
standard input and prints a line of JSON for each as soon as it is measured.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tfrobust.cli import program
from tfrobust.cli.quiet import start_tensorflow
from trainers.reproduction import commands

if TYPE_CHECKING:
    import numpy as np

    from tfrobust import data
    from trainers.train.options import TrainConfig

# So many steps are timed behind one that compiles, or as many as fit the seconds.
_STEPS, _SECONDS = 3, 8.0
# How many images the gradient of the loss is timed on.
_BATCH = 50


class Cost(NamedTuple):
    """What a training costs on this machine.

    Attributes:
        start: Seconds until the first step is done, which compiles; without imports.
        step: Seconds of each other step.
        forward: Seconds of a forward pass of one image.
        gradient: Seconds of the loss's gradient in one image.
        steps: Steps of an epoch.
        tested: Test images looked at after each epoch.
        watched: Gradients of single images after each epoch, of `--watch_robust`.
        epochs: How many epochs there are.
    """

    start: float
    step: float
    forward: float
    gradient: float
    steps: int
    tested: int
    watched: int
    epochs: int


def measure(
    arguments: list[str], teacher: list[str], clock: Callable[[], float]
) -> Cost:
    """What a training costs: its network, on one random batch.

    Args:
        arguments: Of the training.
        teacher: Of its teacher's training; empty without one. The teacher here has
            random weights, which cost as much.
        clock: Tells the time in seconds.

    Raises:
        UsageError: If the data is not there, or the training would be refused.
    """
    from trainers.train import build

    config = commands.train_config(arguments)
    build.check_names(config)
    info = build.check_data(config)
    train, test = (info.sizes.get(split) for split in ("train", "test"))
    count = build.examples_of(config, train, build.validation_size(info))
    network = build.make_network(config, info.image_shape, info.classes)
    batch = _random(config, info.image_shape, info.classes)
    directions = _directions(config, batch, teacher, info)
    model = build.make_model(config, network, 1, directions)
    start, step = timed(_step(model, config, batch, directions), clock)
    pixels = batch.images[:_BATCH].astype("float32") / 255
    labels = batch.labels[:_BATCH]
    forward, gradient = _passes(network, pixels, labels, clock)
    return Cost(
        start=start,
        step=step,
        forward=forward / len(pixels),
        gradient=gradient / len(pixels),
        # Of the usual data sets, where nothing is known yet.
        steps=(count or 50_000) // config.batch_size,
        tested=config.eval_examples or test or 10_000,
        watched=config.watch_robust * config.watch_steps,
        epochs=config.epochs,
    )


def timed(run: Callable[[], Any], clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds of the first run, and the median of some more.

    Args:
        run: What is timed.
        clock: Tells the time in seconds.
    """
    began = clock()
    run()
    first = clock() - began
    seconds: list[float] = []
    while len(seconds) < _STEPS and sum(seconds) < _SECONDS:
        began = clock()
        run()
        seconds.append(clock() - began)
    return first, sorted(seconds)[len(seconds) // 2]


def _random(config: TrainConfig, shape: tuple[int, ...], classes: int) -> data.Dataset:
    """Random images, enough of each class for any direction to choose among."""
    import numpy as np

    from tfrobust import data

    random = np.random.default_rng(0)
    count = max(config.batch_size, 60 * classes if config.aligned else 0)
    images = random.integers(0, 256, (count, *shape), np.uint8)
    labels = (np.arange(count) % classes).astype(np.int32)
    return data.Dataset("random", images, labels, tuple(map(str, range(classes))))


def _directions(
    config: TrainConfig, train: data.Dataset, teacher: list[str], info: Any
) -> Any:
    """Directions of the same kind; a teacher's are computed in the step, not kept."""
    from tfrobust import pag
    from trainers.train import build

    if not config.aligned:
        return None
    if not config.teacher:
        return build.make_directions(config, train)
    network = build.make_network(
        commands.train_config(teacher), info.image_shape, info.classes
    )
    return pag.build(
        config.pag,
        train.images,
        train.labels,
        train.classes,
        seed=config.seed,
        teacher=network,
    )


def _step(
    model: Any, config: TrainConfig, batch: data.Dataset, directions: Any
) -> Callable[[], Any]:
    """One training step on the first images, as they come out of the pipeline."""
    from tfrobust import data

    batches = data.train_pipeline(
        batch,
        batch_size=config.batch_size,
        seed=config.seed,
        epochs=1,
        augment=None if config.augment == "none" else config.augment,
        with_index=directions is not None and directions.needs_index,
    )
    iterator = iter(batches.take(1).cache().repeat())
    train = model.make_train_function()
    return lambda: train(iterator)["loss"].numpy()


def _passes(
    network: Any, images: np.ndarray, labels: np.ndarray, clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of a forward pass and of the loss's gradient in the images."""
    import keras
    import tensorflow as tf

    pixels, truth = tf.constant(images), tf.constant(labels)

    @tf.function
    def forward() -> tf.Tensor:
        return network(pixels, training=False)

    @tf.function
    def gradient() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            logits = network(pixels, training=False)
            loss = keras.losses.sparse_categorical_crossentropy(
                truth, logits, from_logits=True
            )
        return tape.gradient(loss, pixels)

    _, once = timed(lambda: forward().numpy(), clock)
    _, back = timed(lambda: gradient().numpy(), clock)
    return once, back


def _forget() -> None:
    """Gives back the memory of a network that was measured."""
    import keras

    keras.backend.clear_session()
    gc.collect()


def main() -> None:
    """Measures what standard input asks for."""
    asked = json.load(sys.stdin)
    start_tensorflow()
    for each in asked:
        try:
            cost = measure(each["arguments"], each["teacher"], time.perf_counter)
        except program.UsageError as error:
            program.fail(f"{each['name']}: {error}")
        print(json.dumps({"name": each["name"], **cost._asdict()}), flush=True)
        _forget()


if __name__ == "__main__":
    main()
