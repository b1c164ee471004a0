"""Operations of a training step, against a count by hand."""

import argparse

import keras
import pytest

from benchmarks.matmul_limit import _network, training_operations
from tfrobust import models


def test_operations_of_a_small_network():
    """Two for each multiply-add; the images need no gradient."""
    network = keras.Sequential(
        [
            keras.Input((6, 5, 3)),
            keras.layers.Conv2D(4, 3, strides=2, padding="same"),  # 3x3x4
            keras.layers.ReLU(),
            keras.layers.Conv2D(2, (1, 3), padding="valid"),  # 3x1x2
            keras.layers.Flatten(),
            keras.layers.Dense(7),
        ]
    )
    first = 3 * 3 * 4 * 9 * 3
    second = 3 * 1 * 2 * 3 * 4
    dense = 6 * 7
    assert training_operations(network) == 2 * (2 * first + 3 * second + 3 * dense)


def test_operations_of_resnet9():
    """Stage by stage at width 4 and 8x8 pixels: kernels times pixels."""
    network = models.ResNet9((8, 8, 3), 10, "standard", 4)
    stem = 64 * 9 * 3 * 4
    others = (
        64 * 9 * 4 * 8  # stage 1, before it is halved, and its block of two
        + 2 * 16 * 9 * 8 * 8
        + 16 * 9 * 8 * 16
        + 4 * 9 * 16 * 32
        + 2 * 1 * 9 * 32 * 32
        + 32 * 10
    )
    assert training_operations(network) == 2 * (2 * stem + 3 * others)


@pytest.mark.parametrize("text", ["resnet50:4", "resnet9", "resnet9:0", "resnet9:x"])
def test_other_networks_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"Received: {text}$"):
        _network(text)
