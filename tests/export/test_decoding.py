"""Image files on their way to pixels: answers, refusals and limits, in the graph."""

import io

import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from export.decoding import MAX_BYTES
from tests import networks
from tests.export.requested import CLASSES, SHAPE, ask, pixels, request

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    """Small, of every low-curvature layer."""
    return networks.low_curvature(SHAPE, CLASSES)


@pytest.fixture(scope="module")
def loaded(network, tmp_path_factory):
    """Holds the variables; signatures alone do not."""
    folder = tmp_path_factory.mktemp("served") / "net"
    signatures = ("serving_default", "predict_bytes")
    return tf.saved_model.load(
        export_saved_model(network, folder, list("abcd"), signatures=signatures)
    )


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_files_are_answered_as_their_pixels(loaded, network, kind):
    """PNG without loss; JPEG as TensorFlow's own decoder reads it; the same size needs
    no resizing.
    """
    levels = (255 * pixels()).astype(np.uint8)
    encode = {"png": tf.io.encode_png, "jpeg": tf.io.encode_jpeg}[kind]
    files = [encode(level).numpy() for level in levels]
    decoded = np.stack([tf.io.decode_image(file).numpy() for file in files])
    if kind == "png":
        np.testing.assert_array_equal(decoded, levels)
    answer = ask(loaded, "predict_bytes", image_bytes=np.array(files, object))
    expected = network(decoded.astype(np.float32) / 255)
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-5)
    assert answer["labels"].tolist() == [
        b"abcd"[i : i + 1] for i in np.argmax(expected, axis=1)
    ]


def test_other_sizes_and_colors(loaded, network):
    """A large image of one colour is that colour; grey becomes equal channels; alpha
    is dropped; a file of each kind in one request.
    """
    color = np.full((40, 90, 3), (200, 30, 90), np.uint8)
    gray = np.full((7, 3, 1), 128, np.uint8)
    clear = np.concatenate([color, np.zeros((40, 90, 1), np.uint8)], axis=-1)
    files = [tf.io.encode_png(x).numpy() for x in (color, gray, clear)]
    files.append(tf.io.encode_jpeg(gray, quality=100).numpy())
    answer = ask(loaded, "predict_bytes", image_bytes=np.array(files, object))
    shown = [np.full(SHAPE, (200, 30, 90)), np.full(SHAPE, 128)]
    expected = network(np.float32([*shown, *shown]) / 255)
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-4)


def broken_files():
    png = request("predict_bytes", 1)["image_bytes"][0]
    jpeg = tf.io.encode_jpeg(np.full((9, 9, 3), 77, np.uint8)).numpy()
    # Announces 60,000 x 60,000 pixels, as a decompression bomb does.
    bomb = png[:16] + (60000).to_bytes(4, "big") * 2 + png[24:]
    marker = jpeg.index(b"\xff\xc0")
    jpeg_bomb = jpeg[: marker + 5] + b"\xff\xff" * 2 + jpeg[marker + 9 :]
    gif = io.BytesIO(b"GIF89a" + bytes(30)).getvalue()
    return {
        "empty": b"",
        "text": b"hello",
        "gif": gif,
        "png header": png[:20],
        "png half": png[: len(png) // 2],
        "png bomb": bomb,
        "jpeg header": jpeg[:20],
        "jpeg bomb": jpeg_bomb,
        "long": png + bytes(MAX_BYTES),
        "scans": jpeg + 101 * b"\xff\xda",
    }


@pytest.mark.parametrize("name", broken_files())
def test_broken_files_are_refused(loaded, name):
    """Beside a good one, and the next good one is answered."""
    good = request("predict_bytes", 1)["image_bytes"][0]
    files = np.array([good, broken_files()[name]], object)
    with pytest.raises(tf.errors.InvalidArgumentError):
        ask(loaded, "predict_bytes", image_bytes=files)
    assert len(ask(loaded, "predict_bytes", image_bytes=files[:1])["classes"]) == 1


def test_scans_and_pixels_have_a_limit(loaded):
    """100 of a file and 2**24 of a request are answered, one more scan and one more row
    of pixels are not; nor are files too long together.
    """
    jpeg = tf.io.encode_jpeg(np.full((8, 6, 3), 77, np.uint8)).numpy()
    large = tf.io.encode_png(np.zeros((2048, 4096, 1), np.uint8)).numpy()
    small = tf.io.encode_png(np.zeros((1, 4096, 1), np.uint8)).numpy()
    scans, pixels = "at most 100 scans", "at most 16777216 pixels in all"
    padded = jpeg + bytes(MAX_BYTES - len(jpeg))
    for files, refused in (
        # One scan is the image's own; what comes after its end is not read.
        ([jpeg + 99 * b"\xff\xda"], None),
        ([jpeg + 100 * b"\xff\xda"], scans),
        ([large, large], None),
        ([large, small, large], pixels),
        (6 * [padded], None),
        (7 * [padded], "at most 67108864 bytes in all"),
    ):
        files = np.array(files, object)
        if refused is None:
            answer = ask(loaded, "predict_bytes", image_bytes=files)
            assert len(answer["classes"]) == len(files)
            continue
        with pytest.raises(tf.errors.InvalidArgumentError, match=refused):
            ask(loaded, "predict_bytes", image_bytes=files)
