"""Claim: an LCNN training step costs at most 1.15 times a standard one on a CPU.

    python -m benchmarks.training_step --width=64 --batch_size=128 --rounds=8

The settings take turns, one step each a round, so that a busy neighbour slows all of
them; what is compared is each round's ratio to the standard step of the same round. CPU
seconds (user and system time of the process) are printed beside wall-clock seconds,
since they depend less on what else the machine is doing. The paper reports, on a GPU,
1.6 for LCNN, 2.7 for GradReg, 3.5 for LCNN+GradReg and 5 for CURE and for adversarial
training.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from benchmarks.reports import Parser, Report, start
from benchmarks.steps import training_step
from benchmarks.turns import Run, alternate, rows
from tfrobust import attacks, models, penalties

Setting = tuple[str, tuple[penalties.Penalty, ...], attacks.Attack | None]

_L2 = attacks.PGD(norm=2, eps=0.1, steps=3, keep_best=False)
_LINF = attacks.PGD(
    norm="inf", eps=8 / 255, steps=10, step_size=2 / 255, keep_best=False
)

# Variant, penalties, adversary.
_SETTINGS: dict[str, Setting] = {
    "standard": ("standard", (), None),
    "LCNN": ("lcnn", (penalties.Curvature(),), None),
    "GradReg": ("standard", (penalties.GradientNorm(),), None),
    "LCNN+GradReg": ("lcnn", (penalties.Curvature(), penalties.GradientNorm()), None),
    "softplus": ("softplus", (), None),
    "CURE": ("standard", (penalties.Cure(),), None),
    "adversarial L2, 3": ("standard", (), _L2),
    "adversarial Linf, 10": ("standard", (), _LINF),
    "TRADES Linf, 10": ("standard", (penalties.Trades(),), None),
}

_QUICK = {"width": 4, "batch_size": 16, "rounds": 2, "settings": ["standard", "LCNN"]}


def main(argv: Sequence[str] | None = None) -> Report:
    """Times every setting in turn; ratios are to the first."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument(
        "--settings", nargs="+", choices=_SETTINGS, default=list(_SETTINGS)
    )
    arguments, report = parser.parse(argv)
    steps = {
        name: _make_step(_SETTINGS[name], arguments.width, arguments.batch_size)
        for name in arguments.settings
    }
    seconds = alternate(list(steps.values()), arguments.rounds)
    report.table(
        f"ResNet-18, width {arguments.width}, batch {arguments.batch_size}, 32x32x3, "
        f"{arguments.rounds} rounds",
        rows(list(steps), seconds),
        claimed={"LCNN": 1.15} if next(iter(steps)) == "standard" else {},
    )
    return report


def _make_step(setting: Setting, width: int, batch_size: int) -> Run:
    variant, terms, adversary = setting
    keras.utils.set_random_seed(0)
    network = models.ResNet18((32, 32, 3), 10, variant, width)
    return training_step(network, terms, adversary, batch_size)


if __name__ == "__main__":
    start(main)
