"""What an evaluation says of a ball that may not be its own."""

import dataclasses

import numpy as np
import pytest

from tests.analysis.judging.cases import answers, images, linear
from tfrobust.analysis.judging.claims import claims_of
from tfrobust.attacks import (
    PGD,
    AttackOutcome,
    Evaluation,
    HopSkipJump,
    Square,
    ThreatModel,
    evaluate,
)


def outcome(norm, eps, success, distortion, rounded=None, free=()):
    count = len(success)
    return AttackOutcome(
        threat=ThreatModel(norm, eps),
        success=np.array(success, bool),
        distortion=np.array(distortion, np.float32),
        success_rounded=np.array(success if rounded is None else rounded, bool),
        distortion_rounded=np.array(distortion, np.float32),
        already=np.zeros(count, bool),
        queries=np.zeros(count, np.int32),
        adversarial=None,
        gradient_free=free,
    )


def evaluation(**results):
    return Evaluation(
        labels=np.zeros(3, np.int32), clean_correct=np.ones(3, bool), results=results
    )


def test_successes_within_the_ball_count():
    given = evaluation(
        pgd=outcome("inf", 0.1, [True, False, False], [0.1, 0.1, 0.1], [False] * 3),
        farther=outcome(np.inf, 0.5, [True, True, True], [0.5, 0.1, 0.11]),
        square_l2=outcome(2, 0.5, [True, True, True], [0.1, 0.1, 0.1]),
        square=outcome("inf", None, [True] * 3, [0.2, 0.2, 0.05], free=("",)),
    )
    claims = claims_of(given, "inf", 0.1)
    assert {name: rows.tolist() for name, rows in claims.broken.items()} == {
        "pgd": [True, False, False],
        "farther": [False, True, False],
        "square": [False, False, True],
    }
    assert claims.union().all()
    assert claims.union(rounded=True).tolist() == [False, True, True]
    assert list(claims.by_gradient()) == ["pgd", "farther"]
    assert claims.by_search().tolist() == [False, False, True]
    alone = claims_of(given, "inf", 0.1, ["pgd"])
    assert alone.by_search() is None and list(alone.broken) == ["pgd"]


def test_an_attack_of_the_norm_is_needed():
    given = evaluation(pgd=outcome("inf", 0.1, [True] * 3, [0.1] * 3))
    with pytest.raises(ValueError) as caught:
        claims_of(given, 2, 0.1)
    assert str(caught.value) == (
        "`evaluation` must hold an attack of the norm 2. Received: attacks of inf"
    )


def test_each_stage_of_an_ensemble_counts_by_itself():
    """What only its random search breaks is no success of gradients; by hand."""
    whole = dataclasses.replace(
        outcome("inf", 0.1, [True, True, True], [0.1, 0.1, 0.0]),
        broken_by=np.array(["apgd-ce", "square", ""]),
        already=np.array([False, False, True]),
        seconds={"apgd-ce": 1.0, "apgd-t": 2.0, "square": 3.0},
        gradient_free=("square",),
    )
    claims = claims_of(evaluation(aa=whole), "inf", 0.1)
    assert {name: rows.tolist() for name, rows in claims.broken.items()} == {
        "aa, apgd-ce": [True, False, True],
        "aa, apgd-t": [False, False, True],
        "aa, square": [False, True, True],
    }
    assert claims.by_search().tolist() == [False, True, True]
    assert claims.union().all()


def test_a_name_is_no_search():
    """What asks for a gradient is told by the attack, whatever it is called."""
    pixels, model = images(3), linear(2)
    tried = {
        "pgd_research, noise-trained": PGD(norm=2, eps=0.1, steps=2),
        "HopSkipJump": HopSkipJump(norm=2, queries=20),
        "anything": Square(norm=2, eps=0.1, queries=2),
    }
    found = evaluate(model, (pixels, answers(model, pixels)), tried)
    claims = claims_of(found, 2, 0.1)
    assert claims.searches == {"HopSkipJump", "anything"}


def test_nothing_said_is_a_gradient():
    given = evaluation(square=outcome("inf", 0.1, [True] * 3, [0.1] * 3))
    claims = claims_of(given, "inf", 0.1)
    assert claims.by_search() is None and list(claims.by_gradient()) == ["square"]
