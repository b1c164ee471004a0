"""A small network, and requests for each of its signatures: good ones and bad ones."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from export import export_saved_model
from export.inputs import MAX_CHANGE
from export.limits import MAX_BATCH
from export.signatures import NAMES, Settings
from tests import networks
from tests.serving.messages import Request
from tfrobust import attacks

SHAPE, CLASSES = (8, 6, 3), 4
LABELS = [f"class {i}" for i in range(CLASSES)]
SETTINGS = Settings(
    attack=attacks.PGD(norm=2, eps=0.5, steps=3), alpha=0.9, smooth_iterations=20
)


class Case(NamedTuple):
    """A request that has to be refused.

    Attributes:
        told: What is wrong with it.
        request: Itself.
        code: How it is refused.
    """

    told: str
    request: Request
    code: str = "INVALID_ARGUMENT"


def network() -> keras.Model:
    """What is served."""
    return networks.low_curvature(SHAPE, CLASSES)


def exported(folder: Path, folded: bool) -> Path:
    """The network with every signature that there is."""
    return export_saved_model(
        network(), folder, LABELS, signatures=NAMES, folded=folded, settings=SETTINGS
    )


def good(signature: str, count: int = 3, seed: int = 0) -> Request:
    """A request that has to be answered."""
    random = np.random.default_rng(seed)
    images = random.random((count, *SHAPE), np.float32)
    if signature == "predict_bytes":
        encode = (tf.io.encode_png, tf.io.encode_jpeg)
        levels = (255 * images).astype(np.uint8)
        files = [encode[i % 2](one).numpy() for i, one in enumerate(levels)]
        return signature, {"image_bytes": np.array(files, object)}
    more: dict[str, dict[str, np.ndarray]] = {
        "explain": {"classes": np.arange(count, dtype=np.int32) % CLASSES},
        "attack": {"classes": np.full(count, -1, np.int32)},
        "robustness": {"iterations": np.arange(1, count + 1, dtype=np.int32)},
        "smooth": {"perturbations": random.random(images.shape, np.float32) - 0.5},
    }
    return signature, {"images": images, **more.get(signature, {})}


def bad(signature: str) -> Iterator[Case]:
    """Requests with one thing wrong, for every input of a signature."""
    _, inputs = good(signature)
    for name, value in inputs.items():
        for told, wrong in _wrong(name, value):
            yield Case(f"{name}: {told}", (signature, {**inputs, name: wrong}))
        if len(inputs) > 1:
            longer = np.concatenate([value, value[:-1]])
            yield Case(f"{name}: other rows", (signature, {**inputs, name: longer}))
        others = {key: other for key, other in inputs.items() if key != name}
        yield Case(f"{name}: missing", (signature, others))
        yield Case(f"{name}: misnamed", (signature, {**others, "image": value}))
    yield Case("one too many", (signature, {**inputs, "more": np.float32(1)}))
    yield Case("no signature", ("predict", inputs), "FAILED_PRECONDITION")


def _wrong(name: str, value: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield from _wrong_shapes(name, value)
    yield from _wrong_types(value)
    if name == "image_bytes":
        for told, file in broken_files().items():
            yield told, np.array([value[0], file], object)
    elif value.dtype == np.int32:
        for number in (-2, 101, 2**31 - 1, -(2**31)):
            yield f"{number}", np.full_like(value, number)
    else:
        # A perturbation may be of nearly any size.
        outside = [-0.01, 1.01, 255.0] if name == "images" else [-2 * MAX_CHANGE]
        for pixel in [np.nan, np.inf, -np.inf, *outside]:
            wrong = value.copy()
            wrong[1, 2] = pixel
            yield f"{pixel}", wrong


def _wrong_shapes(name: str, value: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "a row without the batch", value[0]
    yield "one axis more", value[None]
    yield "two axes more", value[None, None]
    yield "a scalar", value.flat[0]
    yield "flat", np.resize(value, 8 * value.size)[None]
    yield "no rows", value[:0]
    yield "too many rows", np.resize(value, (MAX_BATCH + 1, *value.shape[1:]))
    if value.ndim == 4:
        yield "fewer columns", value[:, :, :-1]
        yield "grey", value[..., :1]
        yield "channels first", np.moveaxis(value, -1, 1)
        yield "no columns", value[:, :, :0]


def _wrong_types(value: np.ndarray) -> Iterator[tuple[str, Any]]:
    for dtype in (np.float64, np.float16, np.int64, np.uint8, np.bool_, np.complex64):
        # Numbers that no list of files could be, in its shape.
        yield np.dtype(dtype).name, np.zeros(value.shape, dtype)
    if value.dtype != object:
        yield "strings", np.full(value.shape, b"0.5", object)
    proto = tf.make_tensor_proto(value)
    enum = proto.dtype
    huge = {"a shape beyond any memory": (2**46,)}
    # Memory for strings is asked for before they are counted, and TensorFlow asks for
    # ten seconds; see docs/SERVING.md.
    for told, sides in {
        **({} if value.dtype == object else huge),
        "more elements than bytes": (2**20,),
        "a shape beyond any number": (2**62, 2**62),
        "a negative side": (-3, *value.shape[1:]),
        "an unknown side": (-1, *value.shape[1:]),
    }.items():
        yield told, _tensor(enum, sides, proto.tensor_content)
    yield "no type", _tensor(types_pb2.DT_INVALID, value.shape, b"")
    yield "a variant", _tensor(types_pb2.DT_VARIANT, value.shape, b"")
    yield "an unknown type", _tensor(99, value.shape, b"")
    if value.dtype != object:
        content = proto.tensor_content
        yield "too few bytes", _tensor(enum, value.shape, content[:-1])
        yield "too many bytes", _tensor(enum, value.shape, content + b"\0")


def _tensor(
    dtype: int, sides: tuple[int, ...], content: bytes
) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, tensor_content=content)
    for side in sides:
        proto.tensor_shape.dim.add(size=side)
    return proto


@functools.cache
def broken_files() -> dict[str, bytes]:
    """Files that are no image, or one that would fill the memory."""
    noise = np.random.default_rng(1).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    png = tf.io.encode_png(noise).numpy()
    jpeg = tf.io.encode_jpeg(noise).numpy()
    progressive = tf.io.encode_jpeg(noise, progressive=True).numpy()
    frame = jpeg.index(b"\xff\xc0") + 5
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    return {
        "empty": b"",
        "text": b"hello",
        "not base64 decoded": b"/9j/4AAQSkZJRgABAQ",
        "GIF": b"GIF89a" + bytes(30),
        "BMP": b"BM" + bytes(60),
        "JPEG, 3 bytes": jpeg[:3],
        "JPEG, header": jpeg[:20],
        "JPEG, half": jpeg[: len(jpeg) // 2],
        "JPEG, all but the end": jpeg[:-40],
        "progressive JPEG, half": progressive[: len(progressive) // 2],
        "JPEG that announces 65535 x 65535": (
            jpeg[:frame] + b"\xff" * 4 + jpeg[frame + 4 :]
        ),
        "PNG, 8 bytes": png[:8],
        "PNG, header": png[:20],
        "PNG, half": png[: len(png) // 2],
        "PNG with a flipped byte": bytes(flipped),
        "PNG that announces 60000 x 60000": bomb(60000, rows=1),
        "PNG of 20000 x 20000 zeros": bomb(20000, rows=20000),
        "PNG of no pixel": bomb(0, rows=0),
    }


def bomb(side: int, rows: int) -> bytes:
    """A PNG that announces grey zeros `side` times `side`, and holds some rows."""
    deflate = zlib.compressobj(9)
    row = bytes(side + 1)
    pixels = b"".join(deflate.compress(row) for _ in range(rows)) + deflate.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": pixels, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks.items()
    )
