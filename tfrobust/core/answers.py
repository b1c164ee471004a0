"""The logits in what a network answers with: of several outputs, of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

# Operations that pass every number of a row on as it is.
_PASSING = (
    "Cast",
    "EnsureShape",
    "ExpandDims",
    "Identity",
    "Reshape",
    "Squeeze",
    "StridedSlice",
)

# Operations whose result is no probability, whatever the network: sums of anything.
_SUMS = (
    "Add",
    "AddN",
    "AddV2",
    "BatchMatMul",
    "BatchMatMulV2",
    "BiasAdd",
    "Conv2D",
    "Einsum",
    "LogSoftmax",
    "MatMul",
    "Mean",
    "Sub",
    "Sum",
)


class Answer(NamedTuple):
    """A network's answer, and the logits in it.

    Attributes:
        given: What the network answers with at its output, `[B,K]` or `[B]`.
        logits: float32 `[B,K]`, K at least 2: the log of what a softmax makes
            probabilities of. Of one output z for two classes, `(-z/2, z/2)`.
        ending: `"softmax"` or `"sigmoid"` where the network ended in one, which is left
            out of the logits; `"sum"` where it ended in a sum, so in logits; otherwise
            the type of its last operation.
    """

    given: tf.Tensor
    logits: tf.Tensor
    ending: str

    @property
    def is_doubtful(self) -> bool:
        """Whether the network may answer with probabilities that were not seen."""
        return self.ending not in ("softmax", "sigmoid", "sum")


def read_answer(
    answer: Any, output: str | None = None, names: Sequence[str] = ()
) -> Answer:
    """The logits in a network's answer.

    Where the answer's last step is a softmax or a sigmoid, in whatever layer or
    function that stands, its input is taken: nothing is lost where a probability would
    round to 0 or 1. This is read off the graph that is being traced; of an eager tensor
    there is none.

    Args:
        answer: A tensor; or several, as a dictionary or a list.
        output: Which of several outputs to take; `"logits"` if `None` and there is one
            of that name.
        names: Those of the outputs in a list.

    Returns:
        The output and its logits.

    Raises:
        ValueError: If there are several outputs to choose from, there is none of that
            name, or what it holds is no answer of a classifier: `[B,K]`, or `[B]` or
            `[B,1]` for two classes, floating.

    Example:
        >>> @tf.function
        ... def logits(x):
        ...     return read_answer(tf.nn.softmax(x)).logits
        >>> logits(tf.constant([[0.0, 200.0]])).numpy().tolist()
        [[0.0, 200.0]]
    """
    given = tf.convert_to_tensor(_output_in(answer, output, names))
    if not given.dtype.is_floating or given.shape.rank not in (1, 2):
        raise ValueError(
            "`model` must answer with floating logits or probabilities [B, K]. "
            f"Received: {given.dtype.name} of shape {given.shape}"
        )
    if given.shape.rank == 2 and given.shape[1] in (0, None):
        raise ValueError(
            "`model` must answer with a fixed number of classes. "
            f"Received: shape {given.shape}"
        )
    source, ending = _last_step(given)
    logits = tf.reshape(source, tf.shape(given))
    logits.set_shape(given.shape)
    logits = tf.cast(logits, tf.float32)
    if given.shape.rank == 1 or given.shape[1] == 1:
        logits = _two_classes(logits, ending)
    elif ending == "sigmoid":
        raise ValueError(
            "`model` must choose one of its classes, by a softmax or by logits. "
            f"Received: a sigmoid for each of {given.shape[1]} classes, which answers "
            "for each by itself"
        )
    return Answer(given, logits, ending)


def shape_of_output(network: Any, output: str | None = None) -> tuple[Any, ...] | None:
    """The shape of the output of a network that counts.

    Args:
        network: Any Keras model.
        output: As for `read_answer`.

    Returns:
        The shape; `None` of a network that does not tell, a subclassed one.

    Raises:
        ValueError: As for `read_answer`.

    Example:
        >>> import keras
        >>> image = keras.Input((2,))
        >>> heads = {"a": keras.layers.Dense(3)(image), "b": image}
        >>> shape_of_output(keras.Model(image, heads), "b")
        (None, 2)
    """
    shapes = getattr(network, "output_shape", None)
    tensors = getattr(network, "outputs", None) or []
    if shapes is None:
        return None
    if len(tensors) < 2:
        return tuple(tensors[0].shape) if tensors else tuple(shapes)
    try:
        places = network.get_config().get("output_layers")
    except Exception:  # Of a layer of somebody's own, which may raise anything.
        places = None
    # Keras lists the outputs of a dictionary in the order of their keys.
    names = sorted(places) if isinstance(places, dict) else network.output_names
    given = {name: tuple(x.shape) for name, x in zip(names, tensors, strict=True)}
    return _output_in(given, output, names)


def are_probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Whether logits `[B,K]` are probabilities: all at least 0, and of sum 1; bool.

    Example:
        >>> bool(are_probabilities(tf.constant([[0.25, 0.75]])))
        True
    """
    near = tf.abs(tf.reduce_sum(logits, axis=-1) - 1.0) < 1e-3
    return tf.reduce_all(logits >= 0.0) & tf.reduce_all(near)


def _output_in(answer: Any, output: str | None, names: Sequence[str]) -> Any:
    """The one output that counts."""
    if isinstance(answer, list | tuple):
        if len(answer) == 1 and output is None:
            return answer[0]
        known = list(names) or [str(number) for number in range(len(answer))]
        answer = dict(zip(known, answer, strict=True))
    if not isinstance(answer, dict):
        if output is not None and output not in names:
            raise ValueError(
                "`output` must be None for a model of one output. "
                f"Received: output={output!r}"
            )
        return answer
    if output is None and len(answer) == 1:
        return next(iter(answer.values()))
    chosen = "logits" if output is None else output
    if chosen in answer:
        return answer[chosen]
    listed = ", ".join(map(str, answer))
    if output is None:
        raise ValueError(
            "`model` must have one output, or one named 'logits'; choose one by its "
            "name, as in `models.Classifier(model, output=NAME)` or "
            "`RobustModel(model, output=NAME)`. "
            f"Received: the outputs {listed}"
        )
    raise ValueError(
        f"`output` must be one of the model's outputs, {listed}. "
        f"Received: output={output!r}"
    )


def _last_step(given: tf.Tensor) -> tuple[tf.Tensor, str]:
    """What a softmax or sigmoid at the end was given, or all, and how it ended."""
    if tf.is_tensor(given) and not hasattr(given, "graph"):
        return given, "eager"
    tensor = given
    while tensor.op.type in _PASSING and _keeps_rows(tensor):
        tensor = tensor.op.inputs[0]
    ending = tensor.op.type
    if ending in ("Softmax", "Sigmoid"):
        return tensor.op.inputs[0], ending.lower()
    if ending == "Exp" and tensor.op.inputs[0].op.type == "LogSoftmax":
        return tensor.op.inputs[0].op.inputs[0], "softmax"
    return given, "sum" if ending in _SUMS else ending


def _keeps_rows(tensor: tf.Tensor) -> bool:
    """Whether an operation that passes numbers on leaves each row together."""
    before = tensor.op.inputs[0]
    if before.dtype.is_integer or before.shape.rank is None:
        return False
    if tensor.op.type in ("Identity", "Cast", "EnsureShape"):
        return True
    sizes = [size for size in before.shape[1:] if size != 1]
    if tensor.op.type == "StridedSlice" and sizes:
        return False
    return sizes == [size for size in tensor.shape[1:] if size != 1]


def _two_classes(logits: tf.Tensor, ending: str) -> tf.Tensor:
    """Logits `[B,2]` of one number for each image, the log-odds of class 1."""
    if ending not in ("sigmoid", "sum"):
        raise ValueError(
            "`model` with one output must end in a sigmoid or a layer without an "
            f"activation, whose output is the logit of class 1. Received: {ending}"
        )
    odds = tf.reshape(logits, [-1, 1]) / 2.0
    return tf.concat([-odds, odds], axis=1)
