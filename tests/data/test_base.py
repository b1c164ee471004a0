"""`Dataset`: checks on construction, `take` and stratified `subset`."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from tfrobust.data import Dataset

NAMES = ("a", "b", "c")


def numbered(labels, names=NAMES):
    """Images whose first pixel is their index."""
    images = np.zeros((len(labels), 5, 4, 2), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels))
    return Dataset("numbered", images, np.array(labels), names)


def test_properties_follow_the_arrays():
    """Sizes come from the arrays; labels become int32."""
    data = numbered([0, 1, 2, 1])
    assert (len(data), data.classes, data.image_shape) == (4, 3, (5, 4, 2))
    assert data.labels.dtype == np.int32


def test_take_is_the_beginning():
    """`take` keeps the first examples with their own labels."""
    part = numbered([2, 1, 0, 1]).take(3)
    assert part.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert part.labels.tolist() == [2, 1, 0]


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.data())
def test_subset_is_as_balanced_as_the_classes_allow(data):
    """No class falls two behind another one unless it is used up; none repeats."""
    labels = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=60))
    count = data.draw(st.integers(1, len(labels)))
    whole = numbered(labels)
    part = whole.subset(count, seed=data.draw(st.integers(0, 99)))
    index = part.images[:, 0, 0, 0].astype(int)
    assert len(set(index)) == count == len(part)
    assert part.labels.tolist() == [labels[i] for i in index]
    there = np.bincount(labels, minlength=3)
    taken = np.bincount(part.labels, minlength=3)
    short = taken[taken < there]
    assert short.size == 0 or taken.max() - short.min() <= 1


def test_subset_depends_on_the_seed_alone():
    """One seed repeats itself, another differs, and a smaller subset comes first."""
    whole = numbered([0, 1, 2] * 30)
    first, again = whole.subset(20, seed=1), whole.subset(20, seed=1)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.images[:7], whole.subset(7, seed=1).images)
    assert (first.images != whole.subset(20, seed=2).images).any()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            np.zeros((2, 4, 4, 1), np.float32),
            [0, 1],
            "`images` must be a non-empty uint8 array (N, height, width, channels). "
            "Received: shape (2, 4, 4, 1) and type float32",
        ),
        (
            np.zeros((2, 4, 4), np.uint8),
            [0, 1],
            "`images` must be a non-empty uint8 array (N, height, width, channels). "
            "Received: shape (2, 4, 4) and type uint8",
        ),
        (
            np.zeros((0, 4, 4, 1), np.uint8),
            [],
            "`images` must be a non-empty uint8 array (N, height, width, channels). "
            "Received: shape (0, 4, 4, 1) and type uint8",
        ),
        (
            np.zeros((2, 4, 4, 1), np.uint8),
            [0, 1, 2],
            "`labels` must be 2 integers, one for each image. Received: shape (3,) "
            "and type int64",
        ),
        (
            np.zeros((2, 4, 4, 1), np.uint8),
            [0.0, 1.0],
            "`labels` must be 2 integers, one for each image. Received: shape (2,) "
            "and type float64",
        ),
        (
            np.zeros((2, 4, 4, 1), np.uint8),
            [0, 3],
            "`labels` must lie from 0 to 2, one for each of the 3 class names. "
            "Received: 0 to 3",
        ),
        (
            np.zeros((2, 4, 4, 1), np.uint8),
            [-1, 2],
            "`labels` must lie from 0 to 2, one for each of the 3 class names. "
            "Received: -1 to 2",
        ),
    ],
)
def test_bad_arrays_are_refused(images, labels, message):
    """Each wrong rank, type, length or value is named in full."""
    with pytest.raises(ValueError) as caught:
        Dataset("bad", images, np.array(labels), NAMES)
    assert str(caught.value) == message


@pytest.mark.parametrize("count", [0, 5])
def test_counts_outside_the_data_are_refused(count):
    """`take` and `subset` say how many examples there are."""
    data = numbered([0, 1, 2, 1])
    message = (
        f"`count` must be from 1 to 4, the size of 'numbered'. Received: count={count}"
    )
    for select in (data.take, lambda n: data.subset(n, seed=0)):
        with pytest.raises(ValueError) as caught:
            select(count)
        assert str(caught.value) == message


def test_a_negative_subset_seed_is_refused():
    """The message gives the seed's range."""
    with pytest.raises(ValueError) as caught:
        numbered([0, 1]).subset(1, seed=-1)
    assert str(caught.value) == "`seed` must not be negative. Received: seed=-1"
