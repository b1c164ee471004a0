"""The network of a run: the one named, at its precision, and where it starts."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export import export_saved_model
from tests.trainers.train.common import initial_forms
from tfrobust import models
from tfrobust.cli.program import UsageError
from trainers.train import networks

SHAPES = ("--dataset=shapes", "--model=mlp", "--width=4")


@pytest.mark.parametrize(
    ("flag", "compute"),
    [("off", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16")],
)
def test_precision_reaches_the_layers(parse, flag, compute):
    """Convolutions compute in half precision, logits in float32."""
    config = parse("--model=resnet18", "--width=1", f"--mixed_precision={flag}")
    network = networks.make(config, (8, 8, 3), 10)
    convolution = network.get_layer("stem_conv")
    assert convolution.compute_dtype == compute
    assert convolution.variable_dtype == "float32"
    assert network.get_layer("logits").compute_dtype == "float32"


@pytest.mark.parametrize(
    ("model", "variant", "size", "convolutions"),
    [
        ("resnet18", "standard", 8, 17 + 3),
        ("resnet18", "plain", 8, 17 + 3),
        ("resnet34", "standard", 8, 33 + 3),
        ("vgg11", "lcnn", 32, 8),
        ("mlp", "lcnn", 8, 0),
        ("c4", "lcnn", 27, 3),
    ],
)
def test_network_is_the_one_named(parse, model, variant, size, convolutions):
    """The architecture, its width and variant, and where beta and gamma start."""
    from tfrobust import models

    starts = ["--initial_beta=3"] if variant == "lcnn" else []
    starts += ["--initial_gamma=7"] if model == "vgg11" else []
    config = parse(f"--model={model}", f"--variant={variant}", "--width=2", *starts)
    network = networks.make(config, (size, size, 3), 6)
    assert network.name == model and network.output_shape == (None, 6)
    names = [layer.name for layer in network.layers]
    assert len([name for name in names if name.endswith("_conv")]) == convolutions
    betas = set(np.round(list(models.betas(network).values()), 4))
    gammas = set(np.round(list(models.gammas(network).values()), 4))
    assert betas == ({3.0} if variant == "lcnn" else set())
    assert gammas == ({7.0} if model == "vgg11" else set())
    if model == "mlp":
        assert network.get_layer("hidden1").units == 2
    if model == "resnet18":
        assert network.get_layer("stem_conv").filters == 2


def documented_ablations():
    """The flags of each row of the table in docs/results/lcnn.md."""
    page = Path(__file__).parents[3] / "docs" / "results" / "lcnn.md"
    return re.findall(r"\| `(--flagfile=lcnn_cifar10 .*)` \|", page.read_text())


def test_every_ablation_is_documented(parse):
    """Three parts by themselves, and the penalty of one kind of coefficient."""
    configs = [parse(*flags.split()) for flags in documented_ablations()]
    assert [(c.model, c.curvature_beta, c.curvature_gamma) for c in configs] == [
        ("resnet18:lcnn_parts=activation", 1e-3, 0),
        ("resnet18:lcnn_parts=spectral", 0, 0),
        ("resnet18:lcnn_parts=norm", 0, 1e-3),
        ("resnet18", 1e-3, 0),
        ("resnet18", 0, 1e-3),
    ]


@pytest.mark.parametrize("place", range(3))
def test_a_part_of_an_lcnn_by_itself(parse, place):
    """As documented: one kind of low-curvature layer, and its coefficients alone."""
    config = parse(*documented_ablations()[place].split(), "--width=1")
    network = networks.make(config, (8, 8, 3), 4)
    kinds = {type(layer).__name__ for layer in network.layers}
    low = {"SpectralConv2D", "SpectralDense", "LipschitzBatchNormalization"} & kinds
    part = ("activation", "spectral", "norm")[place]
    assert (
        low
        == {
            "activation": set(),
            "spectral": {"SpectralConv2D", "SpectralDense"},
            "norm": {"LipschitzBatchNormalization"},
        }[part]
    )
    assert len(models.betas(network)) == (17 if part == "activation" else 0)
    assert len(models.gammas(network)) == (20 if part == "norm" else 0)


@pytest.mark.parametrize(
    ("part", "flag", "coefficient"),
    [
        ("norm", "curvature_beta", "beta"),
        ("spectral+norm", "initial_beta", "beta"),
        ("activation", "curvature_gamma", "gamma"),
        ("activation", "initial_gamma", "gamma"),
    ],
)
def test_what_a_part_does_not_learn_is_not_penalised(parse, part, flag, coefficient):
    """A weight, or a start, of coefficients that are not there is refused."""
    model = f"--model=resnet18:lcnn_parts={part}"
    config = parse("--variant=lcnn", model, f"--{flag}=0.5", "--width=1")
    with pytest.raises(UsageError) as error:
        networks.make(config, (8, 8, 3), 4)
    assert str(error.value) == (
        f"--{flag} needs a --model that learns a {coefficient}; there is none in "
        f"resnet18:lcnn_parts={part}."
    )


def test_unsuitable_images_are_the_users_mistake(parse):
    """The sentence names model and data set."""
    config = parse("--model=vgg11", "--dataset=mnist", "--width=1")
    with pytest.raises(UsageError, match="--model=vgg11 does not fit --dataset=mnist:"):
        networks.make(config, (28, 28, 1), 10)


def test_a_network_starts_from_the_weights_of_another(parse, tmp_path):
    """Those of a .keras file, bit for bit; of other shapes they are refused."""
    flags = ("--model=mlp", "--width=3", "--variant=lcnn")
    trained = networks.make(parse(*flags, "--seed=1"), (4, 4, 3), 10)
    for weight in trained.trainable_variables:
        weight.assign_add(tf.ones_like(weight))
    trained.save(tmp_path / "trained.keras")
    initial = f"--initial={tmp_path / 'trained.keras'}"
    network = networks.make(parse(*flags, initial), (4, 4, 3), 10)
    for own, given in zip(network.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(own, given)
    with pytest.raises(UsageError, match="must be of the same --model"):
        networks.make(parse("--model=mlp", "--width=4", initial), (4, 4, 3), 10)
    with pytest.raises(UsageError, match="--initial=nowhere does not exist"):
        networks.make(parse(*flags, "--initial=nowhere"), (4, 4, 3), 10)


def test_a_network_starts_from_every_form_with_layers(parse, tmp_path):
    """A run, its file, a checkpoint of what trains; not a SavedModel."""
    flags = ("--model=mlp", "--width=3", "--variant=lcnn")
    trained = networks.make(parse(*flags, "--seed=1"), (4, 4, 3), 10)
    for path in initial_forms(trained, tmp_path):
        config = parse(*flags, f"--initial={path}")
        network = networks.make(config, (4, 4, 3), 10)
        assert type(network) is type(trained)
        for own, given in zip(
            network.get_weights(), trained.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(own, given)
    export_saved_model(trained, tmp_path / "served")
    config = parse(*flags, f"--initial={tmp_path}/served")
    with pytest.raises(UsageError) as error:
        networks.make(config, (4, 4, 3), 10)
    assert str(error.value) == (
        f"--initial={tmp_path}/served must be a Keras model: the weights of a "
        "SavedModel are those of a graph, not of layers."
    )


def test_a_network_starts_from_a_shipped_one(parse):
    config = parse(
        "--dataset=mnist", "--model=c4", "--width=64", "--initial=pretrained:mnist_c4"
    )
    shipped = models.pretrained("mnist_c4")
    network = networks.make(config, (28, 28, 1), 10)
    for own, given in zip(network.get_weights(), shipped.get_weights(), strict=True):
        np.testing.assert_array_equal(own, given)


def test_fixed_betas_of_an_initial_network_are_not_another_run_s(parse, tmp_path):
    """A softplus network trains at the beta that its flags say, or not at all."""
    from tfrobust import models

    models.MLP((4, 4, 3), 3, "softplus", hidden=(5, 5), beta=5.0).save(
        tmp_path / "five.keras"
    )
    flags = [
        "--variant=softplus",
        "--model=mlp",
        "--width=5",
        f"--initial={tmp_path}/five.keras",
    ]
    same = networks.make(parse(*flags), (4, 4, 3), 3)
    assert set(np.round(list(models.betas(same).values()), 4)) <= {5.0}
    with pytest.raises(UsageError, match="of another beta than --initial_beta=20"):
        networks.make(parse(*flags, "--initial_beta=20"), (4, 4, 3), 3)
