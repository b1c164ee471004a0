"""The TFLite copy of a served model: what it answers, needs, weighs and costs."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from export.quantize import (
    KINDS,
    Sample,
    draw_sample,
    generate_sample,
    report_table,
    write_quantized,
)
from export.signatures import Settings
from tests.seeds import set_seeds
from tfrobust import layers
from tfrobust.data import make_shapes

SHAPE = (8, 6, 3)
NAMES = ["cat", "dog", "eel", "fox"]


@functools.cache
def classifier():
    """Every low-curvature layer, one kernel of over 1024 numbers, a sum of branches."""
    set_seeds(3)
    image = keras.Input(SHAPE)
    x = layers.SpectralConv2D(12, 3)(image)
    y = layers.CenteredSoftplus()(layers.LipschitzBatchNormalization()(x))
    y = layers.SpectralConv2D(12, 3)(y)
    x = keras.layers.Average()([x, layers.LipschitzBatchNormalization()(y)])
    x = keras.layers.GlobalAveragePooling2D()(layers.CenteredSoftplus(1000.0)(x))
    model = keras.Model(image, layers.SpectralDense(len(NAMES))(x))
    model(np.random.default_rng(0).random((16, *SHAPE), np.float32), training=True)
    return model


def images(count=9):
    return np.random.default_rng(1).random((count, *SHAPE), np.float32)


def sample(labels=None):
    return Sample(images(), labels, "noise")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A version with both files in it."""
    place = tmp_path_factory.mktemp("served") / "net"
    extras = [
        functools.partial(write_quantized, kind=k, sample=sample()) for k in KINDS
    ]
    return export_saved_model(classifier(), place, NAMES, extras=extras)


def interpreter(folder, kind):
    return tf.lite.Interpreter(str(folder / f"assets.extra/model_{kind}.tflite"))


# What rounding to 11 bits, and to 8 bits, may do to a number of about one.
ROUNDING = {"float16": 1e-3, "dynamic_int8": 0.05}


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_the_keras_model_up_to_its_rounding(folder, kind):
    """The same signature; and the figures are those of the difference found here."""
    run = interpreter(folder, kind).get_signature_runner("serving_default")
    answer = run(images=images())
    logits = classifier()(images(), training=False).numpy()
    assert set(answer) == {"logits", "probabilities", "classes", "labels"}
    difference = np.abs(answer["logits"] - logits)
    size = np.abs(logits).max()
    assert 0 < difference.max() < ROUNDING[kind] * size
    np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1.0, atol=1e-5)
    chosen = answer["logits"].argmax(axis=1)
    np.testing.assert_array_equal(answer["classes"], chosen)
    assert answer["labels"].tolist() == [NAMES[i].encode() for i in chosen]
    report = json.loads((folder / f"assets.extra/model_{kind}.json").read_text())
    assert report["agreement"] == np.mean(chosen == logits.argmax(axis=1))
    reported = report["logit_difference"]
    np.testing.assert_allclose(reported["max"], difference.max(), atol=1e-6)
    np.testing.assert_allclose(reported["mean"], difference.mean(), atol=1e-6)
    np.testing.assert_allclose(report["logit_size"], size, rtol=1e-5)
    assert report["accuracy"] is None and report["origin"] == "noise"
    assert report["images"] == len(images())
    lite = folder / report["file"]
    assert report["bytes"]["tflite"] == lite.stat().st_size


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_answered_alone_as_in_company(folder, kind):
    """Also where features are rounded to a scale that is found on the way."""
    run = interpreter(folder, kind).get_signature_runner()
    together = run(images=images())["logits"]
    for index, image in enumerate(images()):
        alone = run(images=image[None])["logits"]
        np.testing.assert_allclose(alone[0], together[index], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "stored"), [("float16", np.float16), ("dynamic_int8", np.int8)]
)
def test_the_kernels_are_stored_in_fewer_bits(folder, kind, stored):
    """Every one of over 1024 numbers."""
    details = interpreter(folder, kind).get_tensor_details()
    types = {d["dtype"] for d in details if sorted(d["shape"]) == [3, 3, 12, 12]}
    assert stored in types
    assert types <= {stored, np.float32}


@pytest.mark.parametrize("kind", KINDS)
def test_builtin_operations_only(folder, kind, capfd):
    """No Flex operation, which only a TFLite with all of TensorFlow in it runs."""
    path = str(folder / f"assets.extra/model_{kind}.tflite")
    tf.lite.experimental.Analyzer.analyze(model_path=path)
    printed = capfd.readouterr().out
    assert "CONV_2D" in printed and "Flex" not in printed and "CUSTOM" not in printed


def test_a_server_sees_the_version_and_nothing_else(folder):
    """The files lie inside of the version, where a server looks for warm-up alone."""
    assert [path.name for path in folder.parent.iterdir()] == ["1"]
    names = {path.name for path in (folder / "assets.extra").iterdir()}
    assert {f"model_{kind}.{end}" for kind in KINDS for end in ("json", "tflite")} <= (
        names
    )
    loaded = tf.saved_model.load(folder)
    answer = loaded.signatures["serving_default"](images=images())
    np.testing.assert_allclose(answer["logits"], classifier()(images()), atol=1e-5)


def test_a_failure_publishes_nothing(tmp_path):
    """The version is not there if a part of it cannot be written."""
    extras = [functools.partial(write_quantized, kind="int4", sample=sample())]
    with pytest.raises(ValueError, match=r"^`kind` must be one of float16, dynamic_in"):
        export_saved_model(classifier(), tmp_path / "net", extras=extras)
    assert list((tmp_path / "net").iterdir()) == []


def test_no_more_images_at_a_time_than_the_model_takes(tmp_path):
    extras = [
        functools.partial(write_quantized, kind="float16", sample=sample(), max_batch=2)
    ]
    settings = Settings(max_batch=2)
    folder = tmp_path / "net"
    assert export_saved_model(classifier(), folder, settings=settings, extras=extras)


def test_accuracy_of_both_and_the_table(folder):
    """With labels that the float32 model gets right for 6 of 9 images."""
    labels = classifier()(images()).numpy().argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % 4
    report = write_quantized(folder, "float16", sample(labels))
    assert report["accuracy"]["saved_model"] == pytest.approx(6 / 9)
    lines = report_table(report).text().splitlines()
    assert lines[0].split("  ")[0] == "model"
    assert lines[2].split()[:3] == ["SavedModel", lines[2].split()[1], "66.7%"]
    assert lines[3].split()[0] == "float16" and "100.0%" in lines[3]


@pytest.mark.parametrize(
    "operation",
    [lambda x: tf.linalg.inv(x[..., 0]), lambda x: tf.math.lgamma(x + 1.0)],
)
def test_operations_that_tflite_lacks_are_refused(tmp_path, operation):
    """In one sentence, rather than with TensorFlow's own put in: one that TFLite cannot
    name, and one that it converts (in TensorFlow 2.21) to what does not run.
    """

    class Odd(keras.layers.Layer):
        def call(self, x):
            return operation(x)

    image = keras.Input((2, 2, 1))
    model = keras.Model(image, keras.layers.Flatten()(Odd()(image)))
    folder = export_saved_model(model, tmp_path / "odd")
    with pytest.raises(ValueError, match=r"^`model` must be of operations that TFLite"):
        write_quantized(folder, "float16", generate_sample((2, 2, 1)))
    assert not list((folder / "assets.extra").glob("*.tflite"))


@pytest.fixture
def shapes(monkeypatch):
    """The data set of that name, smaller than it is."""
    small = make_shapes(100, seed=0)
    monkeypatch.setattr("tfrobust.data.load", lambda *_: small)
    return small


def test_a_sample_of_a_data_set(shapes):
    """Pixels are those stored over 255; all of it, or balanced over the classes."""
    whole = draw_sample("shapes", None, 0, (32, None, 3), 10)
    np.testing.assert_array_equal(np.round(whole.images * 255.0), shapes.images)
    np.testing.assert_array_equal(whole.labels, shapes.labels)
    part = draw_sample("shapes", None, 30, (32, 32, 3), 10)
    assert np.bincount(part.labels).tolist() == [3] * 10
    assert part.origin == "test images of shapes"


@pytest.mark.parametrize(
    ("count", "shape", "classes", "message"),
    [
        (10, (32, 31, 3), 10, "`dataset` must have images and classes as the model"),
        (10, (32, 32, 3), 9, "`dataset` must have images and classes as the model"),
        (10**6, (32, 32, 3), 10, "`examples` must be in [0, "),
        (-1, (32, 32, 3), 10, "`examples` must be in [0, "),
    ],
)
def test_data_that_do_not_fit(shapes, count, shape, classes, message):
    with pytest.raises(ValueError) as error:
        draw_sample("shapes", None, count, shape, classes)
    assert str(error.value).startswith(message)


def test_generated_images():
    """In range, not constant, smooth, the same each time, of any size."""
    sample = generate_sample((16, None, 3))
    assert sample.images.shape == (256, 16, 32, 3) and sample.labels is None
    assert sample.images.min() >= 0.0 and sample.images.max() <= 1.0
    spread = sample.images.std(axis=(1, 2)).mean()
    assert 0.1 < spread < 0.5
    assert np.abs(np.diff(sample.images, axis=2)).mean() < 0.5 * spread
    np.testing.assert_array_equal(sample.images, generate_sample((16, 32, 3)).images)
