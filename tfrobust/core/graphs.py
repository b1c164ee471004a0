"""Graphs that are traced once for each model, without keeping the model alive."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from tfrobust.core.replicas import sharing_strategy


class GraphCache:
    """`(model, key) -> graph`, weak in the model.

    A graph must not hold its model strongly, or it would never be collected: what
    traces it is given a reference, which it calls for the model while tracing. Graphs
    that replicas share are kept apart from others: see `core.replicas`.

    Example:
        >>> cache = GraphCache()
        >>> def model(): ...
        >>> cache.get(model, "key", lambda reference: [reference()]) == [model]
        True
    """

    def __init__(self) -> None:
        self._graphs: weakref.WeakKeyDictionary[Any, dict[Any, Any]]
        self._graphs = weakref.WeakKeyDictionary()

    def get(
        self, model: Any, key: Hashable, trace: Callable[[Callable[[], Any]], Any]
    ) -> Any:
        """The graph under a key, made by `trace` if there is none yet."""
        reference: Callable[[], Any]
        try:
            reference = weakref.ref(model)
            graphs = self._graphs.setdefault(model, {})
        except TypeError:
            # Not weakly referable or not hashable: held by this call, traced each time.
            reference, graphs = functools.partial(_identity, model), {}
        place = (key, sharing_strategy())
        if place not in graphs:
            graphs[place] = trace(reference)
        return graphs[place]

    def knows(self, model: Any) -> bool:
        """Whether any graph of this model is here."""
        try:
            return bool(self._graphs.get(model))
        except TypeError:
            return False


def _identity(model: Any) -> Any:
    return model
