"""Exports a Keras model for serving.

python -m export --model=run/model.keras --out=served/NAME

Writes served/NAME/1, or the next free number. A mistake in the arguments ends with exit
code 2 and one sentence.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags

from export.saved_model import export_saved_model, versions

_MODEL = flags.DEFINE_string("model", None, "The `.keras` file to export.")
_OUT = flags.DEFINE_string(
    "out", None, "Folder that holds the versions; its name is the served name."
)
_CLASS_NAMES = flags.DEFINE_list(
    "class_names", None, "Names of the classes in order, separated by commas."
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Remove the older versions once the new one is in place. Without it they stay, "
    "and a server can go back to them.",
)

_SNIPPET = """\
import tensorflow as tf
model = tf.saved_model.load({folder!r})
answer = model.signatures["serving_default"](images=tf.zeros({shape}))\
"""


def _remove_older(version: Path) -> None:
    """Delete the exported versions below `version`, and nothing else."""
    for number in versions(version.parent):
        older = version.parent / str(number)
        if number < int(version.name) and (older / "saved_model.pb").is_file():
            shutil.rmtree(older)


def _snippet(version: Path) -> str:
    """Three lines that query the model."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))
    signature = loaded.signatures["serving_default"].structured_input_signature
    shape = signature[1]["images"].shape
    # A free size stands for any; 32 is as good as another.
    sides = [1, *(side or 32 for side in shape[1:])]
    return _SNIPPET.format(folder=str(version), shape=sides)


def main(argv: Sequence[str]) -> None:
    """Export what the flags say."""
    if len(argv) > 1:
        _fail(f"arguments are given as --flags. Received: {argv[1]!r}")
    model, out = _given(_MODEL), _given(_OUT)
    try:
        version = export_saved_model(model, out, _CLASS_NAMES.value)
    except (ValueError, OSError) as error:
        _fail(str(error))
    if _OVERWRITE.value:
        _remove_older(version)
    print(f"Wrote {version}. Query it with:\n\n{_snippet(version)}")


def _given(flag: flags.FlagHolder[str | None]) -> str:
    """The value of a flag that has to be there."""
    value = flag.value
    if value is None or not value.strip():
        _fail(f"`--{flag.name}` must be given and not be empty.")
    return value


def _parse(argv: Sequence[str]) -> list[str]:
    """Parse the flags; a mistake is one sentence and not a page of usage."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    print(f"export: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
