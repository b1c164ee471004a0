"""Every architecture against float64 NumPy, on images that are neither square nor even.

RobustBench's own code is asked in `test_against_robustbench.py`.
"""

import functools

import numpy as np
import pytest

from tests.models.pytorch import oracle
from tfrobust import models

CIFAR = ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
CIFAR_100 = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
SMALL, EVEN, LARGE = (9, 12, 3), (8, 12, 3), (38, 45, 3)


def case(
    architecture,
    forward,
    *arguments,
    shape=SMALL,
    pixels=None,
    slow=False,
    **settings,
):
    """What to ask for, the oracle, and the statistics that only the code knows."""
    forward = functools.partial(forward, **settings)
    call = functools.partial(_call, forward, arguments)
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(architecture, call, shape, pixels, id=architecture, marks=marks)


def _call(forward, arguments, net, x):
    return forward(net, x, *arguments)


CASES = [
    case("resnet18", oracle.resnet, 18, 10),
    case("resnet34", oracle.resnet, 34, 3, slow=True),
    case("resnet50", oracle.resnet, 50, 10, slow=True),
    case("resnet18:normalization=none", oracle.torchvision, 18, 7),
    case("ResNet50", oracle.torchvision, 50, 11, shape=LARGE),
    case(
        "wide_resnet50_2",
        oracle.torchvision,
        50,
        5,
        inner_factor=2,
        slow=True,
    ),
    case("preactresnet18", oracle.preact, 18, 10),
    case("preactresnet34", oracle.preact, 34, 2, slow=True),
    case(
        "preactresnet18:activation=relu",
        oracle.preact,
        18,
        100,
        last_norm=True,
        activated=True,
    ),
    case(
        "preactresnet18:shortcut=input,activation=silu",
        oracle.preact,
        18,
        10,
        last_norm=True,
        act=oracle.silu,
    ),
    case(
        "preactresnet18:shortcut=activation",
        oracle.preact,
        18,
        10,
        activated=True,
        slow=True,
    ),
    case("PreActResNet18", oracle.deepmind_preact, 18, 10, pixels=CIFAR),
    case("wideresnet-10-1", oracle.wide_resnet, 10, 1, 10),
    case("wideresnet-16-3", oracle.wide_resnet, 16, 3, 4),
    case(
        "WideResNet-22-2:activation=silu",
        oracle.wide_resnet,
        22,
        2,
        10,
        act=oracle.silu,
    ),
    case(
        "wideresnet-10-2",
        oracle.deepmind_wide_resnet,
        10,
        2,
        10,
        pixels=CIFAR,
        shape=EVEN,
    ),
    case(
        "wideresnet:depth=16,width=1,activation=relu",
        oracle.deepmind_wide_resnet,
        16,
        1,
        100,
        pixels=CIFAR_100,
        shape=EVEN,
        act=oracle.relu,
    ),
    case(
        "wideresnet-10-1:normalization=half",
        oracle.deepmind_wide_resnet,
        10,
        1,
        3,
        pixels=((0.5,), (0.5,)),
        shape=EVEN,
    ),
]


@pytest.mark.parametrize(("architecture", "forward", "shape", "pixels"), CASES)
def test_answers(architecture, forward, shape, pixels):
    net = oracle.Network()
    images = np.random.default_rng(1).random((3, *shape), np.float32)
    x = np.float64(images)
    if pixels is not None:
        x = (x - pixels[0]) / pixels[1]
    expected = forward(net, x.transpose(0, 3, 1, 2))
    network = models.from_pytorch(net.tensors, architecture, shape)
    logits = np.asarray(network(images, training=False))
    # The answers differ from image to image by far more than the tolerance.
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


def test_deepminds_shortcuts_start_at_the_input():
    net = oracle.Network()
    oracle.deepmind_preact(net, np.zeros((1, 3, 8, 8)), 18, 10)
    with pytest.raises(ValueError) as error:
        models.from_pytorch(net.tensors, "preactresnet18:shortcut=activation")
    assert str(error.value) == (
        "preactresnet18: `shortcut` must be input in DeepMind's implementation, whose "
        "names `state_dict` has. Received: shortcut=activation"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "wideresnet-29-10",
            "wideresnet: `depth` must be 10 or more, and 4 more than a multiple of 6. "
            "Received: depth=29",
        ),
        (
            "wideresnet-4-10",
            "wideresnet: `depth` must be 10 or more, and 4 more than a multiple of 6. "
            "Received: depth=4",
        ),
        (
            "wideresnet-28-0",
            "wideresnet: `width` must be an integer of at least 1. Received: width=0",
        ),
    ],
)
def test_no_such_wide_resnet(text, expected):
    with pytest.raises(ValueError) as error:
        models.from_pytorch({"a": np.zeros(1)}, text)
    assert str(error.value) == expected


def test_deepminds_wide_resnet_halves_even_sizes():
    """Where they are odd, its two branches have other sizes in PyTorch too."""
    net = oracle.Network()
    oracle.deepmind_wide_resnet(net, np.zeros((1, 3, 8, 8)), 10, 1, 10)
    with pytest.raises(ValueError) as error:
        models.from_pytorch(net.tensors, "wideresnet-10-1", (8, 10, 3))
    assert str(error.value) == (
        "wideresnet: `input_shape` must have a height and width that 4 divides in "
        "DeepMind's implementation. Received: height and width (8, 10)"
    )


def test_a_stage_that_trades_leaves_behind():
    """`sub_block1` is in many files and computed with by no network."""
    net = oracle.Network()
    images = np.random.default_rng(1).random((3, 8, 8, 3), np.float32)
    expected = oracle.wide_resnet(net, images.transpose(0, 3, 1, 2), 10, 1, 10)
    kernel = np.ones((16, 16, 3, 3), "float32")
    tensors = net.tensors | {"sub_block1.layer.0.conv1.weight": kernel}
    network = models.from_pytorch(tensors, "wideresnet-10-1", (8, 8, 3))
    np.testing.assert_allclose(network(images), expected, atol=1e-5)
