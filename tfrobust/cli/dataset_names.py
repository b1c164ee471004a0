"""Names of data sets as text: what programs do with them before TensorFlow is there.

`tfrobust.data.source` reads what stands in the name of one's own files.
"""

from __future__ import annotations

import pathlib
import re

from tfrobust.cli.program import UsageError

_SIZE = re.compile(r"\d*[1-9]\d*(x\d*[1-9]\d*)?")
# Settings stand behind the last colon; a path may have colons of its own.
_SETTINGS = re.compile(r":\w+=[^,=:]*(,\w+=[^,=:]*)*$")
_OWN = re.compile(r"(folder|npz):(?=.)")


def with_size(name: str, image_size: str) -> str:
    """A data set with its images brought to a size, as `--image_size` says.

    Args:
        name: Value of `--dataset`.
        image_size: `64`, or `48x64` for height x width; empty: as they are.

    Returns:
        The name with a setting `size`.

    Raises:
        UsageError: If the data set is no folder of images, has a size already, or the
            size is malformed.

    Example:
        >>> with_size("folder:photos", "64"), with_size("folder:a:test=0.1", "48x64")
        ('folder:photos:size=64', 'folder:a:test=0.1,size=48x64')
    """
    if not image_size:
        return name
    if not _SIZE.fullmatch(image_size):
        raise UsageError(
            f"--image_size={image_size} must be a number of pixels such as 64, or "
            "48x64 for height x width."
        )
    settings = _SETTINGS.search(name)
    if not name.startswith("folder:"):
        raise UsageError(
            "--image_size needs a --dataset=folder:PATH, whose images are brought to "
            f"it. Received: --dataset={name}"
        )
    if settings and re.search(r"[:,]size=", settings[0]):
        raise UsageError(
            f"--image_size={image_size} and --dataset={name} both give a size."
        )
    return f"{name}{',' if settings else ':'}size={image_size}"


def is_own(name: str) -> bool:
    """Whether a name is that of files of one's own.

    Example:
        >>> is_own("folder:photos"), is_own("cifar10")
        (True, False)
    """
    return bool(_OWN.match(name))


def path_of(name: str) -> pathlib.Path | None:
    """Where files of one's own lie; `None` of another data set.

    Example:
        >>> str(path_of("npz:arrays/digits.npz:seed=1"))
        'arrays/digits.npz'
    """
    if not is_own(name):
        return None
    return pathlib.Path(_SETTINGS.sub("", _OWN.sub("", name, count=1))).expanduser()


def short_name(name: str) -> str:
    """A name without a path: that of the folder or file, or the name itself.

    For folders that are made, and for what is shown to others.

    Example:
        >>> short_name("folder:/home/me/photos:size=64"), short_name("cifar10")
        ('photos', 'cifar10')
    """
    path = path_of(name)
    if path is None:
        return name
    # Of `.` and `..` too there is a last part.
    return path.resolve().name.removesuffix(".npz") or "data"
