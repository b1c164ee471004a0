"""A verdict follows from its checks, worst first."""

import json

import pytest

from tfrobust.analysis.judging.results import (
    CAVEAT,
    Check,
    check,
    idle,
    judged,
)

GOOD = check("a", "a holds", "3 of 3", False, "a fails")
DOUBT = check("b", "b holds", "1 of 3", True, "b fails")
BAD = check("c", "c holds", "0 of 3", True, "c fails", "wrong")
NONE = idle("d", "d holds", "there is no d")


@pytest.mark.parametrize(
    ("checks", "sentence"),
    [
        ([GOOD, NONE], "Trustworthy"),
        ([GOOD, DOUBT], "Doubtful: b fails"),
        ([DOUBT, GOOD, BAD], "Wrong: c fails; b fails"),
        ([NONE], "Trustworthy"),
    ],
)
def test_the_worst_check_decides(checks, sentence):
    judgement = judged(checks)
    assert judgement.sentence == sentence
    assert judgement.verdict == sentence.partition(":")[0]
    assert judgement.checks == tuple(checks)


def test_it_is_a_table_and_plain_values():
    judgement = judged([GOOD, DOUBT, NONE])
    assert judgement.failed() == (DOUBT,)
    assert judgement["d"] is NONE
    with pytest.raises(KeyError):
        judgement["e"]
    assert judgement.table()[1] == ("b holds", "doubtful", "1 of 3")
    lines = str(judgement).splitlines()
    assert lines[0] == "Doubtful: b fails" and lines[-1] == CAVEAT
    assert lines[2] == "a holds  passed          3 of 3"
    read = json.loads(json.dumps(judgement.to_json()))
    assert read["verdict"] == "Doubtful" and read["note"] == CAVEAT
    assert [each["outcome"] for each in read["checks"]] == [
        "passed",
        "doubtful",
        "not applicable",
    ]


def test_what_is_no_check():
    with pytest.raises(ValueError, match="`outcome` must be one of"):
        Check(name="a", title="a", outcome="failed", evidence="")
    with pytest.raises(ValueError, match="`reason` must say what is the matter"):
        Check(name="a", title="a", outcome="wrong", evidence="")
