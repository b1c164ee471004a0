"""What the tests of the clients share: the protocols, images and files."""

import contextlib
import struct
import zlib

import numpy as np
import tensorflow as tf

from export.client import RestClient
from tests.export.servers import NAME, Script

SHAPE = (2, 3, 1)
LABELS = list("abcde") + ["\u00e9"]


class Odd(tf.Module):
    """Signatures with what an exported model does not answer."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def echo(self, image_bytes):
        return {"echo_bytes": image_bytes}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def kinds(self, x):
        return {
            "truth": x > 0,
            "long": tf.cast(x, tf.int64) * 2**40,
            "short": tf.cast(x, tf.int32),
            "log": tf.math.log(x),
            "scalar": tf.reduce_sum(x),
        }


class Kind:
    """A protocol: its client, its server and its words for a status."""

    def __init__(self, client, server, busy, failed):
        self.client, self.server = client, server
        self.busy, self.failed = busy, failed

    def where(self, port):
        return (
            f"http://127.0.0.1:{port}"
            if self.client is RestClient
            else f"127.0.0.1:{port}"
        )


def pixels(count=4, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


def png(level, *extra):
    """A 2x3 image of one grey, as a file, encoded by hand."""

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes([level] * SHAPE[1]) for _ in range(SHAPE[0]))
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@contextlib.contextmanager
def served(kind, loaded, script=None, **settings):
    """A client of a server that follows the script."""
    with kind.server(loaded, script or Script()) as where:
        with kind.client(where, NAME, **settings) as client:
            yield client
