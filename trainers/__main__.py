"""The command `tfrobust`: every program under one name, from any folder."""

from __future__ import annotations

import importlib
import sys

import tfrobust
from tfrobust.cli import program

# What each word runs, and what `tfrobust --help` says of it.
_COMMANDS = {
    "train": ("trainers.cifar", "train an image classifier and export it"),
    "evaluate": (
        "trainers.evaluate",
        "measure models side by side, clean and attacked",
    ),
    "export": ("export.__main__", "write a model as a SavedModel for TF Serving"),
    "compare": (
        "trainers.compare",
        "put models side by side: accuracy, beta, gamma, time",
    ),
    "reproduce": (
        "trainers.reproduce",
        "repeat the four papers: train, measure, put tables beside ours",
    ),
    "toy": ("trainers.toy", "experiments in the plane, small enough to be seen whole"),
    "quickstart": ("trainers.quickstart", "all of it on a small scale, in minutes"),
    "doctor": ("trainers.doctor", "look at this machine: what works, what is missing"),
}


def main() -> None:
    """Runs the program that the first word names, with the rest of the command line."""
    word, *rest = sys.argv[1:] or ["--help"]
    if word in ("--help", "-h", "help"):
        print(_usage())
    elif word == "--version":
        print(f"tfrobust {tfrobust.__version__}")
    elif word in _COMMANDS:
        sys.argv = [f"tfrobust {word}", *rest]
        importlib.import_module(_COMMANDS[word][0]).start()
    else:
        program.fail(
            f"tfrobust has no command {word!r}; it has {', '.join(_COMMANDS)}."
        )


def _usage() -> str:
    width = max(map(len, _COMMANDS))
    commands = [f"  {word:<{width}}  {text}" for word, (_, text) in _COMMANDS.items()]
    return "\n".join(
        [
            f"tfrobust {tfrobust.__version__}: robust image classifiers",
            "",
            *commands,
            "",
            "  tfrobust COMMAND --help explains every flag of a command, as in",
            "  tfrobust train --flagfile=lcnn_cifar10 --flagfile=cpu --dry_run",
        ]
    )


if __name__ == "__main__":
    main()
