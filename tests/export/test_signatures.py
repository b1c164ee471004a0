"""What is served, in the process that wrote it: answers against independent ones,
refusals from inside of the graph, and nothing that depends on who shares a batch.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model, limits
from export.signatures import (
    NAMES,
    WITH_GRADIENTS,
    Settings,
    available,
    make_signatures,
)
from tests import networks
from tests.export.requested import CLASSES, SHAPE, ask, pixels, request
from tfrobust import attacks, geometry, smoothing
from tfrobust.core.unit_network import UnitNetwork

ATTACK = attacks.PGD(norm=2, eps=0.5, steps=3)
SETTINGS = Settings(attack=ATTACK, alpha=0.9, bandwidth=0.5, smooth_iterations=40)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    """Small, of every low-curvature layer."""
    return networks.low_curvature(SHAPE, CLASSES)


@pytest.fixture(scope="module")
def loaded(network, tmp_path_factory):
    """Holds the variables; signatures alone do not."""
    folder = tmp_path_factory.mktemp("served") / "net"
    return tf.saved_model.load(
        export_saved_model(
            network,
            folder,
            list("abcd"),
            signatures=NAMES,
            folded=True,
            settings=SETTINGS,
        )
    )


def test_gradients_are_those_of_the_logit(loaded, network):
    """By a tape over the Keras model; -1 is the most likely class."""
    images = pixels()
    classes = np.int32([2, -1, 0])
    answer = ask(loaded, "explain", images=images, classes=classes)
    variable = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        logits = network(variable, training=False)
        chosen = np.where(classes < 0, np.argmax(logits, axis=1), classes)
        score = tf.reduce_sum(tf.gather(logits, chosen, batch_dims=1))
    expected = tape.gradient(score, variable).numpy()
    np.testing.assert_allclose(answer["gradient"], expected, atol=1e-6)
    norms = np.linalg.norm(expected.reshape(3, -1), axis=1)
    np.testing.assert_allclose(answer["gradient_norm"], norms, rtol=1e-4)
    np.testing.assert_array_equal(answer["classes"], chosen)


def test_robustness_is_the_librarys(loaded, network):
    """Of the model as it was before folding, each image with iterations of its own."""
    images, counts = pixels(), np.int32([1, 10, 40])
    answer = ask(loaded, "robustness", images=images, iterations=counts)
    expected = geometry.robustness(network, images, tf.constant(counts))._asdict()
    assert set(answer) == {*expected, "labels"}
    for name, value in expected.items():
        np.testing.assert_allclose(answer[name], value, rtol=1e-3, err_msg=name)


def test_smoothing_is_the_librarys(loaded):
    """With the settings of the export; a constant stays a constant."""
    images, changes = pixels(), pixels(seed=1) - 0.5
    answer = ask(loaded, "smooth", images=images, perturbations=changes)["smoothed"]
    smoother = smoothing.Smoother(images, alpha=0.9, bandwidth=0.5, iterations=40)
    np.testing.assert_allclose(answer, smoother(changes), atol=1e-5)
    flat = np.full_like(images, 0.25)
    answer = ask(loaded, "smooth", images=images, perturbations=flat)["smoothed"]
    np.testing.assert_allclose(answer, flat, atol=1e-4)


def test_attacks_stay_in_their_ball(loaded, network):
    """And fool the model where they say so."""
    images = pixels(8)
    answer = ask(loaded, "attack", images=images, classes=np.full(8, -1, np.int32))
    change = (answer["adversarial"] - images).reshape(8, -1)
    assert np.all(np.linalg.norm(change, axis=1) <= ATTACK.eps * (1 + 1e-5))
    clean = np.argmax(network(images), axis=1)
    np.testing.assert_array_equal(answer["classes"], clean)
    fooled = np.argmax(network(answer["adversarial"]), axis=1) != clean
    np.testing.assert_array_equal(answer["success"], fooled)


@pytest.mark.parametrize("name", NAMES)
def test_answers_do_not_depend_on_the_batch(loaded, name):
    """An image alone, first among three or last among them is answered alike."""
    whole = request(name)
    together = ask(loaded, name, **whole)
    for row in range(3):
        alone = {key: value[row : row + 1] for key, value in whole.items()}
        for key, value in ask(loaded, name, **alone).items():
            if value.dtype == object:
                assert value[0] == together[key][row]
                continue
            np.testing.assert_allclose(
                value[0], together[key][row], rtol=1e-4, atol=1e-6, err_msg=key
            )


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused(loaded, name):
    """Every tensor of every signature, with a rank too few, too many, none, and rows
    that the others do not have.
    """
    good = request(name)
    for key, value in good.items():
        wrong = [value[0], value[None], value[:0], np.concatenate([value] * 2)]
        if len(good) == 1:
            wrong.pop()
        if value.ndim == 4:
            wrong += [value[:, :-1], value[..., :1]]
        for other in wrong:
            with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
                ask(loaded, name, **{**good, key: other})


def test_a_request_has_as_many_images_as_the_export_says(network):
    """Every signature takes the last one and refuses one more, those for gradients
    sooner. Iterations have a limit too.
    """
    settings = Settings(
        attack=ATTACK,
        smooth_iterations=2,
        max_batch=3,
        max_gradients=2,
        max_iterations=3,
    )
    served = make_signatures(network, None, settings, NAMES)
    for name, (function, specs) in served.items():
        most = 2 if name in WITH_GRADIENTS else 3
        fits, more = (
            [tf.constant(request(name, count)[spec.name]) for spec in specs]
            for count in (most, most + 1)
        )
        assert len(next(iter(function(*fits).values()))) == most
        message = f"at most {most}, got shape"
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            function(*more)
    few = make_signatures(network, None, Settings(max_batch=1), ("explain",))
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 1, got shape"):
        few["explain"].function(pixels(2), np.full(2, -1, np.int32))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must lie in \[1, 3\]"):
        served["robustness"].function(tf.constant(pixels(1)), tf.constant([4]))


def test_by_default_a_request_has_256_images(loaded):
    """What was exported before anybody chose: enough for an evaluation in batches."""
    count = limits.MAX_BATCH
    assert (count, limits.MAX_GRADIENTS) == (256, 64)
    answer = ask(loaded, "serving_default", images=np.zeros((count, *SHAPE), "f4"))
    assert len(answer["classes"]) == count
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 256, got shape"):
        ask(loaded, "serving_default", images=np.zeros((count + 1, *SHAPE), "f4"))


@pytest.mark.parametrize("alpha", [0.5, 0.95, 0.997])
def test_smoothing_has_converged_whatever_alpha(network, alpha):
    """By default to 1e-3 of the exact answer of the dense solver."""
    served = make_signatures(network, None, Settings(alpha=alpha), ("smooth",))
    images = tf.constant(pixels())
    changes = tf.constant(pixels(seed=1) - 0.5)
    smoother = smoothing.Smoother(images, alpha=alpha, bandwidth=0.1, solver="dense")
    answer = served["smooth"].function(images, changes)["smoothed"]
    np.testing.assert_allclose(answer, smoother(changes), atol=1e-3)


def test_settings_out_of_range():
    for wrong in (
        {"alpha": 1.0},
        {"smooth_iterations": 0},
        {"max_batch": 0},
        {"max_gradients": -1},
        {"max_batch": 2**31},
        {"max_iterations": 1.5},
    ):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"^`{name}` must be"):
            Settings(**wrong)


def test_one_logit_has_robustness_too():
    """It is two classes; the margin is the size of the logit."""
    image = keras.Input((2, 2, 1))
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(image)))
    assert "robustness" in available(model, Settings())
    images = tf.constant(np.random.default_rng(0).random((3, 2, 2, 1)), tf.float32)
    served = make_signatures(UnitNetwork(model), None, Settings(), ["robustness"])
    answer = served["robustness"].function(images, tf.fill([3], 2))
    np.testing.assert_allclose(answer["margin"], np.abs(model(images))[:, 0], rtol=1e-5)


REFUSED = {
    "class": ("explain", {"classes": 4}, r"classes must lie in \[-1, 3\]"),
    "negative class": ("attack", {"classes": -2}, r"classes must lie in \[-1, 3\]"),
    "no iteration": ("robustness", {"iterations": 0}, r"iterations must lie in \[1, "),
    "iterations": ("robustness", {"iterations": 101}, r"iterations must lie in .*100"),
    "nan": ("smooth", {"perturbations": np.nan}, "perturbations must be numbers betw"),
    "large": ("smooth", {"perturbations": 2e6}, r"between -1e\+06 and 1e\+06"),
    "levels": ("explain", {"images": 255.0}, r"images must lie in \[0, 1\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_numbers_out_of_range_are_refused(loaded, case):
    """One of three is enough, and the message says what is allowed."""
    name, wrong, message = REFUSED[case]
    tensors = request(name)
    for key, value in wrong.items():
        tensors[key] = tensors[key].copy()
        tensors[key][1] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(loaded, name, **tensors)


def test_signatures_a_model_cannot_have_are_refused(network, tmp_path):
    """In one sentence, and nothing is written."""
    for names in (("attack", "serving_default"), ("explain",), ()):
        with pytest.raises(ValueError, match=r"^`signatures` must be serving_default"):
            export_saved_model(network, tmp_path / "net", signatures=names)
    model = networks.free_size(2)
    with pytest.raises(ValueError, match="explain, robustness. Received: serving_def"):
        names = ("serving_default", "predict_bytes")
        export_saved_model(model, tmp_path / "net", signatures=names)
    assert not (tmp_path / "net").exists()


def test_a_saved_smoother_has_second_derivatives_and_says_nothing(tmp_path, caplog):
    """Loading used to warn of gradients that are not saved; now they are those of the
    smoother itself, in a product with a direction too.
    """
    model = keras.Sequential([keras.Input((6, 5, 3)), keras.layers.Flatten()])
    names, settings = ["serving_default", "smooth"], Settings(alpha=0.9)
    folder = export_saved_model(
        model, tmp_path / "served", signatures=names, settings=settings
    )
    caplog.clear()
    loaded = tf.saved_model.load(str(folder))
    assert "custom gradients" not in caplog.text
    serve = loaded.signatures["smooth"]
    random = np.random.default_rng(0)
    images, z, along = random.random((3, 2, 6, 5, 3), "float32")
    smoother = smoothing.Smoother(images, alpha=0.9, bandwidth=0.1, iterations=200)

    def product(smooth):
        point = tf.constant(z)
        with tf.GradientTape() as outer:
            outer.watch(point)
            with tf.GradientTape() as inner:
                inner.watch(point)
                value = tf.reduce_sum(smooth(point) ** 3)
            along_gradient = tf.reduce_sum(inner.gradient(value, point) * along)
        return outer.gradient(along_gradient, point)

    served = product(
        lambda point: serve(images=images, perturbations=point)["smoothed"]
    )
    # The export stops at 1e-4 of the error at the start.
    np.testing.assert_allclose(served, product(smoother), rtol=1e-2, atol=2e-3)
