"""What a run was trained and tested on: `data.json` in its folder.

It has the names of the classes, and a digest of each split, by which a later evaluation
knows that its test images are those of the run and that none was trained on.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tfrobust import data
from tfrobust.cli import dataset_names
from tfrobust.cli.program import UsageError
from tfrobust.cli.run_folder import RunFolder, run_around, write_json


def describe(name: str, splits: Mapping[str, data.Dataset]) -> dict[str, Any]:
    """The content of `data.json`.

    Args:
        name: Value of `--dataset`.
        splits: Each whole, by name.

    Returns:
        `dataset`; `path`, where it lies, of one's own files; `image_shape`,
        `class_names` and `splits`: of each how many `images`, its `sha256`
        (`Dataset.digest`) and, of a folder's test images, the `files`.

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
    path = dataset_names.path_of(name)
    return {
        "dataset": name,
        "path": None if path is None else str(path.resolve()),
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
    if before and before.get("splits") != record["splits"]:
        raise UsageError(
            f"--resume needs the images that the run in {run.path} began with, but "
            f"those of --dataset={record['dataset']} have changed since."
        )


def check_tested(source: pathlib.Path, name: str, test: data.Dataset) -> None:
    """Raises `UsageError` if test images are not those that a model's run had.

    Other ones may be among the images that it was trained on. What has another name
    and lies at another path is another data set, and passes.

    Args:
        source: The model's file or folder, perhaps in a run; a network that is shipped
            is in none.
        name: Value of `--dataset`.
        test: All test images.
    """
    run = run_around(source) if source.exists() else None
    record = read(run)
    if run is None or not _is_same(record, name):
        return
    before = record.get("splits", {}).get("test", {}).get("sha256")
    if before and before != test.digest():
        raise UsageError(
            f"--dataset={name} has other test images than the run in {run.path} was "
            f"tested on, some of which it may have been trained on: it had "
            f"--dataset={record['dataset']}, with the test images of {run.data}."
        )


def _is_same(record: Mapping[str, Any], name: str) -> bool:
    """Whether a name is of the data set of a record, in whatever settings."""
    path = dataset_names.path_of(name)
    if path is None:
        return record.get("dataset") == name
    before = dataset_names.path_of(str(record.get("dataset", "")))
    return path == before or str(path.resolve()) == record.get("path")
