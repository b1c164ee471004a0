"""Graphs are made once for a model and a key, and do not keep the model alive."""

import dataclasses
import gc
import weakref

from tfrobust.core.graphs import GraphCache


class Model:
    """Something that can be referred to weakly."""


def test_a_graph_is_made_once_for_each_model_and_key():
    """Another key or another model makes another one."""
    cache, made = GraphCache(), []

    def trace(reference):
        made.append(reference())
        return len(made)

    first, second = Model(), Model()
    assert not cache.knows(first)
    assert [cache.get(first, "a", trace), cache.get(first, "a", trace)] == [1, 1]
    assert [cache.get(first, "b", trace), cache.get(second, "a", trace)] == [2, 3]
    assert made == [first, first, second]
    assert cache.knows(first) and cache.knows(second)


def test_the_model_is_not_kept_alive():
    """Its graphs go with it."""
    cache, model = GraphCache(), Model()
    cache.get(model, "a", lambda reference: "graph")
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_models_that_cannot_be_keys_are_traced_each_time():
    """They are handed to the tracing all the same."""

    @dataclasses.dataclass
    class Unhashable:
        """Compared by value, so without a hash."""

    cache, model, made = GraphCache(), Unhashable(), []
    for _ in range(2):
        cache.get(model, "a", lambda reference: made.append(reference()))
    assert [traced is model for traced in made] == [True, True]
    assert not cache.knows(model)
