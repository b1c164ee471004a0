"""Multiply-adds against counts by hand."""

import keras
import pytest

from tfrobust import models
from tfrobust.layers import (
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
    SpectralDepthwiseConv2D,
)


def resnet18(width, size, channels, classes):
    """Stage by stage: pixels of the output times the kernel's entries."""
    total = 9 * channels * width * size**2 + 8 * width * classes
    for stage in range(4):
        c, pixels = width * 2**stage, (size // 2**stage) ** 2
        total += 3 * 9 * c * c * pixels
        total += 9 * c * c * pixels if stage == 0 else (9 + 1) * c * c // 2 * pixels
    return total


def test_resnet18():
    """0.56 billion at CIFAR's size, the published figure, and the same in lcnn."""
    network = models.ResNet18()
    assert models.multiply_adds(network) == resnet18(64, 32, 3, 10)
    assert round(models.multiply_adds(network) / 1e9, 4) == 0.5554
    small = models.ResNet18((16, 16, 1), 7, variant="lcnn", width=4)
    assert models.multiply_adds(small) == resnet18(4, 16, 1, 7)


def test_every_kind_of_layer():
    """Odd sizes, both paddings, strides, groups and a dense layer on a sequence."""
    model = keras.Sequential(
        [
            keras.Input((9, 8, 4)),
            keras.layers.Conv2D(6, 3, strides=2, padding="same"),  # 5x4
            keras.layers.Conv2D(6, 1, groups=2),
            SpectralConv2D(5, (3, 2), padding="valid"),  # 3x3
            keras.layers.Reshape((9, 5)),
            keras.layers.Dense(7),
            keras.layers.Flatten(),
            SpectralDense(2),
        ]
    )
    by_hand = (
        5 * 4 * 9 * 4 * 6
        + 5 * 4 * 3 * 6
        + 3 * 3 * 3 * 2 * 6 * 5
        + 9 * 5 * 7
        + 9 * 7 * 2
    )
    assert models.multiply_adds(model) == by_hand


@pytest.mark.parametrize("variant", ["standard", "lcnn"])
def test_mlp(variant):
    """The product of neighbouring widths, biases left out."""
    network = models.MLP((4, 3), 5, variant=variant, hidden=(7, 6))
    assert models.multiply_adds(network) == 12 * 7 + 7 * 6 + 6 * 5


@pytest.mark.parametrize("spectral", [False, True])
def test_depthwise_and_transposed(spectral):
    """One kernel of 9 or 6 numbers a channel; each input pixel times the kernel."""
    depthwise, transposed = keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose
    if spectral:
        depthwise, transposed = SpectralDepthwiseConv2D, SpectralConv2DTranspose
    model = keras.Sequential(
        [
            keras.Input((9, 8, 4)),
            depthwise(3, strides=2, padding="same", depth_multiplier=2),  # 5x4x8
            transposed(3, (3, 2), strides=2, padding="same"),  # 10x8x3
        ]
    )
    expected = 5 * 4 * 9 * 8 + 5 * 4 * 6 * 8 * 3
    assert models.multiply_adds(model) == expected
