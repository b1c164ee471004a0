"""The report, as it is read and printed."""

import math

from tfrobust import models
from tfrobust.models import ConversionReport, LayerChange


def change(name, before, after, lipschitz, is_smooth=True, note=""):
    return LayerChange(
        name=name,
        before=before,
        after=after,
        lipschitz=lipschitz,
        is_smooth=is_smooth,
        note=note,
    )


REPORT = ConversionReport(
    (
        change("flat", "Flatten", "Flatten", 1.0),
        change("conv", "Conv2D", "SpectralConv2D", 1.0, note="divided by 2.5"),
        change("pool", "MaxPooling2D", "MaxPooling2D", 1.5, False),
        change("norm", "LayerNormalization", "LayerNormalization", math.inf, False),
        change("dense", "Dense", "Dense", None),
    )
)


def test_names():
    assert REPORT.unbounded == ("norm",)
    assert REPORT.not_smooth == ("pool",)
    assert [c.name for c in REPORT.changes if c.changed] == ["conv"]


def test_table_and_summary():
    assert REPORT.table().splitlines() == [
        "layer | was                | is                 | Lipschitz | note",
        "conv  | Conv2D             | SpectralConv2D     | 1         | divided by 2.5",
        "pool  | MaxPooling2D       | MaxPooling2D       | 1.5       |",
        "norm  | LayerNormalization | LayerNormalization | unknown   |",
    ]
    assert str(REPORT).splitlines() == [
        "layers | was                | is",
        "1      | Flatten            | kept",
        "1      | Conv2D             | SpectralConv2D",
        "1      | MaxPooling2D       | kept",
        "1      | LayerNormalization | kept",
        "1      | Dense              | kept",
        "No known Lipschitz constant: norm",
        "No known bound on the curvature: pool",
    ]


def test_many_names_are_cut_in_the_summary_alone():
    many = [change(f"n{i}", "A", "A", math.inf, False) for i in range(9)]
    report = ConversionReport(tuple(many))
    assert str(report).endswith("constant: n0, n1, n2, n3, n4, n5 and 3 more")
    assert len(report.unbounded) == 9
    assert "n8" in report.table()


def test_an_empty_report_is_printed_too():
    assert str(ConversionReport(())) == "layers | was | is"
    assert models.ConversionReport(()).table().startswith("layer | was")
