"""Images with labels in every form that users have them in."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust import data
from tfrobust.core.examples import Batches, gather

IMAGES = np.arange(5 * 4, dtype=np.float32).reshape(5, 2, 2, 1)
LABELS = np.array([3, 1, 4, 1, 5])
PARTS = [(IMAGES[:2], LABELS[:2]), (IMAGES[2:4], LABELS[2:4]), (IMAGES[4:], LABELS[4:])]


def padded():
    """The last batch filled up by an example of weight 0, and one batch of nothing."""
    last = np.concatenate([IMAGES[4:], IMAGES[:1]]), np.array([5, 9])
    counts = np.ones(2, np.float32)
    nothing = (IMAGES[:2], LABELS[:2], 0 * counts)
    return [(*PARTS[0], counts), (*PARTS[1], counts), (*last, [1.0, 0.0]), nothing]


FORMS = {
    "pair": lambda: (IMAGES, LABELS),
    "list of two arrays": lambda: [IMAGES, LABELS],
    "pair of tensors": lambda: (tf.constant(IMAGES), tf.constant(LABELS)),
    "labels in a list": lambda: (IMAGES, LABELS.tolist()),
    "pair with weights": lambda: (
        np.concatenate([IMAGES, IMAGES[:1]]),
        np.append(LABELS, 9),
        np.array([1, 1, 1, 1, 1, 0]),
    ),
    "batches": lambda: PARTS,
    "generator": lambda: iter(PARTS),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(2),
    "padded": padded,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_batches(form):
    """To the last bit, and no row of padding."""
    batches = list(Batches(FORMS[form](), batch_size=2))
    assert len(batches) == len(PARTS)
    for batch, (images, labels) in zip(batches, PARTS, strict=True):
        np.testing.assert_array_equal(batch.images, images)
        np.testing.assert_array_equal(batch.labels, labels)


def test_two_batches_are_no_pair_of_arrays():
    assert len(list(Batches(PARTS[:2]))) == len(list(Batches(tuple(PARTS[:2])))) == 2


def test_a_padded_pipeline_is_as_a_plain_one():
    shapes = data.make_shapes(50, seed=0)
    plain, filled = (
        list(Batches(data.eval_pipeline(shapes, batch_size=20, pad=pad)))
        for pad in (False, True)
    )
    assert [len(batch.labels) for batch in filled] == [20, 20, 10]
    for first, second in zip(plain, filled, strict=True):
        np.testing.assert_array_equal(first.images, second.images)
        np.testing.assert_array_equal(first.labels, second.labels)


def test_the_number_of_batches_is_known_where_the_source_knows_it():
    assert len(Batches((IMAGES, LABELS), 2)) == 3
    assert len(Batches(PARTS)) == 3
    with pytest.raises(TypeError):
        len(Batches(iter(PARTS)))


def test_arrays_can_be_gone_through_twice():
    batches = Batches((IMAGES, LABELS), 3)
    assert [len(batch.labels) for batch in batches] == [3, 2]
    assert [len(batch.labels) for batch in batches] == [3, 2]


@pytest.mark.parametrize(
    ("given", "size", "message"),
    [
        (
            (IMAGES, LABELS[:3]),
            2,
            "`batches` must hold as many labels as images. Received: 5 images, "
            "3 labels",
        ),
        ([IMAGES], 2, "`batches` must yield (images, labels). Received: a ndarray"),
        ([(IMAGES,)], 2, "`batches` must yield (images, labels). Received: a tuple"),
        (
            (IMAGES, LABELS),
            0,
            "`batch_size` must be an integer of at least 1. Received: batch_size=0",
        ),
    ],
)
def test_what_is_no_data_is_named(given, size, message):
    with pytest.raises(ValueError) as caught:
        list(Batches(given, size))
    assert str(caught.value) == message


def byte_images():
    return data.Dataset("levels", np.uint8(51 * IMAGES), LABELS, tuple("abcdef"))


# Images alone, of which labels are given beside them.
ALONE = {
    "array": lambda: IMAGES,
    "tensor": lambda: tf.constant(IMAGES),
    "nested lists": lambda: IMAGES.tolist(),
    "list of images": lambda: list(IMAGES),
    "two images": lambda: [IMAGES[0], IMAGES[1]],
    "batches": lambda: (images for images, _ in PARTS),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices(IMAGES).batch(2),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_images_and_labels(form):
    """To the last bit, and no row of padding."""
    images, labels = gather(FORMS[form](), labeled=True)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("form", ALONE)
def test_images_may_come_alone(form):
    """Their labels, if any, are those that are given."""
    expected = IMAGES[:2] if form == "two images" else IMAGES
    for given in (None, LABELS):
        images, labels = gather(ALONE[form](), given)
        np.testing.assert_array_equal(images, expected)
        assert labels is given


def test_bytes_are_pixels_and_arrays_are_not_copied():
    images, labels = gather(byte_images())
    expected = np.uint8(51 * IMAGES).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(images, expected)
    assert images.dtype == np.float32 and labels.tolist() == LABELS.tolist()
    assert gather(IMAGES).images is IMAGES


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gather(PARTS, LABELS),
            "`labels` must be None where `images` brings its own. Received: both",
        ),
        (
            lambda: gather(IMAGES, name="natural", labeled=True),
            "`labels` must be given where `natural` brings none. Received: labels=None",
        ),
        (
            lambda: gather(iter([]), name="clean"),
            "`clean` must hold at least one batch. Received: none",
        ),
        (
            lambda: gather({"images": IMAGES}),
            "`images` must yield (images, labels). Received: a str",
        ),
    ],
)
def test_what_cannot_be_gathered_is_named(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
