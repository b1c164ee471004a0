"""The plain variant: parameters as published, a forward pass in NumPy, conversions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.saved_model import export_saved_model
from tfrobust import models, penalties
from tfrobust.layers import CenteredSoftplus, find_layers

# Weights to train of the CIFAR forms at width 64 and 10 classes, as the authors of
# well-known PyTorch re-implementations count them.
PUBLISHED = {
    "ResNet18": 11_173_962,
    "ResNet34": 21_282_122,
    "ResNet50": 23_520_842,
}


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_variables)


@pytest.mark.parametrize(
    "name",
    [
        "ResNet18",
        pytest.param("ResNet34", marks=pytest.mark.slow),
        pytest.param("ResNet50", marks=pytest.mark.slow),
    ],
)
def test_parameters_as_published(name):
    network = getattr(models, name)(variant="plain")
    assert trainable(network) == PUBLISHED[name]


@pytest.mark.slow
def test_the_bottleneck_network_has_every_variant():
    """53 convolutions with the four on shortcuts; affine norms in plain alone."""
    shape = (8, 8, 3)
    plain, standard, lcnn = (
        models.build("resnet50", shape, 10, variant=variant, width=2)
        for variant in ("plain", "standard", "lcnn")
    )
    channels = sum(w.shape[0] for w in plain.trainable_variables if w.name == "gamma")
    assert trainable(plain) == trainable(standard) + 2 * channels
    # A beta for each of 49 activations and a gamma for each of 53 norms.
    assert trainable(lcnn) == trainable(standard) + 49 + 53
    names = [layer.name for layer in plain.layers if layer.name.endswith("_conv")]
    assert len(names) == 53
    block = plain.get_layer("stage2_block1_activation").output.shape
    assert block == (None, 4, 4, 4 * 4)
    assert plain.get_layer("stage2_block1_b_conv").strides == (2, 2)


def convolved(x, kernel, strides):
    """A convolution that pads as TensorFlow's `same`, in float64, by loops."""
    size = kernel.shape[0]
    height, width = (-(-n // strides) for n in x.shape[1:3])
    margins = []
    for out, n in ((height, x.shape[1]), (width, x.shape[2])):
        total = max((out - 1) * strides + size - n, 0)
        margins.append((total // 2, total - total // 2))
    x = np.pad(x, [(0, 0), *margins, (0, 0)])
    result = np.zeros((len(x), height, width, kernel.shape[3]))
    for i in range(size):
        for j in range(size):
            rows = slice(i, i + strides * (height - 1) + 1, strides)
            columns = slice(j, j + strides * (width - 1) + 1, strides)
            result += x[:, rows, columns] @ kernel[i, j]
    return result


class ByHand:
    """A residual network in float64 from the weights of one in Keras."""

    def __init__(self, network):
        self.network = network

    def weights(self, name):
        return [
            w.astype(np.float64) for w in self.network.get_layer(name).get_weights()
        ]

    def unit(self, x, name, strides=1):
        """A convolution without bias, and a norm with scale and shift."""
        (kernel,) = self.weights(f"{name}_conv")
        x = convolved(x, kernel, strides)
        scale, shift, mean, variance = self.weights(f"{name}_norm")
        return scale * (x - mean) / np.sqrt(variance + 1e-5) + shift

    def block(self, x, name, units, strides):
        """Rectified units but for the last, plus the input; rectified."""
        branch = x
        for unit in units:
            # The 3x3 convolution has the stride: the second of three, the first of two.
            own = strides if unit == ("b" if len(units) == 3 else "a") else 1
            branch = self.unit(branch, f"{name}_{unit}", own)
            branch = branch if unit == units[-1] else np.maximum(branch, 0)
        if branch.shape != x.shape:
            x = self.unit(x, f"{name}_short", strides)
        return np.maximum(branch + x, 0)

    def __call__(self, x, blocks, units):
        x = np.maximum(self.unit(x.astype(np.float64), "stem"), 0)
        for stage, count in enumerate(blocks, start=1):
            for block in range(1, count + 1):
                strides = 2 if stage > 1 and block == 1 else 1
                x = self.block(x, f"stage{stage}_block{block}", units, strides)
        kernel, bias = self.weights("logits")
        return x.mean(axis=(1, 2)) @ kernel + bias


def unsettled(network, seed=0):
    """The network with weights and statistics that are not where they start."""
    random = np.random.default_rng(seed)
    for weight in network.weights:
        drawn = random.uniform(0.5, 1.5, weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(drawn)
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(drawn - 1.0)
    return network


@pytest.mark.parametrize(
    ("maker", "blocks", "units"),
    [
        (models.ResNet18, (2, 2, 2, 2), "ab"),
        pytest.param(models.ResNet50, (3, 4, 6, 3), "abc", marks=pytest.mark.slow),
    ],
)
def test_the_forward_pass(maker, blocks, units):
    """Every layer in float64, odd sizes, a stride that pads unevenly."""
    network = unsettled(maker((9, 8, 3), 5, variant="plain", width=2))
    images = np.random.default_rng(1).random((3, 9, 8, 3), np.float32)
    expected = ByHand(network)(images, blocks, units)
    logits = network(images, training=False)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, atol=1e-5 * scale)
    assert np.ptp(expected, axis=0).min() > 1e-3 * scale


def test_layers_of_the_other_plain_networks():
    """ReLU and affine norms in VGG, ReLU in the multilayer perceptron."""
    vgg = models.VGG11(variant="plain", width=1)
    mlp = models.MLP((4,), variant="plain", hidden=(3, 2))
    for network, rectifiers, norms in ((vgg, 8, 8), (mlp, 2, 0)):
        assert len(find_layers(network, keras.layers.ReLU)) == rectifiers
        assert not find_layers(network, CenteredSoftplus)
        made = find_layers(network, keras.layers.BatchNormalization)
        assert [norm.center and norm.scale for norm in made] == [True] * norms
    assert not any(c.use_bias for c in find_layers(vgg, keras.layers.Conv2D))


def test_c4_has_no_plain_variant():
    """Its standard variant is the published network."""
    with pytest.raises(ValueError) as caught:
        models.C4(variant="plain")
    assert str(caught.value) == (
        "`variant` must be one of standard, softplus, lcnn. Received: variant='plain'"
    )


@pytest.fixture(scope="module")
def network():
    return unsettled(models.ResNet18((8, 8, 3), 5, variant="plain", width=2))


IMAGES = np.random.default_rng(2).random((3, 8, 8, 3), np.float32)


def test_the_curvature_penalty_refuses_it(network):
    """It has no beta to train."""
    with pytest.raises(
        ValueError, match="variant='lcnn'. Received: network='resnet18'"
    ):
        penalties.Curvature(1.0, 1.0).check(network)


@pytest.mark.slow
def test_round_trips(network, tmp_path):
    """Through .keras in safe mode, and through a SavedModel with folded norms."""
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    expected = network(IMAGES, training=False)
    np.testing.assert_array_equal(loaded(IMAGES, training=False), expected)
    version = export_saved_model(network, tmp_path / "served")
    served = tf.saved_model.load(version).signatures["serving_default"]
    logits = served(images=tf.constant(IMAGES))["logits"]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, atol=1e-5 * scale)


@pytest.mark.slow
def test_conversions(network):
    """All of it becomes low-curvature, bounded by its parts; or the least of it does.

    ReLU comes back as beta grows, and batch norms as gamma grows.
    """
    low, report = models.to_low_curvature(network)
    assert report.unbounded == report.not_smooth == ()
    assert len(models.betas(low)) == 17 and len(models.gammas(low)) == 20
    penalties.Curvature(1.0, 1.0).check(low)
    same, _ = models.curvature_recipe(network, beta=1e6, gamma=1e6)
    penalties.Curvature(1.0, 1.0).check(same)
    expected = network(IMAGES, training=False)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        same(IMAGES, training=False), expected, atol=1e-4 * scale
    )
