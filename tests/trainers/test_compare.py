"""Classifiers side by side: any form, and only the numbers that each has."""

import csv
import json

import numpy as np
import pytest

from export import export_saved_model
from export.signatures import Settings
from tests.seeds import set_seeds
from tests.trainers.programs import defined_flags
from tfrobust import data, models
from tfrobust.cli import flags as cli_flags
from tfrobust.cli import program
from tfrobust.cli.program import UsageError
from tfrobust.cli.records import Evaluation, Record, Records
from tfrobust.core.estimates import Estimate
from tfrobust.training import RobustModel
from trainers import compare

SUMMARY = {
    "dataset": "shapes",
    "mean_beta": 5.0,
    "mean_gamma": None,
    "test_gradient_norm": 0.25,
    "seconds_per_epoch_median": 2.0,
}
# What only a summary knows.
TRAINED = ("gradient norm", "seconds an epoch", "time ratio")


@pytest.fixture(scope="module")
def network():
    set_seeds(1)
    return models.MLP((32, 32, 3), 10, "lcnn", hidden=(4,))


@pytest.fixture(scope="module")
def test_images():
    return data.make_shapes(60, seed=3)


@pytest.fixture
def loads(monkeypatch, test_images):
    """Names of the data that were read, in order."""
    read = []

    def load(name, split, folder):
        read.append(name)
        assert split == "test" and name in ("shapes", "mine")
        return test_images

    monkeypatch.setattr(data, "load", load)
    return read


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    """A finished run, and what else lies in its folder."""
    folder = tmp_path_factory.mktemp("runs") / "lcnn"
    folder.mkdir()
    (folder / "run.flags").write_text("--dataset=shapes\n")
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    network.save(folder / "model.keras")
    RobustModel(network).save(folder / "best.keras")
    export_saved_model(network, folder / "saved_model")
    return folder


@pytest.fixture
def flag_values():
    """The program's flags on absl's `FLAGS`, for this test alone."""
    with defined_flags(lambda: cli_flags.define(compare.CompareConfig)) as flags:
        yield flags


@pytest.fixture
def compared(flag_values, tmp_path):
    """`compared(run, ...)`: the rows of comparison.csv."""

    def compared(*runs, dataset="", imports=()):
        out = tmp_path / "out"
        flag_values.unparse_flags()
        given = [f"--import={module}" for module in imports]
        words = flag_values(
            [
                "x",
                *map(str, runs),
                f"--dataset={dataset}",
                *given,
                f"--out={out}",
                "--overwrite",
            ]
        )
        compare.main(words[1:])
        assert (out / "tradeoff.png").stat().st_size
        assert (out / "comparison.md").is_file()
        with open(out / "comparison.csv", newline="") as file:
            return list(csv.DictReader(file))

    return compared


def test_every_form_in_one_table(
    compared, run, network, test_images, loads, tmp_path, capsys
):
    """All are the same network, so accuracy is; the summary tells of its own file."""
    forms = ("", "model.keras", "best.keras", "saved_model", "saved_model/1")
    rows = compared(*(run / form for form in forms))
    images = test_images.images.astype(np.float32) / 255
    right = np.argmax(network(images), axis=-1) == test_images.labels
    assert {float(row["test accuracy"]) for row in rows} == {right.mean()}
    assert loads == ["shapes"]
    # Two forms of one file or version cannot be told apart by name.
    assert [row["run"] for row in rows] == [
        str(run / "model.keras"),
        str(run / "model.keras"),
        "lcnn (best)",
        str(run / "saved_model/1"),
        str(run / "saved_model/1"),
    ]
    for row in rows[:2]:
        assert [float(row[name]) for name in TRAINED] == [0.25, 2.0, 1.0]
    for row in rows[2:]:
        assert [row[name] for name in TRAINED] == ["", "", ""]
    betas = [float(row["mean beta"]) for row in rows[:3]]
    np.testing.assert_allclose(betas, 5.0, rtol=1e-6)
    assert [row["mean beta"] for row in rows[3:]] == ["", ""]
    assert "| lcnn (best) |" in capsys.readouterr().out.replace("  ", " ")


def test_a_file_on_its_own_needs_a_data_set(compared, run, network, loads, tmp_path):
    network.save(tmp_path / "net.keras")
    with pytest.raises(UsageError) as error:
        compared(run, tmp_path / "net.keras")
    assert str(error.value) == (
        f"--dataset must be given: nothing says what {tmp_path}/net.keras was trained "
        "on."
    )
    assert loads == []
    row, other = compared(tmp_path / "net.keras", run, dataset="shapes")
    assert row["run"] == "net" and row["time ratio"] == other["time ratio"] == ""
    assert float(other["seconds an epoch"]) == 2.0


def test_other_data_than_it_was_trained_on(compared, run, loads, tmp_path):
    """--dataset wins, and the norm that was measured on the run's is left out."""
    (row,) = compared(run, dataset="mine")
    assert loads == ["mine"]
    assert row["gradient norm"] == "" and float(row["seconds an epoch"]) == 2.0


def test_a_shipped_network_says_what_it_was_trained_on(compared, monkeypatch, tmp_path):
    images = data.Dataset(
        "mnist",
        np.zeros((10, 28, 28, 1), np.uint8),
        np.arange(10),
        tuple("abcdefghij"),
    )
    read = []
    monkeypatch.setattr(data, "load", lambda name, *_: read.append(name) or images)
    (row,) = compared("pretrained:mnist_c4")
    assert (row["run"], read) == ("mnist_c4", ["mnist"])
    assert float(row["test accuracy"]) == 0.1


def test_what_cannot_be_compared(compared, run, network, loads, tmp_path):
    """One sentence each, that begins with what was given; no flag names it."""
    models.MLP((28, 28, 1), 10).save(tmp_path / "small.keras")
    few = export_saved_model(network, tmp_path / "few", settings=Settings(max_batch=7))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.flags").write_text("--dataset=shapes\n")
    for path, message in (
        ("none", "{path} does not exist."),
        ("begun", "{path} is a run without model.keras: it has not finished."),
        (
            "small.keras",
            "{path} takes images [28, 28, 1], but those of shapes are [32, 32, 3].",
        ),
    ):
        with pytest.raises(UsageError) as error:
            compared(run, tmp_path / path, dataset="shapes")
        assert str(error.value) == message.format(path=tmp_path / path)
    with pytest.raises(UsageError, match="few/1 refused its images, 50 at a time: "):
        compared(few, dataset="shapes")
    with pytest.raises(UsageError, match="--import=none_at_all cannot be imported"):
        compared(run, imports=["none_at_all"])


@pytest.mark.slow
def test_flags(call_module, tmp_path):
    """From the command line: --import comes first, and --help names what there is."""
    ended = call_module("trainers.compare", tmp_path / "none", "--import=no.such")
    assert ended.error == ("--import=no.such cannot be imported: No module named 'no'")
    helped = call_module("trainers.compare", "--help")
    assert helped.code == 0
    assert "--import, default" in helped.out and "--dataset" in helped.out


def test_results_are_not_written_over(flag_values, tmp_path):
    """Without --overwrite; whatever else lies there is of no account."""
    (tmp_path / "mine.txt").touch()
    (tmp_path / "comparison.csv").write_text("kept")
    flag_values(["x", f"--out={tmp_path}"])
    with pytest.raises(UsageError, match="already holds comparison.csv; choose"):
        compare.main(["pretrained:mnist_c4"])
    assert (tmp_path / "comparison.csv").read_text() == "kept"
    with pytest.raises(UsageError, match="Name at least one classifier"):
        compare.main([])


@pytest.fixture
def run_compare(flag_values, monkeypatch, capsys):
    """`run_compare(word, ...)`: exit code, output and errors of the program."""

    def run(*words):
        flag_values.unparse_flags()
        monkeypatch.setattr("sys.argv", ["compare", *map(str, words)])
        code = 0
        try:
            program.run(compare.main, lambda: "", takes_words=True)
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def evaluation(folder, **settings):
    """The folder of an evaluation: curvature and accuracy of each model."""
    folder.mkdir()
    records = []
    for name, (curvature, accuracy) in settings.items():
        for quantity, value, error in (
            ("accuracy", accuracy, 0.01),
            ("curvature", curvature, 0.5),
        ):
            setting = {"split": "test"}
            records.append(Record(name, quantity, setting, 9, Estimate(value, error)))
    content = Evaluation({"models": []}, Records(records)).to_json()
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def evaluations(tmp_path):
    """Two evaluations."""
    first = evaluation(tmp_path / "first", plain=(50.0, 0.63), weak=(8.0, 0.64))
    second = evaluation(tmp_path / "second", strong=(2.0, 0.5))
    return first, second


CURVES = ("--curve=LCNN:weak=1e-3,strong=1e-2", "--curve=standard:plain=")


def test_a_figure_from_two_evaluations(run_compare, evaluations, tmp_path):
    """A curve may take its points from either; nothing is overwritten unasked."""
    out = tmp_path / "out"
    code, text, err = run_compare(*evaluations, *CURVES, f"--out={out}")
    assert code == 0, err
    assert (out / "tradeoff.png").stat().st_size > 5000
    code, _, err = run_compare(*evaluations, *CURVES, f"--out={out}")
    assert code == 2 and "already holds" in err
    assert run_compare(*evaluations, *CURVES, f"--out={out}", "--overwrite")[0] == 0


def test_evaluations_side_by_side(run_compare, evaluations):
    """A line a quantity, a column a model; empty where it was not measured."""
    code, text, err = run_compare(*evaluations)
    assert code == 0, err
    lines = [line.strip("| ").split(" | ") for line in text.strip().splitlines()]
    assert lines[0] == ["quantity", "plain", "weak", "strong"]
    by_name = {line[0]: line[1:] for line in lines[2:]}
    assert by_name["accuracy split=test"][0].startswith("0.63")
    assert by_name["curvature split=test"][2].startswith("2.0")


def test_records_are_told_apart_by_all_of_their_settings(run_compare, tmp_path):
    """As every suite has the accuracy on all images, and on those attacked."""
    settings = ({"split": "test"}, {"split": "test", "attacked": True})
    records = Records(
        Record("a", "accuracy", setting, 9, Estimate(value, float("nan")))
        for setting, value in zip(settings, (0.75, 0.5), strict=True)
    )
    content = Evaluation({"models": []}, records).to_json()
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    code, text, err = run_compare(tmp_path)
    assert code == 0, err
    assert text.splitlines()[2:] == [
        "| accuracy split=test | 0.75 |",
        "| accuracy split=test attacked=True | 0.5 |",
    ]


def test_a_name_in_two_evaluations_says_which(run_compare, evaluations, tmp_path):
    again = evaluation(tmp_path / "again", plain=(40.0, 0.6))
    code, text, _ = run_compare(evaluations[0], again)
    assert code == 0
    assert f"plain, {evaluations[0]}" in text and f"plain, {again}" in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["{0}", *CURVES], "--curve needs an --out"),
        (["{0}", "--curve=LCNN", "--out={2}/o"], "must be METHOD:MODEL=LABEL"),
        (["{0}", "--curve=LCNN:strong=1", "--out={2}/o"], "names 'strong', but"),
        (["{2}/none/evaluation.json"], "must be a finished evaluation"),
        (["{0}", "pretrained:mnist_c4"], "compare evaluations with each other"),
        (["pretrained:mnist_c4", *CURVES, "--out={2}/o"], "--curve needs evaluations"),
    ],
)
def test_evaluations_that_cannot_be_compared(
    run_compare, evaluations, tmp_path, given, message
):
    """One sentence, and nothing is written."""
    places = (*evaluations, tmp_path)
    code, text, err = run_compare(*(word.format(*places) for word in given))
    assert code == 2 and message in err and text == "", err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "o").exists()
