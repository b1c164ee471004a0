"""The MNIST program: the CIFAR program with other defaults, and settings of its own."""

import dataclasses
from pathlib import Path

import keras
import pytest

import trainers
from tests.trainers.programs import assert_defaults, help_lines, with_defaults_of
from tests.trainers.restarts import assert_same_bits, rows
from tfrobust import attacks
from trainers import mnist
from trainers.train import build, options

FOLDER = Path(trainers.__file__).parent / "flags"


@pytest.fixture
def parse_mnist(parse):
    """`parse` with the defaults of `trainers.mnist`, and the config of none."""
    return with_defaults_of(mnist, parse)


def test_defaults_are_those_of_the_network(parse_mnist):
    """Each of `DEFAULTS` differs from the CIFAR program's, and nothing else does."""
    parse, cifar = parse_mnist
    config = parse()
    assert_defaults(mnist, config, cifar)
    assert config.workdir == "runs/mnist-c4-standard-0"
    assert (config.batch_size, config.width, config.variant) == (128, 64, "standard")


def test_the_network_is_built(parse_mnist):
    """Defaults make C4 as published, Adam and no adversary."""
    config = parse_mnist[0]()
    info = build.check_data(config)
    network = build.make_network(config, info.image_shape, info.classes)
    assert (network.name, network.count_params()) == ("c4", 710_218)
    model = build.make_model(config, network, 468)
    assert type(model.optimizer) is keras.optimizers.Adam
    assert model.adversary is None and model.penalties == ()


def test_help_shows_its_own_defaults(parse_mnist, monkeypatch, capsys):
    """And the commands of this program."""
    lines = help_lines(mnist, monkeypatch, capsys)
    assert "    python -m trainers.mnist" in lines
    assert "  --dataset, default 'mnist'" in lines
    assert "  --optimizer (sgd|adam), default 'adam'" in lines


@pytest.mark.parametrize("name", ["c4_mnist.flags", "c4_adversarial_mnist.flags"])
def test_flagfiles_say_everything(parse_mnist, name):
    """Either program reads them alike."""
    parse, cifar = parse_mnist
    config = parse(f"--flagfile={FOLDER}/{name}")
    defaults = {key: getattr(cifar, key) for key in mnist.DEFAULTS}
    options.define_flags(**defaults)
    other = parse(f"--flagfile={FOLDER}/{name}")
    assert config == other
    lines = (FOLDER / name).read_text().splitlines()
    assert f"#   python -m trainers.mnist --flagfile={Path(name).stem}" in lines
    flags = [line.split("=")[0] for line in lines if line.startswith("--")]
    assert len(flags) == len(set(flags))
    assert all(line.startswith(("--", "# ")) for line in lines)


def test_the_plain_flagfile_is_the_default(parse_mnist):
    """So that the program without flags trains the network of the paper."""
    parse, _ = parse_mnist
    assert parse(f"--flagfile={FOLDER}/c4_mnist.flags") == parse()


def test_the_adversarial_flagfile_is_half_fgsm(parse_mnist):
    """Beside the recipe of the plain one: the sign method at 0.3 on half of a batch."""
    parse, _ = parse_mnist
    plain, other = (
        parse(f"--flagfile={FOLDER}/{name}.flags")
        for name in ("c4_mnist", "c4_adversarial_mnist")
    )
    changed = {"adversary": "fgsm:norm=inf,eps=0.3", "adversary_share": 0.5}
    assert other == dataclasses.replace(plain, **changed)
    assert build.make_adversary(other) == attacks.FGSM(norm="inf", eps=0.3)


@pytest.mark.slow
def test_it_trains_and_either_program_repeats_it(call_module, tmp_path):
    """A small run with an adversary, to the same numbers by its own run.flags."""
    flags = (
        "--dataset=shapes",
        "--train_examples=60",
        "--eval_examples=20",
        "--batch_size=20",
        "--epochs=1",
        "--width=2",
        "--adversary=fgsm:eps=0.3",
        "--adversary_share=0.5",
    )
    first, again = tmp_path / "first", tmp_path / "again"
    ended = call_module("trainers.mnist", *flags, f"--workdir={first}")
    assert ended.code == 0, ended.err[-3000:]
    ended = call_module(
        "trainers.cifar", f"--flagfile={first}/run.flags", f"--workdir={again}"
    )
    assert ended.code == 0, ended.err[-3000:]
    assert_same_bits(first, again, epochs=1)
    assert keras.saving.load_model(first / "model.keras").name == "c4"
    lines = (first / "run.flags").read_text().splitlines()
    assert {"--optimizer=adam", "--model=c4", "--adversary=fgsm:eps=0.3"} <= set(lines)


@pytest.mark.slow
def test_it_learns_digits(call_module, tmp_path, tfds_dir):
    """A quarter of the width on a twentieth of the data: nine of ten are right."""
    ended = call_module(
        "trainers.mnist",
        f"--data_dir={tfds_dir}",
        "--train_examples=3000",
        "--eval_examples=1000",
        "--width=16",
        "--epochs=3",
        "--batch_size=50",
        f"--workdir={tmp_path}/run",
    )
    assert ended.code == 0, ended.err[-3000:]
    assert float(rows(tmp_path / "run")[-1]["val_accuracy"]) > 0.9
