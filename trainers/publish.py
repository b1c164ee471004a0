"""Turns a finished run into a network of the zoo, or fills in what was measured of it.

    python -m trainers.publish RUN --name=cifar10_lcnn --summary="..."
    python -m trainers.publish --measured=runs/evaluation/evaluation.json

The first writes NAME.npz and NAME.json into the folder of `tfrobust.models.zoo`. The
second adds the numbers of an evaluation of `--model=pretrained:NAME` to those in the
cards: what is measured is the network as it is shipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tfrobust.cli import flags, program
from tfrobust.cli.flags import Need, Settings, boolean, grouped_help, string
from tfrobust.cli.program import UsageError
from tfrobust.cli.quiet import start_tensorflow
from tfrobust.cli.run_folder import RunFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishConfig(Settings, title="Network"):
    """What to write; a field is a flag."""

    name: str = string("", "Of the network in the zoo: letters, digits and _.")
    summary: str = string(
        "", "A sentence for its card.", needs=Need("a --name", lambda v: v["name"])
    )
    measured: str = string("", "An evaluation.json to take numbers from.")
    overwrite: bool = boolean(
        False,
        "Replace a network of that name.",
        needs=Need("a --name", lambda v: v["name"]),
    )

    def check(self) -> None:
        """Raises `UsageError` for a name that could lead out of the zoo's folder."""
        if self.name and not self.name.isidentifier():
            raise UsageError(
                f"--name must be of letters, digits and _. Received: {self.name}"
            )


def main(words: Sequence[str]) -> None:
    """Writes one network, or the measurements of several."""
    config = flags.read(PublishConfig)
    if len(words) != (0 if config.measured else 1) or bool(words) != bool(config.name):
        raise UsageError("Give the folder of one RUN and --name, or --measured alone.")
    start_tensorflow()
    from trainers import publishing

    try:
        if config.measured:
            publishing.fill_in(config.measured)
        else:
            run = RunFolder(words[0])
            publishing.publish(run, config.name, config.summary, config.overwrite)
    except ValueError as error:
        raise UsageError(str(error).replace("`path`", "--measured", 1)) from error


def start() -> None:
    """Runs the program with the command line's flags."""
    flags.define(PublishConfig)
    program.run(main, lambda: grouped_help(__doc__), takes_words=True)


if __name__ == "__main__":
    start()
