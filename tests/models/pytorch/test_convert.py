"""What is converted is an ordinary Keras network, and what cannot be is refused."""

import functools

import keras
import numpy as np
import pytest

from tests.models.pytorch import oracle
from tfrobust import models
from tfrobust.models.pytorch import STATISTICS, architectures
from tfrobust.models.pytorch.registry import spelt_out

SHAPE = (8, 6, 3)
NAME = "wideresnet-10-1"


@functools.cache
def tensors():
    """The state_dict of a small network, in the names of TRADES."""
    net = oracle.Network()
    oracle.wide_resnet(net, np.zeros((1, 3, *SHAPE[:2])), 10, 1, 4)
    return net.tensors


def images(count=3):
    return np.random.default_rng(1).random((count, *SHAPE), np.float32)


def answers(state_dict, x, pixels=((0,), (1,))):
    """By the oracle, from images normalised by hand."""
    net = oracle.Network()
    net.tensors = dict(state_dict)
    x = (np.float64(x) - pixels[0]) / pixels[1]
    return oracle.wide_resnet(net, x.transpose(0, 3, 1, 2), 10, 1, 4)


def test_an_ordinary_keras_network(tmp_path):
    """It saves and loads in safe mode without this library's help, and trains."""
    network = models.from_pytorch(tensors(), NAME, SHAPE, "cifar10", name="theirs")
    assert network.name == "theirs"
    assert network.input_shape == (None, *SHAPE)
    assert network.output_shape == (None, 4)
    assert {type(layer).__module__.split(".")[0] for layer in network.layers} == {
        "keras"
    }
    network.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras", safe_mode=True)
    x = images()
    expected = answers(tensors(), x, STATISTICS["cifar10"])
    for model in (network, loaded):
        np.testing.assert_allclose(model(x), expected, atol=1e-5)
    before = [weight.numpy() for weight in network.trainable_weights]
    network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(x, np.array([0, 1, 3]), verbose=0)
    for weight, old in zip(network.trainable_weights, before, strict=True):
        assert np.any(weight.numpy() != old), weight.path


@pytest.mark.parametrize("normalization", [*STATISTICS, "none", ([0.1, 0.2, 0.3], 2.0)])
def test_normalization(normalization):
    """By name, as numbers, and as a setting of the architecture."""
    pixels = STATISTICS.get(str(normalization), normalization)
    pixels = ((0,), (1,)) if normalization == "none" else pixels
    x = images()
    expected = answers(tensors(), x, pixels)
    network = models.from_pytorch(tensors(), NAME, SHAPE, normalization)
    np.testing.assert_allclose(network(x), expected, atol=1e-4)
    if isinstance(normalization, str):
        text = f"{NAME}:normalization={normalization}"
        network = models.from_pytorch(tensors(), text, SHAPE)
        np.testing.assert_allclose(network(x), expected, atol=1e-4)


def test_normalization_that_the_tensors_hold():
    pixels = (np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.3, 0.4]))
    names = dict(
        zip(("mu", "sigma"), (p.reshape(1, 3, 1, 1) for p in pixels), strict=True)
    )
    network = models.from_pytorch(names | tensors(), NAME, SHAPE)
    x = images()
    np.testing.assert_allclose(network(x), answers(tensors(), x, pixels), atol=1e-4)


def test_half_precision_tensors_and_policies():
    """Tensors of any floating dtype; float32 logits under mixed precision."""
    half = {name: np.asarray(a, "float16") for name, a in tensors().items()}
    x = images()
    np.testing.assert_allclose(
        models.from_pytorch(half, NAME, SHAPE)(x), answers(half, x), atol=1e-5
    )
    keras.config.set_dtype_policy("mixed_bfloat16")
    logits = models.from_pytorch(tensors(), NAME, SHAPE)(x)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, answers(tensors(), x), atol=0.3)


@pytest.mark.parametrize(
    ("architecture", "arguments", "expected"),
    [
        (NAME, {}, (32, 32, 3)),
        (f"{NAME}:size=16", {}, (16, 16, 3)),
        (NAME, {"input_shape": SHAPE}, SHAPE),
    ],
)
def test_size_of_the_images(architecture, arguments, expected):
    network = models.from_pytorch(tensors(), architecture, **arguments)
    assert network.input_shape == (None, *expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "forward", "arguments", "size", "count"),
    [
        ("resnet18", oracle.resnet, (18, 10), 32, 11_173_962),
        ("wideresnet-28-10", oracle.wide_resnet, (28, 10, 10), 32, 36_479_194),
        ("resnet18", oracle.torchvision, (18, 1000), 224, 11_689_512),
        ("resnet50", oracle.torchvision, (50, 1000), 224, 25_557_032),
    ],
)
def test_size_and_parameters_of_the_published(name, forward, arguments, size, count):
    """Images of the data set's size by default, and as many numbers as is published."""
    net = oracle.Network()
    forward(net, np.zeros((1, 3, 8, 8)), *arguments)
    network = models.from_pytorch(net.tensors, name)
    assert network.input_shape == (None, size, size, 3)
    assert sum(np.prod(w.shape) for w in network.trainable_weights) == count


TENSORS = (
    "wideresnet: `state_dict` must hold the tensors of this architecture, all of them "
    "and no others. Received: "
)


def without(name):
    return {key: value for key, value in tensors().items() if key != name}


def other(name, value):
    return tensors() | {name: value}


CASES = {
    "missing": (
        lambda: without("block2.layer.0.convShortcut.weight"),
        TENSORS + "no block2.layer.0.convShortcut.weight among 38 tensors, the first "
        "of which is conv1.weight",
    ),
    "missing statistics": (
        lambda: without("bn1.running_var"),
        TENSORS + "no bn1.running_var among 38 tensors, the first of which is "
        "conv1.weight",
    ),
    "unexpected": (
        lambda: other("fc2.weight", np.zeros(3)),
        TENSORS + "fc2.weight, which has no place there",
    ),
    "another shape": (
        lambda: other("block1.layer.0.conv1.weight", np.zeros((16, 16, 1, 1))),
        TENSORS + "block1.layer.0.conv1.weight of shape [16, 16, 1, 1], not [16, 16, "
        "3, 3]",
    ),
    "another rank": (
        lambda: other("fc.weight", np.zeros(64)),
        TENSORS + "fc.weight of shape [64], not [any, 64]",
    ),
    "bias of other classes": (
        lambda: other("fc.bias", np.zeros(5)),
        TENSORS + "fc.bias of shape [5], not [4]",
    ),
    "not finite": (
        lambda: other("bn1.bias", np.full(64, np.nan)),
        TENSORS + "bn1.bias, which is not finite",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_tensors_that_do_not_fit(name):
    make, expected = CASES[name]
    with pytest.raises(ValueError) as error:
        models.from_pytorch(make(), NAME, SHAPE)
    assert str(error.value) == expected


PIXELS = {"mu": np.zeros(3), "sigma": np.ones(3)}
STATISTICS_SENTENCE = (
    "`normalization` must be the means of the channels and their positive deviations. "
    "Received: "
)
ARGUMENTS = {
    "no architecture": (
        {"architecture": "resnet19"},
        f"`architecture` must be one of {', '.join(architectures())}. Received: "
        "'resnet19'",
    ),
    "no such setting": (
        {"architecture": "wideresnet-10-1:beta=3"},
        "Settings of wideresnet must be among depth, width, activation. Received: "
        "beta=3",
    ),
    "no depth": (
        {"architecture": "wideresnet"},
        "wideresnet must be given depth and width. Received: wideresnet, without depth "
        "and width",
    ),
    "no size": (
        {"architecture": "wideresnet-10-1:size=big"},
        "`size` must be an integer of at least 1. Received: size='big'",
    ),
    "two sizes": (
        {"architecture": "wideresnet-10-1:size=7", "input_shape": SHAPE},
        "`input_shape` must be of the architecture's `size`. Received: "
        "input_shape=(8, 6, 3) beside size=7",
    ),
    "no image shape": (
        {"input_shape": (8, 8)},
        "`input_shape` must be (height, width, channels). Received: input_shape=(8, 8)",
    ),
    "no normalization": (
        {"normalization": "cifar"},
        "`normalization` must be one of cifar10, cifar10_per_image, cifar100, "
        "imagenet, half, none, or a pair of means and deviations. Received: "
        "normalization='cifar'",
    ),
    "normalization twice": (
        {"architecture": f"{NAME}:normalization=half", "normalization": "half"},
        "`normalization` must be given once. Received: normalization='half' beside "
        f"'{NAME}:normalization=half'",
    ),
    "normalization beside its own": (
        {"normalization": "half", "state_dict": PIXELS},
        "`normalization` must be left out where `state_dict` holds its own. Received: "
        "normalization='half'",
    ),
    "two channels": (
        {"normalization": ((0, 1), (1, 1))},
        STATISTICS_SENTENCE + "((0, 1), (1, 1))",
    ),
    "deviation of zero": (
        {"normalization": (0.5, 0.0)},
        STATISTICS_SENTENCE + "(0.5, 0.0)",
    ),
    "three things": (
        {"normalization": (0.5, 0.5, 0.5)},
        STATISTICS_SENTENCE + "(0.5, 0.5, 0.5)",
    ),
    "DeepMind's of 4 classes": (
        {"state_dict": {"init_conv.weight": np.zeros(1), "logits.bias": np.zeros(4)}},
        "`normalization` must be given for a network of DeepMind's implementation with "
        "other than 10 or 100 classes, since it does not store its own. Received: "
        "normalization=None with 4 classes",
    ),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_out_of_range(name):
    arguments, expected = ARGUMENTS[name]
    arguments = {"architecture": NAME} | arguments
    state_dict = arguments.pop("state_dict", {"conv1.weight": np.zeros((16, 3, 3, 3))})
    with pytest.raises(ValueError) as error:
        models.from_pytorch(state_dict, **arguments)
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wideresnet-28-10", "wideresnet:depth=28,width=10"),
        (" WideResNet-28-10 ", "wideresnet:depth=28,width=10"),
        ("wideresnet-34-20:size=8", "wideresnet:depth=34,width=20,size=8"),
        ("PreActResNet18", "preactresnet18"),
        ("resnet50:size=288", "resnet50:size=288"),
    ],
)
def test_short_names(text, expected):
    assert spelt_out(text) == expected
