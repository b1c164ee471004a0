"""Settings that no attack can work with, each refused in one sentence."""

import pytest

from tfrobust.attacks import (
    APGD,
    BIM,
    DDN,
    FAB,
    FGSM,
    FMN,
    MIFGSM,
    PGD,
    CarliniWagnerL2,
    DeepFool,
    HopSkipJump,
    SigmaZero,
    SmoothPGD,
    Square,
)

COUNT = "must be an integer of at least 1. Received: "

NO_L0 = '`norm` must be 1, 2 or "inf". Received: norm=0'
LOSSES = "('cross_entropy', 'margin', 'dlr', 'kl')"
NONE = "`eps` must be finite and at least 0. Received: eps="
CASES = [
    (PGD, {"eps": -1}, NONE + "-1"),
    (PGD, {"eps": float("nan")}, NONE + "nan"),
    (PGD, {"norm": 3}, '`norm` must be 1, 2 or "inf". Received: norm=3'),
    (PGD, {"steps": 0}, f"`steps` {COUNT}steps=0"),
    (
        PGD,
        {"restarts": 0},
        f"`restarts` {COUNT}restarts=0",
    ),
    (
        PGD,
        {"step_size": 0.0},
        "`step_size` must be a finite number above 0. Received: step_size=0.0",
    ),
    (
        PGD,
        {"loss": "hinge"},
        f"`loss` must be a Keras loss or one of {LOSSES}. Received: loss='hinge'",
    ),
    (
        PGD,
        {"momentum": -0.5},
        "`momentum` must be finite and at least 0. Received: momentum=-0.5",
    ),
    (PGD, {"seed": -1}, "`seed` must be in [0, 2**31). Received: seed=-1"),
    (PGD, {"seed": 2**31}, f"`seed` must be in [0, 2**31). Received: seed={2**31}"),
    (
        PGD,
        {"restarts": 2, "random_start": False},
        "`restarts` above 1 needs `random_start=True`, or every search is the same. "
        "Received: restarts=2",
    ),
    (
        PGD,
        {"loss": "kl", "random_start": False},
        '`loss="kl"` needs `random_start=True`: its gradient is 0 at the image itself. '
        "Received: random_start=False",
    ),
    (APGD, {"norm": 3}, '`norm` must be 1, 2 or "inf". Received: norm=3'),
    (APGD, {"steps": 0}, f"`steps` {COUNT}steps=0"),
    (APGD, {"restarts": 1.5}, f"`restarts` {COUNT}restarts=1.5"),
    (APGD, {"samples": 0}, f"`samples` {COUNT}samples=0"),
    (
        APGD,
        {"loss": "kl"},
        "`loss` must be one of ('cross_entropy', 'dlr', 'margin'). Received: loss='kl'",
    ),
    (APGD, {"rho": 1.0}, "`rho` must be between 0 and 1. Received: rho=1.0"),
    (
        APGD,
        {"seed": -1},
        "`seed` must be an integer in [0, 2**31). Received: seed=-1",
    ),
    (
        APGD,
        {"target_classes": 0, "loss": "dlr"},
        f"`target_classes` {COUNT}target_classes=0",
    ),
    (
        APGD,
        {"target_classes": 9},
        '`loss` must be "dlr" or "margin" where `target_classes` are tried. Received: '
        "loss='cross_entropy'",
    ),
    (
        APGD,
        {"large_radii": True, "steps": 2},
        "`steps` must be at least 3 with `large_radii`, one for each radius. Received: "
        "steps=2",
    ),
    (FGSM, {"eps": float("inf")}, NONE + "inf"),
    (FGSM, {"norm": "l2"}, "`norm` must be 1, 2 or \"inf\". Received: norm='l2'"),
    (BIM, {"steps": 0}, f"`steps` {COUNT}steps=0"),
    (
        MIFGSM,
        {"momentum": float("inf")},
        "`momentum` must be finite and at least 0. Received: momentum=inf",
    ),
    (
        CarliniWagnerL2,
        {"steps": 0},
        f"`steps` {COUNT}steps=0",
    ),
    (
        CarliniWagnerL2,
        {"search_steps": 0},
        f"`search_steps` {COUNT}search_steps=0",
    ),
    (
        CarliniWagnerL2,
        {"initial_const": 0},
        "`initial_const` must be a finite number above 0. Received: initial_const=0",
    ),
    (
        CarliniWagnerL2,
        {"learning_rate": float("nan")},
        "`learning_rate` must be a finite number above 0. Received: learning_rate=nan",
    ),
    (
        CarliniWagnerL2,
        {"confidence": -1},
        "`confidence` must be finite and at least 0. Received: confidence=-1",
    ),
    (
        CarliniWagnerL2,
        {"space": "pixel"},
        "`space` must be one of ('tanh', 'clip'). Received: space='pixel'",
    ),
    *((kind, {"norm": 0}, NO_L0) for kind in (PGD, FGSM, BIM, MIFGSM)),
    (SmoothPGD, {"norm": 0, "eps": 3}, NO_L0.replace("1, ", "")),
    (Square, {"norm": 0, "eps": 3}, NO_L0),
    (DDN, {"norm": 0}, NO_L0.replace("1, ", "")),
    (DDN, {"norm": 1}, '`norm` must be 2 or "inf". Received: norm=1'),
    (
        DDN,
        {"steps": -2},
        f"`steps` {COUNT}steps=-2",
    ),
    (DDN, {"gamma": 1.0}, "`gamma` must be between 0 and 1. Received: gamma=1.0"),
    (DDN, {"gamma": 0}, "`gamma` must be between 0 and 1. Received: gamma=0"),
    (
        DDN,
        {"init_eps": 0.0},
        "`init_eps` must be a finite number above 0. Received: init_eps=0.0",
    ),
    (
        DDN,
        {"step_size": -1.0},
        "`step_size` must be a finite number above 0. Received: step_size=-1.0",
    ),
    (FAB, {"norm": 3}, '`norm` must be 1, 2 or "inf". Received: norm=3'),
    (FAB, {"steps": 0}, f"`steps` {COUNT}steps=0"),
    (FAB, {"restarts": 1.5}, f"`restarts` {COUNT}restarts=1.5"),
    (FAB, {"target_classes": 0}, f"`target_classes` {COUNT}target_classes=0"),
    (FAB, {"alpha_max": 1.1}, "`alpha_max` must be in [0, 1]. Received: alpha_max=1.1"),
    (
        FAB,
        {"eta": 0.9},
        "`eta` must be a finite number of at least 1. Received: eta=0.9",
    ),
    (FAB, {"beta": 1.0}, "`beta` must be between 0 and 1. Received: beta=1.0"),
    (
        FAB,
        {"start_radius": 0},
        "`start_radius` must be a finite number above 0. Received: start_radius=0",
    ),
    (FAB, {"seed": -1}, "`seed` must be an integer in [0, 2**31). Received: seed=-1"),
    (
        DeepFool,
        {"steps": 0},
        f"`steps` {COUNT}steps=0",
    ),
    (
        DeepFool,
        {"candidates": 0},
        f"`candidates` {COUNT}candidates=0",
    ),
    (
        DeepFool,
        {"overshoot": -0.1},
        "`overshoot` must be finite and at least 0. Received: overshoot=-0.1",
    ),
]
CASES += [
    (HopSkipJump, {"norm": 0}, '`norm` must be 2 or "inf". Received: norm=0'),
    (HopSkipJump, {"queries": 0}, f"`queries` {COUNT}queries=0"),
    (HopSkipJump, {"first_probes": 0}, f"`first_probes` {COUNT}first_probes=0"),
    (
        HopSkipJump,
        {"seed": -1},
        "`seed` must be an integer in [0, 2**31). Received: seed=-1",
    ),
    (SigmaZero, {"steps": 0}, f"`steps` {COUNT}steps=0"),
    (
        SigmaZero,
        {"sigma": 0.0},
        "`sigma` must be a finite number above 0. Received: sigma=0.0",
    ),
    (
        SigmaZero,
        {"threshold": 1.5},
        "`threshold` must be in [0, 1]. Received: threshold=1.5",
    ),
]
CASES += [
    (FMN, {"norm": 0}, '`norm` must be 1, 2 or "inf". Received: norm=0'),
    (FMN, {"steps": 0}, f"`steps` {COUNT}steps=0"),
    (FMN, {"gamma": 1.0}, "`gamma` must be between 0 and 1. Received: gamma=1.0"),
]
NEEDED = {kind: {"norm": 2, "eps": 0.1} for kind in (APGD, PGD)}
NEEDED[FGSM] = {"eps": 0.1}
NEEDED.update({BIM: {"eps": 0.1}, MIFGSM: {"eps": 0.1}})


@pytest.mark.parametrize(
    ("attack", "settings", "message"),
    CASES,
    ids=[f"{kind.__name__}-{next(iter(change))}" for kind, change, _ in CASES],
)
def test_wrong_settings_are_named(attack, settings, message):
    """The setting, what is allowed, and what came."""
    with pytest.raises(ValueError) as caught:
        attack(**{**NEEDED.get(attack, {}), **settings})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "attack", [APGD, PGD, FGSM, CarliniWagnerL2, DDN, FAB, DeepFool]
)
def test_settings_that_do_not_exist_are_refused(attack):
    """And none is given by position."""
    with pytest.raises(TypeError):
        attack(**NEEDED.get(attack, {}), epsilon=0.1)
    with pytest.raises(TypeError):
        attack(3)
