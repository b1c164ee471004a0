"""A classifier from any path, and one sentence for what is none."""

import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.saved_model import export_saved_model
from tests.models.pytorch import oracle
from tests.seeds import set_seeds
from tfrobust import models
from tfrobust.cli.loading import find_model, load_classifier
from tfrobust.cli.program import UsageError
from tfrobust.training import RobustModel

SHAPE = (6, 5, 2)


@pytest.fixture(scope="module")
def network():
    set_seeds(1)
    return models.MLP(SHAPE, 3, "lcnn", hidden=(4,))


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    """The folder of a run, as far as loading looks at it."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    folder.mkdir()
    (folder / "run.flags").write_text("--dataset=shapes\n")
    network.save(folder / "model.keras")
    for epoch in ("best.keras", "epochs/epoch-007.keras"):
        (folder / epoch).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "model.keras", folder / epoch)
    export_saved_model(network, folder / "saved_model")
    return folder


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((4, *SHAPE), np.float32)


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("", "mine", "Keras"),
        ("model.keras", "mine", "Keras"),
        ("best.keras", "mine (best)", "Keras"),
        ("epochs/epoch-007.keras", "mine (epoch-007)", "Keras"),
        ("saved_model", "mine (saved_model)", "SavedModel"),
        ("saved_model/1", "mine (saved_model)", "SavedModel"),
    ],
)
def test_every_form_is_the_same_classifier(network, run, images, path, name, kind):
    """Run folder, files, folder of versions and version answer alike, in the shape and
    with the classes of the network, and each has the run in its name.
    """
    loaded = load_classifier(run / path)
    assert (loaded.name, loaded.kind) == (name, kind)
    assert (loaded.input_shape, loaded.classes) == (SHAPE, 3)
    assert loaded.training["dataset"] == "shapes"
    expected = network(images, training=False)
    np.testing.assert_allclose(loaded.call(tf.constant(images)), expected, atol=1e-6)
    assert load_classifier(run / path, "other").name == "other"


def test_gradients_flow_and_the_model_stays_alive(run, images):
    """Of a SavedModel only the callable is kept: it has to own its variables."""
    call = load_classifier(run / "saved_model").call
    point = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(point)
        total = tf.reduce_sum(call(point)[:, 0])
    assert float(tf.norm(tape.gradient(total, point))) > 0


def test_the_newest_version_is_taken(network, tmp_path):
    """By number, not by name: 10 is newer than 9; what is half exported is passed."""
    version = export_saved_model(network, tmp_path / "served" / "net")
    version.rename(version.with_name("10"))
    export_saved_model(network, tmp_path / "other").rename(version.with_name("9"))
    version.with_name("11").mkdir()
    assert find_model(version.parent) == version.with_name("10")
    loaded = load_classifier(version.parent)
    assert loaded.name == "net" and loaded.training == {}
    dotted = version.parent.rename(tmp_path / "net-1.2")
    assert load_classifier(dotted).name == "net-1.2"


def test_a_file_outside_a_run_is_named_after_itself(network, tmp_path):
    network.save(tmp_path / "best.keras")
    loaded = load_classifier(tmp_path / "best.keras")
    assert loaded.name == "best" and loaded.training == {}


def write(folder, name, text=""):
    (folder / name).write_text(text)
    return folder / name


def unsigned(folder):
    tf.saved_model.save(tf.Module(), str(folder / "m"))
    return folder / "m"


def signed(folder, function, **inputs):
    module = tf.Module()
    module.run = tf.function(function, input_signature=list(inputs.values()))
    signature = module.run.get_concrete_function()
    tf.saved_model.save(module, str(folder / "m"), {"serving_default": signature})
    return folder / "m"


IMAGES = tf.TensorSpec([None, *SHAPE], tf.float32, name="images")
PIXELS = tf.TensorSpec([None, 60], tf.float32, name="images")


def keras_file(folder, *layers):
    keras.Sequential(list(layers)).save(folder / "m.keras")
    return folder / "m.keras"


def half_graph(folder):
    (folder / "m").mkdir()
    write(folder / "m", "saved_model.pb", "no graph")
    return folder / "m"


def logits_only(images):
    return {"scores": tf.reduce_sum(images, [1, 2])}


def flat(images):
    return {"logits": images}


Input, Flatten, Dense = keras.Input, keras.layers.Flatten, keras.layers.Dense
CASES = {
    "missing": (lambda f: f / "none", r"--model=.*/none does not exist\."),
    "empty": (lambda f: "", r"--model= does not exist\."),
    "other file": (lambda f: write(f, "a.h5"), r"is a file, but no \.keras file\."),
    "empty folder": (lambda f: f, r"holds no model: neither model\.keras nor saved_"),
    "unfinished run": (
        lambda f: write(f, "run.flags").parent,
        r"is a run without model\.keras: it has not finished\.",
    ),
    "no Keras file": (
        lambda f: write(f, "a.keras", "text"),
        r"is no Keras model that loads here: ",
    ),
    "no graph": (half_graph, r"is no SavedModel that loads here: "),
    "no signature": (unsigned, r"has no signature 'serving_default'\."),
    "other output": (
        lambda f: signed(f, logits_only, images=IMAGES),
        r"must take `images` and return `logits`, .* and returns scores by its",
    ),
    "flat images": (
        lambda f: signed(f, flat, images=PIXELS),
        r"must map images \[B, H, W, C\] to logits \[B, K\], but maps \[any, 60\] to",
    ),
    "flat Keras model": (
        lambda f: keras_file(f, Input((60,)), Dense(3)),
        r"but maps \[any, 60\] to \[any, 3\]\.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_classifier(tmp_path, name):
    """One sentence that names the path and what is wrong with it."""
    make, expected = CASES[name]
    with pytest.raises(UsageError) as error:
        load_classifier(make(tmp_path))
    assert re.search(expected, str(error.value)), str(error.value)


def test_fit_to_data(run, tmp_path):
    """Another image size or another number of classes is told apart."""
    loaded = load_classifier(run)
    loaded.check(SHAPE, 3, "mine")
    with pytest.raises(UsageError, match=r"images \[6, 5, 2\], but those of mine are"):
        loaded.check((6, 5, 1), 3, "mine")
    with pytest.raises(UsageError, match=r"tells 3 classes apart, but mine has 4\."):
        loaded.check(SHAPE, 4, "mine")
    path = keras_file(tmp_path, Input(SHAPE), Flatten(), Dense(1))
    with pytest.raises(UsageError, match=r"tells 2 classes apart, but mine has 3\."):
        load_classifier(path).check(SHAPE, 3, "mine")


def test_any_size_fits_a_free_one(tmp_path):
    """A network that pools over the whole image takes every size."""
    pool = keras.layers.GlobalAveragePooling2D()
    path = keras_file(tmp_path, Input((None, None, 2)), pool, Dense(3))
    load_classifier(path).check((6, 5, 2), 3, "mine")


def test_what_trains_a_network_is_loaded_as_the_network(network, run, images):
    """A checkpoint of `fit` in the folder of its run."""
    RobustModel(network).save(run / "checkpoint.keras")
    loaded = load_classifier(run / "checkpoint.keras")
    assert (loaded.name, loaded.kind) == ("mine (checkpoint)", "Keras")
    assert not isinstance(loaded.call, RobustModel)
    expected = network(images, training=False)
    np.testing.assert_array_equal(loaded.call(images, training=False), expected)


def test_a_shipped_network_has_the_flags_of_its_training():
    """Under its own name or another."""
    for name in ("", "other"):
        loaded = load_classifier("pretrained:mnist_c4", name)
        assert loaded.name == (name or "mnist_c4")
        assert loaded.training["dataset"] == "mnist"


def test_a_pytorch_network_is_called_after_its_file(tmp_path):
    """It has no flags of a training, and errors name what was asked for."""
    net = oracle.Network()
    oracle.wide_resnet(net, np.zeros((1, 3, 8, 8)), 10, 1, 4)
    np.savez(tmp_path / "Wong2020.npz", **net.tensors)
    path = f"robustbench:{tmp_path}/Wong2020.npz:wideresnet-10-1:size=8"
    loaded = load_classifier(path)
    assert (loaded.name, loaded.training) == ("Wong2020", {})
    loaded.check((8, 8, 3), 4, "mine")
    with pytest.raises(UsageError) as error:
        loaded.check((32, 32, 3), 4, "mine")
    assert str(error.value) == (
        f"--model={path} takes images [8, 8, 3], but those of mine are [32, 32, 3]."
    )
    with pytest.raises(UsageError) as error:
        load_classifier("robustbench:none.pt:resnet18", flag="teacher")
    assert str(error.value) == (
        "--teacher=robustbench:none.pt:resnet18 names a file that does not exist: "
        "none.pt."
    )


@pytest.mark.parametrize(("flag", "named"), [("teacher", "--teacher={p}"), ("", "{p}")])
def test_errors_name_the_flag(network, tmp_path, flag, named):
    """Of a path that is no model, one that does not load, and one that does not fit."""
    missing = tmp_path / "none"
    with pytest.raises(UsageError) as error:
        load_classifier(missing, flag=flag)
    assert str(error.value) == named.format(p=missing) + " does not exist."
    path = write(tmp_path, "a.keras", "text")
    with pytest.raises(UsageError) as error:
        load_classifier(path, flag=flag)
    assert str(error.value).startswith(named.format(p=path) + " is no Keras model")
    network.save(path)
    with pytest.raises(UsageError) as error:
        load_classifier(path, flag=flag).check(SHAPE, 4, "mine")
    assert str(error.value) == (
        named.format(p=path) + " tells 3 classes apart, but mine has 4."
    )


@keras.saving.register_keras_serializable(package="tests.loading")
class Stranger(keras.layers.Layer):
    """A layer of somebody else's."""

    def call(self, inputs):
        return inputs


def test_a_layer_that_nobody_registers(tmp_path):
    """The sentence says which flag helps."""
    path = keras_file(tmp_path, Input(SHAPE), Stranger(), Flatten(), Dense(3))
    keras.saving.get_custom_objects().pop("tests.loading>Stranger")
    with pytest.raises(UsageError) as error:
        load_classifier(path)
    assert str(error.value) == (
        f"--model={path} needs the class 'Stranger', which nothing that is imported "
        "registers; name the module that does by --import."
    )
