"""Attacks on image classifiers.

An attack is a frozen dataclass of its settings; calling it searches for adversarial
images. Any callable that maps float32 images in [0, 1] to logits can be attacked.
"""

from tfrobust.attacks.base import Attack, AttackResult, Goal
from tfrobust.attacks.constraints import L2, Constraint, Linf, from_norm
from tfrobust.attacks.pgd import PGD

__all__ = [
    "PGD",
    "Attack",
    "AttackResult",
    "Constraint",
    "Goal",
    "L2",
    "Linf",
    "from_norm",
]
