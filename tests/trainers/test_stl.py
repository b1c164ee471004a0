"""The STL-10 program: the CIFAR program with other defaults and larger images."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import trainers
from tests.trainers.programs import assert_defaults, help_lines, with_defaults_of
from tfrobust import models
from trainers import stl
from trainers.train import build, dry_run


@pytest.fixture
def parse_stl(parse):
    """`parse` with the defaults of `trainers.stl`, and the config of none."""
    return with_defaults_of(stl, parse)


def test_defaults_are_those_of_the_paper(parse_stl):
    """Each of `DEFAULTS` differs from the CIFAR program's, and nothing else does."""
    parse, cifar = parse_stl
    config = parse()
    assert_defaults(stl, config, cifar)
    assert config.workdir == "runs/stl10-resnet18-standard-0"
    flagfile = Path(trainers.__file__).parent / "flags" / "pag_vanilla_stl10.flags"
    # A network of the user's own need not have a variant.
    plain = parse(f"--flagfile={flagfile}")
    assert plain.workdir == "runs/stl10-resnet18-plain-0"
    config = dataclasses.replace(config, variant="plain", workdir=plain.workdir)
    assert config == plain


def test_the_network_keeps_the_resolution(parse_stl, tmp_path):
    """A 3x3 stem without stride at 96x96, and nine times the cost of CIFAR-10, of which
    only the last layer has no part. Nothing is downloaded.
    """
    config = parse_stl[0](f"--data_dir={tmp_path}", "--width=2")
    info = build.check_data(config)
    assert (info.image_shape, info.classes) == ((96, 96, 3), 10)
    network = build.make_network(config, info.image_shape, info.classes)
    stem = network.get_layer("stem_conv")
    assert (tuple(stem.kernel.shape), tuple(stem.strides)) == ((3, 3, 3, 2), (1, 1))
    assert stem.output.shape == (None, 96, 96, 2)
    small = build.make_network(config, (32, 32, 3), 10)
    assert network.count_params() == small.count_params()
    dense = 10 * 16
    large, small = (models.multiply_adds(each) - dense for each in (network, small))
    assert large == 9 * small
    assert list(tmp_path.iterdir()) == []


def test_the_full_network_costs_what_the_help_says(parse_stl, monkeypatch):
    """10 GFLOP a forward pass, in the plan of a data set that is not there."""
    monkeypatch.setattr(dry_run, "_matrix_rate", lambda: 1e9)
    network = models.ResNet18((96, 96, 3))
    config = parse_stl[0]()
    assert dry_run._cost(config, network, 156).startswith("10 GFLOP a forward pass")
    epoch = 2 * models.multiply_adds(network) * 3 * 156 * 32
    assert f"{epoch / 1e12:.3g} TFLOP an epoch" in dry_run._cost(config, network, 156)
    assert network.output_shape == (None, 10)
    assert isinstance(network.get_layer("pool"), keras.layers.GlobalAveragePooling2D)


def test_help_shows_its_own_defaults(parse_stl, monkeypatch, capsys):
    """And the commands of this program."""
    lines = help_lines(stl, monkeypatch, capsys)
    assert any(line.startswith("    python -m trainers.stl") for line in lines)
    assert "  --dataset, default 'stl10'" in lines
    assert "  --batch_size, default 32" in lines


@pytest.mark.slow
def test_it_plans_offline(call_module, tmp_path):
    """As a program, where STL-10 is not: the plan, and no file."""
    ended = call_module(
        "trainers.stl",
        "--dry_run",
        "--width=2",
        f"--data_dir={tmp_path}",
        f"--workdir={tmp_path}/run",
        "--pag=one_image",
    )
    assert ended.code == 0, ended.err[-3000:]
    assert "stl10: not downloaded yet; images (96, 96, 3), 10 classes" in ended.out
    assert "cross-entropy + weight_penalty + alignment_penalty" in ended.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_trains_on_a_prepared_folder(call_module, tmp_path):
    """On forty images of noise in the place of TFDS's own."""
    prepare(tmp_path / "data")
    ended = call_module(
        "trainers.stl",
        f"--data_dir={tmp_path}/data",
        f"--workdir={tmp_path}/run",
        "--model=mlp",
        "--width=2",
        "--epochs=1",
        "--pag=nearest_neighbor",
    )
    assert ended.code == 0, ended.err[-3000:]
    network = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert network.input_shape == (None, 96, 96, 3)


def prepare(folder):
    """A TFDS folder of STL-10's name and form, written by TFDS itself."""
    random = np.random.default_rng(0)
    splits = {
        name: tf.data.Dataset.from_tensor_slices(
            {
                "image": random.integers(0, 256, (count, 96, 96, 3), np.uint8),
                "label": np.arange(count) % 10,
            }
        )
        for name, count in (("train", 40), ("test", 10))
    }
    features = {
        "image": tfds.features.Image(shape=(96, 96, 3)),
        "label": tfds.features.ClassLabel(num_classes=10),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="stl10",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets=splits,
        data_dir=folder,
        disable_shuffling=True,
    )
