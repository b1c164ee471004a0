"""One loader for every form of a classifier, and a sentence for what is none."""

import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from tests.models.pytorch import oracle
from tfrobust import attacks, models
from tfrobust.models.loading import find
from tfrobust.training import RobustModel

SHAPE = (6, 5, 2)
RUN = "model.keras"


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    return models.MLP(SHAPE, 3, "lcnn", hidden=(4,))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((4, *SHAPE), np.float32)


@pytest.fixture(scope="module")
def run(network, images, tmp_path_factory):
    """A folder with every form of one network, which `fit` has left a checkpoint of."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    model = RobustModel(network)
    model.compile("sgd")
    checkpoint = keras.callbacks.ModelCheckpoint(folder / "best.keras")
    labels = np.array([0, 1, 2, 1])
    model.fit(images, labels, verbose=0, callbacks=[checkpoint])
    network.save(folder / RUN)
    export_saved_model(network, folder / "served" / "net")
    return folder


FORMS = {
    "folder": ("", RUN, "mine", "Keras"),
    "file": (RUN, RUN, "mine", "Keras"),
    "checkpoint": ("best.keras", "best.keras", "best", "Keras"),
    "version": ("served/net/1", "served/net/1", "net", "SavedModel"),
    "versions": ("served/net", "served/net/1", "net", "SavedModel"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_classifier(network, run, images, form):
    """With its shapes, a name, and as a Keras model too."""
    path, source, name, kind = FORMS[form]
    loaded = models.load(run / path)
    assert isinstance(loaded, models.LoadedClassifier)
    assert (loaded.name, loaded.kind, loaded.source) == (name, kind, run / source)
    assert (loaded.input_shape, loaded.classes) == (SHAPE, 3)
    assert models.load(run / path, "other").name == "other"
    expected = network(images, training=False)
    for call in (loaded.call, loaded.network):
        np.testing.assert_allclose(call(tf.constant(images)), expected, atol=1e-6)
    assert isinstance(loaded.network, keras.Model)


def test_a_checkpoint_yields_the_network_and_not_what_trains_it(network, run):
    call = models.load(run / "best.keras").call
    assert not isinstance(call, RobustModel)
    assert [layer.name for layer in call.layers] == [
        layer.name for layer in network.layers
    ]
    assert models.betas(call) == models.betas(network)


@keras.saving.register_keras_serializable(package="tests.load")
class Mine(RobustModel):
    """What somebody makes of it."""


def test_a_checkpoint_of_a_class_of_ones_own_yields_its_network(network, tmp_path):
    Mine(network).save(tmp_path / "mine.keras")
    loaded = models.load(tmp_path / "mine.keras").call
    for old, new in zip(network.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
def test_a_checkpoint_loads_where_nothing_trains(network, run, images):
    """In a process that imports `tfrobust.models` alone, bit for bit."""
    np.save(run.parent / "images.npy", images)
    program = (
        "import sys, numpy as np\n"
        "from tfrobust import models\n"
        "folder, path = sys.argv[1:]\n"
        "network = models.load(path).call\n"
        "images = np.load(folder + '/images.npy')\n"
        "np.save(folder + '/logits.npy', network(images, training=False))\n"
        "assert 'tfrobust.training' not in sys.modules\n"
    )
    arguments = [str(run.parent), str(run / "best.keras")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=300)
    np.testing.assert_allclose(
        np.load(run.parent / "logits.npy"), network(images, training=False), atol=1e-6
    )


def pytorch_file(folder):
    """A network of PyTorch in a file, as the path that `load` takes."""
    net = oracle.Network()
    oracle.wide_resnet(net, np.zeros((1, 3, 8, 8)), 10, 1, 4)
    place = tensors(folder, **net.tensors)
    return f"robustbench:{place}:wideresnet-10-1:size=8,normalization=half"


def test_a_pytorch_network(tmp_path):
    path = pytorch_file(tmp_path)
    loaded = models.load(path)
    assert (loaded.name, loaded.kind, str(loaded.source)) == ("tensors", "Keras", path)
    assert (loaded.input_shape, loaded.classes) == ((8, 8, 3), 4)
    scaling = loaded.network.get_layer("normalization")
    np.testing.assert_allclose(scaling(np.float32([[[[0, 0.5, 1]]]])), [[[[-1, 0, 1]]]])


def test_a_shipped_network():
    loaded = models.load("pretrained:mnist_c4")
    assert (loaded.name, loaded.kind) == ("mnist_c4", "Keras")
    assert (loaded.input_shape, loaded.classes) == ((28, 28, 1), 10)
    assert str(loaded.source) == "pretrained:mnist_c4"
    for new, old in zip(
        loaded.call.get_weights(),
        models.pretrained("mnist_c4").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(new, old)


def test_home_is_known(network, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    network.save(tmp_path / "a.keras")
    assert find("~/a.keras") == tmp_path / "a.keras"


def test_zeros_may_lead_a_version(network, tmp_path):
    version = export_saved_model(network, tmp_path / "net")
    assert find(shutil.move(version, tmp_path / "net" / "0002")).name == "0002"
    assert find(tmp_path / "net").name == "0002"


@keras.saving.register_keras_serializable(package="tests.load")
class Stranger(keras.layers.Layer):
    """A layer that not everybody knows."""

    def call(self, inputs):
        return inputs


def file(folder, *layers):
    keras.Sequential(list(layers)).save(folder / "m.keras")
    return folder / "m.keras"


def text(folder, name):
    (folder / name).write_text("no model")
    return folder / name


def stranger(folder):
    path = file(folder, keras.Input(SHAPE), Stranger(), Flatten(), Dense(3))
    keras.saving.get_custom_objects().pop("tests.load>Stranger")
    return path


def two_inputs(folder):
    ends = [keras.Input(SHAPE), keras.Input(SHAPE)]
    logits = Dense(2)(Flatten()(keras.layers.Add()(ends)))
    keras.Model(ends, logits).save(folder / "m.keras")
    return folder / "m.keras"


Flatten, Dense = keras.layers.Flatten, keras.layers.Dense
LOADS = "`path` must be a classifier that loads here. Received: path={p}"
MAPS = "`path` must map images [B, H, W, C] to logits [B, K]. Received: path={p}"


def tensors(folder, **arrays):
    np.savez(folder / "tensors.npz", **arrays)
    return folder / "tensors.npz"


CASES = {
    "missing": (lambda f: f / "none", f"{LOADS}, which does not exist"),
    "empty": (lambda f: "", f"{LOADS}, which does not exist"),
    "other file": (
        lambda f: text(f, "a.h5"),
        f"{LOADS}, which is a file, but no .keras file",
    ),
    "empty folder": (
        lambda f: f,
        f"{LOADS}, which holds no model: neither model.keras nor saved_model.pb nor a "
        "numbered version with one",
    ),
    "unknown class": (
        stranger,
        f"{LOADS}, which needs the class 'Stranger', which nothing that is imported "
        "registers",
    ),
    "unknown name": (
        lambda f: "pretrained:none",
        f"{LOADS}, which is none of those that are shipped: "
        + ", ".join(models.list_pretrained()),
    ),
    "no architecture": (
        lambda f: f"robustbench:{text(f, 'a.npz')}",
        "`path` must be written robustbench:FILE:ARCHITECTURE. Received: path={p}, "
        "which has no architecture",
    ),
    "no PyTorch file": (
        lambda f: f"robustbench:{f}/a.pt:resnet18",
        f"{LOADS}, which names a file that does not exist: {{f}}/a.pt",
    ),
    "unknown architecture": (
        lambda f: f"robustbench:{text(f, 'a.npz')}:wideresnet-28-10:depth=28",
        f"{LOADS}, which names no architecture: A setting must be given once. "
        "Received: depth twice in 'wideresnet:depth=28,width=10,depth=28'",
    ),
    "no tensors of it": (
        lambda f: f"robustbench:{tensors(f, a=np.zeros(1))}:resnet18",
        f"{LOADS}, which does not load: resnet18: `state_dict` must hold the tensors "
        "of this architecture, all of them and no others. Received: no conv1.weight "
        "among 1 tensors, the first of which is a",
    ),
    "flat": (
        lambda f: file(f, keras.Input((60,)), Dense(3)),
        f"{MAPS}, which maps [any, 60] to [any, 3]",
    ),
    "two inputs": (
        two_inputs,
        f"{MAPS}, which maps several or unknown tensors to several or unknown tensors",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_classifier(tmp_path, name):
    make, expected = CASES[name]
    path = make(tmp_path)
    with pytest.raises(ValueError) as error:
        models.load(path)
    assert isinstance(error.value, models.LoadError)
    assert str(error.value) == expected.format(p=path, f=tmp_path)
    assert error.value.path == str(path)
    assert error.value.missing == ("Stranger" if name == "unknown class" else "")


def test_a_file_that_does_not_load(tmp_path):
    """Whatever Keras or TensorFlow say comes last, as one line."""
    (tmp_path / "m").mkdir()
    text(tmp_path / "m", "saved_model.pb")
    for path, what in (
        (text(tmp_path, "a.keras"), "Keras model"),
        (tmp_path / "m", "SavedModel"),
    ):
        with pytest.raises(models.LoadError) as error:
            models.load(path)
        message = str(error.value)
        assert message.startswith(
            LOADS.format(p=path) + f", which is no {what} that loads here: "
        )
        assert "\n" not in message


def test_a_program_has_the_sentence_without_the_argument(tmp_path):
    with pytest.raises(models.LoadError) as error:
        models.load(file(tmp_path, keras.Input((60,)), Dense(3)))
    assert error.value.problem == (
        "must map images [B, H, W, C] to logits [B, K], but maps [any, 60] to [any, 3]"
    )


def test_a_network_with_its_softmax_is_called_for_logits(tmp_path):
    """The network itself, with its softmax, is what is exported."""
    path = file(tmp_path, keras.Input(SHAPE), Flatten(), Dense(3, "softmax"))
    loaded, images = models.load(path), np.random.default_rng(0).random((2, *SHAPE))
    logits = loaded.call(images.astype(np.float32), training=False)
    network = keras.models.load_model(path)
    assert loaded.network.layers[-1].activation is keras.activations.softmax
    np.testing.assert_allclose(tf.nn.softmax(logits), network(images), atol=1e-6)
    kernel, bias = network.layers[-1].get_weights()
    np.testing.assert_allclose(logits, images.reshape(2, -1) @ kernel + bias, atol=1e-5)


def test_a_checkpoint_brings_its_pixels_and_its_output(tmp_path):
    """Called on images in [0, 1]; the network keeps its own range."""
    image = keras.Input(SHAPE)
    flat = Flatten()(image)
    network = keras.Model(image, {"a": Dense(3)(flat), "b": Dense(1)(flat)})
    model = RobustModel(network, output="b", bounds=(-1, 1))
    model.compile("sgd")
    model.save(tmp_path / "model.keras")
    loaded = models.load(tmp_path / "model.keras")
    assert (loaded.classes, loaded.network.output_name) == (2, "b")
    assert loaded.network.bounds == (-1.0, 1.0)
    images = np.random.default_rng(0).random((2, *SHAPE), np.float32)
    odds = network(2 * images - 1)["b"]
    np.testing.assert_allclose(
        loaded.call(images), np.concatenate([-odds / 2, odds / 2], axis=1), atol=1e-5
    )


def test_what_is_loaded_is_no_model_itself(tmp_path):
    """Its network and its call take images of different ranges."""
    path = file(tmp_path, keras.Input(SHAPE), Flatten(), Dense(3))
    loaded = models.load(path, bounds=(0, 255))
    images = np.full((1, *SHAPE), 128.0, np.float32)
    with pytest.raises(ValueError, match="give its `network`, of its own pixels, or"):
        attacks.FGSM(eps=0.1)(loaded, images, [0])
    attacks.FGSM(eps=0.1)(loaded.network, images, [0])
    attacks.FGSM(eps=0.1)(loaded.call, images / 255, [0])
    np.testing.assert_allclose(loaded.call(images / 255), loaded.network(images))
