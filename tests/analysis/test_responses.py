"""Local response differences: the paper's example, layers, masks, and bad input."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.analysis.networks import SHAPE, two_layers
from tfrobust.analysis import (
    LocalResponse,
    default_layers,
    local_response,
    local_responses,
)
from tfrobust.training import RobustModel

# Figure 4 of the paper, in units of 1/255.
DISORDERED = np.array([[-1, 8, 0], [-8, 8, -2], [-4, 4, -4]], np.float64)
CONSTANT = np.full((3, 3), 8.0)
SHARP = np.array([[-1, -1, -1], [-1, 9, -1], [-1, -1, -1]], np.float64)
SMOOTH = np.full((3, 3), 1 / 9)


def some_images(count=5, seed=0):
    random = np.random.default_rng(seed)
    natural = random.uniform(0.2, 0.8, (count, *SHAPE)).astype(np.float32)
    noise = random.uniform(-0.1, 0.1, natural.shape).astype(np.float32)
    return natural, natural + noise


@pytest.mark.parametrize(
    ("perturbation", "kernel", "answer", "shown"),
    [
        (DISORDERED, SHARP, 79.0, "79.00"),
        (DISORDERED, SMOOTH, 1 / 9, "0.11"),
        (CONSTANT, SHARP, 8.0, "8.00"),
        (CONSTANT, SMOOTH, 8.0, "8.00"),
    ],
)
def test_figure_4_of_the_paper(perturbation, kernel, answer, shown):
    """Kernel and perturbation, multiplied and summed in float64; and the digits that
    the paper prints.
    """
    image = keras.Input((3, 3, 1))
    layer = keras.layers.Conv2D(1, 3, use_bias=False, name="conv")
    network = keras.Model(image, layer(image))
    layer.set_weights([kernel.reshape(3, 3, 1, 1)])
    natural = np.full((1, 3, 3, 1), 0.5)
    adversarial = natural + perturbation.reshape(1, 3, 3, 1) / 255
    found = local_response(network, natural, adversarial, ["conv"])
    assert np.sum(kernel * perturbation) == pytest.approx(answer, abs=1e-12)
    for value in (found.maximum[0, 0], found.total[0, 0]):
        assert float(value) * 255 == pytest.approx(answer, abs=2e-4)
        assert f"{float(value) * 255:.2f}" == shown


def test_against_features_in_numpy():
    """Both statistics at every layer, in inference mode, from weights alone."""
    network, (natural, adversarial) = two_layers(), some_images()
    kernel, bias = network.get_layer("conv").get_weights()
    gamma, beta, mean, variance = network.get_layer("norm").get_weights()

    def features(images):
        windows = np.lib.stride_tricks.sliding_window_view(
            images.astype(np.float64), (3, 3), axis=(1, 2)
        )
        x = np.einsum("bhwcij,ijco->bhwo", windows, kernel.astype(np.float64)) + bias
        x = np.maximum(x, 0)
        return x, (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    found = local_response(network, natural, adversarial, ["conv", "norm"])
    pairs = zip(features(natural), features(adversarial), strict=True)
    differences = [np.abs(b - a) for a, b in pairs]
    for column, difference in enumerate(differences):
        largest, total = difference.max((1, 2, 3)), difference.sum((1, 2, 3))
        np.testing.assert_allclose(found.maximum[:, column], largest, rtol=1e-4)
        np.testing.assert_allclose(found.total[:, column], total, rtol=1e-4)
        natural_total = np.abs(features(natural)[column]).sum((1, 2, 3))
        relative = total / natural_total
        np.testing.assert_allclose(found.relative[:, column], relative, rtol=1e-4)
    assert found.maximum.dtype == found.total.dtype == np.float32
    assert found.layers == ("conv", "norm")


def test_batches_change_nothing_and_are_traced_once():
    """Uneven batches give the rows of a whole one, from one more pair of traces."""
    traces = []

    @keras.saving.register_keras_serializable("tests")
    class Counting(keras.layers.Layer):
        def call(self, x):
            traces.append(x.shape)
            return 2.0 * x

    image = keras.Input(SHAPE)
    network = keras.Model(image, Counting(name="count")(image))
    natural, adversarial = some_images(5)
    before = len(traces)
    found = local_response(network, natural, adversarial, ["count"], batch_size=2)
    assert len(traces) == before + 2  # the natural and the adversarial images
    whole = local_response(network, natural, adversarial, ["count"])
    np.testing.assert_array_equal(found.maximum, whole.maximum)
    np.testing.assert_allclose(found.total, whole.total, rtol=1e-6)


def test_a_model_in_training_is_its_network():
    """A `RobustModel` answers as the network that it trains; it stays as it was."""
    network, images = two_layers(), some_images()
    before = network.get_weights()
    found = local_response(RobustModel(network), *images)
    np.testing.assert_array_equal(found.total, local_response(network, *images).total)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_means_over_all_and_over_a_mask():
    """NumPy's mean and standard error; the two parts of a split are the masks."""
    maximum = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = LocalResponse(("a", "b"), maximum, 10 * maximum, maximum / 4)
    mask = np.array([True, False, True, True])
    for row, column in zip(found.select(mask).means(), maximum[mask].T, strict=True):
        assert row.images == 3
        assert row.maximum.value == pytest.approx(column.mean())
        error = column.std(ddof=1) / math.sqrt(3)
        assert row.total.standard_error == pytest.approx(10 * error)
        assert row.relative.standard_error == pytest.approx(error / 4)
    success, failure = found.split(mask)
    assert success.means() == found.select(mask).means()
    np.testing.assert_array_equal(failure.total, 10 * maximum[1:2])
    assert [row.layer for row in found.means()] == ["a", "b"]
    assert found.means()[1].maximum.value == 4.0


@pytest.mark.filterwarnings("error")
def test_an_empty_part_says_so_and_divides_by_nothing():
    """No success: NaN, 0 images, a sentence; no warning of NumPy's."""
    found = LocalResponse(("a",), np.ones((2, 1)), np.ones((2, 1)))
    success, failure = found.split(np.array([False, False]))
    (row,) = success.means()
    assert row.images == 0 and str(row) == "a: no images"
    assert math.isnan(row.maximum.value) and math.isnan(row.total.standard_error)
    assert str(failure.means()[0]) == "a: maximum 1, total 1, 2 images"
    none = np.zeros((0, *SHAPE), np.float32)
    assert local_response(two_layers(), none, none).maximum.shape == (0, 2)


def test_several_models_each_with_its_own_images():
    """A generator's models one by one, images made from each; as calls one by one."""
    natural, adversarial = some_images()
    networks = {f"epoch {i}": two_layers() for i in (1, 2)}
    shared = local_responses(networks, natural, adversarial, {"first": "conv"})
    asked = []

    def attack(model):
        asked.append(model)
        return adversarial

    single = local_responses(
        ((name, model) for name, model in networks.items()), natural, attack, ["conv"]
    )
    assert asked == list(networks.values())
    assert list(shared) == list(single) == ["epoch 1", "epoch 2"]
    for name, model in networks.items():
        expected = local_response(model, natural, adversarial, ["conv"])
        assert shared[name].layers == ("first",)
        for found in (shared[name], single[name]):
            np.testing.assert_array_equal(found.total, expected.total)
    assert np.any(shared["epoch 1"].total != shared["epoch 2"].total)


class Subclassed(keras.Model):
    def call(self, x):
        return x


def nested():
    image = keras.Input(SHAPE)
    return keras.Model(image, keras.layers.Flatten(name="flat")(two_layers()(image)))


NATURAL, ADVERSARIAL = some_images(2)
SMALL = NATURAL[:, :4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (NATURAL, ADVERSARIAL, ["cnov"]),
            r"among input_layer\w*, conv, norm, pool. "
            "Received: 'cnov'",
        ),
        ((NATURAL, ADVERSARIAL, "conv"), "one or more names in a list"),
        ((NATURAL, ADVERSARIAL, []), "`layers` must be one or more names"),
        ((NATURAL, ADVERSARIAL[:1]), r"`adversarial` must have the shape of `natural`"),
        ((SMALL, SMALL), r"take images \[4, 5, 2\] .*a model of images \[6, 5, 2\]"),
        ((NATURAL, 2 * ADVERSARIAL), r"`adversarial` must lie in \[0, 1\]"),
        ((NATURAL[0], ADVERSARIAL[0]), r"`natural` must have shape \[B, H, W, C\]"),
        ((NATURAL, ADVERSARIAL, None, 0), "`batch_size` must be an integer"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message):
    """Layers that are not there, transfers between sizes, images of other kinds."""
    with pytest.raises(ValueError, match=message) as failure:
        local_response(two_layers(), *arguments)
    assert "\n" not in str(failure.value)


def test_models_that_cannot_be_looked_into():
    """Subclassed ones, callables, and layers inside of a nested network."""
    for model in (Subclassed(), lambda x: x, keras.Sequential()):
        with pytest.raises(ValueError, match="`model` must be a functional or seq"):
            local_response(model, NATURAL, ADVERSARIAL)
    with pytest.raises(ValueError, match="must have a convolution or dense layer of"):
        default_layers(nested())
    with pytest.raises(
        ValueError, match=r"`layers` must be among .*flat\. Rec.*'conv'"
    ):
        local_response(nested(), NATURAL, ADVERSARIAL, ["conv"])
    with pytest.raises(ValueError, match="`models` must hold at least one"):
        local_responses({}, NATURAL, ADVERSARIAL)
    with pytest.raises(ValueError, match="Received: 'a' twice"):
        pairs = [("a", two_layers())] * 2
        local_responses(pairs, NATURAL, ADVERSARIAL)


@pytest.mark.parametrize("where", [[True], [1, 0], np.ones((2, 1), bool)])
def test_a_mask_has_a_bool_for_each_image(where):
    """Neither indices nor another length."""
    found = LocalResponse(("a",), np.ones((2, 1)), np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"`mask` must be bool \[2\]"):
        found.select(where)


def test_arrays_have_a_column_a_layer():
    """A response cannot be put together wrongly."""
    for shape in ((2, 1), (2,), (2, 3)):
        with pytest.raises(ValueError, match=r"must have shape \[N, 2\]"):
            LocalResponse(("a", "b"), np.ones(shape), np.ones((2, 2)))


def test_half_precision_is_compared_in_full():
    """Sums over many features would overflow float16, whose largest number is 65504."""
    keras.config.set_dtype_policy("mixed_float16")
    image = keras.Input((300, 300, 1))
    network = keras.Model(image, keras.layers.Rescaling(1.0, name="same")(image))
    assert network.get_layer("same").output.dtype == "float16"
    ones = tf.ones([1, 300, 300, 1])
    found = local_response(network, 0.0 * ones, ones, ["same"])
    assert found.total[0, 0] == 90_000


def test_nothing_to_compare_with():
    """Features of 0 have no relative difference, and no division by 0 warns of it; a
    response that was made without one says NaN.
    """
    image = keras.Input((1, 1, 1))
    network = keras.Model(image, keras.layers.Rescaling(2.0, name="twice")(image))
    dark, gray = np.zeros((1, 1, 1, 1)), np.full((1, 1, 1, 1), 0.25)
    with np.errstate(all="raise"):
        (row,) = local_response(network, dark, gray, ["twice"]).means()
    assert row.total.value == 0.5 and math.isnan(row.relative.value)
    (row,) = LocalResponse(("a",), [[1.0]], [[2.0]]).means()
    assert math.isnan(row.relative.value)
