"""The exported model in the process that wrote it: answers, checks, versions."""

import functools
import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model, saved_model
from export.compatibility import versions
from export.signatures import Settings
from tests import networks
from tfrobust import layers
from tfrobust.attacks import PGD

SHAPE = (9, 8, 3)
NAMES = ["cat", "dog", "eel", "fox"]
# Operations that call back into Python, or need a library loaded to run.
FOREIGN = ("PyFunc", "EagerPyFunc", "PyFuncStateless", "LoadLibrary")


@functools.cache
def classifier():
    """A small network of every low-curvature layer, statistics off their start."""
    return networks.low_curvature(SHAPE, len(NAMES))


def images(size=3):
    """Random images."""
    return tf.random.stateless_uniform([size, *SHAPE], [3, 4])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The classifier, exported once."""
    return export_saved_model(
        classifier(), tmp_path_factory.mktemp("served") / "net", NAMES
    )


@pytest.fixture(scope="module")
def loaded(folder):
    """Holds the variables; signatures alone do not."""
    return tf.saved_model.load(folder)


@pytest.fixture
def serve(loaded):
    """The function a server would run."""
    return loaded.signatures["serving_default"]


@pytest.mark.parametrize("size", [1, 5])
def test_answers_as_the_keras_model(serve, size):
    answer = serve(images=images(size))
    logits = classifier()(images(size), training=False).numpy()
    assert set(answer) == {"logits", "probabilities", "classes", "labels"}
    np.testing.assert_allclose(answer["logits"], logits, atol=1e-5)
    exponents = np.exp(logits.astype(np.float64))
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    assert answer["classes"].dtype == tf.int32
    np.testing.assert_array_equal(answer["classes"], logits.argmax(axis=1))
    names = [NAMES[i].encode() for i in logits.argmax(axis=1)]
    assert answer["labels"].numpy().tolist() == names


def test_signature(serve):
    signature = serve.structured_input_signature[1]
    assert signature == {
        "images": tf.TensorSpec([None, *SHAPE], tf.float32, name="images")
    }
    shapes = {
        name: tuple(spec.shape) for name, spec in serve.structured_outputs.items()
    }
    assert shapes == {
        "logits": (None, 4),
        "probabilities": (None, 4),
        "classes": (None,),
        "labels": (None,),
    }


@pytest.mark.parametrize(
    "shape", [(9, 8, 3), (2, 8, 8, 3), (2, 9, 8, 1), (1, 2, 9, 8, 3)]
)
def test_wrong_shapes_are_refused(serve, shape):
    with pytest.raises(
        (tf.errors.InvalidArgumentError, ValueError), match="not compatible"
    ):
        serve(images=tf.fill(shape, 0.5))


@pytest.mark.parametrize("value", [float("nan"), -0.01, 1.01, 255.0])
def test_one_pixel_out_of_range_is_refused(serve, value):
    broken = images().numpy()
    broken[1, 2, 3, 0] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must lie in \[0, 1\]"):
        serve(images=tf.constant(broken))


def test_empty_batch_is_refused(serve):
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one image"):
        serve(images=tf.zeros([0, *SHAPE]))


def test_faces_of_the_box_are_allowed(serve):
    for value in (0.0, 1.0):
        assert np.all(np.isfinite(serve(images=tf.fill([1, *SHAPE], value))["logits"]))


def test_gradients_flow_through_the_loaded_model(serve):
    def gradient(function):
        batch = images()
        with tf.GradientTape() as tape:
            tape.watch(batch)
            total = tf.reduce_sum(function(batch)[:, 0])
        return tape.gradient(total, batch)

    served = gradient(lambda x: serve(images=x)["logits"])
    expected = gradient(lambda x: classifier()(x, training=False))
    np.testing.assert_allclose(served, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(served).max() > 0


def test_pgd_attacks_the_artifact_as_it_attacks_the_model(serve):
    batch = images()
    labels = tf.argmax(classifier()(batch), axis=-1)
    attack = PGD(norm=2, eps=0.5, steps=3)
    served = attack(lambda x: serve(images=x), batch, labels)
    expected = attack(classifier(), batch, labels)
    np.testing.assert_allclose(served.adversarial, expected.adversarial, atol=1e-4)
    assert np.all(served.distortion > 0.1)


def test_only_standard_operations_are_in_the_graph(folder):
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString(
        (folder / "saved_model.pb").read_bytes()
    ).meta_graphs[0]
    used = set(
        graph.meta_info_def.stripped_op_list.op[i].name
        for i in range(len(graph.meta_info_def.stripped_op_list.op))
    )
    assert "EnsureShape" in used and not used.intersection(FOREIGN)


def flat():
    """The smallest classifier."""
    return keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten()])


def test_versions_count_up_and_nothing_is_overwritten(tmp_path):
    target = tmp_path / "deep" / "net"
    assert export_saved_model(flat(), target) == target / "1"
    before = {p: p.read_bytes() for p in (target / "1").rglob("*") if p.is_file()}
    (target / "7").mkdir()
    (target / "notes").mkdir()
    assert export_saved_model(flat(), target) == target / "8"
    assert before == {p: p.read_bytes() for p in before}
    assert sorted(os.listdir(target)) == ["1", "7", "8", "notes"]
    assert versions(target) == [1, 7, 8]


class Pooled(keras.layers.Layer):
    """One whose gradient has none in TensorFlow."""

    def call(self, images):
        return tf.nn.fractional_max_pool(images, [1, 1.5, 1.5, 1], seed=1)[0]


def pooled():
    image = keras.Input((4, 4, 1))
    x = keras.layers.GlobalAveragePooling2D()(Pooled(name="odd")(image))
    return keras.Model(image, keras.layers.Dense(3)(x))


def test_what_layers_have_no_gradient_for_is_left_out(tmp_path):
    """With a warning that names it; asked for by name it is refused, and nothing is
    written.
    """
    model, target = pooled(), tmp_path / "net"
    with pytest.raises(ValueError, match="that the model's layers allow.*robustness"):
        names = ("serving_default", "robustness")
        export_saved_model(model, target, signatures=names)
    assert not target.exists()
    with pytest.warns(UserWarning, match=r"^robustness is left out: .*'odd'"):
        folder = export_saved_model(model, target, signatures=None)
    served = set(tf.saved_model.load(folder).signatures)
    assert served == {"serving_default", "predict_bytes", "explain", "smooth"}


def test_what_cannot_have_a_signature_says_so(tmp_path):
    """Each with its reason, where all are wanted; an attack that was asked for is
    refused.
    """
    with pytest.warns(UserWarning) as caught:
        export_saved_model(networks.free_size(1), tmp_path / "net", signatures=None)
    assert sorted(str(warning.message) for warning in caught) == [
        "predict_bytes is left out: it needs images of one size with 1 or 3 channels",
        "smooth is left out: it needs images of one size",
    ]
    settings = Settings(attack=PGD(norm=2, eps=0.5, steps=1))
    image = keras.Input((2, 2, 1))
    flat_edges = keras.layers.Flatten()(keras.ops.round(image))
    stiff = keras.Model(image, flat_edges)
    with (
        pytest.raises(ValueError, match="that the model's layers allow.*attack"),
        pytest.warns(UserWarning, match="is left out"),
    ):
        export_saved_model(stiff, tmp_path / "a", signatures=None, settings=settings)


def odd():
    """A network that folding changes."""
    image = keras.Input((4, 4, 1))
    x = layers.SpectralConv2D(2, 3)(image)
    return keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))


@pytest.mark.parametrize("what", ["wrong", "fails", "fails wordlessly"])
def test_what_folding_would_change_is_served_as_it_is(tmp_path, monkeypatch, what):
    """With a warning, and the card says so."""
    model = odd()

    def bad(_):
        if what == "fails":
            raise TypeError("no such layer")
        if what == "fails wordlessly":
            raise AssertionError
        other = keras.models.clone_model(model)
        other.set_weights(model.get_weights())
        other.layers[-1].kernel.assign(1.01 * model.layers[-1].kernel)
        return other

    # Doctests import the module anew, so its name may stand for another copy of it.
    monkeypatch.setitem(saved_model.fold_or_keep.__globals__, "fold", bad)
    reason = {
        "wrong": "folding would change its answers",
        "fails": "no such layer",
        "fails wordlessly": "AssertionError",
    }[what]
    with pytest.warns(UserWarning, match=f"^The model is served unfolded: {reason}$"):
        folder = export_saved_model(model, tmp_path / "net")
    card = json.loads((folder / "assets.extra/model_card.json").read_text())
    assert card["serving"]["folded"] is False
    pixels = tf.random.stateless_uniform([3, 4, 4, 1], [1, 2])
    answer = tf.saved_model.load(folder).signatures["serving_default"](images=pixels)
    np.testing.assert_allclose(answer["logits"], model(pixels), rtol=1e-5, atol=1e-6)


def test_a_number_taken_meanwhile_is_passed_over(tmp_path, monkeypatch):
    export_saved_model(flat(), tmp_path)
    seen = iter([[], [1]])
    monkeypatch.setattr("export.saved_model.versions", lambda _: next(seen))
    assert export_saved_model(flat(), tmp_path) == tmp_path / "2"


def test_a_failed_export_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(type(keras.export.ExportArchive()), "write_out", full)
    with pytest.raises(OSError, match="No space left"):
        export_saved_model(flat(), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_half_written_version_is_never_seen(tmp_path, monkeypatch):
    kind = type(keras.export.ExportArchive())  # Keras picks it by backend.
    write_out = kind.write_out

    def watched(archive, path, **options):
        write_out(archive, path, **options)
        assert versions(tmp_path) == []
        called.append(path)

    called = []
    monkeypatch.setattr(kind, "write_out", watched)
    export_saved_model(flat(), tmp_path)
    assert len(called) == 1
    assert versions(tmp_path) == [1]


def test_the_folder_can_be_read_by_a_server(tmp_path):
    """Temporary folders are private; what is published must not be."""
    folder = export_saved_model(flat(), tmp_path)
    plain = tmp_path / "plain"
    plain.mkdir()
    assert folder.stat().st_mode == plain.stat().st_mode


def test_a_keras_file_is_loaded(tmp_path):
    classifier().save(tmp_path / "model.keras")
    folder = export_saved_model(str(tmp_path / "model.keras"), tmp_path / "net")
    loaded = tf.saved_model.load(folder)
    answer = loaded.signatures["serving_default"](images=images())
    np.testing.assert_allclose(answer["logits"], classifier()(images()), atol=1e-5)
    assert "labels" not in answer


def test_mixed_precision_answers_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    folder = export_saved_model(
        keras.Sequential(
            [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
        ),
        tmp_path,
    )
    loaded = tf.saved_model.load(folder)
    answer = loaded.signatures["serving_default"](images=tf.ones([1, 2, 2, 1]))
    assert answer["logits"].dtype == tf.float32


@pytest.mark.parametrize(
    ("names", "received"), [(["a"], "['a']"), ("abcd", "'abcd'"), ([], "[]")]
)
def test_wrong_class_names(tmp_path, names, received):
    with pytest.raises(ValueError) as error:
        export_saved_model(flat(), tmp_path, names)
    assert str(error.value) == (
        f"`class_names` must name each of the 4 classes. Received: {received}"
    )
    assert os.listdir(tmp_path) == []


def test_wrong_paths(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("no model")
    with pytest.raises(NotADirectoryError) as error:
        export_saved_model(flat(), occupied)
    assert str(error.value) == (f"`directory` must not be a file. Received: {occupied}")
    with pytest.raises(ValueError, match="`directory` must not be empty"):
        export_saved_model(flat(), "")
    with pytest.raises(FileNotFoundError, match="`model` must be an existing file"):
        export_saved_model(tmp_path / "missing.keras", tmp_path / "net")
    for name in ("file", "file.keras"):
        (tmp_path / name).write_text("no model")
        with pytest.raises(ValueError, match="`model` must be a classifier that"):
            export_saved_model(tmp_path / name, tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_model_that_is_no_classifier_of_images(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError) as error:
        export_saved_model(model, tmp_path)
    assert str(error.value) == (
        "`model` must be a built Keras model from images [B, H, W, C] to logits "
        "[B, K]. Received: input shape (None, 4), output shape (None, 2)"
    )


@pytest.mark.parametrize(
    "last",
    [keras.layers.Softmax, lambda name: keras.layers.Dense(2, "softmax", name=name)],
)
def test_probabilities_are_not_softmaxed_again(tmp_path, last):
    """What a server says is what the network says; logits are what it was given."""
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.Flatten(), last(name="end")]
    )
    served = tf.saved_model.load(str(export_saved_model(model, tmp_path)))
    images = np.random.default_rng(0).random((3, 2, 2, 1), np.float32)
    answer = served.signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(answer["probabilities"], model(images), atol=1e-6)
