"""An attack of one's own on the command line of the trainer, by `--import`."""

import pytest

LIGHTEN = """\
import dataclasses
from tfrobust import attacks

@attacks.register("lighten", title="Lighten")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lighten(attacks.FixedBudget):
    norm: float | str = "inf"
    share: float = 1.0
    def run(self, problem):
        return problem.images + self.share * problem.eps[:, None, None, None]
"""
FLAGS = (
    "--dataset=shapes",
    "--train_examples=40",
    "--eval_examples=10",
    "--batch_size=10",
    "--model=mlp",
    "--width=4",
    "--epochs=1",
    "--augment=none",
    "--adversary=lighten:eps=8/255,share=1/2",
    "--adversary_share=0.5",
    "--watch_robust=10",
)


@pytest.mark.slow
def test_an_own_attack_is_planned_and_trained_against(tmp_path, call_module):
    (tmp_path / "my_attacks.py").write_text(LIGHTEN)
    flags = (*FLAGS, "--import=my_attacks", f"--workdir={tmp_path}/run")
    plan = call_module("trainers.cifar", *flags, "--dry_run", cwd=tmp_path)
    assert plan.code == 0, plan.err[-3000:]
    shown = " ".join(plan.out.split())
    assert "Lighten Linf 8/255, in place of 50% of each batch" in shown
    ended = call_module("trainers.cifar", *flags, cwd=tmp_path)
    assert ended.code == 0, ended.err[-3000:]
    given = (tmp_path / "run" / "run.flags").read_text().splitlines()
    assert {"--import=my_attacks", "--adversary=lighten:eps=8/255,share=1/2"} <= set(
        given
    )
