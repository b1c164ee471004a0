"""Image files to pixels, inside of the graph, at a bounded cost."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from export.inputs import checked, checked_batch
from export.limits import MAX_BATCH

MAX_BYTES = 10 * 2**20
"""Length of a file, at most."""

MAX_ALL_BYTES = 64 * 2**20
"""Length of all files of a request together, at most."""

MAX_PIXELS = 2**24
"""Height times width of all files of a request together, at most: a small file may
announce an image of any size.
"""

MAX_SCANS = 100
"""Scans of a JPEG, at most: each may cost as much as an image and take a few bytes. A
usual progressive one has about ten.
"""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Where a scan starts. In what is between, 255 is never followed by this.
_SCAN = b"\xff\xda"
# Where a PNG has width and height, each as four bytes with the highest first.
_PNG_SIZE = 16


def decode_images(
    files: tf.Tensor, shape: Sequence[int], most: int = MAX_BATCH
) -> tf.Tensor:
    """JPEG and PNG files as images of one size.

    Colours become grey or grey colours as the network takes them; alpha is dropped. An
    image of another size is resized, bilinearly and with antialiasing, without regard
    to its proportions.

    Args:
        files: string `[B]`, at least one file.
        shape: `(H, W, C)`, C 1 or 3.
        most: How many files there may be.

    Returns:
        float32 `[B,H,W,C]` in [0, 1]. What is no such file, or too large, is an
        `InvalidArgumentError`.
    """
    files = checked_batch("image_bytes", files, (), most)
    height, width, channels = shape

    length = tf.reduce_sum(tf.cast(tf.strings.length(files), tf.int64))
    text = f"image_bytes must have at most {MAX_ALL_BYTES} bytes in all, got"
    files = checked(files, (length <= MAX_ALL_BYTES, [text, length]))
    pixels = tf.map_fn(_checked_pixels, files, fn_output_signature=tf.int64)
    text = f"image_bytes must have at most {MAX_PIXELS} pixels in all, got"
    files = checked(files, (tf.reduce_sum(pixels) <= MAX_PIXELS, [text, pixels]))

    def decode(file: tf.Tensor) -> tf.Tensor:
        image = tf.cond(
            _starts_with(file, _PNG),
            lambda: tf.io.decode_png(file, channels),
            lambda: tf.io.decode_jpeg(file, channels),
        )
        image = tf.image.resize(image, [height, width], antialias=True)
        return tf.ensure_shape(image, shape)

    images = tf.map_fn(decode, files, fn_output_signature=tf.TensorSpec(shape))
    # Resizing may round to a little beyond.
    return tf.clip_by_value(images / 255.0, 0.0, 1.0)


def _checked_pixels(file: tf.Tensor) -> tf.Tensor:
    """Pixels of a file by its header, after checks of length, kind and size."""
    length = tf.strings.length(file)
    is_png, is_jpeg = _starts_with(file, _PNG), _starts_with(file, _JPEG)
    scans = _count(file, _SCAN)
    text = "image_bytes must be"
    file = checked(
        file,
        (
            length <= MAX_BYTES,
            [f"{text} files of at most {MAX_BYTES} bytes, got", length],
        ),
        (
            is_png | is_jpeg,
            [f"{text} JPEG or PNG files, got one that begins otherwise"],
        ),
        (
            is_png | (scans <= MAX_SCANS),
            [f"{text} files of at most {MAX_SCANS} scans, got", scans],
        ),
    )
    size = tf.cond(is_png, lambda: _png_size(file), lambda: _jpeg_size(file))
    pixels = tf.reduce_prod(size)
    inside = (pixels >= 1) & (pixels <= MAX_PIXELS) & tf.reduce_all(size >= 1)
    text = f"{text} images of 1 to {MAX_PIXELS} pixels, got size"
    return checked(pixels, (inside, [text, size]))


def _starts_with(file: tf.Tensor, start: bytes) -> tf.Tensor:
    # A substring may not begin beyond the end, but it may end there.
    return tf.strings.substr(file, 0, len(start)) == start


def _count(file: tf.Tensor, pair: bytes) -> tf.Tensor:
    """How often two bytes follow each other."""
    content = tf.io.decode_raw(file, tf.uint8)
    matches = (content[:-1] == pair[0]) & (content[1:] == pair[1])
    return tf.math.count_nonzero(matches)


def _png_size(file: tf.Tensor) -> tf.Tensor:
    """Height and width as the header has them, int64 `[2]`."""
    # A file that ends before says 0.
    padded = tf.strings.join([file, b"\0" * (_PNG_SIZE + 8)])
    digits = tf.io.decode_raw(tf.strings.substr(padded, _PNG_SIZE, 8), tf.uint8)
    places = tf.constant([2**24, 2**16, 2**8, 1], tf.int64)
    numbers = tf.reshape(tf.cast(digits, tf.int64), [2, 4])
    return tf.reduce_sum(numbers * places, axis=1)[::-1]


def _jpeg_size(file: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.image.extract_jpeg_shape(file)[:2], tf.int64)
