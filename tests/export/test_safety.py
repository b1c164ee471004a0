"""What leaves `export/`: a graph that only computes, what it needs, nothing else."""

import functools
import getpass
import os
import re
import socket
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import export_saved_model
from export.quantize import generate_sample, write_quantized
from export.saved_model import load_model
from export.signatures import NAMES, Settings
from tfrobust import layers, models
from tfrobust.attacks import PGD

SHAPE = (8, 6, 3)
# What a request must not reach: Python, files, the network, the console, other state.
FORBIDDEN = re.compile(
    r".*(PyFunc|File|Print|Logging|Summary|Library|Rpc|Send|Recv|Socket|Dataset|Iterator"
    r"|Queue|Reader|Save|Restore|Checkpoint|Assign|HashTable|Audio|Debug|Abort)"
    r"|(Custom|XlaLaunch|Random|Multinomial|TruncatedNormal|Timestamp)"
)


def trained():
    """Every low-curvature layer and dropout, after a step of Adam and with a metric."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = layers.SpectralConv2D(4, 3, strides=2, name="conv")(image)
    x = layers.LipschitzBatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5)(layers.CenteredSoftplus(name="bend")(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.SpectralDense(4, name="logits")(x))
    model.compile("adam", "mse", metrics=["mae"])
    images = np.random.default_rng(0).random((8, *SHAPE), np.float32)
    model.fit(images, np.zeros((8, 4), np.float32), verbose=0)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything that can be written: all signatures, warm-up, card, smaller copy."""
    place = tmp_path_factory.mktemp("exported")
    trained().save(place / "model.keras")
    sample = generate_sample(SHAPE)
    return export_saved_model(
        place / "model.keras",
        place / "net",
        list("abcd"),
        signatures=NAMES,
        settings=Settings(attack=PGD(norm=2, eps=0.5, steps=2)),
        warmup=True,
        extras=[functools.partial(write_quantized, kind="float16", sample=sample)],
    )


def read(folder):
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    return graph


def reachable(graph, output):
    """Operations behind a tensor of the graph, in functions and their functions too."""
    nodes = {node.name: node for node in graph.graph_def.node}
    library = {f.signature.name: f for f in graph.graph_def.library.function}
    used, seen = set(), set()
    todo = [nodes[output.split(":")[0]]]
    while todo:
        node = todo.pop()
        used.add(node.op)
        called = [node.op] if node.op in library else []
        for value in node.attr.values():
            called += [value.func.name, *(f.name for f in value.list.func)]
        for name in set(called) & set(library) - seen:
            seen.add(name)
            todo += library[name].node_def
        for source in node.input if node.name in nodes else []:
            source = source.lstrip("^").split(":")[0]
            if source in nodes and source not in seen:
                seen.add(source)
                todo.append(nodes[source])
    return used - set(library)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_request_computes_and_does_nothing_else(folder, name):
    """Operations of TensorFlow itself, none of which leaves the process, writes a
    variable or draws from a generator with a state.
    """
    graph = read(folder)
    (ends,) = {frozenset(x.name for x in graph.signature_def[name].outputs.values())}
    used = set().union(*(reachable(graph, end) for end in ends))
    assert len(used) > 20
    assert [op for op in sorted(used) if not hasattr(tf.raw_ops, op)] == []
    assert [op for op in sorted(used) if FORBIDDEN.match(op)] == []
    assert {"EnsureShape", "Assert"} <= used


@pytest.mark.slow
def test_the_rest_of_the_graph_loads_and_saves_the_weights(folder):
    """All operations, those of no signature too: only a checkpoint's are added."""
    graph = read(folder)
    used = {node.op for node in graph.graph_def.node}
    functions = graph.graph_def.library.function
    used |= {node.op for function in functions for node in function.node_def}
    used -= {function.signature.name for function in functions}
    assert [op for op in sorted(used) if not hasattr(tf.raw_ops, op)] == []
    assert {op for op in used if FORBIDDEN.match(op)} <= {
        "AssignVariableOp",
        "MergeV2Checkpoints",
        "RestoreV2",
        "SaveV2",
        "ShardedFilename",
    }


@pytest.mark.parametrize(
    "operation", ["PyFunc", "EagerPyFunc", "ReadFile", "PrintV2", "RandomUniform"]
)
def test_what_is_forbidden_is_found(operation):
    assert hasattr(tf.raw_ops, operation) and FORBIDDEN.match(operation)


def shapes_in(folder):
    """Shapes of all variables, each as often as it is stored."""
    stored = tf.train.list_variables(str(folder / "variables/variables"))
    return sorted(
        tuple(shape) for name, shape in stored if not name.startswith("_CHECKPOINT")
    )


@pytest.mark.parametrize("folded", [False, True])
def test_only_what_inference_needs_is_stored(tmp_path, folded):
    """Each weight once: no optimizer, no metric, no generator, and of the two singular
    vectors only the one that the norm is computed from. Folded, kernels and biases.
    """
    model = trained()
    folder = export_saved_model(model, tmp_path / "net", folded=folded)
    kernels = [(3, 3, 3, 4), (4, 4)]
    if folded:
        expected = [*kernels, (4,), (4,), ()]  # biases, sharpness
    else:
        vectors, statistics = [(1, 8, 6, 3), (1, 4)], [(4,), (4,)]
        scalars = [(), ()]  # sharpness and gamma
        expected = [*kernels, *vectors, *statistics, *scalars, (4,)]
    assert shapes_in(folder) == sorted(expected)
    # Nor is there a variable in the graph that nothing was stored for.
    nodes = read(folder).object_graph_def.nodes
    count = sum(node.WhichOneof("kind") == "variable" for node in nodes)
    assert count == len(expected)


def told_of_the_machine():
    """What would tell where and by whom a model was exported."""
    here = Path(__file__).resolve().parents[2]
    places = {os.getcwd(), here, Path.home(), sys.prefix, tempfile.gettempdir()}
    needles = {str(place) for place in places if len(str(place)) > 1}
    # A short name, or a common word, is found by chance in what is no text.
    needles |= {x for x in (getpass.getuser(), socket.gethostname()) if len(x) > 5}
    return sorted({*needles, "site-packages", ".py", "Traceback", "--model", ".keras"})


@pytest.mark.slow
def test_no_file_tells_of_the_machine(folder):
    """Neither a path nor a name nor a flag, in any byte of any file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"saved_model.pb", "variables.index", "fingerprint.pb"} <= names
    assert {"model_card.json", "tf_serving_warmup_requests"} <= names
    assert {"model_float16.tflite", "model_float16.json"} <= names
    for path in files:
        content = path.read_bytes()
        for needle in told_of_the_machine():
            place = content.find(needle.encode())
            assert place < 0, (path.name, content[max(0, place - 60) : place + 60])


def kinds():
    """Networks with every layer of ours, and some others."""
    return {
        "lcnn": lambda: models.ResNet18(SHAPE, 4, "lcnn", width=2),
        "standard": lambda: models.C4(SHAPE, 4, width=1),
        "mlp": lambda: models.MLP(SHAPE, 4, "lcnn", hidden=(5,)),
        "small": trained,
    }


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize(
    ("name", "policy", "tolerance"),
    [
        ("small", "float32", 1e-5),
        ("small", "mixed_bfloat16", 0.02),
        ("small", "mixed_float16", 0.003),
        ("mlp", "float32", 1e-5),
        pytest.param("lcnn", "float32", 1e-5, marks=pytest.mark.slow),
        pytest.param("lcnn", "mixed_bfloat16", 0.02, marks=pytest.mark.slow),
    ],
)
def test_the_file_and_the_export_answer_alike(
    tmp_path, name, policy, tolerance, folded
):
    """The `.keras` file loaded again, and the SavedModel made of that file; in half
    precision up to what one rounding of an intermediate result does.
    """
    keras.config.set_dtype_policy(policy)
    model = kinds()[name]()
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    folder = export_saved_model(
        tmp_path / "model.keras", tmp_path / "net", folded=folded
    )
    images = np.random.default_rng(1).random((5, *SHAPE), np.float32)
    expected = np.asarray(
        load_model(tmp_path / "model.keras")(images, training=False), np.float32
    )
    loaded = tf.saved_model.load(folder)
    answer = loaded.signatures["serving_default"](images=images)["logits"].numpy()
    assert answer.dtype == np.float32
    size = np.abs(expected).max()
    assert size > 0
    np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance * size)
