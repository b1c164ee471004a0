"""Samples know where their images stand, and what a model has learnt from."""

import numpy as np

from tests.trainers.suites.common import parse
from tfrobust import data
from tfrobust.cli.loading import load_classifier
from trainers.suites import samples


def test_samples_know_where_their_images_stand():
    """The position leads back to the image, also through a subset of a subset."""
    test = data.load("shapes", "test")
    large, small = (samples.draw(test, count, 3) for count in (40, 15))
    np.testing.assert_array_equal(test.images[large.index], large.images.images)
    np.testing.assert_array_equal(large.index[:15], small.index)
    assert len(set(large.index.tolist())) == 40


def test_training_images_are_some_that_the_run_has_seen(places):
    """Those of its subset; of any model whose training is unknown, from all."""
    train = data.load("shapes", "train")
    config, _ = parse("--model=a", "--dataset=shapes", "--seed=5")
    run = load_classifier(places / "first")
    sample = samples.training_sample(run, train, config, 8)
    np.testing.assert_array_equal(train.images[sample.index], sample.images.images)
    trained = {image.tobytes() for image in train.subset(30, 2).images}
    assert {image.tobytes() for image in sample.images.images} <= trained
    assert sample.origin == "the 30 images it was trained on"
    stranger = load_classifier(places / "second.keras")
    sample = samples.training_sample(stranger, train, config, 8)
    drawn = samples.draw(train, 8, 5)
    np.testing.assert_array_equal(sample.index, drawn.index)
    assert sample.origin == "all training images"
