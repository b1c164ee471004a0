"""Graphs of images against matrices written edge by edge in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tests.smoothing.common import draw, log_degrees, normal, per_channel, weights
from tfrobust.smoothing import grid_graph

SIZES = [(6, 5, 2), (5, 6, 3), (4, 4, 1), (7, 3, 1), (1, 1, 2), (1, 5, 3), (6, 1, 1)]
SIZES += [(2, 2, 1), (1, 2, 1), (2, 1, 3)]
SETTINGS = [
    {},
    {"kernel": "gaussian", "bandwidth": 0.2},
    {"neighbors": 8},
    {"neighbors": 8, "spatial_bandwidth": 0.8, "kernel": "gaussian"},
    {"spatial_bandwidth": 0.8},
]


def dense(graph):
    return tf.sparse.to_dense(graph.to_sparse()).numpy().astype(np.float64)


def path(*values):
    """An image of one row."""
    return tf.constant(values, tf.float32)[None, None, :, None]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("size", SIZES)
def test_the_matrix_is_the_definition(size, settings):
    images = draw(2, *size)
    result = dense(grid_graph(images, **settings))
    for matrix, image in zip(result, images, strict=True):
        np.testing.assert_allclose(matrix, weights(image, **settings).todense(), 2e-5)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("size", SIZES)
def test_the_product_is_the_matrix_product(size, settings):
    images, z = draw(2, *size), normal(2, *size)
    product = grid_graph(images, **settings).multiply(tf.constant(z))
    expected = [
        per_channel(weights(image, **settings).dot, row)
        for image, row in zip(images, z, strict=True)
    ]
    np.testing.assert_allclose(product, expected, atol=2e-6)


@pytest.mark.parametrize("neighbors", [4, 8])
def test_neighbors_of_a_constant_image_are_bound_alike(neighbors):
    """Each edge of a path of three: `1 / sqrt(1 * 2)`; a square by the definition."""
    result = dense(grid_graph(path(0.3, 0.3, 0.3), neighbors=neighbors))[0]
    np.testing.assert_allclose(result[[0, 1], [1, 2]], 0.5**0.5, 1e-6)
    image = np.full((3, 4, 2), 0.7, np.float32)
    result = dense(grid_graph(image[None], neighbors=neighbors))[0]
    np.testing.assert_allclose(result, weights(image, neighbors=neighbors).todense())
    assert np.count_nonzero(result[5]) == neighbors  # a pixel inside


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
@pytest.mark.parametrize("bandwidth", [1e-4, 1e-5])
def test_a_tiny_bandwidth_keeps_the_nearest_neighbors(kernel, bandwidth):
    """Also several that are equally near, beside a logarithm of -1e8."""
    random = np.random.default_rng(0)
    image = (random.integers(0, 4, (6, 5, 1)) / 4).astype(np.float32)
    for neighbors in (4, 8):
        settings = {"kernel": kernel, "bandwidth": bandwidth, "neighbors": neighbors}
        result = dense(grid_graph(image[None], **settings))[0]
        expected = weights(image, **settings).toarray()
        np.testing.assert_allclose(result, expected, atol=1e-6)
        assert len(set(np.round(expected[expected > 0.01], 3))) > 3, "no ties"


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
@pytest.mark.parametrize("bandwidth", [1.0, 0.1, 1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("coarse", [False, True])
def test_eigenvalues_lie_within_one_and_roots_of_degrees_have_one(
    kernel, bandwidth, coarse
):
    image = draw(1, 6, 5, 2)
    image = np.round(2 * image) / 2 if coarse else image
    graph = grid_graph(image, kernel=kernel, bandwidth=bandwidth)
    matrix = dense(graph)[0]
    np.testing.assert_array_equal(matrix, matrix.T)
    values = np.linalg.eigvalsh(matrix)
    # A grid has two colours, so eigenvalues come in pairs.
    np.testing.assert_allclose(values[[0, -1]], [-1, 1], atol=1e-6)
    roots = graph.root_degrees.numpy()[0, :, :, 0].ravel().astype(np.float64)
    assert roots.max() == 1
    np.testing.assert_allclose(matrix @ roots, roots, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_roots_of_degrees(size):
    images = draw(2, *size)
    logs = np.stack([log_degrees(image, neighbors=8) for image in images])
    logs[np.isinf(logs)] = 0  # a pixel alone counts as one
    expected = np.exp(0.5 * (logs - logs.max(1, keepdims=True)))
    result = grid_graph(images, neighbors=8).root_degrees
    assert result.shape == (2, *size[:2], 1)
    np.testing.assert_allclose(result, expected.reshape(result.shape), 1e-5)


@pytest.mark.parametrize("neighbors", [4, 8])
def test_roughness_is_the_quadratic_form(neighbors):
    images, z = draw(3, 6, 5, 2), normal(3, 6, 5, 2)
    result = grid_graph(images, neighbors=neighbors).roughness(z)
    for value, image, row in zip(result.numpy(), images, z, strict=True):
        matrix = weights(image, neighbors=neighbors)
        row = row.astype(np.float64)
        form = np.sum(row * (row - per_channel(matrix.dot, row)))
        np.testing.assert_allclose(value, form / np.sum(row**2), 1e-5)


def test_roughness_of_what_has_a_known_one():
    """The smoothest signal, its checkerboard, noise and nothing."""
    images = draw(1, 8, 8, 1)
    graph = grid_graph(images)
    root = graph.root_degrees.numpy()
    signs = (-1.0) ** np.add.outer(range(8), range(8))[None, :, :, None]
    np.testing.assert_allclose(graph.roughness(root), 0, atol=1e-6)
    np.testing.assert_allclose(graph.roughness(signs * root), 2, 1e-6)
    assert graph.roughness(np.zeros_like(root)).numpy() == 0
    many = grid_graph(np.repeat(images, 300, axis=0))
    np.testing.assert_allclose(
        np.mean(many.roughness(normal(300, 8, 8, 1))), 1, atol=0.03
    )


@pytest.mark.parametrize("scale", [1e20, 1e-10, 1e-20, 1e-30])
def test_roughness_ignores_scale(scale):
    graph, z = grid_graph(draw(2, 6, 5, 2)), normal(2, 6, 5, 2)
    scaled = (z * scale).astype(np.float32)
    np.testing.assert_allclose(graph.roughness(scaled), graph.roughness(z), 1e-5)


def test_an_edge_of_the_image_hardly_counts():
    """A jump where the image jumps is smooth, one elsewhere is rough."""
    image = np.zeros((1, 6, 6, 1), np.float32)
    image[:, :, 3:] = 1.0
    graph = grid_graph(image, bandwidth=0.05)
    step = graph.root_degrees.numpy() * np.where(image > 0.5, 1.0, -1.0)
    assert graph.roughness(step).numpy() < 1e-6
    moved = graph.root_degrees.numpy() * np.where(np.arange(6) > 1, 1.0, -1.0)[:, None]
    assert graph.roughness(moved).numpy() > 0.1


def test_images_of_a_batch_and_of_an_unknown_one_have_their_own_graphs():
    images, z = draw(3, 6, 5, 2), normal(3, 6, 5, 2)
    traces = []

    @tf.function(input_signature=2 * [tf.TensorSpec([None, 6, 5, 2])])
    def product(images, z):
        traces.append(0)
        graph = grid_graph(images, neighbors=8)
        return graph.multiply(z), tf.sparse.to_dense(graph.to_sparse())

    for rows in ([0, 1, 2], [1], [2, 0]):
        products, matrices = product(images[rows], z[rows])
        for k, row in enumerate(rows):
            matrix = weights(images[row], neighbors=8)
            expected = per_channel(matrix.dot, z[row])
            np.testing.assert_allclose(products[k], expected, atol=2e-6)
            np.testing.assert_allclose(matrices[k], matrix.todense(), 2e-5)
    assert traces == [0]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_images_of_other_precisions(dtype):
    image = (np.arange(30) / 32).reshape(1, 6, 5, 1)
    graph = grid_graph(image.astype(dtype))
    assert graph.weights[0].dtype == tf.float32
    np.testing.assert_array_equal(
        dense(graph), dense(grid_graph(image.astype(np.float32)))
    )


def test_no_gradient_flows_into_the_images():
    images = tf.constant(draw(1, 3, 3, 1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        graph = grid_graph(images)
        total = tf.reduce_sum(graph.multiply(tf.ones([1, 3, 3, 1])))
        total += tf.reduce_sum(graph.root_degrees)
    assert tape.gradient(total, images) is None
