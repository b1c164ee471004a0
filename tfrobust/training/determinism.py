"""Training that is the same to the last bit whenever it is repeated."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import gen_math_ops


def enable_determinism() -> None:
    """Makes TensorFlow repeat a training to the last bit, on a busy machine too.

    Three things, for this process and from now on, so it is called before anything is
    traced:

    - kernels that are deterministic (`tf.config.experimental.enable_op_determinism`);
    - sums of three and more tensors, as gradients of a tensor with several uses are,
      from the first to the last. TensorFlow's own, `AddN`, begins with an operand whose
      memory it may overwrite, and which one that is depends on what has been computed
      by then. A gradient of a gradient has many such sums;
    - no rewriting of chains of additions into such sums
      (`arithmetic_optimization` of `tf.config.optimizer`).

    The same seeds and data, versions, machine and number of threads are needed beside
    it. Steps take a little longer (`python -m benchmarks.determinism`).

    Raises:
        RuntimeError: If TensorFlow has no such sum to replace, being another version.

    Example:
        >>> from tfrobust.training import enable_determinism
        >>> enable_determinism()  # doctest: +SKIP
    """
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    original = getattr(gen_math_ops, "add_n", None)
    if original is None:
        raise RuntimeError(
            f"TensorFlow {tf.__version__} keeps its sum of tensors elsewhere; "
            "determinism is known for versions 2.20 and 2.21."
        )
    if not hasattr(original, "in_order"):
        # Every Python path to an `AddN` leads here: gradient tapes, tf.gradients and
        # tf.add_n. There is no public way to choose how a tape adds.
        gen_math_ops.add_n = _in_order(original)


def _in_order(original: Any) -> Any:
    """TensorFlow's `add_n`, by one addition after the other."""

    @functools.wraps(original)
    def add_n(inputs: Sequence[Any], name: str | None = None) -> tf.Tensor:
        # Of two the order does not matter; lists of tensors have no addition.
        if len(inputs) < 3 or inputs[0].dtype == tf.variant:
            return original(inputs, name)
        with tf.name_scope(name or "AddInOrder"):
            # The gradient of an embedding comes as slices.
            return functools.reduce(tf.add, map(tf.convert_to_tensor, inputs))

    add_n.in_order = True  # type: ignore[attr-defined]
    return add_n
