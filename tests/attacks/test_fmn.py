"""The fast minimum-norm attack on models whose nearest boundary is known."""

import numpy as np
import pytest

from tests.attacks.common import conv_images, convnet, distances
from tests.attacks.minimal import (
    answers,
    binary_model,
    boundary_distance,
    random_images,
)
from tests.attacks.planes import length, nearest_step
from tfrobust.attacks import DDN, FMN

NORMS = [1, 2, "inf"]


@pytest.mark.parametrize("norm", NORMS)
def test_finds_the_boundary_of_a_linear_model(norm):
    """Within 3 % of `|f_0 - f_1| / ||w||`, in the dual norm; never below it."""
    model, images = binary_model(), random_images(6, 0.4, 0.6)
    # In L1 the box is in the way: one pixel would have to do it all.
    exact = np.array([nearest(model, image, norm) for image in images])
    if norm != 1:
        np.testing.assert_allclose(exact, boundary_distance(model, images, norm), 1e-4)
    result = FMN(norm=norm, steps=200)(model, images, answers(model, images))
    assert np.all(result.success)
    assert np.all(result.distortion >= exact * (1 - 1e-4))
    np.testing.assert_allclose(result.distortion, exact, rtol=0.03)


def nearest(model, image, norm):
    """The distance to the boundary within the box, by another algorithm."""
    normal = (model.weights[:, 1] - model.weights[:, 0]).astype(np.float64)
    lead = model.logits(image[None])[0]
    step = nearest_step(norm, image.ravel(), normal, lead[1] - lead[0])
    return length(norm, step)


@pytest.mark.parametrize("norm", [2, "inf"])
def test_comes_as_near_as_ddn_on_a_network(norm):
    """Of the same number of gradients; distances are those of the images."""
    images, labels = conv_images(12)
    ours, other = (kind(norm=norm)(convnet(), images, labels) for kind in (FMN, DDN))
    assert np.all(ours.success)
    assert np.mean(ours.distortion) < 1.05 * np.mean(other.distortion)
    np.testing.assert_allclose(
        ours.distortion, distances(images, ours.adversarial, norm), rtol=1e-5
    )


def test_every_step_is_counted():
    """And none of images that need no attack."""
    images, labels = conv_images(4)
    labels[1] = (labels[1] + 1) % 3
    result = FMN(steps=7)(convnet(), images, labels)
    assert result.queries.numpy().tolist() == [8, 0, 8, 8]
