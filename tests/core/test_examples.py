"""Images with labels in every form that users have them in."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust import data
from tfrobust.core.examples import Batches

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
