"""Which images are test images, where nothing says so: by class, by seed, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from tfrobust.data.source import test_count


def shuffled(keys: Sequence[str], seed: int) -> np.ndarray:
    """An order that depends on nothing but the seed and each key by itself.

    Keys are sorted by SHA-256 of the seed and the key, so two keys keep their order
    when others come or go.

    Args:
        keys: N different texts.
        seed: Not negative.

    Returns:
        int64 `(N,)`, the positions of the keys in that order.

    Example:
        >>> shuffled(["a", "b", "c"], seed=0).tolist()
        [2, 1, 0]
    """
    ranks = [hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in keys]
    return np.array(sorted(range(len(keys)), key=ranks.__getitem__), np.int64)


def split(
    keys: Sequence[str], labels: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Train and test images, alike in every class.

    Of each class the first `test_count` in the order of `shuffled` are test images. An
    image that is added later moves at most one other in its class.

    Args:
        keys: N different texts, one for each image.
        labels: Integers `(N,)`; each that occurs must do so twice at least.
        share: Of the test images, above 0 and below 1.
        seed: Not negative.

    Returns:
        `(train, test)`: positions, int64, each in the order of `shuffled`.

    Example:
        >>> import numpy as np
        >>> train, test = split(list("abcdef"), np.array([0, 0, 0, 1, 1, 1]), 0.3, 0)
        >>> len(train), len(test)
        (4, 2)
    """
    order = shuffled(keys, seed)
    is_test = np.zeros(len(keys), bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        is_test[members[: test_count(len(members), share)]] = True
    return order[~is_test[order]], order[is_test[order]]
