"""Image classifiers as published (plain), and in the three variants of the LCNN paper.

The two ImageNet networks are Keras's own, in one variant. `build` makes a network by
its name, `register` gives one of your own a name, `load` takes any classifier from
disk, of this library or not, and `from_pytorch` converts one of PyTorch's.
"""

from tfrobust.models.c4 import C4
from tfrobust.models.classifier import Classifier
from tfrobust.models.coefficients import betas, gammas
from tfrobust.models.conversion import (
    Conversion,
    curvature_recipe,
    to_low_curvature,
)
from tfrobust.models.conversion_report import ConversionReport, LayerChange
from tfrobust.models.cost import multiply_adds
from tfrobust.models.imagenet import InceptionV3, ResNet50V2
from tfrobust.models.loading import LoadedClassifier, LoadError, load
from tfrobust.models.mlp import MLP
from tfrobust.models.pytorch import from_pytorch
from tfrobust.models.registry import build, names, register, settings
from tfrobust.models.resnet import ResNet18, ResNet34, ResNet50
from tfrobust.models.resnet9 import ResNet9
from tfrobust.models.vgg import VGG11
from tfrobust.models.zoo import list_pretrained, pretrained, pretrained_card

__all__ = [
    "C4",
    "MLP",
    "Conversion",
    "ConversionReport",
    "VGG11",
    "Classifier",
    "InceptionV3",
    "LayerChange",
    "LoadError",
    "LoadedClassifier",
    "ResNet9",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet50V2",
    "betas",
    "build",
    "curvature_recipe",
    "from_pytorch",
    "gammas",
    "list_pretrained",
    "load",
    "multiply_adds",
    "names",
    "pretrained",
    "pretrained_card",
    "register",
    "settings",
    "to_low_curvature",
]
