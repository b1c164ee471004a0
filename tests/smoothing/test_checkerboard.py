"""One colour at a time against all pixels at once."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from tests.smoothing.common import draw, exact, normal, relative_error
from tfrobust.smoothing import Chebyshev, Checkerboard, checkerboard, grid_graph

SIZES = [(6, 5, 2), (5, 6, 3), (4, 4, 1), (7, 3, 1), (1, 1, 2), (1, 5, 3), (6, 1, 1)]
SIZES += [(2, 2, 1), (1, 2, 1), (2, 1, 3), (1, 6, 1), (5, 1, 2)]


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_black_pixels_have_the_even_iterates_and_white_the_odd(size, started):
    """Those of the plain method, on every shape of grid."""
    images, b = draw(2, *size), tf.constant(normal(2, *size))
    start = tf.constant(normal(2, *size, seed=7)) if started else None
    graph, alpha = grid_graph(images), 0.95
    black = np.add.outer(range(size[0]), range(size[1]))[:, :, None] % 2 == 0
    for count in (1, 2, 6):
        plain = [
            Chebyshev(radius=alpha, iterations=steps)
            .solve(lambda x: alpha * graph.multiply(x), b, start)
            .numpy()
            for steps in (2 * count - 1, 2 * count)
        ]
        solution = Checkerboard(graph, alpha).solve(b, count, start)
        expected = np.where(black, plain[1], plain[0])
        np.testing.assert_allclose(solution, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("alpha", "count"), [(0.0, 1), (0.5, 10), (0.95, 30), (0.997, 120)]
)
def test_solves(alpha, count):
    images, b = draw(3, 6, 5, 2), normal(3, 6, 5, 2)
    solution = Checkerboard(grid_graph(images), alpha).solve(tf.constant(b), count)
    expected = exact(images, b, alpha) / (1 - alpha)
    assert relative_error(solution, expected).max() < 1e-4


def test_stays_at_the_answer():
    images, b = draw(2, 5, 6, 1), normal(2, 5, 6, 1)
    answer = exact(images, b, 0.95) / (1 - 0.95)
    solution = Checkerboard(grid_graph(images), 0.95).solve(
        tf.constant(b), 3, tf.constant(answer, tf.float32)
    )
    assert relative_error(solution, answer).max() < 1e-5


def test_a_call_is_compiled_once_for_all_boards_of_a_size():
    """Other images, another alpha, more steps and a smaller batch need no new graph."""
    shape = (5, 4, 2)
    runs = []
    with mock.patch.object(checkerboard, "loop", wraps=checkerboard.loop) as loop:
        for count, alpha, steps in ((3, 0.9, 20), (1, 0.5, 7), (2, 0.9, 20)):
            board = Checkerboard(grid_graph(draw(count, *shape)), alpha)
            b = tf.constant(normal(count, *shape))
            runs.append((board, b, steps, board.solve(b, steps)))
    # None if another test has had a board of this size.
    assert loop.call_count <= 1
    for board, b, steps, found in runs:
        inside = tf.function(board.solve)(b, steps)
        np.testing.assert_allclose(found, inside, rtol=1e-4, atol=1e-6)
