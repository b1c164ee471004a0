"""The devices of an evaluation: what is refused, and that they share its work alike."""

import json
import pathlib
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.seeds import set_seeds
from tests.trainers.conftest import call
from tests.trainers.suites.common import call as here
from tests.trainers.suites.common import columns_of, parse
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
def test_networks_are_loaded_and_measured_in_the_scope(monkeypatch, tmp_path, kind):
    """A SavedModel is loaded outside of it: else one device alone may not ask it."""
    scopes = {}

    def load(path, *_, **__):
        scopes[path] = tf.distribute.has_strategy()
        source = pathlib.Path(path)
        return types.SimpleNamespace(name=path, check=lambda *_: None, source=source)

    def measure(*_):
        scopes["measured"] = tf.distribute.has_strategy()
        raise UsageError("It was measured.")

    network, served = tmp_path / "a.keras", tmp_path / "served"
    network.touch()
    served.mkdir()
    (served / "saved_model.pb").touch()
    monkeypatch.setattr(evaluation, "load_classifier", load)
    monkeypatch.setattr(evaluation, "_measure", measure)
    flags = (f"--distribute={kind}", "--dataset=shapes", f"--out={tmp_path}/out")
    ended = here(f"--model={network}", f"--model={served}", *flags)
    assert ended.error == "It was measured."
    mirrored = kind == "mirrored"
    expected = {str(network): mirrored, str(served): False, "measured": mirrored}
    assert scopes == expected


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


def split_up(content):
    """What an evaluation found, whenever and however fast: texts, and numbers."""
    for name in ("created", "seconds"):
        del content[name]
    numbers, records = [], []
    for record in content["records"]:
        if record["quantity"] == "seconds":
            continue
        numbers.append((record.pop("mean"), record.pop("standard_error")))
        for check in record.get("about", {}).get("checks", ()):
            if check["name"] == "batch":
                del check["evidence"]  # how large rounding errors are
        records.append(record)
    assert 0 < len(records) < len(content["records"])
    return content | {"records": records}, np.array(numbers, float)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_devices_measure_what_one_measures(given, tmp_path):
    """All of `evaluation.json`, and of every image, to the rounding of sums."""
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
        texts, numbers = split_up(json.loads((out / "evaluation.json").read_text()))
        found.append((texts, numbers, columns_of(out)))
    (one, numbers, images), (two, same_numbers, same_images) = found
    assert two == one
    np.testing.assert_allclose(same_numbers, numbers, rtol=1e-5, atol=1e-7)
    assert same_images.keys() == images.keys()
    for model, columns in images.items():
        assert same_images[model].keys() == columns.keys()
        for title, values in columns.items():
            np.testing.assert_allclose(
                same_images[model][title], values, 1e-5, 1e-7, err_msg=title
            )
    left = [
        number[0]
        for record, number in zip(one["records"], numbers, strict=True)
        if record["quantity"] == "robust_accuracy"
    ]
    # Nothing, or all, would be the same of any attack.
    assert 0.0 < min(left) and max(left) < 0.9
