"""How values flow through a traced graph, and where their derivatives are lost.

TensorFlow's tape answers `None`, or a sum that lacks a term, where an operation on the
way is declared to have no derivative, without saying so. Here the graph itself is read
instead, functions, loops and branches in it included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

import tfrobust.core.image_transforms  # noqa: F401 - registers a derivative
from tfrobust.core.second_derivatives import registered

# Of these the derivative is zero, almost everywhere or because someone says so.
_FLAT = frozenset(
    ("Ceil", "Floor", "FloorDiv", "OnesLike", "Rint", "Round", "Sign", "StopGradient")
    + ("ZerosLike",)
)
# Inputs in which an operation is constant, almost everywhere.
_FLAT_INPUTS = {
    "LeakyReluGrad": (1,),
    "MaxPoolGrad": (0, 1),
    "MaxPool3DGrad": (0, 1),
    "Relu6Grad": (1,),
    "ReluGrad": (1,),
}
# What looks at shapes alone.
_SHAPES = frozenset(("Rank", "Shape", "ShapeN", "Size"))
_READS = frozenset(("ReadVariableOp", "ResourceGather", "ResourceGatherNd"))
# Where the functions stand that an operation calls, and its first argument to them.
_CALLS = {
    "PartitionedCall": (("f",), 0),
    "StatefulPartitionedCall": (("f",), 0),
    "While": (("body",), 0),
    "StatelessWhile": (("body",), 0),
    "If": (("then_branch", "else_branch"), 1),
    "StatelessIf": (("then_branch", "else_branch"), 1),
    "Case": (("branches",), 1),
    "StatelessCase": (("branches",), 1),
}


class Step(NamedTuple):
    """An operation, or what passes a value on into a function or out of it.

    Attributes:
        kind: Its type; empty for what only passes on.
        name: Its full name, which starts with the layers that it is in.
        gradient: The type under which its derivative is registered.
        inputs: Names of tensors; empty ones for inputs without an effect.
        outputs: Names of tensors, with whether they can carry a derivative.
    """

    kind: str
    name: str
    gradient: str
    inputs: list[str]
    outputs: list[tuple[str, bool]]

    @property
    def is_lost(self) -> bool:
        """Whether TensorFlow has no derivative of it, though it need not be zero."""
        if not self.kind or self.kind in _FLAT:
            return False
        return registered(self.gradient)[1] is None

    def reaches(self, sources: set[str], smooth: bool) -> Iterator[str]:
        """Outputs that depend on any of some tensors, or do so differentiably."""
        flat = _FLAT_INPUTS.get(self.kind, ()) if smooth else ()
        if (smooth and self.kind in _FLAT) or self.kind in _SHAPES:
            return
        pairs = enumerate(self.inputs)
        if any(name in sources for place, name in pairs if place not in flat):
            yield from (name for name, carries in self.outputs if carries or not smooth)


class Flow:
    """A graph with the bodies of its functions in place of their calls.

    Args:
        graph: A graph, which may be under construction.

    Example:
        >>> @tf.function
        ... def shuffled(x): return 2.0 * tf.random.shuffle(x)
        >>> graph = shuffled.get_concrete_function(tf.TensorSpec([3])).graph
        >>> Flow(graph).lost(graph.inputs, graph.outputs).kind
        'RandomShuffle'
    """

    def __init__(self, graph: tf.Graph) -> None:
        self._steps = list(_steps(graph, ""))
        self._readers: dict[str, list[int]] = defaultdict(list)
        for place, step in enumerate(self._steps):
            for name in step.inputs:
                self._readers[name].append(place)

    def lost(
        self, sources: Iterable[Any], targets: Iterable[Any], variables: bool = False
    ) -> Step | None:
        """The first step on the way from one to the other without a derivative.

        Args:
            sources: Tensors of the graph itself.
            targets: Tensors of the graph itself.
            variables: Whether variables that are read are sources too.

        Returns:
            A step, `None` where the derivative is whole.
        """
        starts = {tensor.name for tensor in sources}
        if variables:
            reads = (step for step in self._steps if step.kind in _READS)
            starts |= {n for step in reads for n, carries in step.outputs if carries}
        reached = self._forward(starts, lambda step, on: step.reaches(on, smooth=True))
        way = self._backward({tensor.name for tensor in targets}, reached)
        return next((step for step in way if step.is_lost), None)

    def stopped_moments(
        self, sources: Iterable[Any], targets: Iterable[Any]
    ) -> Step | None:
        """The first variance on the way whose mean takes no part in derivatives.

        As `tf.nn.moments` has it: the second derivative then lacks a term.
        """
        starts = {tensor.name for tensor in sources}
        reached = self._forward(starts, lambda step, on: step.reaches(on, smooth=True))
        way = self._backward({tensor.name for tensor in targets}, reached)
        stopped = {
            name
            for step in self._steps
            if step.kind == "StopGradient" and not reached.isdisjoint(step.inputs)
            for name, _ in step.outputs
        }
        for step in way:
            if step.kind == "SquaredDifference" and not stopped.isdisjoint(step.inputs):
                return step
        return None

    def broken(self, sources: Iterable[Any], targets: Iterable[Any]) -> Step | None:
        """What ends every derivative on the way: the last step to get one.

        Args:
            sources: Tensors of the graph itself.
            targets: Tensors of the graph itself.

        Returns:
            A step, such as a rounding or a cast to integers, or `None`.
        """
        starts = {tensor.name for tensor in sources}

        def passed(step: Step, on: set[str]) -> Iterator[str]:
            return iter(()) if step.is_lost else step.reaches(on, smooth=True)

        smooth = self._forward(starts, passed)
        reached = self._forward(starts, lambda step, on: step.reaches(on, smooth=False))
        way = self._backward({tensor.name for tensor in targets}, reached)
        # The last, as before it there may be comparisons that a smooth way passes by.
        for step in reversed(way):
            outputs = {name for name, _ in step.outputs}
            if not smooth.isdisjoint(step.inputs) and smooth.isdisjoint(outputs):
                return step
        return None

    def _forward(
        self, starts: set[str], reaches: Callable[[Step, set[str]], Iterator[str]]
    ) -> set[str]:
        reached, pending = set(starts), list(starts)
        while pending:
            for place in self._readers[pending.pop()]:
                new = set(reaches(self._steps[place], reached)) - reached
                reached |= new
                pending += new
        return reached

    def _backward(self, targets: set[str], within: set[str]) -> list[Step]:
        """Steps between reached tensors that lead to the targets, in their order."""
        makers = defaultdict(list)
        for place, step in enumerate(self._steps):
            for name, _ in step.outputs:
                makers[name].append(place)
        found: set[int] = set()
        pending = [name for name in targets if name in within]
        while pending:
            for place in makers[pending.pop()]:
                step = self._steps[place]
                inputs = [name for name in step.inputs if name in within]
                if inputs and place not in found:
                    found.add(place)
                    pending += inputs
        return [self._steps[place] for place in sorted(found)]


def _steps(graph: tf.Graph, prefix: str) -> Iterator[Step]:
    """The operations of a graph and of the functions that they call."""
    order = None
    for operation in graph.get_operations():
        called = list(_called(operation))
        inputs = [prefix + tensor.name for tensor in operation.inputs]
        outputs = [(prefix + t.name, _carries(t.dtype)) for t in operation.outputs]
        if called:
            for number, inner in enumerate(called):
                within = f"{prefix}{operation.name}#{number}/"
                yield from _inlined(operation, inner, within, inputs, outputs)
            continue
        gradient = operation.type
        if gradient == "IdentityN":
            gradient = _override(operation) or gradient
            if gradient != "IdentityN":
                if order is None:
                    names = (other.name for other in graph.get_operations())
                    order = {name: place for place, name in enumerate(names)}
                inputs = _arguments(operation, inputs, order)
        yield Step(operation.type, prefix + operation.name, gradient, inputs, outputs)


def _inlined(
    operation: Any,
    inner: Any,
    prefix: str,
    inputs: list[str],
    outputs: list[tuple[str, bool]],
) -> Iterator[Step]:
    """The steps of a function, and those that pass its arguments and results on."""
    given = inputs[_CALLS[operation.type][1] :]
    taken = [(prefix + t.name, _carries(t.dtype)) for t in inner.inputs]
    made = [prefix + tensor.name for tensor in inner.outputs]
    passed = [*zip(given, taken, strict=False), *zip(made, outputs, strict=False)]
    if "While" in operation.type:  # around again, or not at all
        passed += [*zip(made, taken, strict=False), *zip(given, outputs, strict=False)]
    for name, target in passed:
        yield Step("", prefix, "", [name], [target])
    yield from _steps(inner, prefix)


def _called(operation: Any) -> Iterator[Any]:
    """The graphs of the functions that an operation calls."""
    for attribute in _CALLS.get(operation.type, ((), 0))[0]:
        functions = operation.get_attr(attribute)
        for function in functions if isinstance(functions, list) else [functions]:
            graph = operation.graph
            # Functions have no public way to their graphs.
            found = graph._get_function(function.name)
            while found is None and getattr(graph, "outer_graph", None) is not None:
                graph = graph.outer_graph
                found = graph._get_function(function.name)
            if found is not None:
                yield found.graph


def _override(operation: Any) -> str | None:
    """The type that a derivative written in Python is registered under, if any is."""
    try:
        return operation.get_attr("_gradient_op_type").decode()
    except ValueError:
        return None


def _arguments(operation: Any, inputs: list[str], order: dict[str, int]) -> list[str]:
    """What a function with a derivative of its own depends on differentiably.

    Its identity takes the results first and then the arguments, which are older. The
    tape does not go back through what the results were computed by.
    """
    ages = [order.get(tensor.op.name, 0) for tensor in operation.inputs]
    for count in range(1, len(ages)):
        if max(ages[count:]) < min(ages[:count]):
            return [""] * count + inputs[count:]
    return inputs


def _carries(dtype: tf.DType) -> bool:
    """Whether a tensor may have a derivative, or hold another one that has."""
    kinds = (tf.variant, tf.resource)
    return dtype.is_floating or dtype.is_complex or dtype.base_dtype in kinds
