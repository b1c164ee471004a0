"""Srinivas et al. 2022, Efficient Training of Low-Curvature Neural Networks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.reproduction import figures
from trainers.reproduction.findings import (
    ABOVE,
    BELOW,
    NOT_ABOVE,
    NOT_BELOW,
    Claim,
    Finding,
    chain,
)
from trainers.reproduction.papers import Evaluation, Paper, Training
from trainers.reproduction.results import Measured, Ratio, Results, Source, Summary
from trainers.reproduction.tables import PaperTable, grid

if TYPE_CHECKING:
    from tfrobust.cli.page import Section

_TRAININGS = (
    # Standard and LCNN first: what most of the paper's sentences compare.
    Training(name="standard", title="Standard", setting="LCNN-S3", seeds=2, main=True),
    Training(name="lcnn", title="LCNNs", setting="LCNN-S2", seeds=2, main=True),
    Training(name="gradreg", title="GradReg", setting="LCNN-S4", seeds=2, main=True),
    Training(
        name="lcnn_gradreg",
        title="LCNNs + GradReg",
        setting="LCNN-S2",
        seeds=2,
        main=True,
    ),
    Training(name="cure", title="CURE", setting="LCNN-S4", seeds=2),
    Training(name="softplus", title="Softplus + Wt. Decay", setting="LCNN-S4", seeds=2),
    Training(
        name="adversarial_l2",
        title="Adversarial Training",
        setting="LCNN-S4",
        seeds=2,
    ),
)
_NAMES = {each.title: each.name for each in _TRAININGS}

# In the paper's order.
_T1 = [
    "Standard",
    "LCNNs",
    "GradReg",
    "LCNNs + GradReg",
    "CURE",
    "Softplus + Wt. Decay",
    "Adversarial Training",
]
_T3 = ["Standard", "GradReg", "LCNNs", "LCNNs + GradReg"]
_EPS = (0.05, 0.1, 0.15, 0.2)
_QUANTITIES = ("gradient_norm", "hessian_norm", "curvature")


def _geometry(name: str, quantity: str) -> Measured:
    return Measured(name, quantity, {"split": "test"}, suite="lcnn")


def _accuracy(name: str) -> Measured:
    setting = {"split": "test", "attacked": None}
    return Measured(name, "accuracy", setting, 100, name="clean accuracy")


def _attacked(name: str, eps: float) -> Measured:
    setting: dict[str, Any] = {"attack": "PGD L2", "eps": eps, "rounded": False}
    title = f"accuracy under L2 {eps:g}"
    return Measured(name, "robust_accuracy", setting, 100, "lcnn", title)


def _discrepancy(name: str, quantity: str) -> Measured:
    return Measured(
        name, "discrepancy", {"of": quantity}, name=f"discrepancy of {quantity}"
    )


def _seconds(name: str) -> Summary:
    return Summary(name, "seconds_per_epoch_median", "seconds an epoch")


def _t1(title: str, column: int) -> Source:
    name = _NAMES[title]
    if column < len(_QUANTITIES):
        return _geometry(name, _QUANTITIES[column])
    if column == len(_QUANTITIES):
        return _accuracy(name)
    return Ratio(_geometry("standard", "curvature"), _geometry(name, "curvature"))


def _t2(title: str, column: int) -> Source:
    name = _NAMES[title]
    return _attacked(name, _EPS[column - 1]) if column else _accuracy(name)


def _c1(title: str, column: int) -> Source:
    seconds = _seconds(_NAMES[title])
    return Ratio(seconds, _seconds("standard")) if column else seconds


_TABLES = (
    PaperTable(
        label="LCNN-T1",
        title="Geometry of the loss",
        corner="model",
        columns=(
            "gradient norm",
            "Hessian norm",
            "curvature",
            "accuracy, %",
            "standard's curvature over it",
        ),
        rows=grid(
            """
            19.66+-0.33 6061.96+-968.05 270.89+-75.04 77.42+-0.11 1.00
            22.04+-1.41 1143.62+-99.38  69.50+-2.41   77.30+-0.11 3.90
            8.86+-0.12  776.56+-63.62   89.47+-5.86   77.20+-0.26 3.03
            9.87+-0.27  154.36+-0.22    25.30+-0.09   77.29+-0.07 10.71
            8.86+-0.01  979.45+-14.05   116.31+-4.58  76.48+-0.07 2.33
            18.08+-0.05 1052.84+-7.27   70.39+-0.88   77.44+-0.28 3.85
            7.99+-0.03  501.43+-18.64   63.79+-1.65   76.96+-0.26 4.25
            """,
            _T1,
            _t1,
        ),
        error="over two trainings",
        note="The last column is computed from the curvature's; the paper does not "
        "print it.",
    ),
    PaperTable(
        label="LCNN-T2",
        title="Accuracy in percent under L2 PGD",
        corner="model",
        columns=("clean", *(f"eps {eps:g}" for eps in _EPS)),
        rows=grid(
            """
            77.42+-.10 59.97+-.11 37.55+-.13 23.41+-.08 16.11+-.21
            77.16+-.07 61.17+-.53 39.72+-.17 25.60+-.32 17.66+-.18
            77.20+-.26 71.90+-.11 61.06+-.03 49.19+-.12 38.09+-.47
            77.29+-.26 72.68+-.52 63.36+-.39 52.96+-.76 42.70+-.77
            76.48+-.07 71.39+-.12 61.28+-.32 49.60+-.09 39.04+-.16
            77.44+-.28 60.86+-.36 38.04+-.43 23.85+-.33 16.20+-.01
            76.96+-.26 72.76+-.15 64.70+-.20 54.80+-.25 44.98+-.57
            """,
            _T1,
            _t2,
        ),
        error="over two trainings",
    ),
    PaperTable(
        label="LCNN-T3",
        title="Difference between test and training images",
        corner="model",
        columns=("gradient norm", "Hessian norm", "curvature"),
        rows=grid(
            """
            11.75 12.28 0.025
            11.33 11.22 0.017
            19.99 11.33 0.129
            21.82 10.43 0.146
            """,
            _T3,
            lambda title, column: _discrepancy(_NAMES[title], _QUANTITIES[column]),
        ),
        note="The formula that the paper prints divides by the value on test images, "
        "which cannot give its numbers (LCNN-X2); the page of the evaluation says what "
        "ours is divided by.",
    ),
    PaperTable(
        label="LCNN-C1",
        title="Time of an epoch",
        corner="model",
        columns=("seconds", "over standard"),
        rows=grid(
            """
            100 1
            160 1.6
            270 2.7
            350 3.5
            500 5
            100 1
            500 5
            """,
            _T1,
            _c1,
        ),
        note="The paper's are of a GTX 1080 Ti; ours of the machine that trained, "
        "where other work may have run beside.",
    ),
)

_OTHERS = [name for name in _NAMES.values() if name != "lcnn_gradreg"]
_WEAKER = [name for name in _NAMES.values() if name != "adversarial_l2"]
_KEEPERS = ("lcnn", "gradreg", "lcnn_gradreg", "softplus")

_FINDINGS = (
    Finding(
        "LCNN-T1",
        "Low-curvature networks have a lower curvature than the standard one.",
        [
            Claim(
                _geometry("lcnn", "curvature"),
                BELOW,
                _geometry("standard", "curvature"),
            )
        ],
    ),
    Finding(
        "LCNN-T1",
        "LCNN with GradReg has the lowest curvature of all settings.",
        [
            Claim(
                _geometry("lcnn_gradreg", "curvature"),
                BELOW,
                _geometry(name, "curvature"),
            )
            for name in _OTHERS
        ],
    ),
    Finding(
        "LCNN-T1",
        "A softplus of fixed beta with weight decay is about as flat as LCNN.",
        [
            Claim(
                _geometry("softplus", "curvature"),
                NOT_ABOVE,
                _geometry("lcnn", "curvature"),
            )
        ],
        note="It follows from the table; the text does not say it.",
    ),
    Finding(
        "LCNN-C4",
        "All but CURE and adversarial training keep the standard network's accuracy.",
        [
            *(
                Claim(_accuracy(name), NOT_BELOW, _accuracy("standard"))
                for name in _KEEPERS
            ),
            *(
                Claim(_accuracy(name), BELOW, _accuracy("standard"))
                for name in ("cure", "adversarial_l2")
            ),
        ],
    ),
    Finding(
        "LCNN-C3",
        "Under attack adversarial training is best.",
        [
            Claim(_attacked("adversarial_l2", 0.2), ABOVE, _attacked(name, 0.2))
            for name in _WEAKER
        ],
    ),
    Finding(
        "LCNN-C3",
        "Under attack LCNN with GradReg is better than GradReg alone.",
        [
            Claim(_attacked("lcnn_gradreg", eps), ABOVE, _attacked("gradreg", eps))
            for eps in _EPS
        ],
    ),
    Finding(
        "LCNN-T2",
        "Low curvature without GradReg withstands an attack a little better.",
        [
            Claim(_attacked("lcnn", eps), ABOVE, _attacked("standard", eps))
            for eps in _EPS
        ],
    ),
    Finding(
        "LCNN-T3",
        "Curvature differs far less between test and training images than norms do.",
        [
            Claim(
                _discrepancy(_NAMES[title], "curvature"),
                BELOW,
                _discrepancy(_NAMES[title], quantity),
            )
            for title in _T3
            for quantity in ("gradient_norm", "hessian_norm")
        ],
    ),
    Finding(
        "LCNN-F2",
        "Under noise the gradients of low-curvature networks change less, at the "
        "largest radius too.",
        [
            Claim(
                Measured(name, "gradient_stability", {"radius": 0.1}),
                BELOW,
                Measured("standard", "gradient_stability", {"radius": 0.1}),
            )
            for name in ("lcnn", "lcnn_gradreg")
        ],
    ),
    Finding(
        "LCNN-C2",
        "LCNN takes at most 1.6 times a standard epoch, LCNN with GradReg at most 1.3 "
        "times GradReg's.",
        [
            Claim(Ratio(_seconds("lcnn"), _seconds("standard")), NOT_ABOVE, 1.6),
            Claim(Ratio(_seconds("lcnn_gradreg"), _seconds("gradreg")), NOT_ABOVE, 1.3),
        ],
    ),
    Finding(
        "LCNN-C2",
        "LCNN with GradReg is cheaper than adversarial training.",
        chain([_seconds("lcnn_gradreg"), _seconds("adversarial_l2")], BELOW),
    ),
)


# Of LCNN-S5, as the suite has them: from 1e-3 to 1e-1.
_RADII = np.geomspace(1e-3, 1e-1, 7).tolist()


def _figures(results: Results) -> list[Section]:
    names = list(_NAMES.values())
    return [
        *figures.over_eps(results, names, _shares, (0.0, *_EPS)),
        *figures.stability(results, names, _RADII),
    ]


def _shares(name: str) -> list[Source]:
    """Accuracy on the attacked images at eps 0 and at each other, in [0, 1]."""
    attacked = {"split": "test", "attacked": True}
    return [
        Measured(name, "accuracy", attacked, suite="lcnn"),
        *(dataclasses.replace(_attacked(name, eps), factor=1.0) for eps in _EPS),
    ]


LCNN = Paper(
    name="lcnn",
    title="Srinivas et al. 2022, Efficient Training of Low-Curvature Neural Networks",
    data="cifar10",
    # LCNN-S1: tables 1 and 2.
    full_data="cifar100",
    trainings=_TRAININGS,
    evaluations=[
        Evaluation(
            flags=("--flagfile=evaluate_lcnn", "--suite=standard,lcnn"),
            suites=("standard", "lcnn"),
        )
    ],
    tables=_TABLES,
    findings=_FINDINGS,
    figures=_figures,
    not_tested=(
        "LCNN-F1, two moons, and its panel (c): trainers.toy --task=two_moons",
        "ResNet-34, VGG-11 and SVHN (LCNN-R12)",
        "the ablations of the authors' code (LCNN-R12)",
    ),
    notes=(
        "PGD takes 20 steps of eps / 10; the paper does not say how many (LCNN-N1).",
    ),
)
