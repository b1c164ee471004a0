"""Penalties by name: those of the library, your own, and what is refused."""

import pytest

from tfrobust import penalties
from tfrobust.core.registry import Makers
from tfrobust.penalties import registry


@pytest.mark.parametrize(
    ("text", "kind", "settings"),
    [
        ("cure", penalties.Cure, {"weight": 0.16, "step": 0.6, "direction": "sign"}),
        (
            "cure:weight=1/2,step=3,direction=gradient",
            penalties.Cure,
            {"weight": 0.5, "step": 3.0, "direction": "gradient"},
        ),
        (
            "curvature:beta=0.1,gamma=0,absolute=false",
            penalties.Curvature,
            {"beta": 0.1, "gamma": 0.0, "absolute": False},
        ),
        ("gradient_norm:weight=2", penalties.GradientNorm, {"weight": 2.0}),
        ("weight_decay:weight=1e-3", penalties.WeightDecay, {"weight": 1e-3}),
    ],
)
def test_a_text_makes_the_penalty(text, kind, settings):
    penalty = penalties.parse(text)
    assert type(penalty) is kind
    assert {name: getattr(penalty, name) for name in settings} == settings


def test_an_own_penalty(monkeypatch):
    monkeypatch.setattr(registry, "_PENALTIES", Makers("penalty"))

    @penalties.register("zero")
    class Zero(penalties.Penalty):
        name = "zero"

    assert penalties.names() == ("zero",)
    assert type(penalties.parse("zero")) is Zero


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "cure:weight=-1",
            "cure: `weight` must be finite and at least 0. Received: weight=-1.0",
        ),
        (
            "weight_decay:exclude=kernel",
            "Settings of weight_decay must be among weight. Received: exclude=kernel",
        ),
        (
            "cure:length=1",
            "Settings of cure must be among weight, step, direction. "
            "Received: length=1",
        ),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ValueError) as caught:
        penalties.parse(text)
    assert str(caught.value) == message


def test_an_unknown_name_lists_all():
    with pytest.raises(ValueError, match="`penalty` must be one of cure, curvature, "):
        penalties.parse("jacobian")


def test_what_is_no_penalty_is_refused(monkeypatch):
    monkeypatch.setattr(registry, "_PENALTIES", Makers("penalty"))
    penalties.register("three")(lambda weight=1.0: 3)
    with pytest.raises(ValueError) as caught:
        penalties.parse("three:weight=2")
    assert str(caught.value) == (
        "A registered penalty must be a `tfrobust.penalties.Penalty`. Received: a int "
        "of three:weight=2"
    )
