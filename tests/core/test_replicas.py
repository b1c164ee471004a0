"""Replicas share the rows of a batch, in order; alone nothing is shared."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.core.shared_rows import COUNTS
from tests.processes import run_program
from tfrobust.core.graphs import GraphCache
from tfrobust.core.replicas import graph_of_rows, sharing_strategy

PROGRAM = Path(__file__).with_name("shared_rows.py")
# Of seven rows each of three replicas takes three: the last has one, and two copies.
PLACES = {1: [0], 2: [0, 1], 3: [0, 1, 2], 7: [0, 0, 0, 1, 1, 1, 2]}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """What three replicas made of their rows."""
    out = tmp_path_factory.mktemp("shared") / "found.npz"
    run_program(PROGRAM, out, seconds=200)
    return np.load(out)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", COUNTS)
def test_rows_are_shared_in_order(shared, count):
    """Every row once, in its place, whether or not replicas have equally many."""
    rows = np.arange(2.0 * count).reshape(count, 2)
    np.testing.assert_array_equal(shared[f"{count}/rows"], rows**2)
    np.testing.assert_array_equal(shared[f"{count}/numbers"], np.arange(count))
    np.testing.assert_array_equal(shared[f"{count}/places"], PLACES[count])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", COUNTS)
def test_a_gradient_through_the_replicas_counts_no_copy(shared, count):
    """The last row is repeated to fill up, and its slope is not."""
    rows = np.arange(2.0 * count).reshape(count, 2)
    np.testing.assert_array_equal(shared[f"{count}/slopes"], 2.0 * rows)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_must_stay_on_one_device_does(shared):
    """A graph that says so, and a Python function, which gets all images at once."""
    for count in COUNTS:
        np.testing.assert_array_equal(shared[f"{count}/alone"], np.full(count, -1))
    assert shared["asked"] == 5


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_only_the_scope_shares(shared):
    """Outside of it a network with a copy for each replica is used on one device."""
    assert shared["outside"] and shared["inside"]


def test_one_replica_shares_nothing():
    """Its graph is that of no strategy."""
    spec = tf.TensorSpec([None], tf.float32)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert sharing_strategy() is None
        graph = graph_of_rows(lambda rows: 2.0 * rows, spec)
    assert [op.type for op in graph.graph.get_operations()].count("Mul") == 1
    assert graph(tf.constant([1.0, 3.0])).numpy().tolist() == [2.0, 6.0]


def test_a_graph_is_not_taken_from_another_scope(monkeypatch):
    """One traced for replicas holds their devices, and one traced without does not."""
    cache, made = GraphCache(), []

    def model():
        """Something that can be referred to weakly."""

    def trace(reference):
        made.append(reference())
        return len(made)

    assert cache.get(model, "key", trace) == 1
    monkeypatch.setattr("tfrobust.core.graphs.sharing_strategy", lambda: "two")
    assert cache.get(model, "key", trace) == 2
    monkeypatch.undo()
    assert cache.get(model, "key", trace) == 1
