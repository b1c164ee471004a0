"""Which reads of a graph's variables TensorFlow forgets to order before an update.

tf.function has each update of a variable wait, by control edges, for the reads before
it. TensorFlow's dependency optimizer drops such an edge where the update depends on the
read in another way as well, and counts as such a way the `IdentityN` that a custom
gradient puts around all of a function's outputs. Then it takes the `IdentityN` apart,
each output for itself, and where that was the only way the update may come first: the
step computes with the variable's next value.
"""

from collections.abc import Iterator
from typing import Any

READ = "ReadVariableOp"


def forgotten_reads(graph: Any) -> list[tuple[str, str]]:
    """Pairs of a read and a later update of the same variable that may change places.

    Args:
        graph: Of a concrete function, as it was traced.

    Returns:
        Names of the read and of the update; none where all is well.
    """
    pairs = [
        (read, update)
        for update in graph.get_operations()
        for read in update.control_inputs
        if read.type == READ and update.inputs and update.inputs[0] is read.inputs[0]
    ]
    waiting: dict[Any, list[Any]] = {}
    for operation in graph.get_operations():
        for before in operation.control_inputs:
            waiting.setdefault(before, []).append(operation)
    # The edge in question is one of them.
    return [
        (read.name, update.name)
        for read, update in pairs
        if _leads(read, update, waiting, whole=True)
        and not _leads(read, update, waiting, whole=False)
    ]


def _leads(
    read: Any, update: Any, waiting: dict[Any, list[Any]], *, whole: bool
) -> bool:
    """Whether the update depends on what was read, other than by their control edge.

    Args:
        read: Where to begin.
        update: Where to arrive.
        waiting: For each operation those that have a control edge from it.
        whole: Whether every output of an `IdentityN` depends on all of its inputs.
    """
    left = [read.outputs[0]]
    seen = set(map(id, left))
    while left:
        for operation, outputs in _uses(left.pop(), waiting, whole):
            if operation is update:
                return True
            fresh = [output for output in outputs if id(output) not in seen]
            seen.update(map(id, fresh))
            left += fresh
    return False


def _uses(
    tensor: Any, waiting: dict[Any, list[Any]], whole: bool
) -> Iterator[tuple[Any, list[Any]]]:
    """The operations that take a tensor, each with the outputs that depend on it."""
    for operation in tensor.consumers():
        if operation.type == "IdentityN" and not whole:
            places = [i for i, one in enumerate(operation.inputs) if one is tensor]
            yield operation, [operation.outputs[place] for place in places]
        else:
            yield operation, list(operation.outputs)
        for after in waiting.get(operation, ()):
            yield after, list(after.outputs)
