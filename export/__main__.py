"""Exports a Keras model for serving.

python -m export --model=run/model.keras --out=served/NAME

Writes served/NAME/1, or the next free number: nothing that exists is replaced, and a
server can go back to an older version. A mistake in the arguments ends with exit
code 2 and one sentence.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from export.saved_model import export_saved_model
from trainers import program

_MODEL = flags.DEFINE_string("model", None, "The `.keras` file to export.")
_OUT = flags.DEFINE_string(
    "out", None, "Folder that holds the versions; its name is the served name."
)
_CLASS_NAMES = flags.DEFINE_list(
    "class_names", None, "Names of the classes in order, separated by commas."
)
_SNIPPET = """\
import tensorflow as tf
model = tf.saved_model.load({folder!r})
answer = model.signatures["serving_default"](images=tf.zeros({shape}))\
"""


def _snippet(version: Path) -> str:
    """Three lines that query the model."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))
    signature = loaded.signatures["serving_default"].structured_input_signature
    shape = signature[1]["images"].shape
    # A free size stands for any; 32 is as good as another.
    sides = [1, *(side or 32 for side in shape[1:])]
    return _SNIPPET.format(folder=str(version), shape=sides)


def main() -> None:
    """Export what the flags say."""
    model, out = _given(_MODEL), _given(_OUT)
    try:
        version = export_saved_model(model, out, _CLASS_NAMES.value)
    except (ValueError, OSError) as error:
        raise program.UsageError(str(error)) from error
    print(f"Wrote {version}. Query it with:\n\n{_snippet(version)}")


def _given(flag: flags.FlagHolder[str | None]) -> str:
    """The value of a flag that has to be there."""
    value = flag.value
    if value is None or not value.strip():
        raise program.UsageError(f"`--{flag.name}` must be given and not be empty.")
    return value


def _help() -> str:
    return f"{__doc__}\n{flags.FLAGS.main_module_help()}"


if __name__ == "__main__":
    program.run(main, _help)
