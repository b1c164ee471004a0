"""HopSkipJump on models whose boundary is known, and its queries counted outside."""

import numpy as np
import pytest
import tensorflow as tf

from tests.attacks.common import conv_images, convnet
from tests.attacks.minimal import (
    answers,
    binary_model,
    boundary_distance,
    boxed,
    random_images,
)
from tfrobust.attacks import DDN, BlackBox, HopSkipJump, parse


def classes_of(model):
    """A model that answers with classes alone, in NumPy."""
    return BlackBox(lambda images: answers(model, images), 2, "classes")


@pytest.mark.parametrize(("norm", "within"), [(2, 0.02), ("inf", 0.1)])
def test_finds_the_boundary_of_a_linear_model_by_its_classes(norm, within):
    """`|f_0 - f_1| / ||w||` in the dual norm; never below it."""
    model, images = binary_model(), random_images(6, 0.4, 0.6)
    exact = boundary_distance(model, images, norm)
    attack = HopSkipJump(norm=norm, queries=3000)
    result = attack(classes_of(model), images, answers(model, images))
    assert np.all(result.success)
    ratio = result.distortion / exact
    assert np.all(ratio >= 1 - 1e-4)
    assert np.mean(ratio) < 1 + within, ratio


@pytest.mark.slow
def test_finds_the_boundary_where_the_box_is_in_the_way():
    model, images = binary_model(offset=3.0), random_images(4, -1.5, 2.5)
    exact = np.array([boxed(model, image, 2) for image in images])
    attack = HopSkipJump(queries=3000)
    result = attack(classes_of(model), images, answers(model, images))
    ratio = result.distortion / exact
    assert np.all(result.success) and np.all(ratio >= 1 - 1e-4)
    assert np.mean(ratio) < 1.1, ratio


@pytest.mark.slow
@pytest.mark.parametrize("norm", [2, "inf"])
def test_ends_near_to_what_gradients_find(norm):
    """On a convolutional network, and nearer with more queries."""
    images, labels = conv_images(6)
    exact = DDN(norm=norm, steps=200)(convnet(), images, labels).distortion
    ratios = []
    for queries in (300, 3000):
        attack = HopSkipJump(norm=norm, queries=queries)
        result = attack(convnet(), images, labels)
        assert np.all(result.success)
        ratios.append(np.mean(result.distortion / exact))
    assert ratios[1] < ratios[0]
    assert ratios[1] < (1.1 if norm == 2 else 1.25), ratios


@pytest.mark.parametrize("queries", [3, 143])
def test_every_query_is_counted_and_none_is_over(queries):
    """One image alone: all that is asked beside is the clean one and the verdict."""
    model, images = binary_model(), random_images(1, 0.4, 0.6)
    box = classes_of(model)
    attack = HopSkipJump(queries=queries, first_probes=20)
    result = attack(box, images, answers(model, images))
    assert 0 < int(result.queries[0]) <= queries
    assert box.queries == int(result.queries[0]) + 3
    assert result.queries.dtype == tf.int32


def test_a_batch_asks_no_more_of_an_image_than_it_alone():
    """Also where one is misclassified, of which nothing is asked."""
    model, images = binary_model(), random_images(4, 0.4, 0.6)
    labels = answers(model, images)
    labels[2] = 1 - labels[2]
    attack = HopSkipJump(queries=200, first_probes=20)
    together = attack(model, images, labels)
    alone = [attack(model, images[i : i + 1], labels[i : i + 1]) for i in range(4)]
    np.testing.assert_array_equal(
        together.queries, [int(each.queries[0]) for each in alone]
    )
    assert int(together.queries[2]) == 0 and bool(together.already[2])


@pytest.mark.slow
def test_logits_make_no_difference():
    """Their scale: the same images to the last bit."""
    model, images = binary_model(), random_images(3, 0.3, 0.7)
    labels = answers(model, images)
    attack = HopSkipJump(queries=300, first_probes=20)
    expected = attack(model, images, labels).adversarial
    steep = attack(lambda x: 1e6 * model(x), images, labels)
    np.testing.assert_array_equal(steep.adversarial, expected)


@pytest.mark.slow
def test_the_seed_changes_the_search():
    model, images = binary_model(), random_images(2, 0.4, 0.6)
    labels = answers(model, images)
    first, second = (
        HopSkipJump(queries=150, seed=seed)(model, images, labels).adversarial
        for seed in (0, 1)
    )
    assert np.abs(first - second).max() > 1e-3


def test_without_noise_of_another_class_the_image_comes_back():
    """All but the blackest image is of class 0."""

    def ask(images):
        return (images.mean(axis=(1, 2, 3)) < 1e-3).astype(int)

    images = random_images(2, 0.4, 0.6)
    box = BlackBox(ask, 2, "classes")
    result = HopSkipJump(queries=50)(box, images, [0, 0])
    assert not np.any(result.success)
    np.testing.assert_array_equal(result.adversarial, images)
    np.testing.assert_array_equal(result.queries, 50)


def test_targets_are_refused():
    model, images = binary_model(), random_images(1, 0.4, 0.6)
    with pytest.raises(ValueError) as caught:
        HopSkipJump()(model, images, [0], [1])
    assert str(caught.value) == (
        "`targets` must be left out for HopSkipJump, which starts from noise: of a "
        "given class there may be none. Received: targets"
    )


def test_it_has_a_name_and_says_what_it_asks_for():
    attack = parse("hopskipjump:norm=inf,queries=300")
    assert attack == HopSkipJump(norm="inf", queries=300)
    assert not attack.needs_gradient and not attack.needs_logits
