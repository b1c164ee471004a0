"""Image classifiers in three variants of one skeleton: standard, softplus, lcnn.

The two ImageNet networks are Keras's own, in one variant. `load` takes any classifier
from disk, of this library or not.
"""

from tfrobust.models.c4 import C4
from tfrobust.models.coefficients import betas, gammas
from tfrobust.models.cost import multiply_adds
from tfrobust.models.imagenet import InceptionV3, ResNet50V2
from tfrobust.models.loading import LoadedClassifier, LoadError, load
from tfrobust.models.mlp import MLP
from tfrobust.models.resnet import ResNet18, ResNet34
from tfrobust.models.vgg import VGG11
from tfrobust.models.zoo import list_pretrained, pretrained, pretrained_card

__all__ = [
    "C4",
    "MLP",
    "VGG11",
    "InceptionV3",
    "LoadError",
    "LoadedClassifier",
    "ResNet18",
    "ResNet34",
    "ResNet50V2",
    "betas",
    "gammas",
    "list_pretrained",
    "load",
    "multiply_adds",
    "pretrained",
    "pretrained_card",
]
