"""Image files to one array of bytes: decoded on all cores, brought to one size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrobust.data.source import Source, refusal

Progress = Callable[[Iterable[Any], int], Iterable[Any]]
"""Passes an iterable of so many things on, and may show how far it is."""


class _Decoded(NamedTuple):
    """An image, what it was in its file, and whether something shows through it."""

    image: np.ndarray
    native: tuple[int, int, int]
    transparent: bool


def read_images(
    files: Sequence[str], source: Source, progress: Progress | None = None
) -> np.ndarray:
    """Decodes files, each once, into one array.

    JPEG, PNG, BMP, WebP and the first frame of a GIF, 8 bits a channel; of 16 the upper
    8. An orientation that a camera wrote beside the pixels is not looked at, as in
    `keras.utils.image_dataset_from_directory`. With `source.size`, the whole image is
    stretched to it, or with `source.crop` the largest centred part of that shape, by
    antialiased bilinear interpolation, rounded to 8 bits. With `source.channels`, grey
    and RGB are turned into each other, and the transparency of an image is dropped;
    without, an alpha channel is dropped where nothing shows through.

    The result takes a byte a pixel and channel, which is all that stays in memory.

    Args:
        files: Paths, N of them, at least 1.
        source: How they become a data set.
        progress: Shows how far it is.

    Returns:
        uint8 `(N, height, width, channels)` in the order of `files`.

    Raises:
        ValueError: If a file cannot be decoded, shows something through without
            `source.channels`, or differs from the first one in size or channels
            without a setting that says what they are to be; or if they do not fit
            twice into the memory of this machine, as a pipeline makes a copy.
    """
    whole = _decoded(files, source)
    shown = iter(whole if progress is None else progress(whole, len(files)))
    first = next(shown)
    _check(first, files[0], first, files[0], source)
    images = _room(len(files), first.image.shape)
    images[0] = first.image
    for index, decoded in enumerate(shown, start=1):
        _check(decoded, files[index], first, files[0], source)
        images[index] = decoded.image
    return images


def _decoded(files: Sequence[str], source: Source) -> Iterator[_Decoded]:
    """Each image in turn; `ValueError` that names the first file without one."""
    has_alpha = [not file.lower().endswith(".bmp") for file in files]
    with tf.device("CPU:0"):
        pipeline = tf.data.Dataset.from_tensor_slices((list(files), has_alpha)).map(
            lambda file, alpha: _read(file, alpha, source),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        images = pipeline.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
    # Outside of the device's scope, which a generator would keep open for its caller.
    for file in files:
        try:
            image, native, transparent = next(images)
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            raise refusal(
                "lead to images that can be decoded",
                f"{file}, which is broken or cut short",
            ) from error
        height, width, channels = map(int, native)
        yield _Decoded(image, (height, width, channels), bool(transparent))


def _read(
    file: tf.Tensor, has_alpha: tf.Tensor, source: Source
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """One file as uint8 of the wanted size and channels, as far as these are given."""
    image = tf.io.decode_image(tf.io.read_file(file), expand_animations=False)
    image = tf.ensure_shape(image, [None, None, None])
    native = tf.shape(image)
    with_alpha = native[2] % 2 == 0
    transparent = with_alpha & has_alpha & tf.reduce_any(image[..., -1] < 255)
    color = image[..., : native[2] - tf.cast(with_alpha, tf.int32)]
    color = _with_channels(color, source.channels)
    if source.size is not None:
        color = _resized(color, source.size, source.crop)
    return color, native, transparent


def _with_channels(image: tf.Tensor, channels: int | None) -> tf.Tensor:
    """Grey and RGB turned into each other; `None`: as it is."""
    if channels is None:
        return image
    is_grey = tf.shape(image)[2] == 1
    rgb = tf.cond(is_grey, lambda: tf.repeat(image, 3, axis=2), lambda: image)
    if channels == 3:
        return tf.ensure_shape(rgb, [None, None, 3])
    luma = tf.image.rgb_to_grayscale(tf.ensure_shape(rgb, [None, None, 3]))
    return tf.cond(is_grey, lambda: image[..., :1], lambda: luma)


def _resized(image: tf.Tensor, size: tuple[int, int], crop: bool) -> tf.Tensor:
    """Stretched to a size, after the largest centred part of its shape was cut out."""
    height, width = size
    if crop:
        have = tf.shape(image)[:2]
        rows = tf.clip_by_value(have[1] * height // width, 1, have[0])
        columns = tf.clip_by_value(have[0] * width // height, 1, have[1])
        top, left = (have[0] - rows) // 2, (have[1] - columns) // 2
        image = image[top : top + rows, left : left + columns]
    image = tf.image.resize(image, [height, width], antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def _check(
    decoded: _Decoded, file: str, first: _Decoded, first_file: str, source: Source
) -> None:
    """Refuses what differs from the first image, or shows something through."""
    if decoded.transparent and source.channels is None:
        raise refusal(
            "have no transparent images, or a setting channels=3 that drops the "
            "transparency",
            f"{file}, part of which is transparent",
        )
    if decoded.image.shape[2] != first.image.shape[2]:
        raise refusal(
            "have only grey or only RGB images, or a setting channels=3 or channels=1 "
            "that turns them into each other",
            f"{first_file}, which is {_color(first)}, and {file}, which is "
            f"{_color(decoded)}",
        )
    if decoded.image.shape != first.image.shape:
        raise refusal(
            "have images of one size, or a setting such as size=64 or size=48x64 "
            "(--image_size) that they are brought to",
            f"{first_file} of {_sides(first)} and {file} of {_sides(decoded)}",
        )


def _color(decoded: _Decoded) -> str:
    return "grey" if decoded.image.shape[2] == 1 else "RGB"


def _sides(decoded: _Decoded) -> str:
    height, width, _ = decoded.native
    return f"{height}x{width}"


def _room(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """An array for so many images, if this machine has room for it and a copy."""
    needed = count * int(np.prod(shape, dtype=np.int64))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 2 * needed > memory:
        height, width, channels = shape
        raise refusal(
            "have images that fit twice into memory, or a setting such as size=64 "
            "(--image_size) that makes them smaller",
            f"{count} images of {height}x{width}x{channels}, {needed / 1e9:.3g} GB, "
            f"where there are {memory / 1e9:.3g} GB",
        )
    return np.empty((count, *shape), np.uint8)
