"""Command-line programs that train and evaluate; they hold no mathematics."""

import pathlib

from tfrobust.cli import flagfiles

flagfiles.add_folder(pathlib.Path(__file__).parent / "flags")
