"""Keras's ImageNet networks behind the library's inputs and outputs, at small sizes."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import export
from tfrobust import attacks, models
from tfrobust.smoothing import grid_graph

# name: (maker, Keras's own, its preprocessing, smallest size, weights at K = 1000)
KINDS = {
    "inception_v3": (
        models.InceptionV3,
        keras.applications.InceptionV3,
        keras.applications.inception_v3.preprocess_input,
        75,
        23_851_784,
    ),
    "resnet50v2": (
        models.ResNet50V2,
        keras.applications.ResNet50V2,
        keras.applications.resnet_v2.preprocess_input,
        32,
        25_613_800,
    ),
}
# Building Inception takes seconds, and so does everything that is done with it.
EACH = [pytest.param("inception_v3", marks=pytest.mark.slow), "resnet50v2"]
CLASSES = 7


def made(kind, classes=CLASSES, **settings):
    maker, _, _, size, _ = KINDS[kind]
    return maker((size, size, 3), classes, **settings)


def shake(network, seed=0):
    """Biases and statistics that are not those of a fresh network, and no logit 0."""
    random = np.random.default_rng(seed)
    for weight in network.weights:
        if weight.path.endswith(("kernel", "variance", "gamma")):
            factor = random.uniform(0.8, 1.2, weight.shape)
            weight.assign(weight * factor.astype(np.float32))
        else:
            weight.assign(0.1 * random.standard_normal(weight.shape))


def settle(network, images):
    """Takes the statistics of a batch: with those of a fresh network, signals fade out
    on their way and its answer hardly depends on the image.
    """
    norms = [
        layer
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momentum = norms[0].momentum
    for momentum_now in (0.0, momentum):
        for layer in norms:
            layer.momentum = momentum_now
        if not momentum_now:
            network(images, training=True)


def some_images(kind, count=2):
    size = KINDS[kind][3]
    return np.random.default_rng(1).random((count, size, size, 3), np.float32)


@pytest.fixture(scope="module")
def ours():
    """`ours(kind)`: a network of ours with shaken weights, made once."""
    networks = {}

    def get(kind):
        if kind not in networks:
            networks[kind] = made(kind)
            shake(networks[kind])
            settle(networks[kind], some_images(kind, 16))
        return networks[kind]

    return get


@pytest.fixture(scope="module")
def theirs(ours):
    """`theirs(kind)`: Keras's own network with the same weights, with its softmax."""
    networks = {}

    def get(kind):
        if kind not in networks:
            _, keras_maker, _, size, _ = KINDS[kind]
            network = keras_maker(
                weights=None, input_shape=(size, size, 3), classes=CLASSES
            )
            network.set_weights(ours(kind).get_weights())
            networks[kind] = network
        return networks[kind]

    return get


def check_equal(network, kind, reference):
    """The same logits on some images, in every bit: it is the same graph."""
    images = some_images(kind)
    np.testing.assert_array_equal(network(images), reference(images))


@pytest.mark.slow
@pytest.mark.parametrize("kind", EACH)
def test_it_is_kerass_network_on_its_own_preprocessing(kind, ours, theirs):
    """Softmax of our logits on [0, 1] is Keras's answer to [0, 255], preprocessed."""
    images = some_images(kind)
    logits = np.float64(ours(kind)(images))
    odds = np.exp(logits - logits.max(1, keepdims=True))
    expected = theirs(kind)(KINDS[kind][2](255 * images))
    probabilities = odds / odds.sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-3, atol=1e-6)
    # Images are told apart, and so would be another scale.
    assert np.abs(probabilities[0] - probabilities[1]).max() > 0.05
    wrong = theirs(kind)(images).numpy()
    assert np.abs(wrong - expected).max() > 0.05


@pytest.mark.parametrize("kind", EACH)
def test_shapes_and_names(kind, ours):
    """Pixels in, float32 logits out, the model named after the network; as many weights
    as Keras says it has at 1000 classes.
    """
    network = ours(kind)
    size, weights = KINDS[kind][3:]
    assert network.name == kind
    assert network.input_shape == (None, size, size, 3)
    assert network.output_shape == (None, CLASSES)
    assert network.get_layer("images").dtype == "float32"
    names = [layer.name for layer in network.layers]
    assert len(names) == len(set(names))
    head = network.layers[-2].count_params()
    features = head // CLASSES - 1
    assert network.count_params() - head + 1000 * (features + 1) == weights


@pytest.mark.parametrize("kind", EACH)
def test_half_precision_keeps_logits_float32(kind):
    """Under a mixed policy too."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = made(kind)
    assert network.layers[-2].compute_dtype == "bfloat16"
    assert network(some_images(kind)).dtype == tf.float32


@pytest.mark.parametrize("kind", EACH)
def test_a_file_holds_it_whole(kind, ours, tmp_path):
    """Loaded in safe mode, and rebuilt from its configuration: the same function."""
    network = ours(kind)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", safe_mode=True)
    check_equal(loaded, kind, network)
    rebuilt = keras.Model.from_config(network.get_config())
    rebuilt.set_weights(network.get_weights())
    check_equal(rebuilt, kind, network)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_served(kind, ours, tmp_path):
    """The SavedModel gives the same logits and lets gradients through. Not folded:
    random weights make large logits, which are rounded otherwise then
    (tests/export/test_folding.py).
    """
    network = ours(kind)
    export.export_saved_model(network, tmp_path / "served", folded=False)
    (folder,) = (path.parent for path in tmp_path.rglob("saved_model.pb"))
    loaded = tf.saved_model.load(str(folder))
    images = tf.constant(some_images(kind))
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = loaded.signatures["serving_default"](images=images)["logits"]
    np.testing.assert_allclose(logits, network(images), rtol=1e-4, atol=1e-5)
    assert np.all(tf.norm(tape.gradient(logits, images), axis=(1, 2)) > 0)


@pytest.mark.parametrize("kind", EACH)
def test_it_can_be_attacked(kind, ours):
    """The input-gradient is that of a difference quotient, and one step of FGSM raises
    the loss of every image.
    """
    network = ours(kind)
    images, labels = some_images(kind), np.array([0, 3])
    images = np.float32(0.1 + 0.8 * images)

    def losses(x):
        logits = network(x)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(losses(x))
    gradient = tape.gradient(total, x).numpy()
    direction = gradient / np.sqrt((gradient**2).sum((1, 2, 3), keepdims=True))
    # A short way: a settled network of random weights is as steep as they come.
    ends = [losses(images + sign * 2e-5 * direction).numpy() for sign in (1, -1)]
    quotient = (ends[0] - ends[1]) / 4e-5
    np.testing.assert_allclose(
        (gradient * direction).sum((1, 2, 3)), quotient, rtol=0.05
    )
    adversarial = attacks.FGSM(eps=1e-6).perturb(network, images, labels)
    assert np.all(losses(adversarial).numpy() > losses(images).numpy())


def scenes(kind):
    """Two smooth images, far from 0 and 1, and the radii of a failure and a success."""
    size = KINDS[kind][3]
    coarse = np.random.default_rng(2).random((2, 4, 4, 3), np.float32)
    images = 0.1 + 0.8 * tf.image.resize(coarse, (size, size)).numpy()
    return images, np.array([1e-4, 2.0], np.float32)


def check_verdict(network, images, labels, result):
    """Range, success and distortion, exact and rounded, by the network and NumPy."""
    adversarial = result.adversarial.numpy()
    assert adversarial.min() >= 0.0 and adversarial.max() <= 1.0
    for suffix, shown in (
        ("", adversarial),
        ("_rounded", np.round(adversarial * 255) / 255),
    ):
        answers = np.argmax(network(np.float32(shown)), axis=1)
        success = getattr(result, f"success{suffix}")
        np.testing.assert_array_equal(success, answers != labels)
        moved = np.float64(shown - images).reshape(len(images), -1)
        distortion = getattr(result, f"distortion{suffix}")
        expected = np.linalg.norm(moved, axis=1)
        np.testing.assert_allclose(distortion, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_smooth_gradients_attack_it(kind, ours):
    """At the paper's alpha: within each image's radius, judged right, and smoother than
    the same descent along plain gradients.
    """
    network, (images, radii) = ours(kind), scenes(kind)
    labels = np.argmax(network(images), axis=1)
    settings = {"norm": 2, "eps": 1.0, "steps": 3, "random_start": False}
    roughness = {}
    for attack in (attacks.PGD(**settings), attacks.SmoothPGD(**settings, alpha=0.997)):
        result = attack(network, images, labels, eps=radii)
        check_verdict(network, images, labels, result)
        assert result.success.numpy().tolist() == [False, True]
        # The smaller radius is a few float32 steps of each pixel, which are rounded.
        rounding = 2.0**-25 * np.sqrt(images[0].size)
        assert np.all(result.distortion <= radii * (1 + 1e-5) + rounding)
        assert np.all(result.distortion > 0.1 * radii)
        moved = result.adversarial - images
        roughness[type(attack)] = grid_graph(images).roughness(moved).numpy()
    assert np.all(roughness[attacks.SmoothPGD] < 0.2 * roughness[attacks.PGD])


@pytest.mark.slow
@pytest.mark.parametrize("kind", EACH)
def test_smooth_carlini_wagner_attacks_it(kind, ours):
    """A few steps break a network as steep as this, smoothly, and are judged right."""
    network, (images, _) = ours(kind), scenes(kind)
    labels = np.argmax(network(images), axis=1)
    attack = attacks.SmoothCarliniWagner(alpha=0.997, steps=4, search_steps=3)
    result = attack(network, images, labels)
    check_verdict(network, images, labels, result)
    assert np.all(result.success)
    moved = result.adversarial - images
    assert np.all(grid_graph(images).roughness(moved) < 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet50v2"])  # the graph is of the attack's making
def test_smooth_gradients_in_a_graph_for_every_batch(kind, ours):
    """One trace of unknown batch size, and what the attack finds without it."""
    network, (images, radii) = ours(kind), scenes(kind)
    labels = np.argmax(network(images), axis=1)
    attack = attacks.SmoothPGD(norm=2, eps=1.0, steps=2, alpha=0.997)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *images.shape[1:]]),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None]),
        ]
    )
    def call(images, labels, eps):
        return attack(network, images, labels, eps=eps)

    for rows in (slice(0, 2), slice(1, 2)):
        batch = images[rows], labels[rows]
        result = call(*batch, radii[rows])
        expected = attack(network, *batch, eps=radii[rows])
        close = {"rtol": 1e-3, "atol": 1e-5}
        for name in ("adversarial", "distortion", "success"):
            actual = getattr(result, name)
            np.testing.assert_allclose(actual, getattr(expected, name), **close)
        assert result.success.numpy().tolist() == [False, True][rows]
        assert np.all(result.distortion > 0.1 * radii[rows])
    assert call.experimental_get_tracing_count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize("whose", ["ours", "theirs"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_from_a_file(kind, whose, ending, ours, theirs, tmp_path):
    """Of our network or of Keras's, whole or weights alone; the size of the images is
    another one, which the weights do not depend on.
    """
    path = tmp_path / f"saved{ending}"
    source = {"ours": ours, "theirs": theirs}[whose](kind)
    if ending == ".weights.h5":
        source.save_weights(path)
    else:
        source.save(path)
    maker, _, _, size, _ = KINDS[kind]
    network = maker((size + 9, size + 5, 3), CLASSES, weights=path, name="other")
    assert network.name == "other"
    expected = ours(kind)
    for first, second in zip(network.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(first, second, err_msg=second.path)


@pytest.mark.parametrize("kind", EACH)
def test_kerass_own_weights_are_taken_over(kind, monkeypatch):
    """Whatever Keras's function returns for "imagenet"; nothing is downloaded here."""
    maker, keras_maker, _, size, _ = KINDS[kind]
    arguments = []

    def make(weights=None, input_tensor=None, **settings):
        arguments.append(weights)
        network = keras_maker(weights=None, input_tensor=input_tensor, **settings)
        if weights is not None:
            shake(network, seed=5)
            arguments.append(network)
        return network

    monkeypatch.setattr(keras.applications, keras_maker.__name__, make)
    network = maker((size, size, 3), weights="imagenet")
    assert arguments[:2] == [None, "imagenet"] and network.output_shape == (None, 1000)
    for first, second in zip(network.weights, arguments[2].weights, strict=True):
        np.testing.assert_array_equal(first, second, err_msg=second.path)


def test_a_failed_download_is_one_sentence(monkeypatch):
    """Keras raises a bare exception without a network."""
    make = keras.applications.ResNet50V2

    def offline(weights=None, **settings):
        if weights == "imagenet":
            raise Exception("URL fetch failure on https://x: no route")
        return make(weights=None, **settings)

    monkeypatch.setattr(keras.applications, "ResNet50V2", offline)
    with pytest.raises(OSError) as caught:
        models.ResNet50V2((32, 32, 3), weights="imagenet")
    assert str(caught.value) == (
        "weights='imagenet' could not be downloaded by Keras: URL fetch failure on "
        "https://x: no route"
    )


ENDINGS = (
    "`weights` must be None, 'imagenet' or an existing file that ends in .keras, "
    ".weights.h5, .h5. Received: weights="
)


@pytest.mark.parametrize(
    ("maker", "arguments", "message"),
    [
        (
            models.InceptionV3,
            {"input_shape": (75, 74, 3)},
            "`input_shape` must have a height and width of at least 75 and 3 channels. "
            "Received: input_shape=(75, 74, 3)",
        ),
        (
            models.ResNet50V2,
            {"input_shape": (31, 64, 3)},
            "`input_shape` must have a height and width of at least 32 and 3 channels. "
            "Received: input_shape=(31, 64, 3)",
        ),
        (
            models.ResNet50V2,
            {"input_shape": (32, 32, 1)},
            "`input_shape` must have a height and width of at least 32 and 3 channels. "
            "Received: input_shape=(32, 32, 1)",
        ),
        (
            models.ResNet50V2,
            {"classes": 0},
            "`classes` must be an integer of at least 1. Received: classes=0",
        ),
        (
            models.InceptionV3,
            {"classes": 10, "weights": "imagenet"},
            "`classes` must be 1000 with weights='imagenet'. Received: classes=10",
        ),
        (
            models.InceptionV3,
            {"weights": "no/such.keras"},
            f"{ENDINGS}'no/such.keras'",
        ),
        (models.ResNet50V2, {"weights": "Imagenet"}, f"{ENDINGS}'Imagenet'"),
        (models.ResNet50V2, {"weights": __file__}, f"{ENDINGS}{__file__!r}"),
    ],
)
def test_bad_arguments(maker, arguments, message):
    """Each is refused, by name and value, before the network is built."""
    with pytest.raises(ValueError) as caught:
        maker(**arguments)
    assert str(caught.value) == message


@pytest.fixture(scope="module")
def misfits():
    """Another network, and the same with another number of classes."""
    return {"another": models.C4(width=2), "classes": made("resnet50v2", 5)}


@pytest.mark.slow
@pytest.mark.parametrize("flaw", ["another", "classes", "broken"])
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_weights_that_do_not_fit_are_refused(misfits, tmp_path, flaw, ending):
    """Those of another network, of other classes, or of a file that is none."""
    path = pathlib.Path(tmp_path / f"saved{ending}")
    if flaw == "broken":
        path.write_text("no weights")
    else:
        source = misfits[flaw]
        save = source.save if ending == ".keras" else source.save_weights
        save(path)
    with pytest.raises(ValueError) as caught:
        made("resnet50v2", weights=path)
    assert str(caught.value) == (
        f"`weights` must hold weights of resnet50v2 with {CLASSES} classes. "
        f"Received: weights={str(path)!r}"
    )
