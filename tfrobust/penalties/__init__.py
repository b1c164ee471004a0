"""Terms that `tfrobust.training.RobustModel` adds to the training loss."""

from tfrobust.penalties.alignment import GradientAlignment
from tfrobust.penalties.base import Penalty, StepContext
from tfrobust.penalties.cure import Cure
from tfrobust.penalties.curvature import Curvature
from tfrobust.penalties.gradient_norm import GradientNorm
from tfrobust.penalties.registry import names, parse, register
from tfrobust.penalties.trades import Trades
from tfrobust.penalties.weight_decay import WeightDecay

__all__ = [
    "Cure",
    "Curvature",
    "GradientAlignment",
    "GradientNorm",
    "Penalty",
    "StepContext",
    "Trades",
    "WeightDecay",
    "names",
    "parse",
    "register",
]
