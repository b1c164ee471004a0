"""Names of data sets that are files of one's own: `folder:PATH` and `npz:FILE`.

Settings follow a second colon: `folder:photos:size=64,test=0.1`. All that an image
depends on stands in the name, so that a name says the same to every program.
"""

from __future__ import annotations

import dataclasses
import fractions
import math
import pathlib
import re
from collections.abc import Callable
from typing import Any

FOLDER, NPZ = "folder", "npz"
KINDS = (FOLDER, NPZ)

_TEST, _SEED = 0.2, 0
# A path may have colons of its own: only settings at the very end are settings.
_FORM = re.compile(
    r"(?P<kind>folder|npz):(?P<path>.+?)(?P<settings>:\w+=[^,=:]*(,\w+=[^,=:]*)*)?",
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Source:
    """Files of one's own and how they become a data set.

    Args:
        kind: "folder" or "npz".
        path: The folder of class folders, or the `.npz` file.
        test: Share of the images of each class that are test images, above 0 and below
            1, where the files do not say which these are; `None` by default, which is
            0.2.
        seed: Which images these are, not negative; `None` by default, which is 0.
        size: `(height, width)` that images are brought to; `None`: that they have.
        channels: 1 for grey, 3 for RGB; `None`: those that the images have.
        crop: Whether the largest centred part with the shape of `size` is taken out of
            an image, and not the whole image stretched.
        classes: How many classes there are in a folder whose images have the number of
            their class in their name; `None`: the classes are its folders.

    Example:
        >>> source = parse("folder:photos:size=48x64,test=1/10")
        >>> source.path.name, source.size, source.test_share
        ('photos', (48, 64), 0.1)
    """

    kind: str
    path: pathlib.Path
    test: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    channels: int | None = None
    crop: bool = False
    classes: int | None = None

    @property
    def test_share(self) -> float:
        """Share of test images."""
        return _TEST if self.test is None else self.test

    @property
    def split_seed(self) -> int:
        """Seed of the split."""
        return _SEED if self.seed is None else self.seed


def is_source(name: str) -> bool:
    """Whether a name is that of files of one's own, well formed or not.

    Example:
        >>> is_source("folder:photos"), is_source("npz"), is_source("cifar10:3.0.2")
        (True, True, False)
    """
    return name.partition(":")[0] in KINDS


def parse(name: str) -> Source:
    """Reads `folder:PATH` or `npz:FILE`, with or without settings.

    Args:
        name: The whole name. Settings of a folder are `test`, `seed`, `size` (`64`, or
            `48x64` for height x width), `channels` (1 or 3), `crop` (true or false) and
            `classes` (how many, where images are numbered and not in class folders);
            those of a file `test` and `seed`.

    Returns:
        The source. Whether its path exists is not looked at.

    Raises:
        ValueError: If the name is malformed, or a setting is unknown or out of range.

    Example:
        >>> parse("npz:digits.npz:seed=3").seed
        3
    """
    form = _FORM.fullmatch(name)
    if form is None:
        kind = name.partition(":")[0]
        raise refusal(
            f"be {kind}:PATH, or {kind}:PATH:setting=value,... with settings", name
        )
    readers = _READERS[form["kind"]]
    given: dict[str, Any] = {}
    pairs = [pair.partition("=") for pair in (form["settings"] or ":")[1:].split(",")]
    for setting, _, text in pairs if form["settings"] else ():
        if setting not in readers or setting in given:
            allowed = ", ".join(readers)
            raise refusal(f"have settings among {allowed}, each once", name)
        read, words = readers[setting]
        try:
            given[setting] = read(text)
        except (ValueError, ZeroDivisionError):
            raise refusal(f"have a `{setting}` that is {words}", name) from None
    path = pathlib.Path(form["path"]).expanduser()
    return Source(form["kind"], path, **given)


def refusal(must: str, received: object) -> ValueError:
    """The error of a data set that cannot be used, in one sentence.

    Args:
        must: What its name must do or be.
        received: What it does or is.

    Example:
        >>> print(refusal("be short", "a long one"))
        `name` must be short. Received: a long one
    """
    return ValueError(f"`name` must {must}. Received: {received}")


def _share(text: str) -> float:
    share = float(fractions.Fraction(text))
    if not 0 < share < 1:
        raise ValueError(text)
    return share


def _seed(text: str) -> int:
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def _size(text: str) -> tuple[int, int]:
    sides = [int(side) for side in text.split("x")]
    height, width = sides * (3 - len(sides))
    if min(height, width) < 1:
        raise ValueError(text)
    return height, width


def _channels(text: str) -> int:
    return {"1": 1, "3": 3}[text] if text in ("1", "3") else int("")


def _classes(text: str) -> int:
    if int(text) < 2:
        raise ValueError(text)
    return int(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


_Readers = dict[str, tuple[Callable[[str], Any], str]]
_SPLIT: _Readers = {
    "test": (_share, "a share of the images, above 0 and below 1"),
    "seed": (_seed, "an integer of at least 0"),
}
_READERS: dict[str, _Readers] = {
    NPZ: _SPLIT,
    FOLDER: _SPLIT
    | {
        "size": (_size, "64, or 48x64 for height x width"),
        "channels": (_channels, "1 or 3"),
        "crop": (_truth, "true or false"),
        "classes": (_classes, "an integer of at least 2"),
    },
}


def test_count(images: int, share: float) -> int:
    """How many of the images of a class are test images: at least one, and not all.

    Args:
        images: Of the class, at least 2.
        share: Above 0 and below 1; a half is rounded up.

    Example:
        >>> test_count(10, 0.25), test_count(2, 0.01), test_count(2, 0.99)
        (3, 1, 1)
    """
    return min(max(math.floor(images * share + 0.5), 1), images - 1)
