"""Which layers are looked at: those of the paper, or their like."""

import pytest

from tests.analysis.networks import SHAPE, two_layers
from tfrobust import models
from tfrobust.analysis import default_layers


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["standard", "lcnn"])
@pytest.mark.parametrize(
    ("make", "last"), [(models.ResNet18, (2, 2, 2, 2)), (models.ResNet34, (3, 4, 6, 3))]
)
def test_the_papers_layers_of_our_resnets(make, last, variant):
    """By the shapes of the paper: the stem twice, then a stage each, even where images
    are so small that two stages have one size.
    """
    network = make((4, 4, 3), 3, variant, width=1)
    found = default_layers(network)
    assert found == {
        "Conv 1": "stem_conv",
        "Layer 0": "stem_activation",
        **{
            f"Layer {i}": f"stage{i}_block{n}_activation" for i, n in enumerate(last, 1)
        },
    }
    shapes = [network.get_layer(name).output.shape[1:] for name in found.values()]
    assert shapes == [(4, 4, 1)] * 3 + [(2, 2, 2), (1, 1, 4), (1, 1, 8)]


def test_layers_of_other_networks():
    """VGG: the last layer of each resolution, which pooling begins. C4: no layer
    twice. A dense network: every dense layer. An activation inside of a convolution.
    """
    vgg = default_layers(models.VGG11((32, 32, 3), width=1))
    assert (vgg["Conv 1"], vgg["Layer 0"]) == ("block1_conv", "block1_activation")
    sizes = [2**i for i in (4, 3, 2, 1)]
    network = models.VGG11((32, 32, 3), width=1)
    ends = [network.get_layer(vgg[f"Layer {i}"]).output.shape[1] for i in (1, 2, 3, 4)]
    assert ends == sizes and all(
        "activation" in vgg[f"Layer {i}"] for i in (1, 2, 3, 4)
    )
    assert list(vgg)[-1] == "Layer 4"
    c4 = default_layers(models.C4())
    assert len(set(c4.values())) == len(c4) >= 4
    mlp = default_layers(models.MLP(SHAPE, 3, hidden=(4, 4)))
    assert mlp == {"Dense 1": "hidden1", "Dense 2": "hidden2", "Dense 3": "logits"}
    assert default_layers(two_layers()) == {"Conv 1": "conv", "Layer 0": "norm"}
