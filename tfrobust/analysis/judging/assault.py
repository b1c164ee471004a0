"""Which attacks a judgement runs, all in one place.

An evaluation that is judged brings its own attacks; these are the ones that stand
against it, and that stand in for it where there is none.
"""

from __future__ import annotations

import dataclasses

from tfrobust.analysis.masking_attacks import gradient_attacks, search_attacks
from tfrobust.attacks import PGD, Attack

# Runs of each attack, and of the longer one that is to change nothing.
_RESTARTS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assault:
    """The attacks of one threat model.

    Attributes:
        norm: 1, 2, `"inf"` or `math.inf`.
        eps: Radius in units of images in [0, 1].
        steps: Of a gradient attack.
        queries: Of a random search.
        seed: Of all draws.

    Example:
        >>> assault = Assault(norm=2, eps=0.5, steps=20, queries=500, seed=0)
        >>> assault.plain().steps, assault.longer().steps
        (20, 40)
    """

    norm: float | str
    eps: float
    steps: int
    queries: int
    seed: int

    def plain(self) -> PGD:
        """One run of the gradient attack."""
        return PGD(norm=self.norm, eps=self.eps, steps=self.steps, seed=self.seed)

    def white_box(self, classes: int) -> dict[str, Attack]:
        """What stands in for an evaluation, where none is given, and single steps."""
        return gradient_attacks(self.plain(), classes, _RESTARTS)

    def probes(self) -> dict[str, Attack]:
        """What shows the gradients of a model, beside an evaluation that is given."""
        wanted = gradient_attacks(self.plain(), 2, 1)
        return {name: wanted[name] for name in ("pgd", "bim", "fgsm")}

    def search(self) -> dict[str, Attack]:
        """What asks for no gradient."""
        return search_attacks(self.norm, self.eps, self.queries, self.seed)

    def longer(self) -> PGD:
        """Twice the steps and twice the restarts, from other starts."""
        return dataclasses.replace(
            self.plain(),
            loss="margin",
            steps=2 * self.steps,
            restarts=2 * _RESTARTS,
            seed=(self.seed + 1) % 2**31,
        )

    def transferred(self) -> PGD:
        """What is made on one model to be shown to another: it goes on to the end."""
        return dataclasses.replace(self.plain(), loss="margin", early_stop=False)

    def planted(self) -> PGD:
        """What must find an adversarial image that is known to be there."""
        return dataclasses.replace(self.plain(), loss="margin", restarts=_RESTARTS)
