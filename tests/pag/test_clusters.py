"""k-means: what its centres must satisfy, whatever the start."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrobust.pag import clusters
from tfrobust.pag.clusters import k_means


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 30))
def test_every_center_is_the_mean_of_what_is_nearest_to_it(seed, count, points):
    """The fixed point of Lloyd's algorithm, which so few points always reach."""
    images = np.random.default_rng(seed).random((points, 2, 1), np.float32)
    centers = k_means(images, count, seed)
    assert centers.shape == (min(count, points), 2, 1)
    flat, own = images.reshape(points, -1), centers.reshape(len(centers), -1)
    distances = np.sum((flat[:, None] - own) ** 2, axis=-1)
    nearest = np.argmin(distances, axis=1)
    for cluster in np.unique(nearest):
        expected = flat[nearest == cluster].mean(axis=0)
        np.testing.assert_allclose(own[cluster], expected, atol=1e-5)


def test_as_many_clusters_as_points_are_the_points():
    images = np.random.default_rng(0).random((6, 3), np.float32)
    centers = k_means(images, 9, seed=1)
    order = [np.lexsort(array.T) for array in (images, centers)]
    np.testing.assert_allclose(centers[order[1]], images[order[0]], atol=1e-6)


def test_heaps_are_found():
    """Five heaps far apart: k-means++ does not start two centres in one of them."""
    random = np.random.default_rng(0)
    middles = np.array([[0, 0], [0, 9], [9, 0], [9, 9], [4, 4]], np.float32)
    points = (np.repeat(middles, 20, axis=0) + random.normal(0, 0.05, (100, 2))).astype(
        np.float32
    )
    for seed in range(5):
        centers = k_means(points, 5, seed)
        distances = np.linalg.norm(centers[:, None] - middles, axis=-1)
        assert np.all(distances.min(axis=0) < 0.1)


def test_equal_points_do_no_harm():
    centers = k_means(np.full((7, 2), 0.5, np.float32), 3, seed=0)
    np.testing.assert_array_equal(centers, np.full((3, 2), 0.5))


def test_a_seed_fixes_it():
    images = np.random.default_rng(0).random((40, 4), np.float32)
    np.testing.assert_array_equal(k_means(images, 5, 3), k_means(images, 5, 3))
    assert not np.array_equal(k_means(images, 5, 3), k_means(images, 5, 4))


@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 4, 3)])
def test_images_keep_their_shape(shape):
    images = np.random.default_rng(0).random(shape, np.float32)
    assert k_means(images, 2, 0).shape == (2, *shape[1:])


HASHES = """
import hashlib, runpy, sys
import numpy as np

k_means = runpy.run_path(sys.argv[1])["k_means"]
for seed in range(4):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 2, (200, 20, 20)), random.integers(0, 256, (200, 12, 3))
    for images, scale in zip(pixels, (0.7, 1 / 255), strict=True):
        images = images.astype(np.float32) * np.float32(scale)
        print(hashlib.sha256(k_means(images, 6, seed).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_every_process_finds_the_same_centers():
    """In every bit, with the matrix products of other processors, on other numbers of
    threads. Images of two values have many distances alike: in single precision these
    settings break the ties differently.
    """
    settings = (
        {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "3"},
        {"PYTHONHASHSEED": "7"},
    )
    command = [sys.executable, "-c", HASHES, clusters.__file__]
    centers = [
        subprocess.run(
            command, env={**os.environ, **each}, capture_output=True, check=True
        ).stdout.split()
        for each in settings
    ]
    assert centers[0] == centers[1] == centers[2] and len(set(centers[0])) == 8
