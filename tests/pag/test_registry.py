"""Directions by name: those of the library, your own, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from tfrobust import models, pag
from tfrobust.core.registry import Makers
from tfrobust.pag import registry

IMAGES = np.random.default_rng(0).random((12, 3, 2, 1), np.float32)
LABELS = np.arange(12) % 3
CHOSEN = tf.constant([[0, 2]] * 12)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("one_image", lambda: pag.OneImage(IMAGES, LABELS, 3, seed=4)),
        ("class_mean:scale=2", lambda: pag.ClassMean(IMAGES, LABELS, 3, scale=2)),
        (
            "nearest_neighbor:samples=3",
            lambda: pag.NearestNeighbor(IMAGES, LABELS, 3, samples=3, seed=4),
        ),
        (
            "cluster:clusters=2,seed=1",
            lambda: pag.Cluster(IMAGES, LABELS, 3, clusters=2, seed=1),
        ),
    ],
)
def test_a_name_makes_the_directions_of_the_library(text, made):
    """The text wins over the seed of the program."""
    by_name, by_hand = pag.build(text, IMAGES, LABELS, 3, seed=4), made()
    assert type(by_name) is type(by_hand)
    np.testing.assert_array_equal(by_name(IMAGES, CHOSEN), by_hand(IMAGES, CHOSEN))


def test_a_teacher_is_given_by_the_program():
    network = models.MLP((3, 2, 1), 3, hidden=(4,))
    directions = pag.build("rigd", IMAGES, LABELS, 3, seed=4, teacher=network)
    assert isinstance(directions, pag.Teacher) and directions.network is network
    with pytest.raises(ValueError) as caught:
        pag.build("rigd", IMAGES, LABELS, 3)
    message = "rigd must be given teacher. Received: rigd, without teacher"
    assert str(caught.value) == message


def test_settings_are_refused_before_there_are_images():
    """As they are with them, in the same words."""
    cases = {
        "nearest_neighbor:samples=1": "nearest_neighbor: `samples` must be at least 2, "
        "to leave x itself out. Received: samples=1",
        "cluster:clusters=0": "cluster: `clusters` must be an integer of at least 1. "
        "Received: clusters=0",
        "class_mean:scale=0": "class_mean: `scale` must be a finite number above 0. "
        "Received: scale=0",
    }
    for text, message in cases.items():
        for ask in (pag.settings, lambda text: pag.build(text, IMAGES, LABELS, 3)):
            with pytest.raises(ValueError) as caught:
                ask(text)
            assert str(caught.value) == message


def test_own_directions(monkeypatch):
    monkeypatch.setattr(registry, "_DIRECTIONS", Makers("directions"))
    monkeypatch.setattr(registry, "_GOALS", {})

    @pag.register("up", "more light")
    class Up(pag.Directions):
        def __init__(self, images, labels, classes, by: float = 1.0):
            self.classes, self.image_shape, self.by = classes, images.shape[1:], by

    assert pag.names() == ("up",)
    assert pag.goal("up:by=3") == "more light"
    made = pag.build("up:by=3", IMAGES, LABELS, 3, seed=1)
    assert (made.classes, made.image_shape, made.by) == (3, (3, 2, 1), 3)
    for ask in (pag.goal, pag.settings):
        with pytest.raises(ValueError, match="`directions` must be one of up"):
            ask("down")


@pytest.mark.parametrize("takes_bytes", [False, True])
def test_own_directions_see_images_as_networks_do(monkeypatch, takes_bytes):
    """Float32 in [0, 1]: bytes are for those that ask for them."""
    monkeypatch.setattr(registry, "_DIRECTIONS", Makers("directions"))
    monkeypatch.setattr(registry, "_GOALS", {})

    class Mean(pag.Directions):
        def __init__(self, images, labels, classes):
            self.classes, self.image_shape = classes, images.shape[1:]
            self.images = images

    Mean.takes_bytes = takes_bytes
    pag.register("mean", "the mean")(Mean)
    images = np.arange(12 * 6, dtype=np.uint8).reshape(12, 3, 2, 1)
    made = pag.build("mean", images, LABELS, 3).images
    np.testing.assert_allclose(made, images if takes_bytes else images / 255, rtol=1e-6)
    assert made.dtype == (np.uint8 if takes_bytes else np.float32)


def test_own_directions_without_classes_are_refused(monkeypatch):
    monkeypatch.setattr(registry, "_DIRECTIONS", Makers("directions"))
    pag.register("bare", "nothing")(lambda images, labels, classes: pag.Directions())
    with pytest.raises(ValueError, match="must set `classes` and `image_shape`. Rec"):
        pag.build("bare", IMAGES, LABELS, 3)
