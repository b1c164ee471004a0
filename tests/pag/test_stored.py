"""Directions of images before augmentation, followed pixel by pixel by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust import data, pag
from tfrobust.pag.base import of_batch

HEIGHT, WIDTH, COUNT = 6, 5, 7


def numbered():
    """Images in which no two pixels are alike, so that each says where it was."""
    place = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
    images = 1 + COUNT * place[None] + np.arange(COUNT).reshape(-1, 1, 1, 1)
    return data.Dataset(
        images=images.astype(np.uint8),
        labels=np.arange(COUNT, dtype=np.int32) % 2,
        class_names=("even", "odd"),
        name="numbered",
    )


def batches(source, train, **settings):
    stored = pag.StoredDirections(source)
    pipeline = data.train_pipeline(
        train,
        batch_size=COUNT,
        seed=3,
        epochs=4,
        with_index=True,
        directions=stored.of_images,
        **settings,
    )
    return stored, pipeline


@pytest.mark.parametrize("name", ["one_image", "class_mean", "nearest_neighbor"])
def test_directions_of_the_original_are_cropped_and_mirrored_with_it(name):
    """Where a pixel of x has gone, there is `r_t - x` of where it was; 0 at the border.

    The nearest neighbour of image i is image i - 2 or i + 2 in its own class and i - 1
    or i + 1 in the other, whatever was cropped, since images differ by a constant.
    """
    train = numbered()
    source = pag.build(name, train.images, train.labels, 2)
    stored, pipeline = batches(source, train, augment="crop_flip")
    originals = train.images.astype(np.float64) / 255
    moved = 0
    for batch, _ in pipeline:
        values = np.rint(batch["images"].numpy() * 255).astype(int)[..., 0]
        chosen = tf.constant([[1, 0]] * COUNT)
        result = stored(batch["images"], chosen, batch).numpy()[..., 0]
        for row, index in enumerate(batch["index"].numpy()):
            distances = np.abs(originals - originals[index]).sum((1, 2, 3))
            distances[index] = np.inf
            for place, t in enumerate((1, 0)):
                own = np.flatnonzero(train.labels == t)
                goal = (
                    originals[own[np.argmin(distances[own])]]
                    if name == "nearest_neighbor"
                    else source.representatives[t].numpy()
                )
                expected = np.zeros((HEIGHT, WIDTH))
                for i, j in np.argwhere(values[row]):
                    was = (values[row, i, j] - 1) // COUNT
                    a, b = divmod(was, WIDTH)
                    moved += (a, b) != (i, j)
                    expected[i, j] = (goal - originals[index])[a, b, 0]
                if name == "nearest_neighbor":
                    # Two are equally near in the middle of the range.
                    expected, actual = np.abs(expected), np.abs(result[row, place])
                else:
                    actual = result[row, place]
                np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert moved > 100


def test_of_what_the_network_sees_it_is_another_direction():
    """`r_t - x` of the moved x points from it to r_t where that is."""
    train = numbered()
    source = pag.OneImage(train.images, train.labels, 2)
    stored, pipeline = batches(source, train, augment="crop_flip")
    batch, _ = next(iter(pipeline))
    chosen = tf.constant([[0]] * COUNT)
    augmented = source(batch["images"], chosen, batch)
    np.testing.assert_allclose(
        augmented[:, 0] + batch["images"],
        np.repeat(source.representatives[:1], COUNT, axis=0),
        atol=1e-6,
    )
    assert np.abs(stored(batch["images"], chosen, batch) - augmented).max() > 0.1


def test_without_augmentation_both_are_the_same():
    train = numbered()
    source = pag.ClassMean(train.images, train.labels, 2)
    stored, pipeline = batches(source, train)
    chosen = tf.constant([[0, 1]] * COUNT)
    for batch, _ in pipeline:
        np.testing.assert_allclose(
            stored(batch["images"], chosen, batch),
            source(batch["images"], chosen),
            atol=1e-7,
        )
    stored.check((HEIGHT, WIDTH, 1), 2)


def test_a_batch_without_directions_is_refused():
    with pytest.raises(ValueError) as caught:
        of_batch(tf.constant([[0]]), {"index": tf.constant([1])})
    assert str(caught.value) == (
        "A batch must hold the `directions` of its images, as "
        "train_pipeline(directions=...) makes it. Received: index alone"
    )


def test_a_function_of_another_shape_is_refused():
    """One image for each, in place of K."""
    with pytest.raises(ValueError, match=r"`directions` must return a tensor \(7, K, "):
        data.train_pipeline(
            numbered(),
            batch_size=COUNT,
            seed=0,
            epochs=1,
            directions=lambda images, index: images,
        )
