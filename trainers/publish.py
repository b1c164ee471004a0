"""Turns a finished run into a network of the zoo, or fills in what was measured of it.

    python -m trainers.publish RUN --name=cifar10_lcnn --summary="..."
    python -m trainers.publish --measured=runs/evaluation/evaluation.json

The first writes NAME.npz and NAME.json into the folder of `tfrobust.models.zoo`. The
second copies the numbers of an evaluation of `--model=pretrained:NAME` into the cards:
what is measured is the network as it is shipped.
"""

from __future__ import annotations

import argparse
import json
import pathlib

from tfrobust.cli import program
from tfrobust.cli.program import UsageError
from tfrobust.cli.quiet import start_tensorflow
from tfrobust.cli.run_folder import RunFolder


def main(arguments: argparse.Namespace) -> None:
    """Writes one network, or the measurements of several."""
    if not (arguments.measured or (arguments.run and arguments.name)):
        raise UsageError("Give RUN and --name, or --measured.")
    start_tensorflow()
    from trainers import publishing

    if arguments.measured:
        publishing.fill_in(json.loads(pathlib.Path(arguments.measured).read_text()))
    else:
        run = RunFolder(arguments.run)
        publishing.publish(run, arguments.name, arguments.summary, arguments.overwrite)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="folder of a run")
    parser.add_argument("--name", default="", help="of the network in the zoo")
    parser.add_argument("--summary", default="", help="a sentence for its card")
    parser.add_argument("--measured", default="", help="an evaluation.json")
    parser.add_argument("--overwrite", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main(_parse())
    except (UsageError, ValueError) as error:
        program.fail(str(error))
