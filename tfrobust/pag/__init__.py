"""Directions that input-gradients should have, one for each class.

Example:
    >>> import numpy as np
    >>> from tfrobust import pag, penalties
    >>> images = np.random.default_rng(0).random((6, 4, 4, 1), np.float32)
    >>> means = pag.ClassMean(images, labels=[0, 1, 2, 0, 1, 2], classes=3)
    >>> penalties.GradientAlignment(means, weight=0.4).name
    'alignment_penalty'
"""

from tfrobust.pag.base import Directions
from tfrobust.pag.distillation import (
    CachedDirections,
    cache_directions,
    cache_size,
    cached_rows,
    is_cache_complete,
)
from tfrobust.pag.registry import build, goal, names, register, settings
from tfrobust.pag.representatives import (
    ClassMean,
    Cluster,
    NearestNeighbor,
    OneImage,
)
from tfrobust.pag.stored import StoredDirections
from tfrobust.pag.teacher import Teacher

__all__ = [
    "CachedDirections",
    "ClassMean",
    "Cluster",
    "Directions",
    "NearestNeighbor",
    "OneImage",
    "StoredDirections",
    "Teacher",
    "build",
    "cache_directions",
    "cache_size",
    "cached_rows",
    "goal",
    "is_cache_complete",
    "names",
    "register",
    "settings",
]
