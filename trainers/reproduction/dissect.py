"""Dissecting Local Properties of Adversarial Examples."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.reproduction import figures
from trainers.reproduction.findings import ABOVE, BELOW, Claim, Finding
from trainers.reproduction.papers import Evaluation, Paper, Training
from trainers.reproduction.results import Measured, Results
from trainers.reproduction.tables import PaperTable, Row, grid

if TYPE_CHECKING:
    from tfrobust.cli.page import Section

_STANDARD, _ROBUST = "dissect_standard", "dissect_adversarial"
# The best epoch is looked for on fewer held-out images.
_WATCHED = ("--watch_robust=200",)
_SWEEP = ("1e-4", "3e-4", "7e-4", "1e-3")
_TRAININGS = (
    Training(
        name=_STANDARD,
        title="STD",
        setting="DIS-S1",
        group="dissect",
        scaled=_WATCHED,
    ),
    Training(
        name=_ROBUST,
        title="ADV",
        setting="DIS-S3",
        robust=True,
        group="dissect",
        scaled=_WATCHED,
    ),
    *(
        Training(
            name=f"{_ROBUST}_{decay}",
            title=f"ADV, weight decay {decay}",
            setting="DIS-S9",
            flagfile=_ROBUST,
            flags=(f"--weight_decay={decay}",),
            robust=True,
            only_full=True,
        )
        for decay in _SWEEP
    ),
)

_PGD, _FGSM = "PGD Linf 8/255", "FGSM Linf 8/255"
_LAYERS = ("Conv 1", "Layer 0", "Layer 1", "Layer 2", "Layer 3", "Layer 4")
_STATISTICS = {"Max": "maximum", "Total": "total"}


def _response(
    network: str,
    layer: str,
    statistic: str = "maximum",
    group: str = "all",
    attack: str = _PGD,
    source: str | None = None,
) -> Measured:
    setting = {
        "layer": layer,
        "statistic": statistic,
        "group": group,
        "attack": attack,
        "source": source,
        "epoch": None,
    }
    whose = f" from {source}" if source else ""
    name = f"{statistic} difference in {layer} by {attack}{whose}, {group} images,"
    return Measured(network, "local_response", setting, name=name)


def _rows(numbers: str, sides: dict[str, Callable[[str, str], Measured]]) -> list[Row]:
    """Rows of `Max` and `Total` for each side of the slashes in the paper's table."""
    titles = [f"{statistic}, {side}" for statistic in _STATISTICS for side in sides]

    def ours(title: str, column: int) -> Measured:
        statistic, _, side = title.partition(", ")
        return sides[side](_LAYERS[column], _STATISTICS[statistic])

    return grid(numbers, titles, ours)


def _own(network: str, **how: Any) -> Callable[[str, str], Measured]:
    return lambda layer, statistic: _response(network, layer, statistic, **how)


def _transferred(network: str, source: str) -> Callable[[str, str], Measured]:
    return _own(network, group="transferred all", source=source)


def _accuracy_under(network: str, attack: str) -> Measured:
    setting = {"attack": attack, "rounded": False, "epoch": None}
    return Measured(
        network,
        "robust_accuracy",
        setting,
        100,
        "dissect",
        f"accuracy under {attack}",
    )


def _clean(network: str) -> Measured:
    setting = {"split": "test", "attacked": None, "epoch": None}
    return Measured(network, "accuracy", setting, 100, name="clean accuracy")


def _left(network: str, source: str) -> Measured:
    return Measured(
        network,
        "transfer_accuracy",
        {"source": source},
        100,
        name=f"accuracy on examples for {source}",
    )


def _claims_of_text(title: str, column: int) -> Measured:
    return {
        "DIS-C1, ADV under PGD-20": _accuracy_under(_ROBUST, _PGD),
        "DIS-C1, ADV under FGSM": _accuracy_under(_ROBUST, _FGSM),
        "DIS-C2, ADV clean": _clean(_ROBUST),
        "DIS-C2, STD to ADV": _left(_ROBUST, _STANDARD),
        "DIS-C3, STD clean": _clean(_STANDARD),
        "DIS-C3, ADV to STD": _left(_STANDARD, _ROBUST),
    }[title]


_PAIR = {"STD": _own(_STANDARD), "ADV": _own(_ROBUST)}
_OUTCOMES = ("broken", "withstood")


def _split(network: str, attack: str) -> dict[str, Callable[[str, str], Measured]]:
    return {
        side: _own(network, group=group, attack=attack)
        for side, group in zip(("successful", "failed"), _OUTCOMES, strict=True)
    }


_TABLES = (
    PaperTable(
        label="DIS-T1",
        title="Local response differences of all images under PGD-20",
        corner="statistic, network",
        columns=_LAYERS,
        rows=_rows(
            """
            0.12 0.30 1.92 1.46 1.45 3.72
            0.05 0.15 0.52 0.36 0.41 1.02
            370 443 4276 2093 581 2624
            556 489 1246 430 164 526
            """,
            _PAIR,
        ),
    ),
    PaperTable(
        label="DIS-T2",
        title="The same on STD under FGSM, by success",
        corner="statistic, outcome",
        columns=_LAYERS,
        rows=_rows(
            """
            0.16 0.379 2.50 1.38 1.16 2.11
            0.15 0.378 2.51 1.37 1.08 1.38
            558 676 5955 2363 522 1481
            554 669 6001 2339 494 757
            """,
            _split(_STANDARD, _FGSM),
        ),
    ),
    PaperTable(
        label="DIS-T3",
        title="The same on ADV: its own examples, and those of STD",
        corner="statistic, examples",
        columns=_LAYERS,
        rows=_rows(
            """
            0.05 0.15 0.52 0.36 0.41 1.02
            0.04 0.12 0.44 0.14 0.08 0.10
            556 489 1246 430 164 526
            321 302 767 138 38 57
            """,
            {"own": _own(_ROBUST), "transferred": _transferred(_ROBUST, _STANDARD)},
        ),
    ),
    PaperTable(
        label="DIS-T4, PGD-20",
        title="The same on ADV under PGD-20, by success",
        corner="statistic, outcome",
        columns=_LAYERS,
        rows=_rows(
            """
            0.048 0.15 0.51 0.36 0.40 1.10
            0.047 0.15 0.53 0.37 0.42 0.99
            557 488 1264 445 169 578
            555 490 1242 420 160 491
            """,
            _split(_ROBUST, _PGD),
        ),
    ),
    PaperTable(
        label="DIS-T4, FGSM",
        title="The same on ADV under FGSM, by success",
        corner="statistic, outcome",
        columns=_LAYERS,
        rows=_rows(
            """
            0.048 0.16 0.53 0.35 0.37 0.90
            0.047 0.15 0.54 0.36 0.38 0.86
            580 510 1292 436 161 478
            576 511 1272 414 153 428
            """,
            _split(_ROBUST, _FGSM),
        ),
    ),
    PaperTable(
        label="DIS-T5",
        title="The same on STD: its own examples, and those of ADV",
        corner="statistic, examples",
        columns=_LAYERS,
        rows=_rows(
            """
            0.12 0.30 1.92 1.46 1.45 3.72
            0.15 0.29 0.85 0.88 0.67 0.88
            370 443 4276 2093 581 2624
            532 509 2639 1157 280 525
            """,
            {"own": _own(_STANDARD), "transferred": _transferred(_STANDARD, _ROBUST)},
        ),
    ),
    PaperTable(
        label="DIS-C1 to C3",
        title="Accuracies in the text, percent",
        corner="where, what",
        columns=("accuracy",),
        rows=grid(
            "51.9\n57.4\n84.9\n83.6\n94.4\n78.4",
            [
                "DIS-C1, ADV under PGD-20",
                "DIS-C1, ADV under FGSM",
                "DIS-C2, ADV clean",
                "DIS-C2, STD to ADV",
                "DIS-C3, STD clean",
                "DIS-C3, ADV to STD",
            ],
            _claims_of_text,
        ),
        note="The paper's C1 is of the best checkpoint, ours of the last epoch.",
    ),
)

# The scales of the suite, of which two are compared.
_SCALES = np.linspace(0.0, math.sqrt(2.0), 15).tolist()


def _below(network: str, images: str, scale: float) -> Measured:
    setting = {"kind": "low", "images": images, "scale": scale}
    name = f"accuracy on {images} images below scale {scale:.2g}"
    return Measured(network, "filtered_accuracy", setting, 100, name=name)


_FINDINGS = (
    Finding(
        "DIS-T1",
        "Perturbations move features of the robust network less, layer by layer.",
        [
            Claim(_response(_ROBUST, layer), BELOW, _response(_STANDARD, layer))
            for layer in _LAYERS
        ],
    ),
    Finding(
        "DIS-T2",
        "On STD what succeeds and what fails part in the last layers.",
        [
            Claim(
                _response(_STANDARD, layer, group="broken", attack=_FGSM),
                ABOVE,
                _response(_STANDARD, layer, group="withstood", attack=_FGSM),
            )
            for layer in _LAYERS[-2:]
        ],
    ),
    Finding(
        "DIS-T3",
        "Examples made for STD move the robust network less than its own do.",
        [
            Claim(
                _transferred(_ROBUST, _STANDARD)(layer, "maximum"),
                BELOW,
                _response(_ROBUST, layer),
            )
            for layer in _LAYERS
        ],
    ),
    Finding(
        "DIS-T5",
        "Examples made for ADV move STD less than its own do, from Layer 1 on.",
        [
            Claim(
                _transferred(_STANDARD, _ROBUST)(layer, "maximum"),
                BELOW,
                _response(_STANDARD, layer),
            )
            for layer in _LAYERS[2:]
        ],
    ),
    Finding(
        "DIS-C2",
        "Examples hardly transfer from STD to ADV: more accuracy is left than under "
        "ADV's own attack.",
        [Claim(_left(_ROBUST, _STANDARD), ABOVE, _accuracy_under(_ROBUST, _PGD))],
    ),
    Finding(
        "DIS-C3",
        "Nor from ADV to STD.",
        [Claim(_left(_STANDARD, _ROBUST), ABOVE, _accuracy_under(_STANDARD, _PGD))],
    ),
    Finding(
        "DIS-F1a",
        "On STD a low-pass filter brings adversarial images back, and the whole image "
        "takes that away.",
        [
            Claim(
                _below(_STANDARD, "adversarial", _SCALES[6]),
                ABOVE,
                _below(_STANDARD, "adversarial", _SCALES[-1]),
            )
        ],
        note="Compared at two scales; the figure below has all.",
    ),
    Finding(
        "DIS-C4",
        "A larger weight decay gives smaller differences on ADV, in Layer 4 too.",
        [
            Claim(
                _response(f"{_ROBUST}_1e-3", "Layer 4"),
                BELOW,
                _response(f"{_ROBUST}_1e-4", "Layer 4"),
            )
        ],
    ),
)


def _figures(results: Results) -> list[Section]:
    return figures.low_pass(results, (_STANDARD, _ROBUST), _share_below, _SCALES)


def _share_below(network: str, images: str, scale: float) -> Measured:
    """The same in [0, 1]."""
    return dataclasses.replace(_below(network, images, scale), factor=1.0)


DISSECT = Paper(
    name="dissect",
    title="Dissecting Local Properties of Adversarial Examples",
    data="cifar10",
    trainings=_TRAININGS,
    evaluations=[
        Evaluation(
            flags=("--flagfile=evaluate_dissect", "--suite=standard,dissect"),
            suites=("standard", "dissect"),
            grouped=True,
        )
    ],
    tables=_TABLES,
    findings=_FINDINGS,
    figures=_figures,
    not_tested=(
        "DIS-F9 (g), the robust loss",
        "DIS-F5 and F9 by epoch: trainers.cifar --keep_epochs, trainers.evaluate "
        "--checkpoints",
    ),
    notes=("Batch size and augmentation are not given in the paper (DIS-S2).",),
)
