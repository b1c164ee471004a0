"""Training any Keras classifier with penalties and adversaries, on any device."""

from tfrobust.training.best import Best, KeepBest
from tfrobust.training.callbacks import (
    MetricsTable,
    RefreshSpectralNorms,
    RestartPoints,
    WatchCoefficients,
    WatchGradientNorm,
    WatchTime,
    read_table,
)
from tfrobust.training.determinism import enable_determinism
from tfrobust.training.distribute import (
    STRATEGIES,
    find_kind,
    is_chief,
    is_chief_process,
    is_single_process,
    make_strategy,
)
from tfrobust.training.epochs import KeepEpochs, kept_epochs
from tfrobust.training.progress import Progress
from tfrobust.training.robust_model import RobustModel
from tfrobust.training.robustness import WatchRobustAccuracy
from tfrobust.training.schedules import one_cycle, step_decay

__all__ = [
    "STRATEGIES",
    "Best",
    "KeepBest",
    "KeepEpochs",
    "MetricsTable",
    "Progress",
    "RefreshSpectralNorms",
    "RestartPoints",
    "RobustModel",
    "WatchCoefficients",
    "WatchGradientNorm",
    "WatchRobustAccuracy",
    "WatchTime",
    "enable_determinism",
    "find_kind",
    "is_chief",
    "is_chief_process",
    "is_single_process",
    "kept_epochs",
    "make_strategy",
    "one_cycle",
    "read_table",
    "step_decay",
]
