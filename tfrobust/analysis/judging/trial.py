"""All checks of an evaluation, one after the other."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from tfrobust.analysis.batching import gathered
from tfrobust.analysis.judging.accuracy import accuracy_check
from tfrobust.analysis.judging.aligned import aligned_check
from tfrobust.analysis.judging.assault import Assault
from tfrobust.analysis.judging.audit import audit_check, rounding_check
from tfrobust.analysis.judging.case import Case, case_of
from tfrobust.analysis.judging.claims import Claims, claims_of
from tfrobust.analysis.judging.convergence import convergence_check, steps_check
from tfrobust.analysis.judging.differences import differences_check
from tfrobust.analysis.judging.modes import inference_check, variables_check
from tfrobust.analysis.judging.nearby import nearby_check
from tfrobust.analysis.judging.outputs import classes_check, finite_check, logits_check
from tfrobust.analysis.judging.planting import planted_check
from tfrobust.analysis.judging.radii import growth_check, unbounded_check
from tfrobust.analysis.judging.repeats import Repeats, repeats_check
from tfrobust.analysis.judging.results import Check, Judgement, judged
from tfrobust.analysis.judging.rivals import (
    broken_by_gradients,
    noise_check,
    search_check,
    transfer_check,
)
from tfrobust.analysis.judging.sample import sample_check
from tfrobust.analysis.judging.sharpness import sharper_check
from tfrobust.analysis.judging.slopes import cross_entropy_check, margin_check
from tfrobust.analysis.masking import measure
from tfrobust.analysis.masking_attacks import SEARCH
from tfrobust.analysis.masking_report import MaskingReport
from tfrobust.attacks import Attack, Evaluation
from tfrobust.core.terminal import columns
from tfrobust.settings import require, require_positive, require_seed, require_steps

Step = Callable[[str], Any]
"""Is told what comes next."""

# How many steps of progress a judgement of most networks takes.
_STEPS = 24
# What stands in for an evaluation, of all that is run: not what has another radius.
_OWN = ("pgd", "bim", "fgsm", "pgd_margin", "pgd_dlr", "square")


def judge(
    model: Any,
    images: Any,
    labels: Any = None,
    *,
    norm: float | str,
    eps: float,
    evaluation: Evaluation | None = None,
    surrogate: Any = None,
    examples: int = 100,
    steps: int = 20,
    queries: int = 500,
    seed: int = 0,
    batch_size: int = 128,
    bounds: Any = None,
    progress: bool = False,
) -> Judgement:
    """Judges whether an evaluation of robustness can be trusted.

    Published defences have been broken again and again because their evaluation was
    too weak. Each known way of overstating robustness is one check here, run on the
    model and images themselves:

    - What was kept: norm, range and success measured again; success after rounding to
      8 bits.
    - What the model answers: clean accuracy, on enough images to tell, logits or
      probabilities, finite ones in the ball too, the same for the same image, whatever
      the batch, in inference, without a change of its variables.
    - Gradients: none are 0, and they are those of finite differences.
    - Attacks: accuracy falls with the radius and to 0 without one; many steps beat one,
      and more steps and restarts change nothing; no random search, no noise, no other
      model's images and no sharper copy of the network break what gradients do not. A
      random search is always run here, whatever the evaluation holds.
    - PGD finds adversarial images that were planted: a gradient attack of the judge's
      own, not those of the evaluation.

    A share of images speaks where it is above one in a hundred and above two standard
    errors: of 100 images it takes 4, and of 20 as well. Fewer than 20 that are
    classified correctly are too few to trust. What passes is not proven robust, and
    does not spare an adaptive attack.

    Costs about two minutes for 100 images of a small CIFAR-10 network on two cores.

    Args:
        model: As for an attack's call. One without a gradient is judged too.
        images: `[N,H,W,C]` within the bounds in any form; see `tfrobust.analysis`.
        labels: As for an attack's call, unless `images` brings them.
        norm: 1, 2, `"inf"` or `math.inf`.
        eps: Radius in units of images in [0, 1], above 0.
        evaluation: What is judged: attacks of these images, of this norm at least one,
            best with images that were kept. An attack counts as one that follows
            gradients unless `AttackOutcome.gradient_free` says otherwise. If `None`,
            attacks are run here, and the model is judged by them.
        surrogate: Another model of the same pixels and classes, or several in a list,
            on which images are made to be shown to this one.
        examples: How many of the images are attacked at most; others are only counted.
        steps: Of a gradient attack.
        queries: Of the random search, for each image.
        seed: Of the images that are drawn, and of all other draws, in [0, 2**31).
        batch_size: How many images are attacked at once.
        bounds: The range of the pixels, as for an attack's call.
        progress: Whether to show a progress bar with the time left on standard error.

    Returns:
        A `Judgement`, which prints as a table.

    Raises:
        ValueError: If a setting, shape or dtype is wrong, or the evaluation is not one
            of these images and labels, or has no attack of this norm.

    Reference: Athalye et al. 2018 (https://arxiv.org/abs/1802.00420), Carlini et al.
    2019 (https://arxiv.org/abs/1902.06705), Tramer et al. 2020
    (https://arxiv.org/abs/2002.08347), Pintor et al. 2022
    (https://arxiv.org/abs/2106.09947), Zimmermann et al. 2022
    (https://arxiv.org/abs/2206.13991).

    Example:
        >>> from tfrobust.analysis import judge
        >>> def model(x):  # it rounds its input
        ...     lead = tf.reduce_mean(tf.round(8 * x) / 8, axis=[1, 2, 3]) - 0.5
        ...     return tf.stack([lead, -lead], axis=-1)
        >>> draw = np.random.default_rng(0).uniform(0.4, 0.64, (16, 4, 4, 1))
        >>> labels = np.argmax(model(draw.astype("float32")), axis=1)
        >>> judgement = judge(
        ...     model, draw, labels, norm="inf", eps=0.1, steps=5, queries=20)
        >>> judgement.verdict
        'Doubtful'
        >>> judgement["gradients"].reason
        'there is no gradient at all, as of a rounded input or a black box'
    """
    require(norm in (1, 2, "inf", np.inf), "norm", norm, '1, 2 or "inf"')
    require_positive("eps", eps)
    counts = {"examples": examples, "steps": steps, "queries": queries}
    for name, value in {**counts, "batch_size": batch_size}.items():
        require_steps(name, value)
    require_seed(seed)
    assault = Assault(norm=norm, eps=eps, steps=steps, queries=queries, seed=seed)
    shown = tqdm.tqdm(
        desc="judge",
        unit="check",
        total=_STEPS,
        ncols=columns(sys.stderr),
        disable=not progress,
    )

    def step(name: str) -> None:
        shown.set_postfix_str(name)
        shown.update(1 if shown.n < _STEPS - 1 else 0)

    # What is warned of elsewhere is a line of the judgement.
    with shown, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        step("images")
        pixels, labels = gathered(images, labels, model, bounds, labeled=True)
        case = case_of(model, pixels, labels, assault, evaluation, examples, batch_size)
        whole = None if evaluation is None else (evaluation, pixels)
        checks = _checks(case, whole, surrogate, step)
        shown.update(_STEPS - shown.n)
    return judged(checks)


def _checks(case: Case, whole: Any, surrogate: Any, step: Step) -> list[Check]:
    """All checks, in the order in which they are read."""
    step("answers")
    checks = [accuracy_check(case), sample_check(case), finite_check(case)]
    checks += [logits_check(case), classes_check(case)]
    repeats = repeats_check(case)
    checks += [*repeats.checks, variables_check(case)]
    checks.append(inference_check(case, repeats.at_random, repeats.by_batch))
    if whole is not None:
        step("audit")
        # Every image, not only those that are drawn.
        checks.insert(0, audit_check(case, whole[0], whole[1], repeats.at_random))
    finite = not any(each.name == "finite" and each.failed for each in checks)
    if not (finite and case.correct.any()):
        return checks
    return checks + _attacked(case, whole, surrogate, repeats, step)


def _attacked(
    case: Case, whole: Any, surrogate: Any, repeats: Repeats, step: Step
) -> list[Check]:
    """The checks that attack images, of which some are classified correctly."""
    report, claims, by_search = _measured(case, step)
    broken = broken_by_gradients(claims, report)
    step("nearby")
    checks = [nearby_check(case, report.evaluation)]
    if whole is None and report.evaluation is not None:
        checks.append(
            audit_check(case, report.evaluation, case.pixels, repeats.at_random)
        )
    checks += [rounding_check(case, claims), margin_check(case, report)]
    step("gradients")
    checks.append(cross_entropy_check(case))
    checks.append(differences_check(case, repeats.at_random))
    checks += [growth_check(report), unbounded_check(report), steps_check(report)]
    step("longer attack")
    checks.append(convergence_check(case, claims))
    checks.append(search_check(case, report))
    step("noise")
    noise, alone = noise_check(case, broken)
    step("transfer")
    checks += [noise, transfer_check(case, broken, surrogate)]
    step("planted images")
    checks.append(planted_check(case, claims, repeats.at_random))
    step("sharper copies")
    checks.append(sharper_check(case, broken))
    step("alignment")
    checks.append(aligned_check(case, (by_search & ~broken) | alone))
    return checks


def _measured(case: Case, step: Step) -> tuple[MaskingReport, Claims, np.ndarray]:
    """What attacks leave, what is claimed of them, and what random searches break."""
    assault, given = case.assault, case.evaluation
    if given is None:
        report = _report(
            case, {**assault.white_box(case.classes), **assault.search()}, step
        )
        assert report.evaluation is not None  # noqa: S101  It was just measured.
        names = [name for name in report.evaluation.results if name in _OWN]
        claims = claims_of(report.evaluation, assault.norm, assault.eps, names)
        return report, claims, report.evaluation.results[SEARCH].success
    claims = claims_of(given, assault.norm, assault.eps)
    known = claims.by_gradient()
    tried = assault.probes() if known else assault.white_box(case.classes)
    step(SEARCH)
    searched = _searched(case, claims)
    return _report(case, tried, step, known, searched), claims, searched


def _report(
    case: Case,
    tried: Mapping[str, Attack],
    step: Step,
    known: Mapping[str, np.ndarray] | None = None,
    searched: np.ndarray | None = None,
) -> MaskingReport:
    """What some attacks leave, beside those whose successes are known."""
    return measure(
        case.model,
        case.pixels,
        tf.constant(case.labels),
        case.assault.plain(),
        tried,
        known={f"given {name}": rows for name, rows in (known or {}).items()},
        searched=searched,
        batch_size=case.batch_size,
        keep_images=True,
        step=step,
    )


def _searched(case: Case, claims: Claims) -> np.ndarray:
    """What random searches break, those of an evaluation and one of the judge's own.

    One that was given may have had few queries or a small radius, so it never stands in
    for this one. What stands is searched: what gradients break needs no search.

    Returns:
        bool `[N]`.
    """
    given, rows = claims.by_search(), case.standing(claims)
    found = np.zeros_like(case.correct) if given is None else given.copy()
    if len(rows):
        found[rows] |= case.attacked(case.assault.search()[SEARCH], rows).success
    return found
