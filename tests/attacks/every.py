"""Every attack, in each of its forms, and images to attack."""

import dataclasses

import pytest

from tests.attacks.common import CLASSES, conv_images
from tfrobust.attacks import (
    APGD,
    BIM,
    DDN,
    FAB,
    FGSM,
    FMN,
    MIFGSM,
    PGD,
    AutoAttack,
    CarliniWagnerL2,
    DeepFool,
    HopSkipJump,
    SigmaZero,
    SmoothCarliniWagner,
    SmoothPGD,
    Square,
)
from tfrobust.attacks.within import Within


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brief(AutoAttack):
    """The ensemble with next to no steps in each stage."""

    def stages(self):
        """One of each kind."""
        ball = {"norm": self.norm, "eps": self.eps}
        return {
            "apgd-t": APGD(**ball, steps=2, loss="margin", target_classes=2),
            "fab-t": Within(**ball, attack=FAB(norm=self.norm, steps=2)),
            "square": Square(**ball, queries=3),
        }


ATTACKS = {
    "fgsm": FGSM(eps=0.05),
    "fgsm-l2": FGSM(norm=2, eps=0.4),
    "bim": BIM(eps=0.05, steps=4),
    "mifgsm": MIFGSM(eps=0.05, steps=4),
    "pgd-linf": PGD(norm="inf", eps=0.05, steps=4),
    "pgd-l2-last": PGD(norm=2, eps=0.5, steps=4, keep_best=False),
    "pgd-linf-dlr": PGD(norm="inf", eps=0.05, steps=4, loss="dlr", early_stop=False),
    "pgd-linf-kl": PGD(norm="inf", eps=0.05, steps=4, loss="kl"),
    "pgd-l2": PGD(norm=2, eps=0.4, steps=4, restarts=2, loss="margin"),
    "pgd-l2-momentum": PGD(norm=2, eps=0.4, steps=4, momentum=0.5, seed=3),
    "pgd-l1": PGD(norm=1, eps=1.5, steps=4),
    "apgd-linf": APGD(norm="inf", eps=0.05, steps=5, restarts=2, loss="dlr"),
    "apgd-l1": APGD(norm=1, eps=1.5, steps=6, samples=2, early_stop=False),
    "apgd-classes": APGD(norm=2, eps=0.4, steps=4, loss="margin", target_classes=2),
    "autoattack": Brief(norm="inf", eps=0.05),
    "cw": CarliniWagnerL2(steps=12, search_steps=3, initial_const=3.0),
    "cw-tanh": CarliniWagnerL2(
        steps=12, search_steps=3, space="tanh", warm_start=False, early_abort=False
    ),
    "cw-rounding": CarliniWagnerL2(steps=12, search_steps=3, rounding=True),
    "cw-confident": CarliniWagnerL2(steps=12, search_steps=3, confidence=0.3),
    "smooth-pgd-l2": SmoothPGD(norm=2, eps=0.4, steps=4, restarts=2, random_start=True),
    "smooth-pgd-linf": SmoothPGD(norm="inf", eps=0.05, steps=4, neighbors=8),
    "smooth-cw": SmoothCarliniWagner(steps=12, search_steps=3, initial_const=3.0),
    "smooth-cw-rough": SmoothCarliniWagner(
        steps=12, search_steps=3, alpha=0.5, neighbors=8, roughness_weight=2.0
    ),
    "square-linf": Square(norm="inf", eps=0.1, queries=40),
    "square-l2": Square(norm=2, eps=0.8, queries=40, p_init=0.4, seed=3),
    "square-l1": Square(norm=1, eps=6.0, queries=40, p_init=0.4),
    "square-best": Square(norm="inf", eps=0.1, queries=12, early_stop=False),
    "ddn": DDN(steps=12),
    "ddn-linf": DDN(norm="inf", steps=12),
    "ddn-rounding": DDN(steps=12, rounding=True),
    "fmn": FMN(steps=12),
    "fmn-linf": FMN(norm="inf", steps=12),
    "fab": FAB(steps=5),
    "fab-l2": FAB(norm=2, steps=5, target_classes=1, restarts=2, seed=3),
    "fab-l1": FAB(norm=1, steps=5, target_classes=None),
    "hopskipjump": HopSkipJump(queries=90, first_probes=12),
    "sigma-zero": SigmaZero(steps=12),
    "deepfool": DeepFool(steps=10),
    "deepfool-narrow": DeepFool(steps=4, candidates=1),
}
every_attack = pytest.mark.parametrize("name", ATTACKS)


def some_images(count=6):
    """Correctly classified images but for the second, whose label is wrong."""
    images, labels = conv_images(count)
    labels[1] = (labels[1] + 1) % CLASSES
    return images, labels
