"""docs/EXTENDING.md: every example is short, complete and runs as it stands there."""

import ast
import csv
import re
import shlex
from pathlib import Path

import pytest
import tensorflow as tf

from tests.trainers.conftest import call
from tfrobust.cli.records import read_evaluation

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "EXTENDING.md"
LONGEST = 40
# Each of these can be one's own.
SECTIONS = (
    "Data set",
    "Network",
    "Penalty",
    "Directions",
    "Attack",
    "Suite",
    "Signature",
)


def sections() -> dict[str, str]:
    """The text under each heading."""
    parts = re.split(r"^## (.+)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


def example(text: str) -> tuple[str, str]:
    """The name and the content of the one module of a section."""
    (code,) = blocks(text, "python")
    heading, _, _ = code.partition("\n")
    return heading.removeprefix("# "), code


def test_every_kind_of_extension_has_a_section():
    assert tuple(sections()) == SECTIONS


@pytest.mark.parametrize("title", SECTIONS)
def test_an_example_is_one_short_module_and_one_command(title):
    text = sections()[title]
    name, code = example(text)
    assert re.fullmatch(r"my_[a-z]+\.py", name)
    assert len(code.splitlines()) <= LONGEST
    ast.parse(code)
    (command,) = blocks(text, "sh")
    assert f"--import={name.removesuffix('.py')}" in command


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with every module, in which every command ran, and what each printed."""
    folder = tmp_path_factory.mktemp("extending")
    printed = {}
    for title, text in sections().items():
        name, code = example(text)
        (folder / name).write_text(code, encoding="utf-8")
        (command,) = blocks(text, "sh")
        program, *words = shlex.split(command.replace("\\\n", " "))
        assert program == "tfrobust"
        ended = call("trainers", *words, cwd=folder)
        assert ended.code == 0, f"{title}: {ended.err[-3000:]}"
        printed[title] = ended.out
    return folder, printed


def last_epoch(run: Path) -> dict[str, float]:
    with (run / "metrics.csv").open(newline="") as file:
        *_, last = csv.DictReader(file)
    return {name: float(value) for name, value in last.items()}


@pytest.mark.slow
def test_the_examples_do_what_they_say(place):
    """Each is used, not only imported: by the numbers that the runs left behind."""
    folder, printed = place
    assert "stripes: 400 train, 100 test" in printed["Data set"]
    plain = last_epoch(folder / "runs/stripes")
    assert plain["val_accuracy"] > 0.9
    assert "small_cnn:depth=2, width 8" in printed["Network"]
    flat = last_epoch(folder / "runs/gradient_l1")
    assert flat["gradient_l1_penalty"] > 0 and flat["val_accuracy"] > 0.9
    assert flat["val_gradient_norm"] < plain["val_gradient_norm"]
    aligned = last_epoch(folder / "runs/contrast")
    # Two classes, each at a cosine of at most 1: a random gradient gives 2 * weight.
    assert 0 < aligned["alignment_penalty"] < 2 * 0.01

    attacked = read_evaluation(folder / "runs/attacked").records
    robust = {
        record.setting["attack"]: record.estimate.value
        for record in attacked.where("robust_accuracy", rounded=False)
    }
    assert set(robust) == {"Noise Linf 32/255", "PGD Linf 32/255", "all"}
    assert robust["PGD Linf 32/255"] <= robust["Noise Linf 32/255"]
    (noisy, _) = read_evaluation(folder / "runs/noise").records.where("noise_accuracy")
    assert noisy.setting == {"std": 0.2} and 0.5 <= noisy.estimate.value <= 1
    assert "Gaussian noise" in printed["Suite"]


@pytest.mark.slow
def test_the_signature_answers_without_its_module(place):
    """An image of nothing is no sure case; the answer of each lies in [0, 1]."""
    folder, _ = place
    loaded = tf.saved_model.load(str(folder / "served/stripes/1"))
    assert set(loaded.signatures) == {"serving_default", "sureness"}
    images = tf.random.stateless_uniform([3, 12, 12, 1], seed=[0, 0])
    logits = loaded.signatures["serving_default"](images=images)["logits"]
    sure = loaded.signatures["sureness"](images=images)["sureness"].numpy()
    odds = tf.nn.softmax(tf.cast(logits, tf.float64)).numpy()
    entropy = -(odds * tf.math.log(odds).numpy()).sum(axis=1) / tf.math.log(2.0).numpy()
    assert sure == pytest.approx(1 - entropy, abs=1e-5)
