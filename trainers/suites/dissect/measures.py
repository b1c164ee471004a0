"""What models are compared by, and how the orders that it puts them in agree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from tfrobust import analysis
from tfrobust.cli.records import Record, Records
from trainers.suites import parts

MEASURES: dict[str, tuple[str, dict[str, Any]]] = {
    "accuracy": ("accuracy", {"split": "test", "attacked": None}),
    "robust accuracy": ("robust_accuracy", {"rounded": False}),
    "gradient norm": ("gradient_norm", {}),
    "curvature": ("curvature", {}),
    "high-frequency share": ("high_frequency_share", {}),
    "sign agreement": ("sign_agreement", {}),
    "last difference": ("last_difference", {"statistic": "maximum"}),
    "last relative difference": ("last_difference", {"statistic": "relative"}),
    "kernel variation": ("kernel_variation", {"layer": None}),
}
"""What models are compared by: quantity and settings, beside the first attack's."""

_BY_ATTACK = (
    "robust_accuracy",
    "high_frequency_share",
    "sign_agreement",
    "last_difference",
)


def measure(records: Records, model: str, name: str, attack: str) -> Record | None:
    """One of `MEASURES` of a model, if it was measured; no epoch's.

    Args:
        records: What was measured.
        model: Name of the model.
        name: Name of the measure.
        attack: Title of the first attack.
    """
    quantity, setting = MEASURES[name]
    first = {"attack": attack} if quantity in _BY_ATTACK else {}
    return records.get(model, quantity, epoch=None, **setting, **first)


def correlations(
    records: Records, models: Sequence[str], attack: str
) -> Iterator[Record]:
    """Spearman's rank correlation of each two measures over models.

    Args:
        records: What was measured.
        models: Names of the models.
        attack: Title of the first attack.
    """
    columns: dict[str, list[float]] = {}
    for name in MEASURES:
        measured = (measure(records, model, name, attack) for model in models)
        columns[name] = [
            record.estimate.value if record else math.nan for record in measured
        ]
    for name, values in columns.items():
        for other, others in columns.items():
            value = analysis.rank_correlation(values, others)
            pair = {"of": name, "with": other}
            yield parts.exactly("all", "rank_correlation", value, len(models), pair)
