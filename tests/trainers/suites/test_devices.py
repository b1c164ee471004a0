"""The devices of an evaluation: what is refused, and that they share its work alike."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.seeds import set_seeds
from tests.trainers.conftest import call
from tests.trainers.suites.common import call as here
from tests.trainers.suites.common import parse
from tfrobust import training
from tfrobust.cli.program import UsageError
from trainers.suites import devices, evaluation
from trainers.suites.suite import flag_lines

MIRRORED = ("--model=a", "--distribute=mirrored")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            [*MIRRORED, "--logical_cpus=3"],
            "--batch_size=100 cannot be shared alike by 3 devices; choose a multiple "
            "of 3.",
        ),
        (
            [*MIRRORED, "--logical_cpus=2", "--batch_size=1"],
            "--batch_size=1 cannot be shared alike by 2 devices; choose a multiple "
            "of 2.",
        ),
        (
            ["--model=a", "--logical_cpus=2"],
            "--logical_cpus needs --distribute=mirrored.",
        ),
    ],
)
def test_what_devices_cannot_share_is_refused_at_once(given, sentence):
    with pytest.raises(UsageError) as caught:
        parse(*given)
    assert str(caught.value) == sentence


def test_devices_that_are_there_have_to_share_a_batch_too(monkeypatch):
    """How many GPUs there are is known later than the flags are read."""
    three = types.SimpleNamespace(num_replicas_in_sync=3)
    monkeypatch.setattr(
        training, "make_strategy", lambda kind: {"mirrored": three}[kind]
    )
    run, _ = parse(*MIRRORED, "--batch_size=9")
    assert devices.prepare(run) is three
    run, _ = parse(*MIRRORED)
    with pytest.raises(
        UsageError, match="--batch_size=100 cannot be shared alike by 3"
    ):
        devices.prepare(run)


@pytest.mark.parametrize("kind", ["off", "mirrored"])
def test_everything_is_loaded_and_measured_in_the_scope(monkeypatch, tmp_path, kind):
    scopes = []

    def measure(run, suites):
        scopes.append(tf.distribute.get_strategy())

    monkeypatch.setattr(evaluation, "evaluate", measure)
    ended = here("--model=a", f"--distribute={kind}", f"--out={tmp_path}/out")
    assert (ended.code, len(scopes)) == (0, 1), ended.err
    mirrored = isinstance(scopes[0], tf.distribute.MirroredStrategy)
    assert mirrored == (kind == "mirrored")


def test_devices_do_not_tell_an_evaluation_from_another():
    """One that was killed goes on with fewer GPUs, or on one."""
    run, suites = parse("--model=a", "--batch_size=90")
    shared, _ = parse(*MIRRORED, "--logical_cpus=3", "--batch_size=90")
    assert flag_lines(shared, suites) == flag_lines(run, suites)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Flags for a small network that knows which quarter of an image is bright."""
    folder = tmp_path_factory.mktemp("quarters")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 4
    images = rng.integers(80, 120, (60, 8, 8, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[top : top + 4, left : left + 4] += np.uint8(rng.integers(5, 40))
    arrays = {}
    for split in ("train", "test"):
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    np.savez(folder / "quarters.npz", **arrays)
    set_seeds(0)
    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="softplus"),
        keras.layers.BatchNormalization(),
        keras.layers.Flatten(),
        keras.layers.Dense(4),
    ]
    network = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.02), loss)
    network.fit(images / 255.0, labels, epochs=30, verbose=0)
    network.save(folder / "network.keras")
    return [f"--dataset=npz:{folder}/quarters.npz", f"--model={folder}/network.keras"]


def without_times(content):
    """What an evaluation found, whenever and however fast."""
    for name in ("created", "seconds"):
        del content[name]
    records = content["records"]
    content["records"] = [each for each in records if each["quantity"] != "seconds"]
    assert len(content["records"]) < len(records)
    return content


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_devices_measure_what_one_measures(given, tmp_path):
    """All of `evaluation.json`, and every number of every image."""
    found = []
    for name, flags in (
        ("one", ()),
        ("two", ("--distribute=mirrored", "--logical_cpus=2")),
    ):
        out = tmp_path / name
        ended = call(
            "trainers.evaluate",
            *given,
            *flags,
            "--version=fast",
            "--attack=pgd:steps=5",
            "--examples=31",
            "--geometry_examples=8",
            "--judge_examples=10",
            "--batch_size=10",
            "--radius=0.03",
            f"--out={out}",
        )
        assert ended.code == 0, ended.err
        content = json.loads((out / "evaluation.json").read_text())
        found.append((without_times(content), (out / "per_example.csv").read_text()))
    (one, images), (two, same_images) = found
    assert two == one
    assert same_images == images
    left = [
        record["mean"]
        for record in one["records"]
        if record["quantity"] == "robust_accuracy"
    ]
    # Nothing, or all, would be the same of any attack.
    assert 0.0 < min(left) and max(left) < 0.9
