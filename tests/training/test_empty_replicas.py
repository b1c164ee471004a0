"""Batches that do not divide by the replicas, down to replicas without an image."""

import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import uneven_run
from tests.training.test_distribute import SECONDS, finish, start
from tests.training.uneven_run import CASES, MOMENTUM
from tfrobust import layers
from tfrobust.training.batches import unpack
from tfrobust.training.empty_replicas import (
    Presence,
    _left_out_of_sums,
    _own_statistics,
)

PROGRAM = Path(uneven_run.__file__)
# Statistics of each replica's own images, which one device cannot have.
OWN_STATISTICS = ("keras-norm", "our-norm", "fit-norm")
# The rows that the replicas get, batch by batch: 4, 4 and 1 of 9 over two replicas.
ROWS = (
    ((0, 1), (2, 3)),
    ((4, 5), (6, 7)),
    ((8,), ()),
)
SEVERAL = types.SimpleNamespace(num_replicas_in_sync=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What every case leaves, by the number of replicas that it has."""
    folder = tmp_path_factory.mktemp("uneven")
    paths = {replicas: folder / f"{replicas}.npz" for replicas in (2, 3)}
    finish(
        *[start(path, replicas, program=PROGRAM) for replicas, path in paths.items()]
    )
    return {replicas: np.load(path) for replicas, path in paths.items()}


def found(run, case, prefix, replicas=None):
    """`{name: value}` of a case."""
    several = CASES[case].replicas
    prefix = f"{case}/{replicas or several}/{prefix}"
    arrays = run[several]
    named = {
        name.removeprefix(prefix): arrays[name]
        for name in arrays.files
        if name.startswith(prefix)
    }
    assert named
    return named


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("case", [name for name in CASES if name not in OWN_STATISTICS])
def test_uneven_batches_are_those_of_one_device(run, case):
    """Weights, state of the layers, and all that `fit` and `evaluate` report."""
    kinds = ["0/"] if CASES[case].keras_fit else ["0/", "history/", "evaluate/"]
    for kind in kinds:
        one = found(run, case, kind, 1)
        several = found(run, case, kind)
        assert list(one.values())
        for (name, value), other in zip(one.items(), several.values(), strict=True):
            scale = max(np.max(np.abs(value)), 1e-30)
            np.testing.assert_allclose(
                other, value, rtol=1e-5, atol=1e-5 * scale, err_msg=name
            )
    for replica in range(1, CASES[case].replicas):
        same = found(run, case, f"{replica}/")
        for name, value in found(run, case, "0/").items():
            np.testing.assert_array_equal(same[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("case", CASES)
def test_nothing_becomes_nan(run, case):
    """Weights, statistics and reports, with Keras's own loop and with ours."""
    for name in run[CASES[case].replicas].files:
        if name.startswith(f"{case}/"):
            assert np.all(np.isfinite(run[CASES[case].replicas][name])), name


def moments(rows):
    images = uneven_run.examples()[0][list(rows)].astype("float64")
    return images.mean((0, 1, 2)), images.var((0, 1, 2))


def recorded(batches):
    """Moving statistics after the epochs, of mean and variance by batch."""
    statistics = [np.zeros(2), np.ones(2)]
    for batch in batches * uneven_run.EPOCHS:
        statistics = [
            MOMENTUM * kept + (1 - MOMENTUM) * new
            for kept, new in zip(statistics, batch, strict=True)
        ]
    return statistics


def check_statistics(run, case, replica, expected):
    values = found(run, case, f"{replica}/norm/moving_")
    for name, value in zip(("mean", "variance"), expected, strict=True):
        np.testing.assert_allclose(values[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("replica", [0, 1])
def test_statistics_of_kerass_norm_are_of_a_replicas_own_images(run, replica):
    """In float64 by hand; where there is no image, what was before."""
    batches = [moments(rows[replica]) for rows in ROWS if rows[replica]]
    check_statistics(run, "keras-norm", replica, recorded(batches))


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("replica", [0, 1])
@pytest.mark.parametrize("case", ["our-norm", "fit-norm"])
def test_statistics_of_our_norm_are_means_by_examples(run, case, replica):
    """In float64 by hand, in the loop of the library and in Keras's."""
    batches = []
    for rows in ROWS:
        sizes = [len(own) for own in rows if own]
        each = [moments(own) for own in rows if own]
        batches.append(np.average(each, axis=0, weights=sizes))
    check_statistics(run, case, replica, recorded(batches))


def a_batch(count, **parts):
    images = tf.fill([count, 2, 2, 1], 64.0)
    labels = tf.fill([count], 2)
    return unpack((images, labels), (0.0, 255.0))._replace(**parts)


def in_graph(function, count):
    """What a function of a batch of unknown size returns."""

    def traced(count):
        batch = a_batch(count)
        return function(batch, Presence(batch, SEVERAL))

    return tf.function(traced)(tf.constant(count))


def test_an_empty_batch_is_filled_with_one_example_of_no_weight():
    """Grey, within the bounds; a batch that is not empty stays as it is."""

    def filled(batch, presence):
        batch = presence.filled(batch, (0.0, 255.0))
        return batch.images, batch.labels, batch.weights

    images, labels, weights = in_graph(filled, 0)
    np.testing.assert_array_equal(images, np.full((1, 2, 2, 1), 127.5))
    assert (labels.numpy().tolist(), weights.numpy().tolist()) == ([0], [0.0])
    images, labels, weights = in_graph(filled, 3)
    np.testing.assert_array_equal(images, np.full((3, 2, 2, 1), 64.0))
    assert labels.numpy().tolist() == [2, 2, 2]
    assert weights.numpy().tolist() == [1.0, 1.0, 1.0]


def test_extras_and_weights_are_filled_too():
    """Strings as well; weights that were given stay beside the images."""
    batch = a_batch(
        0, weights=tf.zeros([0]), extras={"name": tf.constant([], tf.string)}
    )
    filled = Presence(batch, SEVERAL).filled(batch, (0.0, 255.0))
    assert filled.extras["name"].numpy().tolist() == [b""]
    assert filled.weights.numpy().tolist() == [0.0]


@pytest.mark.parametrize(("count", "kept"), [(0, False), (2, True)])
def test_gradients_and_values_of_nothing_are_zero(count, kept):
    """Even where they are not finite; `None` stays."""
    nan = float("nan")

    def masked(batch, presence):
        gradients = presence.own([tf.constant([nan, 3.0]), None])
        assert gradients[1] is None
        return gradients[0], presence.values({"loss": tf.constant(nan)})["loss"]

    gradient, value = in_graph(masked, count)
    np.testing.assert_array_equal(gradient, [nan, 3.0] if kept else [0.0, 0.0])
    np.testing.assert_array_equal(value, nan if kept else 0.0)


@pytest.mark.parametrize("count", [0, 2])
def test_metrics_count_no_stand_in(count):
    """And are not given weights that nobody gave."""
    seen, total = [], tf.Variable(0)

    def counted(batch, presence):
        filled = presence.filled(batch, (0.0, 255.0))

        def update(given):
            seen.append(given.weights)
            total.assign_add(tf.shape(given.labels)[0])

        presence.count(update, filled)

    in_graph(counted, count)
    assert seen == [None]
    assert int(total) == count


@pytest.mark.parametrize("present", [0.0, 1.0])
def test_sums_over_replicas_have_nothing_from_an_empty_one(present):
    """Neither forward nor backward; the default strategy's sum is of one replica."""
    context = tf.distribute.get_replica_context()
    value = tf.constant([2.0, float("nan")])
    with tf.GradientTape() as tape:
        tape.watch(value)
        with _left_out_of_sums(tf.constant(present)):
            total = context.all_reduce("sum", value)
            mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, value)
    np.testing.assert_array_equal(total, value if present else [0.0, 0.0])
    np.testing.assert_array_equal(mean, value)
    np.testing.assert_array_equal(tape.gradient(total, value), [present, present])
    # What was put in its place is gone.
    np.testing.assert_array_equal(
        context.all_reduce(tf.distribute.ReduceOp.SUM, value), value
    )


def test_batches_of_known_sizes_cost_nothing():
    """Nor does a single device: nothing is asked of the batch."""
    batch = a_batch(3)
    assert Presence(batch, SEVERAL).present is None
    assert Presence(batch, tf.distribute.get_strategy()).present is None
    presence = Presence(batch, SEVERAL)
    assert presence.filled(batch, (0.0, 255.0)) is batch


def test_what_is_put_back_is_of_one_replicas_images():
    """Not what replicas share, a singular vector, nor the state of a generator."""
    norms = [
        keras.layers.BatchNormalization(name="own"),
        keras.layers.BatchNormalization(synchronized=True, name="shared"),
        layers.LipschitzBatchNormalization(name="averaged"),
    ]
    network = keras.Sequential(
        [
            keras.Input((2,)),
            *norms,
            keras.layers.Dropout(0.5),
            keras.layers.SpectralNormalization(keras.layers.Dense(2)),
            layers.SpectralDense(2),
        ],
        name="sequential",
    )
    assert len(network.non_trainable_variables) > 8
    assert [variable.path for variable in _own_statistics(network)] == [
        "sequential/own/moving_mean",
        "sequential/own/moving_variance",
    ]
