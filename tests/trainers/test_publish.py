"""The program that publishes: its flags, what it refuses, and what it writes."""

import hashlib
import json
import re

import keras
import numpy as np
import pytest

from tests.trainers.conftest import contents
from tests.trainers.programs import run_here
from tfrobust import models
from tfrobust.cli import flags as cli_flags
from tfrobust.cli.records import Evaluation, Records, measured
from tfrobust.models import zoo
from trainers import publish, publishing

EITHER = "Give the folder of one RUN and --name, or --measured alone."
FLAGS = """\
--dataset=shapes
--data_dir=/home/alice/data
--distribute=off
--model=mlp
--variant=lcnn
--width=4
--initial_beta=3.0
"""
CARDS = ("mine.json", "other.json")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where the zoo is for this test, not made yet."""
    folder = tmp_path / "zoo"
    monkeypatch.setattr(publishing, "_FOLDER", folder)
    return folder


@pytest.fixture
def published(place):
    """`published(word or flag, ...)`: how the program ended."""

    def run(*arguments):
        def define():
            cli_flags.define(publish.PublishConfig)

        return run_here(publish, define, *arguments, takes_words=True)

    return run


@pytest.fixture
def finished(tmp_path):
    """The folder of a finished run of a small network."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.flags").write_text(FLAGS)
    models.MLP((32, 32, 3), 10, "lcnn", hidden=(4, 4)).save(folder / "model.keras")
    (folder / "summary.json").write_text("{}")
    return folder


def written_evaluation(folder, **paths):
    """An evaluation of models with these names and paths."""
    records = [measured(name, "accuracy", [0.0, 1.0], split="test") for name in paths]
    listed = [{"name": name, "path": path} for name, path in paths.items()]
    about = {"dataset": "shapes", "models": listed}
    file = folder / "evaluation.json"
    file.write_text(json.dumps(Evaluation(about, Records(records)).to_json()))
    return file


REFUSED = {
    "nothing": ([], re.escape(EITHER)),
    "no name": (["{run}"], re.escape(EITHER)),
    "an empty name": (["{run}", "--name="], re.escape(EITHER)),
    "no run": (["--name=mine"], re.escape(EITHER)),
    "two runs": (["{run}", "{run}", "--name=mine"], re.escape(EITHER)),
    "a run beside measured": (["{run}", "--measured=x"], re.escape(EITHER)),
    "a name beside measured": (["--name=mine", "--measured=x"], re.escape(EITHER)),
    "all of them": (["{run}", "--name=mine", "--measured=x"], re.escape(EITHER)),
    "a summary of nothing": (["--summary=x", "--measured=x"], r"--summary needs a --n"),
    "overwriting nothing": (["--overwrite", "--measured=x"], r"--overwrite needs a --"),
    "another folder": (
        ["{run}", "--name=../mine"],
        r"--name must be of letters, digits and _\. Received: \.\./mine$",
    ),
    "an unknown flag": (["{run}", "--nme=mine"], r"Unknown command line flag 'nme'"),
    "no such run": (["{tmp}/none", "--name=mine"], r".*/none holds no finished run\.$"),
    "an unfinished run": (["{tmp}", "--name=mine"], r".* holds no finished run\.$"),
    "no evaluation": (
        ["--measured={tmp}/none.json"],
        r"--measured must be a finished evaluation\. Received: .*/none\.json \(",
    ),
    "another JSON file": (
        ["--measured={run}/summary.json"],
        r"--measured must be a finished evaluation\. Received: .*/summary\.json \(it ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(published, finished, tmp_path, name):
    """In one sentence, and nothing is written."""
    arguments, expected = REFUSED[name]
    before = contents(tmp_path)
    ended = published(*(each.format(run=finished, tmp=tmp_path) for each in arguments))
    assert re.match(expected, ended.error), ended.error
    assert ended.out == "" and contents(tmp_path) == before


def test_help_names_every_flag(published):
    ended = published("--help")
    assert ended.code == 0 and ended.err == ""
    for flag in ("name", "summary", "measured", "overwrite"):
        assert f"  --{flag}, default" in ended.out
    assert "python -m trainers.publish RUN --name=" in ended.out


def test_a_run_becomes_two_files(published, finished, place):
    """Weights in half precision, and a card that says where they are from."""
    ended = published(finished, "--name=mine", "--summary=A sentence.")
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in place.iterdir()) == ["mine.json", "mine.npz"]
    weights = (place / "mine.npz").read_bytes()
    assert ended.out == f"mine.npz: {len(weights) / 1e6:.2f} MB\n"
    card = json.loads((place / "mine.json").read_text())
    assert list(card) == [
        "name",
        "summary",
        "network",
        "training",
        "measured",
        "versions",
        "sha256",
    ]
    assert (card["name"], card["summary"]) == ("mine", "A sentence.")
    assert card["network"] == {
        "architecture": "mlp",
        "input_shape": [32, 32, 3],
        "classes": 10,
        "variant": "lcnn",
        "width": 4,
        "beta": 3.0,
    }
    assert card["training"]["variant"] == "lcnn" and card["measured"] == {}
    assert {"data_dir", "workdir", "tpu", "distribute"}.isdisjoint(card["training"])
    assert "alice" not in (place / "mine.json").read_text()
    assert card["versions"]["keras"] == keras.__version__
    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    kernel = next(name for name in np.load(place / "mine.npz") if "kernel" in name)
    assert np.load(place / "mine.npz")[kernel].dtype == np.float16
    zoo.unpack(zoo.build(card["network"]), dict(np.load(place / "mine.npz")))


def test_a_name_that_is_there_needs_overwrite(published, finished, place):
    published(finished, "--name=mine", "--summary=First.")
    before = contents(place)
    ended = published(finished, "--name=mine", "--summary=Second.")
    assert ended.error == "mine.json exists already; replace it with --overwrite."
    assert contents(place) == before
    ended = published(finished, "--name=mine", "--summary=Second.", "--overwrite")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads((place / "mine.json").read_text())["summary"] == "Second."


def test_a_network_that_is_too_large(published, finished, place, monkeypatch):
    monkeypatch.setattr(publishing, "_LARGEST", 1000)
    error = published(finished, "--name=mine").error
    assert re.fullmatch(
        r".*/model\.keras packs into \d+ bytes; a network of the zoo has "
        r"at most 1000\.",
        error,
    )
    assert not place.exists()


def test_measurements_go_into_the_cards(published, finished, place, tmp_path):
    """Of what is shipped alone, and nothing else of a card changes."""
    for name in ("mine", "other"):
        published(finished, f"--name={name}")
    before = {name: json.loads((place / name).read_text()) for name in CARDS}
    file = written_evaluation(
        tmp_path, mine="pretrained:mine", lcnn="/home/alice/run", b="pretrained:other"
    )
    ended = published(f"--measured={file}")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "mine.json: measured\nother.json: measured\n"
    for file in CARDS:
        card = json.loads((place / file).read_text())
        assert card.pop("measured") == {
            "dataset": "shapes",
            "records": [
                {
                    "model": file.removesuffix(".json"),
                    "quantity": "accuracy",
                    "setting": {"split": "test"},
                    "images": 2,
                    "mean": 0.5,
                    "standard_error": 0.5,
                }
            ],
        }
        assert card == {k: v for k, v in before[file].items() if k != "measured"}


def test_several_evaluations_add_up(published, finished, place, tmp_path):
    """Of one number measured twice that over more images is kept, then the newer."""
    published(finished, "--name=mine")
    first = [
        measured("mine", "accuracy", [0.0, 1.0], split="test"),
        measured("mine", "curvature", [2.0, 4.0, 6.0], split="test"),
        measured("mine", "robust_accuracy", [0.0], attack="PGD", eps=0.1),
        measured("mine", "seconds", [9.0], attack="PGD"),
    ]
    second = [
        measured("mine", "accuracy", [1.0, 1.0], split="test"),
        measured("mine", "curvature", [8.0], split="test"),
        measured("mine", "robust_accuracy", [1.0], attack="PGD", eps=0.2),
        measured("mine", "trustworthy", [1.0], eps=0.2),
    ]

    def publish_measurements(dataset, records):
        listed = [{"name": "mine", "path": "pretrained:mine"}]
        about = {"dataset": dataset, "models": listed}
        file = tmp_path / "evaluation.json"
        file.write_text(json.dumps(Evaluation(about, Records(records)).to_json()))
        assert published(f"--measured={file}").code == 0
        content = json.loads((place / "mine.json").read_text())["measured"]
        assert content["dataset"] == dataset
        return [(each["quantity"], each["mean"]) for each in content["records"]]

    publish_measurements("shapes", first)
    assert publish_measurements("shapes", second) == [
        ("accuracy", 1.0),
        ("curvature", 4.0),
        ("robust_accuracy", 0.0),
        ("robust_accuracy", 1.0),
        ("trustworthy", 1.0),
    ]
    # Numbers on other data do not stand beside them.
    assert publish_measurements("mnist", first[:1]) == [("accuracy", 0.5)]


@pytest.mark.parametrize(
    ("paths", "listed"),
    [
        ({}, "nothing"),
        ({"lcnn": "/runs/lcnn"}, "/runs/lcnn"),
        (
            {"mine": "pretrained:mine", "b": "pretrained:gone"},
            "pretrained:mine, pretrained:gone",
        ),
    ],
    ids=["of nothing", "of a run", "of one that is gone"],
)
def test_an_evaluation_of_other_networks(
    published, finished, place, tmp_path, paths, listed
):
    published(finished, "--name=mine")
    before = contents(place)
    file = written_evaluation(tmp_path, **paths)
    assert published(f"--measured={file}").error == (
        "--measured must be an evaluation of networks of the zoo, as pretrained:NAME. "
        f"Received: {file}, of {listed}"
    )
    assert contents(place) == before


@pytest.mark.slow
def test_as_a_process(call_module, tmp_path):
    ended = call_module("trainers.publish", tmp_path, "--name=mine")
    assert ended.error == f"{tmp_path} holds no finished run." and ended.out == ""
