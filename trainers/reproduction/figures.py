"""Figures that are drawn from records, as sections of a page."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trainers.reproduction.results import Measured, Results, Source, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfrobust.cli.page import Section

Curve = tuple[Sequence[float], list[float], list[float]]
"""Where, what, and its standard error."""


def over_eps(
    results: Results,
    names: Iterable[str],
    sources: Callable[[str], Sequence[Source]],
    eps: Sequence[float],
) -> list[Section]:
    """Accuracy against the radius of an attack, a curve a training.

    Args:
        results: What came out.
        names: Of the trainings; one without every number is left out.
        sources: Of a training: its accuracy at each eps.
        eps: The radii, from 0.

    Returns:
        One section, or none if there is nothing to draw.
    """
    curves = _curves(results, names, sources, eps)
    if not curves:
        return []
    return [
        _section(
            "LCNN-T2 as a figure",
            "Accuracy under L2 PGD against its radius, one curve a training, on the "
            "images that were attacked; bars are one standard error.",
            functools.partial(_draw_over_eps, curves),
            "lcnn_accuracy_over_eps",
            "Accuracy under attack against eps, one curve a training.",
        )
    ]


def stability(
    results: Results, names: Iterable[str], radii: Sequence[float]
) -> list[Section]:
    """Change of the gradient against the radius of noise, and its bound (LCNN-F2).

    Args:
        results: What came out.
        names: Of the trainings.
        radii: Those of the records.

    Returns:
        One section, or none if there is nothing to draw.
    """

    def of(quantity: str) -> dict[str, Curve]:
        def at(name: str) -> list[Source]:
            return [Measured(name, quantity, {"radius": radius}) for radius in radii]

        return _curves(results, list(names), at, radii)

    changes, bounds = of("gradient_stability"), of("stability_bound")
    if not changes:
        return []
    drawn = {
        name: (*curve, bounds[name][1] if name in bounds else None)
        for name, curve in changes.items()
    }
    return [
        _section(
            "LCNN-F2: stability of the gradient",
            "By how much of its norm the loss's gradient changes under noise of an L2 "
            "radius; dashed is radius times curvature, the theory's bound.",
            functools.partial(_draw_stability, drawn),
            "lcnn_gradient_stability",
            "Relative change of the gradient against the radius of the noise, one "
            "curve a training, its bound dashed.",
        )
    ]


def low_pass(
    results: Results,
    names: Iterable[str],
    source: Callable[[str, str, float], Source],
    scales: Sequence[float],
) -> list[Section]:
    """Accuracy on what lies below a frequency, a panel a training (DIS-F1).

    Args:
        results: What came out.
        names: Of the trainings.
        source: Of a training, `natural` or `adversarial`, and a scale: the accuracy.
        scales: The scales, rising.

    Returns:
        One section, or none if there is nothing to draw.
    """
    kinds = ("natural", "adversarial")
    panels = {}
    for name in names:

        def of(images: str, network: str = name) -> list[Source]:
            return [source(network, images, at) for at in scales]

        if curves := _curves(results, kinds, of, scales):
            panels[name] = curves
    if not panels:
        return []
    return [
        _section(
            "DIS-F1 (a, b): accuracy on what lies below a frequency",
            "Accuracy on natural and adversarial images without all that lies above "
            "the scale, the radius in the spectrum over half the image's size; bands "
            "are one standard error.",
            functools.partial(_draw_low_pass, panels),
            "dissect_low_pass",
            "Accuracy over the scale, a panel a network.",
            wide=True,
        )
    ]


def _curves(
    results: Results,
    names: Iterable[str],
    sources: Callable[[str], Sequence[Source]],
    where: Sequence[float],
) -> dict[str, Curve]:
    """The curve of each name of which every number was measured."""
    curves: dict[str, Curve] = {}
    for name in names:
        values = [source.value(results) for source in sources(name)]
        found: list[Value] = [value for value in values if value is not None]
        if len(found) == len(where):
            curves[name] = (where, [v.mean for v in found], [v.error for v in found])
    return curves


def _section(
    title: str,
    sentence: str,
    draw: Callable[[], Figure],
    name: str,
    text: str,
    wide: bool = False,
) -> Section:
    from tfrobust.cli.page import Section

    return Section(
        title, sentence, draw=draw, figure_name=name, figure_text=text, wide=wide
    )


def _draw_over_eps(curves: dict[str, Any]) -> Figure:
    from tfrobust import viz

    return viz.accuracy_over_eps(curves)


def _draw_stability(curves: dict[str, Any]) -> Figure:
    from tfrobust import viz

    return viz.gradient_stability(curves)


def _draw_low_pass(panels: dict[str, Any]) -> Figure:
    from tfrobust import viz

    return viz.accuracy_over_scale(panels, "radius <= scale")
