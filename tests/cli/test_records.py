"""Records: what follows of a list of them, worked out by hand."""

import json
import math

import numpy as np
import pytest

from tfrobust.cli.records import (
    Evaluation,
    Images,
    Record,
    Records,
    long_table,
    measured,
    per_example,
    read_evaluation,
    table_by_model,
    table_by_quantity,
)
from tfrobust.core.estimates import Estimate

TEST = Images("test", np.array([5, 2, 9]), np.array([0, 1, 1]))
TRAIN = Images("train", np.array([5, 7]), np.array([1, 0]))


@pytest.fixture
def records():
    """Two models, one of them on images of two splits."""
    return Records(
        [
            measured("a", "accuracy", [True, False, True], TEST, split="test"),
            measured("b", "accuracy", [True, True, True], TEST, split="test"),
            measured("a", "norm", [1.0, 3.0], TRAIN, {"from": "all"}, split="train"),
            measured("a", "distortion", [0.5, math.nan, 1.5], TEST, eps=0.25),
        ]
    )


def test_a_mean_is_over_what_counts(records):
    """NaN marks an image that does not count."""
    accuracy, _, norm, distortion = records
    assert (accuracy.images, accuracy.estimate.value) == (3, pytest.approx(2 / 3))
    assert accuracy.estimate.standard_error == pytest.approx(1 / 3)
    assert norm.estimate == Estimate(2.0, 1.0)
    assert distortion.estimate == Estimate(1.0, 0.5)
    assert distortion.images == 2
    assert distortion.label == "distortion eps=0.25"


def test_records_are_asked_by_quantity_and_setting(records):
    """A setting that a record lacks is `None`."""
    assert records.models == ["a", "b"]
    assert records.where("accuracy").of("b")[0].estimate.value == 1.0
    assert len(records.where(None, split="test")) == 2
    assert len(records.where(None, split=None)) == 1
    assert records.values_of("split") == ["test", "train"]
    assert records.get("b", "norm") is None and records.cell("b", "norm") is None
    assert records.cell("a", "norm") == (2.0, 1.0)
    with pytest.raises(ValueError, match="must name one record.*which 2 records of a"):
        records.get("a", eps=None)


def test_json_and_back(records, tmp_path):
    """Numbers, settings and what else is said; NaN is null."""
    lost = Record("b", "norm", {"split": "train"}, 0, Estimate(math.nan, math.nan))
    about = {"dataset": "shapes", "models": [{"name": "a"}]}
    content = Evaluation(about, Records([*records, lost])).to_json()
    text = json.dumps(content, allow_nan=False)
    (tmp_path / "evaluation.json").write_text(text)
    for place in (tmp_path, tmp_path / "evaluation.json"):
        again = read_evaluation(place)
        assert again.about == about and again.to_json() == content
    assert content["records"][-1]["mean"] is None
    assert content["records"][2]["about"] == {"from": "all"}
    assert math.isnan(again.records[-1].estimate.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no JSON", "Expecting value"),
        ("[1]", "must have the format tfrobust-evaluation"),
        ('{"suite": "lcnn", "models": []}', "must have the format"),
        (
            '{"format": "tfrobust-evaluation", "version": 99}',
            "must have version 1 of tfrobust-evaluation. Received: version 99",
        ),
        ('{"format": "tfrobust-evaluation", "version": 1}', "records"),
    ],
)
def test_what_is_no_evaluation_is_refused(tmp_path, content, reason):
    """In one sentence with the reason."""
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(
        ValueError, match="`path` must be a finished evaluation"
    ) as error:
        read_evaluation(tmp_path)
    assert reason in str(error.value)
    with pytest.raises(ValueError, match="`path` must be a finished evaluation"):
        read_evaluation(tmp_path / "none")


def test_tables(records):
    """Models across or down; empty where nothing was measured."""
    rows = [("clean", "accuracy", {"split": "test"}), ("norm", "norm", {})]
    by_model = table_by_model(records, "mean", rows)
    assert [column.title for column in by_model.columns] == ["mean", "a", "b"]
    assert by_model.rows[1] == ["norm", (2.0, 1.0), None]
    by_quantity = table_by_quantity(records, "model", rows)
    assert [column.title for column in by_quantity.columns] == [
        "model",
        "clean",
        "norm",
    ]
    assert by_quantity.rows[1][0::2] == ["b", None]


def test_one_line_a_record(records):
    """Settings as text, numbers in full."""
    last = long_table(records).csv().splitlines()[-1]
    assert last == "a,distortion,eps=0.25,2,1.0,0.5"


def test_one_line_an_image(records):
    """Of each model and split; empty where an image was not measured or not counted."""
    lines = per_example(records).csv().splitlines()
    assert lines == [
        "model,split,index,label,accuracy split=test,norm split=train,"
        "distortion eps=0.25",
        "a,test,5,0,1,,0.5",
        "a,test,2,1,0,,",
        "a,test,9,1,1,,1.5",
        "b,test,5,0,1,,",
        "b,test,2,1,1,,",
        "b,test,9,1,1,,",
        "a,train,5,1,,1,",
        "a,train,7,0,,3,",
    ]
