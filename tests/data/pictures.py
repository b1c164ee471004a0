"""Images for tests of folders: smooth ones, written as files of every format."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".gif": "GIF",
}


def picture(seed: int, height: int = 12, width: int = 16, channels: int = 3):
    """A smooth image, uint8 `(height, width, channels)`."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (3, 4, channels), np.uint8)
    planes = [
        Image.fromarray(coarse[..., plane]).resize((width, height), Image.BICUBIC)
        for plane in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def encoded(image: np.ndarray, suffix: str, **options) -> bytes:
    """An image as a file of a format."""
    file = io.BytesIO()
    pixels = image[..., 0] if image.shape[2] == 1 else image
    Image.fromarray(pixels).save(file, FORMATS[suffix], **options)
    return file.getvalue()


def bmp(image: np.ndarray) -> bytes:
    """An RGB image as a BMP of 24 bits, written by hand."""
    height, width, _ = image.shape
    row = np.zeros((height, (3 * width + 3) // 4 * 4), np.uint8)
    row[:, : 3 * width] = image[::-1, :, ::-1].reshape(height, -1)
    head = b"BM" + struct.pack("<IHHI", 54 + row.size, 0, 0, 54)
    about = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 24, 0, row.size, 0, 0, 0, 0
    )
    return head + about + row.tobytes()


def fill(
    root: Path,
    classes=("cat", "dog"),
    count: int = 5,
    suffix=".png",
    seed: int = 0,
    **about,
):
    """`count` different images for each class, in a folder each."""
    for place, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = picture(seed + 100 * place + number, **about)
            (root / name / f"{number}{suffix}").write_bytes(encoded(image, suffix))
    return root
