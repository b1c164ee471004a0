"""Records, networks and results that nobody measured, for tests."""

from collections.abc import Mapping

from tfrobust.cli.records import Record, Records
from tfrobust.core.estimates import Estimate
from trainers.reproduction.results import Flag, Measured, Network, Results, Summary


def record(model, quantity, mean, error=float("nan"), **setting):
    """Over 100 images."""
    return Record(model, quantity, setting, 100, Estimate(mean, error))


def network(*records, flags=None, summary=None):
    return Network(flags or {}, summary or {}, Records(records))


def of_paper(paper):
    """Results that are the paper's own numbers, as its tables print them.

    Where two tables print different numbers of one thing, the first counts.
    """
    records: dict[str, dict[tuple, Record]] = {}
    flags: dict[str, dict[str, str]] = {}
    summaries: dict[str, dict[str, float]] = {}
    for table in paper.tables:
        for row in table.rows:
            for cell in row.cells:
                source = cell.ours
                if not cell.theirs:
                    continue
                if isinstance(source, Measured):
                    made = _as_record(source, cell.theirs)
                    key = (source.quantity, tuple(sorted(_plain(source.setting))))
                    records.setdefault(source.network, {}).setdefault(key, made)
                elif isinstance(source, Flag):
                    flags.setdefault(source.network, {})[source.flag] = cell.theirs
                elif isinstance(source, Summary):
                    of_network = summaries.setdefault(source.network, {})
                    of_network[source.key] = cell.theirs_value
    names = {*records, *flags, *summaries}
    return Results(
        {
            name: [
                network(
                    *records.get(name, {}).values(),
                    flags=flags.get(name),
                    summary=summaries.get(name),
                )
            ]
            for name in names
        }
    )


def _as_record(source, theirs):
    mean, _, error = theirs.partition(" +- ")
    return record(
        source.network,
        source.quantity,
        float(mean) / source.factor,
        float(error or "nan") / source.factor,
        **source.setting,
    )


def _plain(setting: Mapping):
    return [(name, str(value)) for name, value in setting.items()]
