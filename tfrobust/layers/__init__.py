"""Keras layers of low-curvature networks, written in `keras.ops` alone.

Importing this package registers the layers with Keras, which is all that is needed to
load a `.keras` file of a tfrobust model; nothing else of the library is imported.
"""

from tfrobust.layers.activations import CenteredSoftplus, centered_softplus
from tfrobust.layers.affine import ChannelAffine
from tfrobust.layers.batch_norm import LipschitzBatchNormalization
from tfrobust.layers.spectral import SpectralConv2D, SpectralDense
from tfrobust.layers.spectral_depthwise import SpectralDepthwiseConv2D
from tfrobust.layers.spectral_layer import SpectralLayer
from tfrobust.layers.spectral_transpose import SpectralConv2DTranspose
from tfrobust.layers.traversal import find_layers, learnable_activations
from tfrobust.layers.wrapper import NetworkWrapper, network_of

__all__ = [
    "CenteredSoftplus",
    "ChannelAffine",
    "LipschitzBatchNormalization",
    "NetworkWrapper",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralDense",
    "SpectralDepthwiseConv2D",
    "SpectralLayer",
    "centered_softplus",
    "find_layers",
    "learnable_activations",
    "network_of",
]
