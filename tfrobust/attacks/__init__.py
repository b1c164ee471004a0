"""Attacks on image classifiers.

An attack is a frozen dataclass of its settings; calling it searches for adversarial
images. Keras models, SavedModels and any callable that maps float32 images in [0, 1] to
logits can be attacked. Text names an attack too: `parse("pgd:norm=2,eps=0.5")`.
"""

from tfrobust.attacks.apgd import APGD
from tfrobust.attacks.autoattack import AutoAttack
from tfrobust.attacks.base import Attack, FixedBudget, MinimumNorm
from tfrobust.attacks.carlini_wagner import CarliniWagnerL2
from tfrobust.attacks.combination import combine, multi_target
from tfrobust.attacks.constraints import L0, L1, L2, Constraint, Linf, from_norm
from tfrobust.attacks.ddn import DDN
from tfrobust.attacks.deepfool import DeepFool
from tfrobust.attacks.evaluation import evaluate
from tfrobust.attacks.fab import FAB
from tfrobust.attacks.fgsm import BIM, FGSM, MIFGSM
from tfrobust.attacks.fmn import FMN
from tfrobust.attacks.goal import Goal
from tfrobust.attacks.hop_skip_jump import HopSkipJump
from tfrobust.attacks.outcomes import AttackOutcome, Evaluation
from tfrobust.attacks.pgd import PGD
from tfrobust.attacks.problem import Problem
from tfrobust.attacks.registry import describe, names, parse, register, spec, title
from tfrobust.attacks.sigma_zero import SigmaZero
from tfrobust.attacks.smooth import SmoothCarliniWagner, SmoothPGD
from tfrobust.attacks.square import Square
from tfrobust.attacks.threat import ThreatModel
from tfrobust.attacks.verdicts import AttackResult
from tfrobust.core.black_box import BlackBox

__all__ = [
    "APGD",
    "BIM",
    "DDN",
    "FAB",
    "FGSM",
    "FMN",
    "L0",
    "L1",
    "L2",
    "MIFGSM",
    "PGD",
    "Attack",
    "AttackOutcome",
    "AttackResult",
    "AutoAttack",
    "BlackBox",
    "CarliniWagnerL2",
    "Constraint",
    "DeepFool",
    "Evaluation",
    "FixedBudget",
    "Goal",
    "HopSkipJump",
    "Linf",
    "MinimumNorm",
    "Problem",
    "SigmaZero",
    "SmoothCarliniWagner",
    "SmoothPGD",
    "Square",
    "ThreatModel",
    "combine",
    "describe",
    "evaluate",
    "from_norm",
    "multi_target",
    "names",
    "parse",
    "register",
    "spec",
    "title",
]
