"""Zhang, Avrithis, Furon and Amsaleg 2019, Smooth Adversarial Examples."""

from __future__ import annotations

from trainers.reproduction.findings import ABOVE, BELOW, NOT_BELOW, Claim, Finding
from trainers.reproduction.papers import Evaluation, Paper, Training
from trainers.reproduction.results import Measured
from trainers.reproduction.tables import PaperTable, grid

_PLAIN, _ADVERSARIAL = "c4", "c4_adversarial"
_ATTACKS = ["FGSM", "I-FGSM", "PGD2", "C&W", "sPGD2", "sC&W"]
_FILTERED = "itself behind the filter"


def _success(network: str, attack: str) -> Measured:
    return Measured(
        network, "success", _setting(attack), suite="smooth", name=f"P_suc of {attack}"
    )


def _distortion(network: str, attack: str) -> Measured:
    return Measured(
        network, "distortion", _setting(attack), suite="smooth", name=f"D of {attack}"
    )


def _setting(attack: str) -> dict[str, object]:
    return {"attack": attack, "protocol": "smallest_success", "rounded": False}


def _transfer(attack: str) -> Measured:
    setting = {
        "attack": attack,
        "protocol": "smallest_success",
        "source": _PLAIN,
        "target": _FILTERED,
    }
    name = f"transfer of {attack} through the filter"
    return Measured(_PLAIN, "transfer", setting, name=name)


def _columns(network: str, attack: str, column: int) -> Measured | None:
    """P_suc and D on MNIST; the other columns are of ImageNet."""
    if column > 1:
        return None
    return (_success, _distortion)[column](network, attack)


_TABLES = (
    PaperTable(
        label="SMO-T1",
        title="Success and mean L2 distortion",
        corner="attack",
        columns=(
            "P_suc, MNIST C4",
            "D, MNIST C4",
            "P_suc, InceptionV3",
            "D, InceptionV3",
            "P_suc, ResNetV2",
            "D, ResNetV2",
        ),
        rows=grid(
            """
            0.89 5.02 0.97 5.92 0.92 8.20
            1.00 2.69 1.00 5.54 0.99 7.58
            1.00 1.71 1.00 1.80 1.00 3.63
            1.00 2.49 0.99 4.91 0.99 9.84
            0.97 3.36 0.96 2.10 0.93 4.80
            1.00 1.97 0.99 3.00 0.98 5.99
            """,
            _ATTACKS,
            lambda attack, column: _columns(_PLAIN, attack, column),
        ),
    ),
    PaperTable(
        label="SMO-T2",
        title="The same on networks trained against FGSM",
        corner="attack",
        columns=(
            "P_suc, MNIST C4",
            "D, MNIST C4",
            "P_suc, InceptionV3",
            "D, InceptionV3",
        ),
        rows=grid(
            """
            0.15 4.53 0.06 6.40
            1.00 3.48 0.97 29.94
            1.00 2.52 1.00 3.89
            0.93 3.03 0.95 6.43
            0.99 2.94 0.69 7.86
            0.99 2.39 0.75 6.22
            """,
            _ATTACKS,
            lambda attack, column: _columns(_ADVERSARIAL, attack, column),
        ),
    ),
)

_FINDINGS = (
    Finding(
        "SMO-C1",
        "Smoothing lowers the distortion of C&W at the same success.",
        [
            Claim(_distortion(_PLAIN, "sC&W"), BELOW, _distortion(_PLAIN, "C&W")),
            Claim(_success(_PLAIN, "sC&W"), NOT_BELOW, _success(_PLAIN, "C&W")),
        ],
    ),
    Finding(
        "SMO-C1",
        "Smoothing the steps of PGD2 spoils it on MNIST.",
        [Claim(_distortion(_PLAIN, "sPGD2"), ABOVE, _distortion(_PLAIN, "PGD2"))],
    ),
    Finding(
        "SMO-C1",
        "PGD2 needs a smaller distortion than C&W.",
        [
            Claim(_distortion(network, "PGD2"), BELOW, _distortion(network, "C&W"))
            for network in (_PLAIN, _ADVERSARIAL)
        ],
    ),
    Finding(
        "SMO-C1",
        "On the adversarially trained network sC&W succeeds more often than C&W, at a "
        "smaller distortion.",
        [
            Claim(_success(_ADVERSARIAL, "sC&W"), ABOVE, _success(_ADVERSARIAL, "C&W")),
            Claim(
                _distortion(_ADVERSARIAL, "sC&W"),
                BELOW,
                _distortion(_ADVERSARIAL, "C&W"),
            ),
        ],
    ),
    Finding(
        "SMO-T2",
        "Training against FGSM stops FGSM, and no other attack.",
        [
            Claim(_success(_ADVERSARIAL, "FGSM"), BELOW, _success(_PLAIN, "FGSM")),
            *(
                Claim(_success(_ADVERSARIAL, attack), ABOVE, 0.9)
                for attack in _ATTACKS[1:]
            ),
        ],
    ),
    Finding(
        "SMO-C2",
        "Smoothing does not help a perturbation through a bilateral filter.",
        [
            Claim(_transfer("C&W"), NOT_BELOW, _transfer("sC&W")),
            Claim(_transfer("PGD2"), NOT_BELOW, _transfer("sPGD2")),
        ],
        note="The paper's SMO-T3 is of ImageNet; ours is of MNIST.",
    ),
)

SMOOTH = Paper(
    name="smooth",
    title="Zhang, Avrithis, Furon and Amsaleg 2019, Smooth Adversarial Examples",
    data="mnist",
    is_scaled=False,
    trainings=(
        Training(name=_PLAIN, title="C4", setting="SMO-S1", group="smooth"),
        Training(
            name=_ADVERSARIAL,
            title="C4, adversarially trained",
            setting="SMO-S9",
            robust=True,
            group="smooth",
        ),
    ),
    evaluations=[
        Evaluation(name="standard", flags=("--suite=standard",), suites=("standard",)),
        Evaluation(
            flags=("--flagfile=evaluate_smooth_paper",),
            suites=("smooth",),
            grouped=True,
            # Only images that the network has right are attacked.
            most=9_500,
            scaled=("--budgets=",),
        ),
    ],
    tables=_TABLES,
    findings=_FINDINGS,
    not_tested=(
        "ImageNet: four columns of SMO-T1, two of SMO-T2, all of SMO-T3, SMO-F3",
    ),
    notes=(
        "How C4 is trained is not given in the paper (SMO-N1).",
        "The attacks are those of the flagfile evaluate_smooth_paper, which says what "
        "of them is the paper's.",
    ),
)
