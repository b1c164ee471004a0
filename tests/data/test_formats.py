"""What a file holds, by its first bytes."""

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import FORMATS, bmp, encoded, picture
from tfrobust.data.formats import EXTENSIONS, check_header, is_turned, kind_of


def test_every_extension_is_one_that_tests_know():
    assert set(EXTENSIONS) == set(FORMATS)


@pytest.mark.parametrize("suffix", EXTENSIONS)
def test_a_good_file_passes(tmp_path, suffix):
    file = tmp_path / f"a{suffix.upper()}"
    file.write_bytes(encoded(picture(0), suffix))
    check_header(str(file))
    assert kind_of(file.read_bytes()[:12]).upper() == FORMATS[suffix]


BMP = (
    "have BMP images of 24 or 32 bits a pixel, or grey ones of 8, without compression",
    ", which is another; as a PNG it could be read",
)


@pytest.mark.parametrize(
    ("name", "content", "must", "what"),
    [
        ("a.png", b"", "lead to images that can be read", ", which is empty"),
        ("a.png", b"hello", "lead to images that can be read", ", which is no image"),
        (
            "a.png",
            encoded(picture(0), ".jpg"),
            "have images in the format that their names say",
            ", which holds a JPEG",
        ),
        ("a.bmp", bmp(picture(0))[:40], *BMP),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, content, must, what):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        check_header(str(file))
    assert str(caught.value) == f"`name` must {must}. Received: {file}{what}"


def test_a_bmp_with_a_palette_is_refused_and_a_grey_one_not(tmp_path):
    """TensorFlow would return the numbers of its colours."""
    file = tmp_path / "a.bmp"
    Image.fromarray(picture(0)).convert("P").save(file)
    with pytest.raises(ValueError, match=BMP[0]):
        check_header(str(file))
    Image.fromarray(picture(0)[..., 0]).save(file)
    check_header(str(file))
    file.write_bytes(bmp(picture(0)))
    check_header(str(file))
    assert np.array_equal(np.asarray(Image.open(file)), picture(0))


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_where_up_is_stands_in_the_notes_of_a_camera(orientation, endian):
    """As Pillow writes them, in either order of bytes, among others."""
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0110] = "Maker", "Model"
    if orientation is not None:
        exif[0x0112] = orientation
    content = encoded(picture(0), ".jpg", exif=exif)
    assert is_turned(content[:600]) == (orientation not in (None, 1))
    # Cut off in its notes, or none at all.
    assert not is_turned(content[:34]) and not is_turned(encoded(picture(0), ".jpg"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png: No such file or directory$"):
        check_header(str(tmp_path / "a.png"))
