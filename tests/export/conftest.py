"""A run whose model is exported."""

import json

import pytest

from tests.export.cards import FLAGS, SUMMARY


@pytest.fixture
def run(tmp_path):
    """A finished run; the model itself is not looked at."""
    folder = tmp_path / "lcnn"
    folder.mkdir()
    (folder / "run.flags").write_text(FLAGS)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    (folder / "model.keras").touch()
    return folder
