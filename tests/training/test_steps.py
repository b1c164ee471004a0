"""Ways to run a step: eagerly, by XLA, several in one call."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tests.training.common import (
    Shapes,
    check_close,
    convolutional,
    linear,
    mlp,
    sgd,
    some_data,
    weights_of,
)
from tfrobust import penalties
from tfrobust.training import RobustModel
from tfrobust.training.steps import distributed

KINDS = {
    "standard": ("standard", []),
    "lcnn": ("lcnn", [penalties.Curvature()]),
    "gradreg": ("lcnn", [penalties.Curvature(), penalties.GradientNorm(0.1)]),
}


def trained(kind, **settings):
    """Six steps on static batches, from one seed."""
    variant, terms = KINDS[kind]
    model = RobustModel(convolutional(variant))
    model.compile(**{"optimizer": sgd(0.05), "penalties": terms, **settings})
    images, labels = some_data(24, (6, 5, 2))
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    history = model.fit(
        batches.batch(8, drop_remainder=True), epochs=2, verbose=0
    ).history
    return weights_of(model), history


def test_replicas_and_batches_count_by_their_weights():
    """Of one replica the value itself; the last batch is the one reported."""
    batches = tf.data.Dataset.from_tensor_slices([1.0, 2.0, 5.0])
    seen = []

    def step(batch):
        seen.append(batch)
        return {"value": batch, "double": 2.0 * batch}

    for steps, eagerly, last in ((1, False, 1.0), (2, False, 2.0), (9, False, 5.0)):
        run = distributed(
            step,
            tf.distribute.get_strategy(),
            lambda name: tf.constant(3.0 if name == "value" else 0.5),
            steps=steps,
            eagerly=eagerly,
        )
        found = run(iter(batches))
        assert list(found) == ["value", "double"]
        assert (float(found["value"]), float(found["double"])) == (last, 2 * last)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_compiled_by_xla_trains_the_same(kind):
    """Weights to 1e-4 after six steps, from static shapes alone, as on a TPU."""
    plain, history = trained(kind)
    shapes = Shapes()
    compiled, again = trained(
        kind, jit_compile=True, penalties=[*KINDS[kind][1], shapes]
    )
    assert set(shapes.seen) == {(8, 6, 5, 2)}
    check_close(compiled, plain, 1e-4)
    np.testing.assert_allclose(again["loss"], history["loss"], rtol=1e-4)


@pytest.mark.parametrize("kind", ["standard", "gradreg"])
def test_eager_training_is_the_same(kind):
    """`run_eagerly` is for looking, not for other results."""
    graph, _ = trained(kind)
    eager, _ = trained(kind, run_eagerly=True)
    check_close(eager, graph, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 3])
def test_several_steps_in_one_execution_are_the_same_steps(batch_size):
    """Five and four batches in threes: the last execution is a partial one."""
    images, labels = some_data()
    results = []
    for steps in (1, 3):
        model = mlp(steps_per_execution=steps, penalties=[penalties.WeightDecay()])
        history = model.fit(
            images, labels, batch_size, epochs=2, shuffle=False, verbose=0
        ).history
        evaluated = model.evaluate(
            images, labels, batch_size, verbose=0, return_dict=True
        )
        results.append((history, evaluated, weights_of(model)))
    check_close(results[1][2], results[0][2], 1e-5)
    for one, three in zip(results[0][:2], results[1][:2], strict=True):
        assert one.keys() == three.keys()
        for name, value in one.items():
            np.testing.assert_allclose(three[name], value, rtol=1e-5, err_msg=name)


def test_a_step_is_traced_once():
    """Over batches and epochs, and again only after another `compile`."""
    shapes = Shapes()
    images, labels = some_data(12)
    model = mlp(penalties=[shapes])
    model.fit(images, labels, batch_size=4, epochs=3, verbose=0)
    model.fit(images, labels, batch_size=4, verbose=0)
    assert len(shapes.seen) == 1
    model.compile(sgd(), penalties=[shapes])
    model.fit(images, labels, batch_size=4, verbose=0)
    assert len(shapes.seen) == 2


def test_one_batch_by_hand_is_the_same_step():
    """`train_on_batch` and `test_on_batch`, on NumPy arrays."""
    images, labels = some_data()
    fitted, stepped = mlp(), mlp()
    expected = fitted.fit(images, labels, 10, verbose=0).history
    found = stepped.train_on_batch(images, labels, return_dict=True)
    assert {name: value[0] for name, value in expected.items()} == pytest.approx(found)
    check_close(weights_of(stepped), weights_of(fitted), 1e-5)
    expected = fitted.evaluate(images, labels, verbose=0, return_dict=True)
    found = stepped.test_on_batch(images, labels, return_dict=True)
    assert expected == pytest.approx(found)


def test_compiling_by_xla_is_refused_under_several_replicas(monkeypatch):
    """Only the number of replicas matters, so the strategy is a stand-in."""
    strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(RobustModel, "distribute_strategy", strategy)
    with pytest.raises(ValueError) as caught:
        linear(jit_compile=True)
    assert str(caught.value) == (
        "`jit_compile` must be False under a strategy with several replicas, which "
        "cannot reduce inside a compiled step. Received: jit_compile=True, replicas=2"
    )
