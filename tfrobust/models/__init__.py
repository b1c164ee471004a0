"""Image classifiers in three variants of one skeleton: standard, softplus, lcnn."""

from tfrobust.models.coefficients import betas, gammas
from tfrobust.models.cost import multiply_adds
from tfrobust.models.mlp import MLP
from tfrobust.models.resnet import ResNet18, ResNet34
from tfrobust.models.vgg import VGG11
from tfrobust.models.zoo import list_pretrained, pretrained, pretrained_card

__all__ = [
    "MLP",
    "VGG11",
    "ResNet18",
    "ResNet34",
    "betas",
    "gammas",
    "list_pretrained",
    "multiply_adds",
    "pretrained",
    "pretrained_card",
]
