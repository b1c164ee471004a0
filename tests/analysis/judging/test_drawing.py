"""Draws stay in the ball and in the box."""

import numpy as np
import pytest

from tests.analysis.judging.cases import answers, case, images, linear
from tfrobust.analysis.judging.drawing import draws_of


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_they_are_in_the_ball_and_at_its_edge(norm):
    pixels, model, eps = images(4), linear(2), 0.09
    given = case(model, pixels, answers(model, pixels), norm=norm, eps=eps)
    draw = draws_of(given, np.array([2, 0]))
    for number in range(4):
        found = draw(number).numpy().astype(np.float64)
        delta = (found - pixels[[2, 0]]).reshape(2, -1)
        order = np.inf if norm == "inf" else norm
        distance = np.linalg.norm(delta, ord=order, axis=1)
        assert np.all(distance <= eps * (1 + 1e-5))
        assert found.min() >= 0 and found.max() <= 1
        if number % 2:
            np.testing.assert_allclose(distance, eps, rtol=1e-4)
        if number % 2 and norm == "inf":
            np.testing.assert_allclose(np.abs(delta), eps, rtol=1e-4)
    assert not np.array_equal(draw(0), draw(2))
    assert np.array_equal(draw(3), draws_of(given, np.array([2, 0]))(3))
