"""Tables and figures of the smooth suite: attacks down, measures across."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfrobust import analysis, viz
from tfrobust.analysis.transfer import Transfer
from tfrobust.cli.page import Section
from tfrobust.cli.tables import Column, Form, Table, formatted, number, percent
from tfrobust.core.estimates import Estimate
from trainers.suites.parts import cell_of, pair
from trainers.suites.smooth.attacks import Trial, norm_of
from trainers.suites.smooth.measure import Findings, Measured, Tried

_ERROR = "+- is one standard error of the mean."
_ROUGHNESS = (
    "Roughness is how unlike its neighbours a pixel of the perturbation is, where the "
    "image does not change much between them: 0 for the smoothest, 1 for independent "
    "noise."
)
_COLUMNS: tuple[tuple[str, str, Form], ...] = (
    ("success", "P_suc", percent),
    ("distortion", "mean D", number),
    ("roughness", "roughness", number),
    ("success_rounded", "P_suc, 8 bits", percent),
    ("distortion_rounded", "mean D, 8 bits", number),
)
_WORST = 5
# Bilateral filters see an edge where a pixel changes by more. The library's default,
# 5 levels, would take every perturbation of MNIST's for one.
_MAGNIFYING_RANGE = 0.2


def facts(found: Findings) -> dict[str, str]:
    """The settings, in words."""
    config = found.config
    skipped = ", ".join(
        f"{one.skipped} for {name}" for name, one in found.models.items()
    )
    return {
        "data": f"{config.dataset}, {found.test_size} test images",
        "images": f"for each model the first {config.examples} that it classifies "
        f"correctly; wrong ones passed over: {skipped}",
        "radii": f"{config.radii}, evenly spaced, up to {config.linf_eps:g} (Linf: "
        f"FGSM, I-FGSM) and {config.l2_eps:g} (L2: PGD2, sPGD2); {config.steps} steps "
        "of 2 radius / steps from the image itself",
        "C&W, sC&W": f"{config.cw_searches} searches of {config.cw_steps} steps, none "
        f"ended early, first constant {config.cw_const:g}, confidence "
        f"{config.cw_confidence:g}, rate {config.cw_rate:g} (C&W, {config.cw_space} "
        f"space) and {config.smooth_rate:g} (sC&W)"
        + (", rounded to 8 bits at every step" if config.cw_rounding else ""),
        "smoothing": f"alpha {config.smooth_alpha:g}, {config.smooth_kernel} kernel of "
        f"bandwidth {config.smooth_bandwidth:g}, {config.smooth_neighbors} neighbours",
        "bilateral filter": f"standard deviations {config.filter_std:g} pixels and "
        f"{config.filter_range:.4g} of pixel values",
    }


def sections(found: Findings) -> list[Section]:
    """Everything, model by model, and then what connects them."""
    parts = []
    for place, name in enumerate(found.models, start=1):
        for make in (_attacks, _largest, _budgets, _worst, _magnified):
            parts += list(make(found, name, place))
    return [*parts, *_transfers(found)]


def _attacks(found: Findings, name: str, place: int) -> Iterator[Section]:
    one = found.models[name]
    yield Section(
        f"Attacks on {name}",
        f"The model classifies {percent(pair(one.accuracy()))} of "
        f"{len(one.clean_correct)} test images correctly. As Tables 1 and 2 and Figure "
        "2 of the paper: the share P_suc of "
        f"{_images(found, one)} that an attack fools, and the mean L2 distortion D of "
        "those fooled. Attacks within a radius are run at several and scored by the "
        f"least distorted success on each image. {_ROUGHNESS} 8 bits: the same after "
        "images are rounded to the 256 levels of an image file; of several radii the "
        "least distorted success after rounding counts. Gradients are those spent for "
        f"an image, s/image the seconds it took on this machine. {_ERROR}",
        _attack_table(one.tried, seconds=True),
        functools.partial(_draw_characteristics, one),
        f"characteristics_{place}",
        f"Share of images of {name} that are fooled within each distortion, one curve "
        "an attack.",
    )


def _largest(found: Findings, name: str, place: int) -> Iterator[Section]:
    one = found.models[name]
    yield Section(
        f"Attacks on {name} at the largest radius",
        f"The attacks that have a radius at the largest alone ({_radii(one)}), where "
        f"they do not stop at a success but go on to the highest loss. {_ERROR}",
        _attack_table(one.largest),
    )


def _budgets(found: Findings, name: str, place: int) -> Iterator[Section]:
    one = found.models[name]
    if not one.budgets:
        return
    rows = [
        [str(budget), attack, *_cells(tried, _COLUMNS[:3])]
        for (attack, budget), tried in one.budgets.items()
    ]
    heads = [Column("budget", numeric=False), Column("attack", numeric=False)]
    yield Section(
        f"Budgets of the searches on {name}",
        f"What C&W, moving pixels through a tanh or clipped, and sC&W find in so many "
        f"searches x steps on {_images(found, one)}, none ended early. {_ERROR}",
        Table(
            [*heads, *(Column(title, form) for _, title, form in _COLUMNS[:3])], rows
        ),
    )


def _worst(found: Findings, name: str, place: int) -> Iterator[Section]:
    one = found.models[name]
    shown = {key: tried for key, tried in one.tried.items() if _successes(tried)}
    if not shown:
        return
    yield Section(
        f"Worst cases of {name}",
        f"As Figure 5 of the paper: for each attack the {_WORST} successes with the "
        "largest L2 distortion D, each with its perturbation on a scale of its own.",
        draw=functools.partial(_draw_worst, one, shown),
        figure_name=f"worst_cases_{place}",
        figure_text=f"The most distorted successes of each attack on {name}: original, "
        "adversarial image and perturbation.",
        wide=True,
    )


def _magnified(found: Findings, name: str, place: int) -> Iterator[Section]:
    one = found.models[name]
    row = median_row(one.tried["C&W"])
    if row is None:
        return
    index = int(one.sample.index[row])
    missed = [key for key, tried in one.tried.items() if not tried.result.success[row]]
    failed = f" Not fooled by {', '.join(missed)}." if missed else ""
    yield Section(
        f"Magnified images of {name}",
        f"As Figure 1 of the paper: test image {index}, the one of median distortion "
        "under C&W, as it is and normalised by the mean and spread of pixels near and "
        f"alike (bilateral filter, 5 pixels and {_MAGNIFYING_RANGE:g} of pixel values)."
        f"{failed}",
        draw=functools.partial(_draw_magnified, one, row),
        figure_name=f"magnified_{place}",
        figure_text=f"Test image {index} and its adversarial images, as they are and "
        "magnified.",
        wide=True,
    )


def _transfers(found: Findings) -> Iterator[Section]:
    common = (
        "As Table 3 of the paper: of the images on which an attack fooled the source "
        "and whose clean image the target has right, the share that fools the target "
        "as well. Clean accuracy: the target's on the clean images attacked. Behind "
        "the filter is the source itself, shown images through a bilateral filter"
    )
    config = found.config
    settings = f"({config.filter_std:g} pixels, {config.filter_range:.3g}). "
    yield Section(
        "Transfer of the least distorted successes",
        f"{common} {settings}These perturbations end at the source's boundary, so "
        f"little takes them back. {_ERROR}",
        _transfer_table({name: one.transfers for name, one in found.models.items()}),
    )
    yield Section(
        "Transfer at the largest radius",
        "The same for the attacks that have a radius, at the largest and with the "
        f"highest loss. {_ERROR}",
        _transfer_table(
            {name: one.transfers_largest for name, one in found.models.items()}
        ),
    )


def _attack_table(tried: Mapping[str, Tried], seconds: bool = False) -> Table:
    columns = [Column("attack", numeric=False)]
    columns += [Column(title, form) for _, title, form in _COLUMNS]
    columns += [Column("gradients")]
    columns += [Column("s/image", formatted("{:.2g}"))] * seconds
    rows = [
        [name, *_cells(one, _COLUMNS), gradients(one.trial)] + [one.seconds] * seconds
        for name, one in tried.items()
    ]
    return Table(columns, rows)


def _cells(tried: Tried, columns: Sequence[tuple[str, str, Form]]) -> list[Any]:
    values = tried.estimates()
    return [_cell(values[key]) for key, _, _ in columns]


def _cell(estimate: Estimate) -> Any:
    return cell_of(pair(estimate))


def gradients(trial: Trial) -> str:
    """How many an image takes, `<=` in front where it may be fewer.

    Example:
        >>> from tfrobust import attacks
        >>> gradients(Trial(attacks.FGSM(eps=0.3), (0.1, 0.3), 2, exact=True))
        '2'
    """
    return str(trial.gradients) if trial.exact else f"<= {trial.gradients}"


def _transfer_table(transfers: Mapping[str, Mapping[str, Transfer]]) -> Table:
    pairs = [
        (f"{source} to {target}", one)
        for source, targets in transfers.items()
        for target, one in targets.items()
    ]
    columns = [Column("attack", numeric=False)]
    columns += [Column(title, percent) for title, _ in pairs]
    rows = [["clean accuracy", *(_cell(one.clean_accuracy()) for _, one in pairs)]]
    rows += [
        [attack, *(_cell(one.rate(attack)) for _, one in pairs)]
        for attack in pairs[0][1].fooled
    ]
    return Table(columns, rows)


def _images(found: Findings, one: Measured) -> str:
    return (
        f"the first {len(one.sample.index)} test images of {found.config.dataset} "
        "classified correctly"
    )


def _radii(one: Measured) -> str:
    return ", ".join(
        f"{name} {norm_of(tried.trial)} {tried.trial.radii[-1]:g}"
        for name, tried in one.largest.items()
    )


def _successes(tried: Tried) -> int:
    return int(np.sum(tried.result.success))


def _draw_characteristics(one: Measured) -> Figure:
    curves = {
        name: tuple(part.tolist() for part in tried.curve().curve())
        for name, tried in one.tried.items()
    }
    return viz.operating_characteristics(curves)


def _draw_worst(one: Measured, shown: Mapping[str, Tried]) -> Figure:
    images = _pixels(one)
    cases = {}
    for name, tried in shown.items():
        rows = tried.curve().worst(_WORST)
        result = tried.result
        cases[name] = (images[rows], result.adversarial[rows], result.distortion[rows])
    return viz.worst_cases(cases)


def median_row(tried: Tried) -> int | None:
    """The success of median distortion, the lower of two; `None` without any."""
    count = _successes(tried)
    if not count:
        return None
    return int(tried.curve().worst(count)[count // 2])


def _draw_magnified(one: Measured, row: int) -> Figure:
    shown = {"original": _pixels(one)[row : row + 1]}
    for name, tried in one.tried.items():
        shown[f"{name}\n{_told(tried, row)}"] = np.asarray(
            tried.result.adversarial[row : row + 1]
        )
    return viz.magnified(
        {
            title: (
                image,
                analysis.to_display(
                    analysis.magnify(image, range_std=_MAGNIFYING_RANGE)
                ),
            )
            for title, image in shown.items()
        }
    )


def _told(tried: Tried, row: int) -> str:
    if not tried.result.success[row]:
        return "not fooled"
    return f"D = {tried.result.distortion[row]:.2f}"


def _pixels(one: Measured) -> np.ndarray:
    return one.sample.images.images.astype(np.float32) / np.float32(255)
