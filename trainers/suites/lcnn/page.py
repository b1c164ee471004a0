"""Tables and figures of the LCNN suite: settings down, models across."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from tfrobust import viz
from tfrobust.cli.page import Section
from tfrobust.cli.tables import Column, Form, Table, number, percent
from trainers.suites.lcnn.measure import (
    COMPARED,
    QUANTITIES,
    RADII,
    Findings,
    Measured,
)
from trainers.suites.parts import Pair

_ERROR = "+- is one standard error of the mean."


def facts(found: Findings) -> dict[str, str]:
    """The settings, in words."""
    config = found.config
    return {
        "data": f"{config.dataset}, {found.test_size} test images, {found.train_size} "
        "training images",
        "attack": _attack(found),
        "eps": ", ".join(map(str, config.eps)),
        "geometry": f"{config.geometry_examples} test and as many training images, "
        f"{config.power_iterations} power iterations",
    }


def sections(found: Findings) -> list[Section]:
    """Everything, in the order of a paper."""
    make = (_accuracy, _rounded, _geometry, _discrepancy, _stability)
    return [one(found) for one in make]


def _accuracy(found: Findings) -> Section:
    config = found.config
    count = config.clean_examples or found.test_size
    drawn = f"{'the first' if config.clean_examples else 'all'} {count}"
    return Section(
        "Accuracy, clean and under attack",
        f"Share of images classified correctly, as Table 2 of the LCNN paper. Clean: on"
        f" {drawn} test images of {config.dataset}. Below that: on "
        f"{_drawn(found, config.examples)}, first as they are, then after "
        f"{_attack(found)} has moved each by at most eps. An image counts as lost at an"
        f" eps if any attack up to that eps succeeded; a stronger one may find more. "
        f"{_ERROR}",
        _table(
            found,
            "eps",
            ["clean", "clean, attacked images", *map(str, config.eps)],
            percent,
            lambda one: [one.accuracy(), one.attacked_clean(), *one.robust_accuracy()],
        ),
        lambda: _draw_accuracy(found),
        "accuracy_over_eps",
        "Accuracy under attack against eps, one curve a model.",
    )


def _rounded(found: Findings) -> Section:
    return Section(
        "Accuracy under attack, rounded to 8 bits",
        "The same attacks, but every attacked image is first rounded to the 256 levels "
        "that an image file can hold, which may take it a little beyond eps; one that "
        f"no longer fools the model then is classified correctly again. {_ERROR}",
        _table(
            found,
            "eps",
            [str(eps) for eps in found.config.eps],
            percent,
            lambda one: one.robust_accuracy(rounded=True),
        ),
    )


def _geometry(found: Findings) -> Section:
    config = found.config
    return Section(
        "Geometry of the loss",
        f"As Table 1 of the LCNN paper, means over "
        f"{_drawn(found, config.geometry_examples)}: the L2 norm of the cross-entropy's"
        " gradient in the image, the spectral norm of its Hessian "
        f"({config.power_iterations} power iterations), and the curvature, which is "
        "Hessian norm over gradient norm, image by image. The lower the curvature, the "
        f"nearer the loss is to a linear function. {_ERROR}",
        _table(
            found,
            "mean",
            list(QUANTITIES.values()),
            number,
            lambda one: list(one.geometry("test").values()),
        ),
    )


def _discrepancy(found: Findings) -> Section:
    return Section(
        "Difference between training and test images",
        "As Table 3 of the LCNN paper: |test - train| / test of the mean gradient norm "
        f"and of the mean curvature, on "
        f"{_drawn(found, found.config.geometry_examples)} and as many training images, "
        f"not augmented, {_origins(found)}. +- is one standard error.",
        _table(
            found,
            "relative difference",
            [QUANTITIES[key] for key in COMPARED],
            number,
            lambda one: list(one.discrepancies().values()),
        ),
    )


def _stability(found: Findings) -> Section:
    return Section(
        "Stability of the gradient",
        "As Figure 2 of the LCNN paper: by how much of its norm the loss's gradient "
        "changes when noise of the given L2 radius and a random direction is added to "
        f"the image, mean over {_drawn(found, found.config.geometry_examples)}. Dashed "
        "in the figure is the theory's bound, radius times curvature, which holds to "
        f"first order in the radius. {_ERROR}{_refusals(found)}",
        _table(
            found,
            "radius",
            [f"{radius:.2g}" for radius in RADII],
            number,
            lambda one: one.stabilities(),
        ),
        (lambda: _draw_stability(found)) if _stable(found) else None,
        "gradient_stability",
        "Relative change of the gradient against the radius of the noise, one curve a "
        "model, its bound dashed.",
    )


def _table(
    found: Findings,
    corner: str,
    titles: Sequence[str],
    form: Form,
    cells: Callable[[Measured], Sequence[Pair | None]],
) -> Table:
    """One row for each title, one column for each model."""
    columns = [cells(one) for one in found.models.values()]
    return Table(
        [Column(corner, numeric=False), *(Column(name, form) for name in found.models)],
        [[title, *row] for title, *row in zip(titles, *columns, strict=True)],
    )


def _draw_accuracy(found: Findings) -> Figure:
    radii = [0.0, *(eps.value for eps in found.config.eps if eps.value)]
    curves = {}
    for name, one in found.models.items():
        # An eps of 0 that was asked for stands in the place of no attack.
        pairs = [one.attacked_clean(), *one.robust_accuracy()][-len(radii) :]
        means, errors = zip(*pairs, strict=True)
        curves[name] = (radii, means, errors)
    return viz.accuracy_over_eps(curves, found.config.norm_name)


def _draw_stability(found: Findings) -> Figure:
    curves = {}
    for name, one in _stable(found).items():
        means, errors = zip(*one.stabilities(), strict=True)
        bound = one.bound.mean(axis=1).tolist()
        curves[name] = (RADII, means, errors, bound)
    return viz.gradient_stability(curves)


def _stable(found: Findings) -> dict[str, Measured]:
    """The models that take noisy images."""
    models = found.models.items()
    return {name: one for name, one in models if one.stability is not None}


def _refusals(found: Findings) -> str:
    names = [name for name in found.models if name not in _stable(found)]
    if not names:
        return ""
    return (
        f" Not measured for {', '.join(names)}: a served model that refuses pixels "
        "outside [0, 1], where the noise leads."
    )


def _attack(found: Findings) -> str:
    config = found.config
    steps = "1 step" if config.steps == 1 else f"{config.steps} steps"
    starts = (
        "a random start"
        if config.restarts == 1
        else f"each of {config.restarts} random starts"
    )
    return f"{config.norm_name} PGD of {steps} from {starts}"


def _drawn(found: Findings, count: int) -> str:
    return f"{count} test images drawn with seed {found.config.seed}"


def _origins(found: Findings) -> str:
    """Where each model's training images are from, in as few words as can be."""
    origins = {name: one.train_sample.origin for name, one in found.models.items()}
    if len(set(origins.values())) == 1:
        return f"drawn from {next(iter(origins.values()))}"
    told = (f"for {name} from {origin}" for name, origin in origins.items())
    return "drawn " + ", ".join(told)
