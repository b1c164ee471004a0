"""Files to bytes: every format against Pillow, sizes against an explicit kernel."""

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import bmp, encoded, picture
from tfrobust.data import decode
from tfrobust.data.decode import read_images
from tfrobust.data.formats import EXTENSIONS
from tfrobust.data.source import parse

PLAIN = parse("folder:x")


def write(folder, *contents):
    """Files of these contents; `(suffix, bytes)` each."""
    files = []
    for number, (suffix, content) in enumerate(contents):
        file = folder / f"{number}{suffix}"
        file.write_bytes(content)
        files.append(str(file))
    return files


def test_every_format_is_what_pillow_sees(tmp_path):
    """In order; to the bit, but for JPEG and WebP, whose colours are rounded."""
    images = [picture(seed) for seed in range(len(EXTENSIONS))]
    contents = [(s, encoded(i, s)) for s, i in zip(EXTENSIONS, images, strict=True)]
    files = write(tmp_path, *contents, (".bmp", bmp(images[0])))
    read = read_images(files, PLAIN)
    assert read.shape == (7, 12, 16, 3) and read.dtype == np.uint8
    for file, image in zip(files, read, strict=True):
        seen = np.asarray(Image.open(file).convert("RGB")).astype(int)
        # Two decoders may upsample colour differently.
        loose = 6 if file.endswith((".jpg", ".jpeg", ".webp")) else 0
        assert np.abs(seen - image).max() <= loose, file


def triangle(count, size):
    """The matrix of antialiased linear interpolation, `[size,count]`, by hand."""
    scale = count / size
    centers = (np.arange(size) + 0.5) * scale - 0.5
    width = max(scale, 1)
    weights = np.maximum(0, 1 - np.abs(centers[:, None] - np.arange(count)) / width)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(5, 7), (12, 16), (30, 9)])
def test_an_image_is_stretched_by_the_triangle_kernel(tmp_path, size):
    image = picture(3)
    source = parse(f"folder:x:size={size[0]}x{size[1]}")
    (read,) = read_images(write(tmp_path, (".png", encoded(image, ".png"))), source)
    rows, columns = triangle(12, size[0]), triangle(16, size[1])
    expected = np.einsum("hi,wj,ijc->hwc", rows, columns, image.astype(float))
    # One level where a half is rounded.
    assert np.abs(read - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("shape", "size", "part"),
    [
        ((12, 16), "6x6", (slice(0, 12), slice(2, 14))),
        ((17, 9), "4x4", (slice(4, 13), slice(0, 9))),
        ((12, 16), "3x8", (slice(3, 9), slice(0, 16))),
    ],
)
def test_the_centre_is_cut_out_when_it_is_asked_for(tmp_path, shape, size, part):
    """The same as cutting by hand and stretching what is left."""
    image = picture(4, *shape)
    files = write(
        tmp_path,
        (".png", encoded(image, ".png")),
        (".png", encoded(image[part], ".png")),
    )
    (cut,) = read_images(files[:1], parse(f"folder:x:size={size},crop=true"))
    (by_hand,) = read_images(files[1:], parse(f"folder:x:size={size}"))
    np.testing.assert_array_equal(cut, by_hand)
    (stretched,) = read_images(files[:1], parse(f"folder:x:size={size}"))
    assert not np.array_equal(cut, stretched)


def test_channels_are_turned_into_each_other(tmp_path):
    grey, color = picture(0, channels=1), picture(1)
    opaque = np.concatenate([color, np.full((12, 16, 1), 255, np.uint8)], axis=2)
    clear = np.concatenate([color, picture(2, channels=1) // 2], axis=2)
    files = write(
        tmp_path, *((".png", encoded(i, ".png")) for i in (grey, color, opaque, clear))
    )
    rgb = read_images(files, parse("folder:x:channels=3"))
    for read, expected in zip(rgb, [np.repeat(grey, 3, 2), *3 * [color]], strict=True):
        np.testing.assert_array_equal(read, expected)
    one = read_images(files, parse("folder:x:channels=1"))
    np.testing.assert_array_equal(one[0], grey)
    luma = color @ np.array([0.299, 0.587, 0.114])
    # Truncated, not rounded, by weights of four digits.
    assert np.abs(one[1, ..., 0] - luma).max() <= 1.1


def test_what_is_opaque_loses_its_alpha_and_a_bmp_has_none(tmp_path):
    color = picture(1)
    opaque = np.concatenate([color, np.full((12, 16, 1), 255, np.uint8)], axis=2)
    blank = np.concatenate([color, np.zeros((12, 16, 1), np.uint8)], axis=2)
    files = write(
        tmp_path, (".png", encoded(opaque, ".png")), (".bmp", encoded(blank, ".bmp"))
    )
    np.testing.assert_array_equal(read_images(files, PLAIN), np.stack([color, color]))


CLEAR = np.concatenate([picture(0), np.full((12, 16, 1), 9, np.uint8)], axis=2)
PNG = (".png", encoded(picture(0), ".png"))


@pytest.mark.parametrize(
    ("second", "must", "received"),
    [
        (
            (".png", encoded(CLEAR, ".png")),
            "have no transparent images, or a setting channels=3 that drops the "
            "transparency",
            "{1}, part of which is transparent",
        ),
        (
            (".jpg", encoded(picture(0, channels=1), ".jpg")),
            "have only grey or only RGB images, or a setting channels=3 or channels=1 "
            "that turns them into each other",
            "{0}, which is RGB, and {1}, which is grey",
        ),
        (
            (".png", encoded(picture(0, width=17), ".png")),
            "have images of one size, or a setting such as size=64 or size=48x64 "
            "(--image_size) that they are brought to",
            "{0} of 12x16 and {1} of 12x17",
        ),
    ],
)
def test_what_differs_is_named(tmp_path, second, must, received):
    files = write(tmp_path, PNG, second, PNG)
    with pytest.raises(ValueError) as caught:
        read_images(files, PLAIN)
    expected = received.format(*files)
    assert str(caught.value) == f"`name` must {must}. Received: {expected}"


@pytest.mark.parametrize("suffix", EXTENSIONS)
def test_a_file_cut_short_is_named_wherever_it_stands(tmp_path, suffix):
    whole = encoded(picture(0), suffix)
    files = write(tmp_path, *5 * [PNG], (suffix, whole[: len(whole) * 3 // 4]), PNG)
    with pytest.raises(ValueError) as caught:
        read_images(files, PLAIN)
    assert str(caught.value) == (
        "`name` must lead to images that can be decoded. Received: "
        f"{files[5]}, which is broken or cut short"
    )


def test_the_first_frame_of_a_gif_is_the_image(tmp_path):
    first, second = (Image.fromarray(picture(s)).convert("P") for s in (0, 1))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    (read,) = read_images([str(tmp_path / "a.gif")], PLAIN)
    np.testing.assert_array_equal(read, np.asarray(first.convert("RGB")))


def test_progress_sees_every_file(tmp_path):
    seen = []

    def progress(images, count):
        for image in images:
            seen.append(count)
            yield image

    read_images(write(tmp_path, PNG, PNG, PNG), PLAIN, progress)
    assert seen == [3, 3, 3]


def test_more_than_the_memory_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(decode.os, "sysconf", lambda name: 30)
    with pytest.raises(ValueError, match="must have images that fit twice") as caught:
        read_images(write(tmp_path, PNG), PLAIN)
    assert str(caught.value).endswith(
        "Received: 1 images of 12x16x3, 5.76e-07 GB, where there are 9e-07 GB"
    )
