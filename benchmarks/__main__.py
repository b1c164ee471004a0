"""Runs benchmarks, keeps what they measured and compares it with earlier results.

    python -m benchmarks --list
    python -m benchmarks                       # all that can run here, `make bench`
    python -m benchmarks fit pgd --quick       # some, to see them run
    python -m benchmarks --compare=runs/before # then and now
    python -m benchmarks --show --compare=runs/before   # without running any

Each writes NAME.json in `--out`, where summary.md is the table that is printed at the
end. One that lacks its peer, its data or a compiler is skipped and listed with the
reason; one that fails does not stop the others, and the program then ends with exit
code 3. One by itself takes more options: `python -m benchmarks.fit --help`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import kept, runner
from tfrobust.cli import program
from tfrobust.core.files import replacing

_HERE = Path(__file__).parent


def main(argv: Sequence[str] | None = None, folder: Path = _HERE) -> None:
    """Does what the command line asks for.

    Args:
        argv: The command line; `None` for the program's own.
        folder: Package of the benchmarks, which Python finds by the folder's name.
    """
    arguments = _parse(argv)
    try:
        benchmarks = runner.choose(runner.find(folder), arguments.names)
        # Read first: it may be the folder that is written to.
        then = kept.read_all(arguments.compare) if arguments.compare else {}
        if arguments.list:
            _list(benchmarks)
        elif arguments.show:
            now = kept.read_all(arguments.out)
            print(_page(_named(now, arguments), [], _named(then, arguments), arguments))
        else:
            _run(benchmarks, _named(then, arguments), arguments)
    except (OSError, ValueError) as error:
        program.fail(str(error))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", help="which; all of them by default")
    parser.add_argument("--list", action="store_true", help="name them and run none")
    parser.add_argument("--show", action="store_true", help="what lies in --out")
    parser.add_argument("--quick", action="store_true", help="to see them run")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--compare", type=Path, help="folder of earlier results")
    return parser.parse_args(argv)


def _list(benchmarks: Sequence[runner.Benchmark]) -> None:
    width = max(len(benchmark.name) for benchmark in benchmarks)
    for benchmark in benchmarks:
        print(f"{benchmark.name:<{width}}  {benchmark.claim}")


def _run(
    benchmarks: Sequence[runner.Benchmark],
    then: dict[str, kept.Content],
    arguments: argparse.Namespace,
) -> None:
    """One after another, with a summary of these at the end."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    more = ["--quick"] if arguments.quick else []
    outcomes = []
    for benchmark in benchmarks:
        outcomes.append(runner.run(benchmark, arguments.out, more))
        print(flush=True)
    now = {
        outcome.benchmark.name: outcome.content
        for outcome in outcomes
        if outcome.content is not None
    }
    page = _page(now, outcomes, then, arguments)
    with replacing(arguments.out / "summary.md") as partial:
        partial.write_text(page + "\n", encoding="utf-8")
    print(page)
    failed = [each.benchmark.name for each in outcomes if each.state == runner.FAILED]
    if failed:
        count = f"{len(failed)} of {len(outcomes)} benchmarks"
        program.fail(f"{count}: {', '.join(failed)}", code=3, word="failed")


def _page(
    now: dict[str, kept.Content],
    outcomes: Sequence[runner.Outcome],
    then: dict[str, kept.Content],
    arguments: argparse.Namespace,
) -> str:
    """The summary, what is not in it, and the comparison that was asked for."""
    parts = ["# Benchmarks", kept.summary(now)]
    for state in (runner.SKIPPED, runner.FAILED):
        lines = [
            f"- {outcome.benchmark.name}: {outcome.reason}"
            for outcome in outcomes
            if outcome.state == state
        ]
        if lines:
            parts += [f"{state.capitalize()}:", "\n".join(lines)]
    if arguments.compare:
        title = f"Then ({arguments.compare}) and now:"
        parts += [title, kept.comparison(then, now)]
    return "\n\n".join(parts)


def _named(
    results: dict[str, kept.Content], arguments: argparse.Namespace
) -> dict[str, kept.Content]:
    """Those of the benchmarks that were asked for."""
    wanted = arguments.names or list(results)
    return {name: content for name, content in results.items() if name in wanted}


if __name__ == "__main__":
    main()
