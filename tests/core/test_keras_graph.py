"""The graph of small networks, written down by hand."""

import keras
from keras import layers

from tfrobust.core.keras_graph import Call, is_graph, read_graph


def test_layers_operations_and_several_calls():
    """A layer called twice, one in training mode, an addition that is no layer."""
    images = keras.Input((2,), name="images")
    dense = layers.Dense(2, name="dense")
    once = dense(images)
    twice = dense(layers.Dropout(0.5, name="drop")(once, training=True))
    network = keras.Model(images, layers.Add(name="sum")([once, twice + images]))
    graph = read_graph(network)
    (added,) = set(graph.calls) - {"images", "dense", "drop", "sum"}
    assert graph.inputs == [("images", 0, 0)]
    assert graph.outputs == [("sum", 0, 0)]
    assert graph.calls == {
        "images": [],
        "dense": [Call([("images", 0, 0)], False), Call([("drop", 0, 0)], False)],
        "drop": [Call([("dense", 0, 0)], True)],
        added: [Call([("dense", 1, 0), ("images", 0, 0)], False)],
        "sum": [Call([("dense", 0, 0), (added, 0, 0)], False)],
    }


def test_several_inputs_and_outputs():
    """As a list, and outputs by name."""
    left, right = keras.Input((2,), name="left"), keras.Input((2,), name="right")
    a, b = layers.Flatten(name="a")(left), layers.Flatten(name="b")(right)
    graph = read_graph(keras.Model([left, right], {"x": a, "y": b}))
    assert graph.inputs == [("left", 0, 0), ("right", 0, 0)]
    assert sorted(graph.outputs) == [("a", 0, 0), ("b", 0, 0)]


def test_calls_in_another_model_are_left_out():
    """Of a layer that two models share, only the calls in the one that is read."""
    shared = layers.Dense(2, name="shared")
    first, second = keras.Input((2,), name="first"), keras.Input((2,), name="second")
    models = [keras.Model(inputs, shared(inputs)) for inputs in (first, second)]
    for name, model in zip(("first", "second"), models, strict=True):
        graph = read_graph(model)
        assert graph.calls["shared"] == [Call([(name, 0, 0)], False)]
        assert graph.outputs == [("shared", 0, 0)]


def test_what_a_graph_is():
    """A model with a `call` of its own may do anything."""

    class Own(keras.Model):
        def call(self, inputs):
            return 2 * inputs

    class Inherited(keras.Model):
        pass

    images = keras.Input((2,))
    assert is_graph(keras.Sequential([images, layers.Dense(2)]))
    assert is_graph(Inherited(images, layers.Dense(2)(images)))
    assert not is_graph(Own())
    assert not is_graph(keras.Sequential([layers.Dense(2)]))
    assert not is_graph(layers.Dense(2))


def test_nested_models_that_the_model_ends_in():
    """Their calls are counted from zero, as those of any layer, by both their kinds."""
    inner = keras.Input((2,))
    body = keras.Model(inner, keras.layers.Dense(2)(inner), name="body")
    head = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)], name="head")
    for nested in (body, head):
        inputs = keras.Input((2,))
        outputs = [nested(inputs), nested(nested(inputs))]
        graph = read_graph(keras.Model(inputs, outputs))
        assert [call for _, call, _ in graph.outputs] == [0, 2]
        assert len(graph.calls[nested.name]) == 3
        # A use in another model does not count.
        again = keras.Input((2,))
        graph = read_graph(keras.Model(again, nested(again)))
        assert graph.outputs == [(nested.name, 0, 0)]
