"""The suite predictors: its numbers recomputed, and what it refuses."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.seeds import set_seeds
from tests.trainers.suites.common import call, columns_of, mlp, records_of, refusal
from tfrobust import analysis, attacks, data, geometry
from trainers.suites import samples
from trainers.suites.predictors import measure

SMALL = (
    "--suite=predictors",
    "--dataset=shapes",
    "--examples=40",
    "--batch_size=20",
    "--clean_examples=60",
    "--attack=ddn:steps=15",
    "--attack=deepfool:steps=5",
)


def test_attacks_within_a_radius_are_refused(monkeypatch, tmp_path):
    mlp(1).save(tmp_path / "one.keras")
    given = f"--model={tmp_path}/one.keras", "--attack=pgd:norm=2,eps=0.5"
    assert refusal(monkeypatch, tmp_path / "o", "--suite=predictors", *given) == (
        "--attack of the suite predictors must look for the smallest L2 perturbation, "
        "as ddn or deepfool do. Received: PGD L2 0.5"
    )


def test_shares_of_high_frequencies():
    """0 of a constant, 1 of a checkerboard, between them of a sum, by Parseval."""
    rows = np.indices((8, 8)).sum(axis=0) % 2
    checkered = (2.0 * rows - 1.0)[..., None].astype(np.float32)
    flat = np.ones_like(checkered)
    images = np.stack([flat, checkered, flat + 3 * checkered])
    found = measure.high_frequencies(images)
    np.testing.assert_allclose(found, [0.0, 1.0, 0.9], atol=1e-6)


def test_the_smallest_distance_over_attacks():
    """NaN where no attack found anything."""

    def outcome(success, distortion):
        nothing = np.zeros(3, bool)
        return attacks.AttackOutcome(
            threat=attacks.ThreatModel(2),
            success=np.array(success),
            distortion=np.array(distortion, np.float32),
            success_rounded=nothing,
            distortion_rounded=np.zeros(3, np.float32),
            already=nothing,
            queries=np.zeros(3, np.int32),
            adversarial=None,
        )

    evaluation = attacks.Evaluation(
        labels=np.zeros(3, np.int32),
        clean_correct=np.ones(3, bool),
        results={
            "a": outcome([True, True, False], [2.0, 1.0, 0.0]),
            "b": outcome([True, False, False], [0.5, 0.0, 0.0]),
        },
    )
    np.testing.assert_array_equal(measure.smallest(evaluation), [0.5, 1.0, np.nan])


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The folder of an evaluation of two networks, and the first of them."""
    folder = tmp_path_factory.mktemp("predictors")
    train = data.load("shapes", "train").take(2000)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for name, seed in (("one", 1), ("two", 2)):
        set_seeds(seed)
        images = keras.Input((32, 32, 3))
        maps = keras.layers.Conv2D(4, 5, 3, activation="softplus")(images)
        maps = keras.layers.Conv2D(6, 5, 2, activation="softplus")(maps)
        logits = keras.layers.Dense(10)(keras.layers.Flatten()(maps))
        network = keras.Model(images, logits)
        network.compile(keras.optimizers.Adam(3e-3), loss)
        pixels = train.images.astype(np.float32) / 255
        network.fit(pixels, train.labels, batch_size=50, epochs=20, verbose=0)
        network.save(folder / f"{name}.keras")
    models = [f"--model={folder}/{name}.keras" for name in ("one", "two")]
    ended = call(*SMALL, *models, f"--out={folder}/out")
    assert (ended.code, ended.err) == (0, "")
    return folder / "out", keras.models.load_model(folder / "one.keras")


@pytest.mark.slow
def test_values_are_those_of_the_library(evaluated):
    """Image by image, NaN exactly where the network is wrong."""
    out, network = evaluated
    found = columns_of(out)["one", "test"]
    test = data.load("shapes", "test")
    sample = samples.draw(test, 40, 0)
    index = found["index"].astype(int)
    drawn = np.isin(index, sample.index)
    found = {name: values[drawn] for name, values in found.items()}
    place = [list(sample.index).index(i) for i in found["index"].astype(int)]
    images, labels = sample.pixels[place], sample.labels[place]
    right = network.predict(images, verbose=0).argmax(axis=-1) == labels
    for name in ("distance", *measure.PREDICTORS):
        np.testing.assert_array_equal(~np.isnan(found[name]), right, err_msg=name)
    images, labels = images[right], labels[right]
    expected = {
        "linear_distance": analysis.linear_distance(network, images, labels),
        "gradient_norm": geometry.gradient_norm(network, images, labels),
        "curvature": geometry.measure(network, [(images, labels)]).curvature,
    }
    with tf.GradientTape() as tape:
        tape.watch(images := tf.constant(images))
        loss = tf.keras.losses.sparse_categorical_crossentropy(
            labels, network(images), from_logits=True
        )
    slopes = tape.gradient(loss, images).numpy()
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(slopes, axes=(1, 2)), axes=(1, 2)))
    high = analysis.frequency_radius(32, 32) > 0.5
    energy = np.square(spectrum).sum(axis=-1)
    expected["high_frequencies"] = (energy * high).sum((1, 2)) / energy.sum((1, 2))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][right], values, rtol=2e-3, err_msg=name)


@pytest.mark.slow
def test_correlations_are_scipys(evaluated):
    """Of the columns of per_example.csv; and the share within the radius."""
    out, _ = evaluated
    records = records_of(out)
    for model in ("one", "two"):
        columns = columns_of(out)[model, "test"]
        kept = ~np.isnan(columns["distance"])
        distance = columns["distance"][kept]
        for name in measure.PREDICTORS:
            plain = records.get(model, "rank_correlation", predictor=name, given=None)
            expected = stats.spearmanr(distance, columns[name][kept]).statistic
            assert plain.estimate.value == pytest.approx(expected, abs=1e-6)
            assert plain.estimate.standard_error > 0.0
        ratio = distance / columns["linear_distance"][kept]
        median = records.get(model, "distance_over_linear", quantile=0.5)
        assert median.estimate.value == pytest.approx(np.median(ratio), rel=1e-5)
        withstood = records.get(model, "withstood").estimate.value
        assert withstood == pytest.approx(np.sum(distance > 0.5) / 40)


@pytest.mark.slow
def test_the_page_has_a_figure_and_tables(evaluated):
    out, _ = evaluated
    html = (out / "evaluation.html").read_text()
    for title in ("beyond the linear one", "goes with the distance", "quantities"):
        assert title in html
    assert (out / "partial_correlations.png").is_file()
    assert json.loads((out / "evaluation.json").read_text())["suites"] == ["predictors"]
