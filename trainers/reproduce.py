r"""Repeats the four papers: trains, measures, and puts their tables beside ours.

    tfrobust reproduce --paper=lcnn --budget=cpu_hour --dry_run
    tfrobust reproduce --paper=lcnn --budget=cpu_hour --out=runs/lcnn
    tfrobust reproduce --paper=all --budget=cpu_night --cifar10=cifar10_jpeg \
        --data_dir=DIR

Prints the plan with times from steps that it measures here, trains what is missing,
evaluates every network, and writes a page for each paper, as HTML and Markdown: each
table theirs and ours, and what the paper says with the rule that marks it as holding
here or not. Killed at any moment, it goes on with the same command; what is done is
known by its settings. --out ends up with runs/NAME and evaluations/NAME, which the
other programs read, logs/, PAPER.html, PAPER.md and, of all papers, index.html.

Exit codes: 0; 2 if it cannot be done; 3 if it was done but for jobs that failed; 130 or
143 if it was stopped.
"""

from __future__ import annotations

import sys

from tfrobust.cli import flags, program
from trainers.reproduction.options import PAPERS, ReproduceConfig


def main() -> None:
    """Checks the flags first, then plans and works."""
    config = flags.read(ReproduceConfig)
    # NumPy and the suites are slow to import; what flags refuse has been refused.
    from trainers.reproduction import plan, run
    from trainers.reproduction.budget import BUDGETS
    from trainers.reproduction.catalog import CATALOG
    from trainers.reproduction.children import Stopped

    names = PAPERS if config.paper == "all" else (config.paper,)
    where = plan.Where(config.cifar10, str(config.data) if config.data_dir else "")
    try:
        run.reproduce(
            [CATALOG[name] for name in names],
            BUDGETS[config.budget],
            where,
            config.folder,
            overwrite=config.overwrite,
            dry_run=config.dry_run,
        )
    except Stopped as signal:
        print(f"stopped by {signal}; the same command goes on.", file=sys.stderr)
        sys.exit(128 + signal.number)


def start() -> None:
    """Runs the program with the command line's flags."""
    flags.define(ReproduceConfig)
    program.run(main, lambda: flags.grouped_help(__doc__))


if __name__ == "__main__":
    start()
