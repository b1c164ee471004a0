"""Attacks by name: from text and back, in records and in tables."""

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks.common import Shift
from tfrobust import attacks
from tfrobust.core.specs import settings_of

CLASSES = {
    "fgsm": attacks.FGSM,
    "bim": attacks.BIM,
    "mifgsm": attacks.MIFGSM,
    "pgd": attacks.PGD,
    "apgd": attacks.APGD,
    "autoattack": attacks.AutoAttack,
    "smooth_pgd": attacks.SmoothPGD,
    "cw": attacks.CarliniWagnerL2,
    "smooth_cw": attacks.SmoothCarliniWagner,
    "ddn": attacks.DDN,
    "deepfool": attacks.DeepFool,
    "fab": attacks.FAB,
    "fmn": attacks.FMN,
    "square": attacks.Square,
}

WHOLE = st.integers(1, 1000)
SHARE = st.floats(0.001, 0.999)
RADIUS = SHARE | st.integers(1, 255).map(lambda level: level / 255) | st.integers(1, 9)
# What each setting may be in every attack that has it.
VALUES = {
    "norm": st.sampled_from([2, "inf"]),
    "eps": RADIUS,
    "step_size": st.none() | RADIUS,
    "init_eps": st.none() | RADIUS,
    "start_radius": st.none() | RADIUS,
    "eta": st.floats(1.0, 9.0),
    "iterations": st.none() | WHOLE,
    "loss": st.sampled_from(["cross_entropy", "margin", "dlr"]),
    "target_classes": st.none() | WHOLE,
    "large_radii": st.sampled_from([None, False, True]),
    "space": st.sampled_from(["tanh", "clip"]),
    "version": st.sampled_from(["standard", "plus", "rand", "fast"]),
    "kernel": st.sampled_from(["laplacian", "gaussian"]),
    "neighbors": st.sampled_from([4, 8]),
    "solver": st.sampled_from([None, "chebyshev", "cg", "dense"]),
    "random_start": st.just(True),
    "seed": st.integers(0, 2**31 - 1),
}
BY_TYPE = {int: WHOLE, float: SHARE, bool: st.booleans()}


@st.composite
def any_attack(draw):
    kind = CLASSES[draw(st.sampled_from(sorted(CLASSES)))]
    required = {"eps": draw(RADIUS), "norm": draw(VALUES["norm"])}
    types = settings_of(kind)
    chosen = draw(st.sets(st.sampled_from(sorted(types))))
    values = {
        name: draw(VALUES[name] if name in VALUES else BY_TYPE[types[name]])
        for name in sorted(chosen)
    }
    if values.get("restarts", 1) > 1 and "random_start" in types:
        values["random_start"] = True
    if values.get("restarts", 1) > 1 and "keep_best" in types:
        values["keep_best"] = True
    if values.get("target_classes") and "loss" in types:
        values["loss"] = "dlr"
    if values.get("large_radii"):
        values["steps"] = max(values.get("steps", 3), 3)
    needed = {name: value for name, value in required.items() if name in types}
    return kind(**(needed | values))


@settings(max_examples=200, deadline=None)
@given(any_attack())
def test_every_attack_is_made_again_from_its_text(attack):
    text = attacks.spec(attack)
    again = attacks.parse(text)
    assert type(again) is type(attack) and again == attack
    assert attacks.spec(again) == text


@settings(max_examples=100, deadline=None)
@given(any_attack())
def test_a_record_of_an_attack_is_plain_and_complete(attack):
    description = attacks.describe(attack)
    assert json.loads(json.dumps(description)) == description
    assert CLASSES[description["method"]] is type(attack)
    assert description["norm"] == ("Linf" if attack.threat.norm == "inf" else "L2")
    assert description.get("eps") == attack.threat.eps
    for field in dataclasses.fields(attack):
        if field.name != "norm":
            assert description[field.name] == getattr(attack, field.name)


def test_the_names_are_those_of_the_library():
    assert set(CLASSES) <= set(attacks.names())
    assert list(attacks.names()) == sorted(attacks.names())
    needed = {"norm": 2, "eps": 0.5}
    for name, kind in CLASSES.items():
        assert type(attacks.parse(name, **needed)) is kind


def test_settings_are_those_of_the_text():
    assert attacks.parse("square:queries=5000,eps=8/255,norm=inf") == attacks.Square(
        queries=5000, eps=8 / 255, norm="inf"
    )
    assert attacks.parse("ddn:steps=200") == attacks.DDN(steps=200)
    assert attacks.parse("pgd:norm=1,eps=12", seed=3, eps=1) == attacks.PGD(
        norm=1, eps=12, seed=3
    )
    assert attacks.parse("cw", seed=3, eps=1, norm=2) == attacks.CarliniWagnerL2()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fgsm:eps=1,steps=3",
            "Settings of fgsm must be among norm, eps, loss. Received: steps=3",
        ),
        (
            "ddn:steps=few",
            "`steps` of ddn must be an integer. Received: steps=few",
        ),
        (
            "pgd:norm=2",
            "pgd must be given norm and eps. Received: pgd:norm=2, without eps",
        ),
        (
            "pgd:norm=3,eps=1",
            'pgd: `norm` must be 1, 2 or "inf". Received: norm=3',
        ),
        (
            "ddn:steps=0",
            "ddn: `steps` must be an integer of at least 1. Received: steps=0",
        ),
    ],
)
def test_what_is_wrong_with_a_text_is_one_sentence(text, message):
    with pytest.raises(ValueError) as caught:
        attacks.parse(text)
    assert str(caught.value) == message


def test_an_unknown_attack_is_answered_with_all():
    with pytest.raises(ValueError) as caught:
        attacks.parse("gpd:eps=1")
    listed = ", ".join(attacks.names())
    assert str(caught.value) == f"`attack` must be one of {listed}. Received: 'gpd'"


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        (attacks.PGD(norm=2, eps=0.5), "PGD L2 0.5"),
        (attacks.FGSM(eps=8 / 255), "FGSM Linf 8/255"),
        (attacks.PGD(norm=math.inf, eps=1 / 7), "PGD Linf 0.142857"),
        (attacks.PGD(norm=1, eps=12), "PGD L1 12"),
        (attacks.MIFGSM(eps=0.1), "MI-FGSM Linf 0.1"),
        (attacks.DDN(), "DDN L2"),
        (attacks.CarliniWagnerL2(), "C&W L2"),
        (attacks.SmoothCarliniWagner(), "sC&W L2"),
        (attacks.SmoothPGD(norm=2, eps=1), "sPGD L2 1"),
        (Shift(amount=0.1), "Shift L2"),
    ],
)
def test_tables_have_short_titles(attack, expected):
    assert attacks.title(attack) == expected


def test_an_attack_that_is_not_registered_has_no_text():
    with pytest.raises(ValueError) as caught:
        attacks.spec(Shift(amount=0.1))
    message = "`attack` must be of a registered class. Received: a Shift"
    assert str(caught.value) == message
    description = attacks.describe(Shift(amount=0.1, eps=2.0))
    assert description == {"method": "Shift", "norm": "L2", "eps": 2.0, "amount": 0.1}


@attacks.register("test_offset", title="Offset")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Offset(Shift):
    """An attack of one's own."""


def test_a_class_is_registered_by_its_decorator():
    assert attacks.parse("test_offset:amount=1/4") == Offset(amount=0.25)
    assert attacks.title(Offset(amount=0.25)) == "Offset L2"
    assert attacks.register("test_offset")(Offset) is Offset
    with pytest.raises(ValueError, match="must be new"):
        attacks.register("pgd")(Offset)
