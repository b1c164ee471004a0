"""Directions towards representatives against float64 NumPy, one image at a time."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrobust.pag import ClassMean, Cluster, NearestNeighbor, OneImage
from tfrobust.pag.representatives import MISSING, sample

SHAPE, CLASSES = (3, 2, 2), 3
SOURCES = {
    "one_image": OneImage,
    "class_mean": ClassMean,
    "nearest_neighbor": NearestNeighbor,
    "cluster": Cluster,
}


def examples(count=24, seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    return images, np.arange(count) % CLASSES


def floats(images):
    return images.astype(np.float32) / np.float32(255)


def all_classes(images):
    return tf.broadcast_to(tf.range(CLASSES), [len(images), CLASSES])


def representatives(directions, images, **extras):
    """What the directions lead to, `[B,K,H,W,C]`."""
    result = directions(tf.constant(images), all_classes(images), extras)
    return result.numpy() + images[:, None]


def test_one_image_is_a_training_image_of_its_class_and_the_same_for_all():
    images, labels = examples()
    result = representatives(OneImage(images, labels, CLASSES), floats(images[:5]))
    for t in range(CLASSES):
        own = floats(images[labels == t])
        distance = np.abs(own - result[0, t]).reshape(len(own), -1).max(axis=1)
        assert distance.min() < 1e-6
        np.testing.assert_allclose(result[:, t], result[:1, t].repeat(5, 0), atol=1e-6)


def test_another_seed_is_another_image():
    images, labels = examples()
    pools = [
        OneImage(images, labels, CLASSES, seed=seed).representatives for seed in (0, 1)
    ]
    assert not np.array_equal(*pools)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_class_means_times_a_constant(scale):
    images, labels = examples()
    directions = ClassMean(images, labels, CLASSES, scale=scale)
    for t in range(CLASSES):
        expected = scale * (images[labels == t] / 255.0).mean(axis=0)
        np.testing.assert_allclose(directions.representatives[t], expected, rtol=1e-6)


def test_without_a_constant_a_mean_is_as_long_as_its_images():
    """Root mean square length over the class."""
    images, labels = examples()
    directions = ClassMean(images, labels, CLASSES)
    for t in range(CLASSES):
        own = (images[labels == t] / 255.0).reshape(-1, np.prod(SHAPE))
        expected = np.sqrt(np.mean(np.sum(own**2, axis=1)))
        length = np.linalg.norm(directions.representatives[t])
        np.testing.assert_allclose(length, expected, rtol=1e-6)
        mean = own.mean(axis=0)
        cosine = mean @ directions.representatives[t].numpy().ravel()
        assert cosine == pytest.approx(np.linalg.norm(mean) * length, rel=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 9))
def test_the_nearest_neighbor_is_the_one_a_search_finds(seed, samples):
    """Fresh images, so that none is among the sample."""
    images, labels = examples(27, seed % 5)
    directions = NearestNeighbor(images, labels, CLASSES, samples=samples, seed=seed)
    pool, index = sample(images, labels, CLASSES, samples, seed)
    fresh = np.random.default_rng([seed, 1]).random((4, *SHAPE), np.float32)
    result = representatives(directions, fresh)
    for b, t in np.ndindex(4, CLASSES):
        rows = index[t][index[t] != MISSING]
        own = images[rows].astype(np.float64) / 255
        distances = np.sum((own - fresh[b]) ** 2, axis=(1, 2, 3))
        nearest = np.sum((result[b, t].astype(np.float64) - fresh[b]) ** 2)
        np.testing.assert_allclose(nearest, distances.min(), rtol=1e-5)
        assert np.all(labels[rows] == t)


def test_an_image_of_the_sample_is_not_its_own_neighbor():
    """Found by its pixels, or by its index where it was cropped and flipped."""
    images, labels = examples()
    directions = NearestNeighbor(images, labels, CLASSES, samples=8)
    whole = floats(images)
    result = representatives(directions, whole)
    own = result[np.arange(len(labels)), labels]
    assert np.abs(own - whole).reshape(len(whole), -1).max(axis=1).min() > 1e-3
    flat = whole.reshape(len(whole), -1).astype(np.float64)
    distances = np.sum((flat[:, None] - flat) ** 2, axis=-1)
    distances[labels[:, None] != labels] = np.inf
    np.fill_diagonal(distances, np.inf)
    second = whole[np.argmin(distances, axis=1)]
    np.testing.assert_allclose(own, second, atol=1e-6)
    moved = np.clip(whole + 0.02, 0, 1)
    untold = representatives(directions, moved)[np.arange(len(labels)), labels]
    indexed = representatives(directions, moved, index=tf.range(len(labels)))
    indexed = indexed[np.arange(len(labels)), labels]
    np.testing.assert_allclose(untold, whole, atol=1e-6)
    assert np.abs(indexed - whole).reshape(len(whole), -1).max(axis=1).min() > 1e-3


def test_a_class_of_few_images_has_only_those():
    """The places that are left over are never the nearest, not even to black."""
    images, labels = examples(11)
    labels = np.array([0] * 7 + [1] * 2 + [2] * 2)
    images = np.maximum(images, 100)
    directions = NearestNeighbor(images, labels, CLASSES, samples=7)
    result = representatives(directions, np.zeros((1, *SHAPE), np.float32))
    assert result.min() >= 100 / 255 - 1e-6


def test_centers_are_those_of_the_clusters():
    """Two well-separated heaps in each class; the nearer one's mean."""
    random = np.random.default_rng(0)
    heaps = np.stack([np.full(SHAPE, 0.2), np.full(SHAPE, 0.8)])
    images = (heaps[np.arange(24) % 2] + random.normal(0, 0.01, (24, *SHAPE))).astype(
        np.float32
    )
    labels = np.arange(24) // 2 % CLASSES
    directions = Cluster(images, labels, CLASSES, clusters=2)
    dark = np.zeros((1, *SHAPE), np.float32)
    centers = representatives(directions, dark)
    for t in range(CLASSES):
        own = images[(labels == t) & (np.arange(24) % 2 == 0)]
        np.testing.assert_allclose(centers[0, t], own.mean(axis=0), atol=1e-6)


def test_one_cluster_is_the_class_mean():
    images, labels = examples()
    result = representatives(
        Cluster(images, labels, CLASSES, clusters=1), floats(images[:2])
    )
    means = ClassMean(images, labels, CLASSES, scale=1.0).representatives
    np.testing.assert_allclose(result, np.stack([means] * 2), atol=1e-6)


@pytest.mark.parametrize("name", SOURCES)
def test_chosen_classes_are_a_selection_of_all(name):
    """And neither the batch nor its size matters; in a graph of unknown batch size."""
    images, labels = examples()
    directions = SOURCES[name](images, labels, CLASSES)
    some = np.random.default_rng(1).random((5, *SHAPE), np.float32)
    chosen = np.array([[2, 0], [1, 2], [0, 1], [1, 0], [2, 1]])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *SHAPE]),
            tf.TensorSpec([None, None], tf.int32),
        ],
        autograph=False,
    )
    def call(x, t):
        return directions(x, t, {})

    whole = call(some, all_classes(some)).numpy()
    expected = whole[np.arange(5)[:, None], chosen]
    np.testing.assert_allclose(call(some, chosen), expected, atol=1e-6)
    np.testing.assert_allclose(call(some[:2], chosen[:2]), expected[:2], atol=1e-6)
    assert call.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "`classes` must be an integer of at least 2"),
        ({"classes": 4}, "no image of class 3"),
        ({"classes": 2}, r"`labels` must lie in \[0, 2\)"),
        ({"labels": np.zeros(24)}, "one integer for each image"),
        ({"labels": np.arange(23) % 3}, "one integer for each image"),
    ],
)
def test_what_cannot_be(name, change, message):
    images, labels = examples()
    arguments = {"images": images, "labels": labels, "classes": CLASSES, **change}
    with pytest.raises(ValueError, match=message):
        SOURCES[name](**arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda *a: NearestNeighbor(*a, samples=1), "`samples` must be at least 2"),
        (lambda *a: Cluster(*a, clusters=0), "`clusters` must be an integer"),
        (lambda *a: ClassMean(*a, scale=0.0), "`scale` must be a finite number"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make(*examples(), CLASSES)


def test_a_class_of_one_image_has_no_neighbor():
    images, labels = examples()
    with pytest.raises(ValueError, match="Received: 1 image of class 2"):
        NearestNeighbor(images, np.where(np.arange(24) == 5, 2, labels % 2), CLASSES)


@pytest.mark.parametrize("name", SOURCES)
def test_a_network_of_other_shapes_is_refused(name):
    directions = SOURCES[name](*examples(), CLASSES)
    directions.check(SHAPE, CLASSES)
    with pytest.raises(ValueError, match="of 3 classes, a network of 4"):
        directions.check(SHAPE, 4)
    with pytest.raises(ValueError, match="must be of the network's image shape"):
        directions.check((8, 8, 3), CLASSES)


def test_images_of_255_levels_that_are_not_bytes_are_refused():
    """As directions they would lead out of every image."""
    images, labels = examples()
    with pytest.raises(ValueError, match=r"must be uint8 or lie in \[0, 1\]"):
        ClassMean(images.astype(np.float32), labels, CLASSES)
    with pytest.raises(ValueError, match=r"must be uint8 or lie in \[0, 1\]"):
        OneImage(images.astype(np.int64), labels, CLASSES)


def test_a_near_neighbor_is_not_taken_for_the_image_itself():
    """In a plane where points lie densely; only an equal one is left out."""
    points = np.linspace(0.4, 0.41, 20, dtype=np.float32)[:, None]
    points = np.concatenate([points, points], axis=1)
    directions = NearestNeighbor(points, np.arange(20) % 2, 2, samples=10)
    result = directions(tf.constant(points), tf.broadcast_to([0, 1], [20, 2]))
    lengths = np.abs(result.numpy()[..., 0])
    own = lengths[np.arange(20), np.arange(20) % 2]
    step = 0.01 / 19
    np.testing.assert_allclose(own, 2 * step, rtol=1e-2)


def test_a_network_of_any_size_is_accepted():
    ClassMean(*examples(), CLASSES).check((None, None, SHAPE[-1]), CLASSES)
