"""What a run was trained and tested on: `data.json` in its folder.

It has the names of the classes, and a digest of each split, by which a later evaluation
knows that its test images are those of the run and that none was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfrobust import data
from tfrobust.cli import dataset_names
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import RunFolder, write_json


def describe(name: str, splits: Mapping[str, data.Dataset]) -> dict[str, Any]:
    """The content of `data.json`.

    Args:
        name: Value of `--dataset`.
        splits: Each whole, by name.

    Returns:
        `dataset`, `image_shape`, `class_names` and `splits`: of each how many `images`,
        its `sha256` (`Dataset.digest`) and, of a folder's test images, the `files`.

    Example:
        >>> record = describe("shapes", {"test": data.load("shapes", "test")})
        >>> record["image_shape"], record["splits"]["test"]["images"]
        ([32, 32, 3], 2000)
    """
    whole = next(iter(splits.values()))
    about: dict[str, dict[str, Any]] = {
        split: {"images": len(part), "sha256": part.digest()}
        for split, part in splits.items()
    }
    if files := data.files_of(name, "test"):
        about["test"]["files"] = list(files)
    return {
        "dataset": name,
        "image_shape": list(whole.image_shape),
        "class_names": list(whole.class_names),
        "splits": about,
    }


def write(run: RunFolder, record: Mapping[str, Any]) -> None:
    """Writes what `describe` returned into a run's folder."""
    write_json(run.data, dict(record))


def read(run: RunFolder | None) -> dict[str, Any]:
    """What a run says of its data; empty if it does not."""
    if run is None:
        return {}
    try:
        content = json.loads(run.data.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def check_resumed(run: RunFolder, record: Mapping[str, Any]) -> None:
    """Raises `UsageError` if a run would go on with other images than it began with.

    Args:
        run: That goes on. One without a record may.
        record: Of the data that there is now.
    """
    before = read(run)
    if before and before != record:
        raise UsageError(
            f"--resume needs the images that the run in {run.path} began with, but "
            f"those of --dataset={record['dataset']} have changed since."
        )


def check_tested(run: RunFolder | None, name: str, test: data.Dataset) -> None:
    """Raises `UsageError` if test images are not those of a run on the same data set.

    Other ones may be among the images that it was trained on. What lies at another
    path, or has another name, is another data set, and passes.

    Args:
        run: That a model comes from, if it is known.
        name: Value of `--dataset`.
        test: All test images.
    """
    record = read(run)
    if run is None or not _is_same(str(record.get("dataset", "")), name):
        return
    before = record.get("splits", {}).get("test", {}).get("sha256")
    if before and before != test.digest():
        raise UsageError(
            f"--dataset={name} has other test images than the run in {run.path} was "
            f"tested on, some of which it may have been trained on: it had "
            f"--dataset={record['dataset']}, with the test images of {run.data}."
        )


def _is_same(one: str, other: str) -> bool:
    """Whether two names are of the same data set, in whatever settings."""
    paths = [dataset_names.path_of(name) for name in (one, other)]
    if None in paths:
        return one == other
    first, second = (path.resolve() for path in paths if path is not None)
    return first == second
