"""What kind of image a file holds, from its first bytes, and whether it is read right.

TensorFlow decodes by content and not by name, and of some files something other than
the picture: those are refused here.
"""

from __future__ import annotations

import os
import struct

from tfrobust.data.source import refusal

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
"""Of files that are read, in lower case."""

_KINDS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".webp": "WebP",
    ".gif": "GIF",
}
# The tag of the note by which a camera says where up is; 1 is where it was.
_ORIENTATION = 0x0112
# A BMP's header and the colours behind it.
_HEADER = 14 + 124 + 4 * 256


def kind_of(head: bytes) -> str:
    """The format of an image by its first bytes; empty if it is none that is read.

    Args:
        head: At least the first 12 bytes of the file.

    Example:
        >>> kind_of(b"BM" + bytes(10)), kind_of(b"no image at all")
        ('BMP', '')
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    return "BMP" if head.startswith(b"BM") else ""


def check_header(path: str) -> bytes:
    """Refuses a file that is no image, or not the one that its name says.

    Args:
        path: A file with one of `EXTENSIONS`.

    Returns:
        Its first bytes.

    Raises:
        ValueError: If it cannot be read, is empty, holds another format than its name
            says or none, or is a BMP with a palette, which would be read as numbers of
            colours and not as colours.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER)
    except OSError as error:
        raise refusal(
            "lead to images that can be read", f"{path}: {error.strerror}"
        ) from error
    if not head:
        raise refusal("lead to images that can be read", f"{path}, which is empty")
    said, held = _KINDS[os.path.splitext(path)[1].lower()], kind_of(head)
    if not held:
        raise refusal("lead to images that can be read", f"{path}, which is no image")
    if said != held:
        raise refusal(
            "have images in the format that their names say",
            f"{path}, which holds a {held}",
        )
    if held == "BMP" and not _is_plain_bmp(head):
        raise refusal(
            "have BMP images of 24 or 32 bits a pixel, or grey ones of 8, without "
            "compression",
            f"{path}, which is another; as a PNG it could be read",
        )
    return head


def is_turned(head: bytes) -> bool:
    """Whether a camera noted beside a JPEG's pixels that they are to be shown turned.

    Args:
        head: The first bytes of the file, where cameras put their notes (EXIF).

    Example:
        >>> is_turned(b"no notes")
        False
    """
    start = head.find(b"Exif\0\0") + 6
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[start : start + 4])
    if start < 6 or order is None or kind_of(head) != "JPEG":
        return False
    try:
        (table,) = struct.unpack_from(f"{order}I", head, start + 4)
        (count,) = struct.unpack_from(f"{order}H", head, start + table)
        for place in range(count):
            entry = start + table + 2 + 12 * place
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", head, entry)
            if tag == _ORIENTATION:
                return value > 1
    except struct.error:
        pass  # Cut off, or no notes at all.
    return False


def _is_plain_bmp(head: bytes) -> bool:
    """Whether TensorFlow, which does not look at a palette, sees the picture itself."""
    if len(head) < 54:
        return False
    size, _, _, _, bits, compression = struct.unpack_from("<IiiHHI", head, 14)
    if compression or size < 40:
        return False
    if bits in (24, 32):
        return True
    first = 14 + size
    grey = b"".join(bytes((level, level, level)) for level in range(256))
    colours = head[first : first + 4 * 256]
    kept = b"".join(colours[i : i + 3] for i in range(0, len(colours), 4))
    return bits == 8 and kept == grey
