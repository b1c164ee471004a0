"""Deterministic `tf.data` pipelines over a data set in memory.

Batch k of epoch e is a function of (seed, e, k) alone. A run that stops after an epoch
and starts again there sees bit for bit what an uninterrupted run sees, on any number
of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrobust.data import augment as augmentations
from tfrobust.data.base import Dataset

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

OfImages = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Maps images of the data set `[B,H,W,C]` and their rows `[B]` to `[B,K,H,W,C]`."""

# The order of examples and their augmentation draw from streams of their own.
_SHUFFLE, _AUGMENT = 0, 1


def steps_per_epoch(dataset: Dataset, batch_size: int) -> int:
    """Number of full batches in an epoch, `N // batch_size`.

    Args:
        dataset: The N examples.
        batch_size: From 1 to N.

    Returns:
        At least 1.

    Raises:
        ValueError: If `batch_size` is not from 1 to N.

    Example:
        >>> from tfrobust.data import make_shapes
        >>> steps_per_epoch(make_shapes(50, seed=0), batch_size=16)
        3
    """
    _check_batch_size(dataset, batch_size)
    return len(dataset) // batch_size


def train_pipeline(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    epochs: int,
    start_epoch: int = 0,
    augment: str | Augmentation | None = None,
    shard: tuple[int, int] | None = None,
    with_index: bool = False,
    directions: np.ndarray | OfImages | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented batches of full size, for `epochs - start_epoch` epochs.

    Each epoch visits the examples in a fresh random order and drops the
    `N % batch_size` that come last in it. The result may be given to
    `Strategy.experimental_distribute_dataset` or to `fit` under a strategy: the
    replicas together then see exactly the batches that one device would.

    The arrays become one tensor beside the graph: a step copies nothing but its batch.
    Batches repeat bit for bit within one version of TensorFlow; another may draw
    other random numbers.

    Args:
        dataset: The N examples.
        batch_size: Global batch size B, from 1 to N.
        seed: Not negative.
        epochs: Number of epochs of the whole run, at least 1.
        start_epoch: First epoch to yield, from 0 to `epochs`. What follows is what an
            uninterrupted pipeline yields from there: nothing after a finished run.
        augment: `None`, `"crop_flip"`, or a function of (float32 images
            `(B, height, width, channels)` in [0, 1], int64 seed `(2,)`) that returns
            images of the same shape and type. It must draw from
            `tf.random.stateless_*` with that seed alone.
        shard: `(index, count)` to yield only the index-th of `count` equal parts of
            each global batch, for `Strategy.distribute_datasets_from_function`.
        with_index: Whether to say which example of `dataset` each image is.
        directions: float16 `(N, K, height, width, channels)`, what is to accompany the
            images as K more, such as `pag.cache_directions` returns. Each is moved with
            its image under augmentation, which must be `None` or `"crop_flip"`; what a
            crop adds at the border is 0. They are read whole into main memory,
            `2 N K height width channels` bytes, and twice that while the pipeline is
            made: 3.1 and 6.1 GB for CIFAR-10. Or a function that makes them with each
            batch, such as `pag.StoredDirections(...).of_images`: of float32 images
            `(B, height, width, channels)` in [0, 1], before augmentation, and their
            rows int32 `(B,)` in `dataset`.

    Returns:
        A `tf.data.Dataset` of (images float32 `(B, height, width, channels)` in
        [0, 1], labels int32 `(B,)`), all shapes static and its length known. With
        `with_index` or `directions`, in place of the images a dictionary of `images`
        and of `index` int32 `(B,)` or `directions` float32
        `(B, K, height, width, channels)`. The images are the same in every bit.

    Raises:
        ValueError: If an argument is outside the range stated above, `batch_size`
            is no multiple of the number of shards, or `directions` are not those of
            these images or come with another augmentation.

    Example:
        >>> from tfrobust.data import make_shapes
        >>> train = train_pipeline(
        ...     make_shapes(50, seed=0), batch_size=16, seed=1, epochs=2,
        ...     augment="crop_flip")
        >>> len(train)
        6
        >>> train.element_spec[0].shape
        TensorShape([16, 32, 32, 3])
    """
    steps = steps_per_epoch(dataset, batch_size)
    _check_epochs(seed, epochs, start_epoch)
    _check_shard(shard, batch_size)
    transform = _augmentation(augment)
    if directions is not None:
        _check_directions(directions, dataset, transform)
    of_images = directions if callable(directions) else None
    stored = None if callable(directions) else directions

    def plan(epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Which examples go into each batch of an epoch, and each batch's seed."""
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(dataset)), _fold(seed, _SHUFFLE, epoch), alg="philox"
        )
        index = tf.reshape(order[: steps * batch_size], [steps, batch_size])
        return index, tf.fill([steps], epoch), tf.range(steps, dtype=tf.int64)

    def batch(
        index: tf.Tensor, epoch: tf.Tensor, step: tf.Tensor, data: tuple
    ) -> tuple[Any, tf.Tensor]:
        """Gather, augment and convert one batch."""
        images, labels, *others = (tf.gather(whole, index) for whole in data)
        images = _to_unit_range(images)
        if of_images is not None:
            others = [_made(of_images, images, index)]
        images = _with_channels_of(images, others)
        if transform is not None:
            spec = images.shape
            images = transform(images, _fold(seed, _AUGMENT, epoch, step))
            images = tf.ensure_shape(images, spec)
        named = _apart(images, dataset.image_shape[-1])
        if with_index:
            named["index"] = index
        named = {name: _part(values, shard) for name, values in named.items()}
        labels = _part(labels, shard)
        return (named if len(named) > 1 else named["images"]), labels

    plans = tf.data.Dataset.range(start_epoch, epochs).map(plan).unbatch()
    pipeline = _with_data(plans, dataset, stored).map(
        lambda plan, data: batch(plan[0], plan[1], plan[2], data),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return _finish(pipeline, already_sharded=shard is not None)


def eval_pipeline(
    dataset: Dataset, *, batch_size: int, pad: bool = False
) -> tf.data.Dataset:
    """All examples once, in order.

    Args:
        dataset: The N examples.
        batch_size: Batch size B, from 1 to N.
        pad: Fill the last batch with black images of label 0 and weight 0, so that
            all batches have one static shape: for several replicas, where a partial
            batch would leave one of them empty, and for compiled steps.

    Returns:
        A `tf.data.Dataset` of (images float32 `(B, height, width, channels)` in
        [0, 1], labels int32 `(B,)`), the last batch smaller where B does not divide
        N. With `pad`, of (images, labels, weights float32 `(B,)`), all batches full.

    Raises:
        ValueError: If `batch_size` is not from 1 to N.

    Example:
        >>> from tfrobust.data import make_shapes
        >>> test = make_shapes(50, seed=0)
        >>> [len(labels) for _, labels in eval_pipeline(test, batch_size=20)]
        [20, 20, 10]
        >>> padded = eval_pipeline(test, batch_size=20, pad=True)
        >>> [int(sum(weights)) for _, _, weights in padded]
        [20, 20, 10]
    """
    _check_batch_size(dataset, batch_size)

    def batch(first: tf.Tensor, data: tuple) -> tuple[tf.Tensor, ...]:
        """The examples from `first` on."""
        images, labels = (whole[first : first + batch_size] for whole in data)
        images = _to_unit_range(images)
        if not pad:
            return images, labels
        weights = tf.ones_like(labels, tf.float32)
        return tuple(_fill(part, batch_size) for part in (images, labels, weights))

    starts = tf.data.Dataset.range(0, len(dataset), batch_size)
    pipeline = _with_data(starts, dataset).map(
        batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return _finish(pipeline)


def _with_data(
    plans: tf.data.Dataset, dataset: Dataset, directions: np.ndarray | None = None
) -> tf.data.Dataset:
    """Pair every plan with the whole arrays, which are shared and never copied.

    As elements of a `TensorDataset` the arrays stay out of the graph: a captured
    tensor would be written into it, at 2 GB at most, whenever an iterator is made.
    """
    arrays = [dataset.images, dataset.labels]
    if directions is not None:
        arrays.append(directions)
    with tf.device("CPU:0"):
        whole = tf.data.Dataset.from_tensors(tuple(map(tf.constant, arrays)))
    return tf.data.Dataset.zip(plans, whole.repeat())


def _with_channels_of(images: tf.Tensor, others: list[tf.Tensor]) -> tf.Tensor:
    """Images, and what accompanies them as more channels, so that both move alike."""
    if not others:
        return images
    (directions,) = others
    in_front = tf.transpose(directions, [0, 2, 3, 1, 4])
    count = directions.shape[1] * directions.shape[4]
    channels = tf.reshape(in_front, [*images.shape[:-1], count])
    return tf.concat([images, tf.cast(channels, tf.float32)], axis=-1)


def _made(of_images: OfImages, images: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """What a function makes of a batch, which must be K images for each of it."""
    made = of_images(images, index)
    shape = tuple(made.shape) if tf.is_tensor(made) else type(made).__name__
    size, *rest = images.shape
    if len(shape) != 5 or (shape[0], *shape[2:]) != (size, *rest) or not shape[1]:
        raise ValueError(
            f"`directions` must return a tensor ({size}, K, "
            f"{', '.join(map(str, rest))}), K for each image. Received: {shape}"
        )
    return tf.cast(made, tf.float32)


def _apart(values: tf.Tensor, channels: int) -> dict[str, tf.Tensor]:
    """What `_with_channels_of` put together, by name."""
    count = values.shape[-1] // channels - 1
    if not count:
        return {"images": values}
    rest = tf.reshape(values[..., channels:], [*values.shape[:-1], count, channels])
    directions = tf.transpose(rest, [0, 3, 1, 2, 4])
    return {"images": values[..., :channels], "directions": directions}


def _finish(
    pipeline: tf.data.Dataset, already_sharded: bool = False
) -> tf.data.Dataset:
    """Set the order and the way of sharding, and prefetch."""
    options = tf.data.Options()
    options.deterministic = True
    policy = tf.data.experimental.AutoShardPolicy
    options.experimental_distribute.auto_shard_policy = (
        policy.OFF if already_sharded else policy.DATA
    )
    return pipeline.prefetch(tf.data.AUTOTUNE).with_options(options)


def _to_unit_range(images: tf.Tensor) -> tf.Tensor:
    """Bytes to float32 in [0, 1], by the correctly rounded division."""
    return tf.cast(images, tf.float32) / 255.0


def _fold(seed: int, stream: int, *parts: tf.Tensor) -> tf.Tensor:
    """A stateless seed, int64 `(2,)`, that depends on all arguments in order."""
    folded = tf.constant([seed, stream], tf.int64)
    for part in parts:
        folded = tf.random.experimental.stateless_fold_in(folded, part, alg="philox")
    return folded


def _fill(values: tf.Tensor, size: int) -> tf.Tensor:
    """Zeros appended along the first axis up to `size`."""
    missing = size - tf.shape(values)[0]
    padded = tf.pad(values, [[0, missing]] + [[0, 0]] * (values.shape.rank - 1))
    return tf.ensure_shape(padded, [size, *values.shape[1:]])


def _part(values: tf.Tensor, shard: tuple[int, int] | None) -> tf.Tensor:
    """This shard's rows of a global batch."""
    if shard is None:
        return values
    index, count = shard
    size = values.shape[0] // count
    return values[index * size : (index + 1) * size]


def _augmentation(augment: str | Augmentation | None) -> Augmentation | None:
    """The function that `augment` names."""
    if augment is None or callable(augment):
        return augment
    if augment == "crop_flip":
        return augmentations.crop_flip
    raise ValueError(
        f"`augment` must be None, 'crop_flip' or a function. "
        f"Received: augment={augment!r}"
    )


def _check_directions(
    directions: np.ndarray | OfImages,
    dataset: Dataset,
    transform: Augmentation | None,
) -> None:
    """Refuse directions of other images, and those that cannot follow their image."""
    if not callable(directions):
        _check_rows(directions, dataset)
    if transform not in (None, augmentations.crop_flip):
        raise ValueError(
            "`augment` must be None or 'crop_flip' with `directions`, which another "
            f"function would not move with the images. Received: augment={transform!r}"
        )


def _check_rows(directions: np.ndarray, dataset: Dataset) -> None:
    """Refuse an array that is not of these images."""
    shape = np.shape(directions)
    fits = len(shape) == 5 and shape[1] and shape[0] == len(dataset)
    if not fits or shape[2:] != dataset.image_shape or directions.dtype != np.float16:
        height, width, channels = dataset.image_shape
        raise ValueError(
            f"`directions` must be a float16 array ({len(dataset)}, K, {height}, "
            f"{width}, {channels}), K for each image of {dataset.name!r}. Received: "
            f"shape {shape} and type {getattr(directions, 'dtype', type(directions))}"
        )


def _check_batch_size(dataset: Dataset, batch_size: int) -> None:
    """Refuse a batch that the data set cannot fill."""
    if not 1 <= batch_size <= len(dataset):
        raise ValueError(
            f"`batch_size` must be from 1 to {len(dataset)}, the size of "
            f"{dataset.name!r}. Received: batch_size={batch_size}"
        )


def _check_epochs(seed: int, epochs: int, start_epoch: int) -> None:
    """Refuse a negative seed and an empty run."""
    if seed < 0:
        raise ValueError(f"`seed` must not be negative. Received: seed={seed}")
    if epochs < 1:
        raise ValueError(f"`epochs` must be at least 1. Received: epochs={epochs}")
    if not 0 <= start_epoch <= epochs:
        raise ValueError(
            f"`start_epoch` must be from 0 to {epochs}, the number of epochs. "
            f"Received: start_epoch={start_epoch}"
        )


def _check_shard(shard: tuple[int, int] | None, batch_size: int) -> None:
    """Refuse a shard that does not exist or is not a whole number of examples."""
    if shard is None:
        return
    index, count = shard
    if not 0 <= index < count or batch_size % count:
        raise ValueError(
            f"`shard` must be (index, count) with 0 <= index < count and count "
            f"dividing the batch size {batch_size}. Received: shard={shard}"
        )
