"""The split by class and seed: exact shares, no overlap, the same for ever."""

import hashlib

import numpy as np
import pytest

from tfrobust.data.split import shuffled, split

KEYS = [f"{name}/{number}" for name, n in (("a", 7), ("b", 20)) for number in range(n)]
LABELS = np.array([0] * 7 + [1] * 20)


def test_the_order_is_that_of_the_digests():
    """Worked out one key at a time."""
    digests = {k: hashlib.sha256(b"5/" + k.encode()).hexdigest() for k in KEYS}
    expected = sorted(KEYS, key=digests.__getitem__)
    assert [KEYS[place] for place in shuffled(KEYS, 5)] == expected


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_every_class_is_shared_alike(share):
    train, test = split(KEYS, LABELS, share, seed=3)
    assert sorted([*train, *test]) == list(range(len(KEYS)))
    assert np.bincount(LABELS[test]).tolist() == [round(7 * share), round(20 * share)]


def test_the_seed_decides_and_nothing_else():
    """Neither how the keys came, nor which others there are, but for one a class."""
    first, again = split(KEYS, LABELS, 0.3, 1)[1], split(KEYS, LABELS, 0.3, 1)[1]
    assert first.tolist() == again.tolist()
    assert set(first) != set(split(KEYS, LABELS, 0.3, 2)[1])
    back = split(KEYS[::-1], LABELS[::-1], 0.3, 1)[1]
    assert [KEYS[::-1][i] for i in back] == [KEYS[i] for i in first]
    more = split([*KEYS, "a/new"], np.append(LABELS, 0), 0.3, 1)[1]
    moved = {KEYS[i] for i in first} - {[*KEYS, "a/new"][i] for i in more}
    assert len(moved) <= 1


def test_the_parts_are_mixed_over_classes():
    """The first of them are not all of one class."""
    train, _ = split(KEYS, LABELS, 0.2, 0)
    assert set(LABELS[train[:8]]) == {0, 1}
