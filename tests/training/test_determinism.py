"""Training repeats to the last bit, whatever else the machine is doing."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.busy import busy_cores
from tests.conftest import REPOSITORY
from tests.ordering import forgotten_reads
from tfrobust import attacks, layers, pag, penalties
from tfrobust.training import RobustModel

IMAGES = np.random.default_rng(0).random((6, 8, 8, 3), "float32")
LABELS = np.array([0, 1, 2, 0, 1, 2], "int32")


def run(program):
    """A program in a process of its own, since determinism cannot be undone."""
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.mark.slow
def test_sums_are_taken_in_order():
    """No sum of three tensors or more is left to `AddN`, in a gradient of a gradient
    neither; values are those of a sum by hand, and enabling twice changes nothing.
    """
    run("""
        import numpy as np
        import tensorflow as tf
        from tfrobust.training import enable_determinism

        def second(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    y = tf.reduce_sum(tf.sin(x) * x * x + tf.exp(x) * x)
                gradient = inner.gradient(y, x)
            return outer.gradient(gradient, x)

        def widest(function):
            graph = tf.function(function).get_concrete_function(x).graph
            sums = [op for op in graph.get_operations() if op.type == "AddN"]
            return max((len(op.inputs) for op in sums), default=0)

        x = tf.constant(np.linspace(-1.0, 1.0, 7))
        before = second(x).numpy()
        assert widest(second) > 2, "this test proves nothing"
        enable_determinism()
        enable_determinism()
        assert widest(second) <= 2
        for call in (second, tf.function(second)):
            np.testing.assert_allclose(call(x).numpy(), before, rtol=1e-14)

        # An embedding's gradient comes as slices.
        def mixed(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(tf.gather(x, [0, 1, 1]) + 0.0) + tf.reduce_sum(
                    tf.sin(x) + x * x + tf.exp(x))
            return tf.convert_to_tensor(tape.gradient(y, x))

        assert widest(mixed) <= 2
        by_hand = np.cos(x) + 2 * x + np.exp(x) + [1, 2, 0, 0, 0, 0, 0]
        np.testing.assert_allclose(tf.function(mixed)(x), by_hand, rtol=1e-14)

        # 1e8 + 1 is 1e8 in float32: only one order gives 1.
        parts = [tf.constant(value, tf.float32) for value in (1e8, -1e8, 1.0)]
        total = lambda *parts: tf.add_n(parts)
        assert float(total(*parts)) == 1.0
        assert float(tf.function(total)(*parts)) == 1.0
        assert float(tf.function(total)(*parts[::-1])) == 0.0
    """)


STEPS = """
    import hashlib
    import keras
    from tfrobust import data, models, penalties
    from tfrobust.training import RobustModel, enable_determinism

    enable_determinism()
    keras.utils.set_random_seed(3)
    train = data.make_shapes(96, seed=0)
    network = models.ResNet18((32, 32, 3), 10, "VARIANT", 4)
    model = RobustModel(network)
    terms = [penalties.GradientNorm(6e-3), penalties.WeightDecay()]
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), penalties=terms)
    batches = data.train_pipeline(
        train, batch_size=32, seed=3, epochs=4, augment="crop_flip"
    )
    model.fit(batches, epochs=4, steps_per_epoch=3, shuffle=False, verbose=0)
    weights = b"".join(weight.numpy().tobytes() for weight in network.weights)
    print(hashlib.sha256(weights).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("variant", ["lcnn", "standard"])
def test_two_processes_agree_to_the_last_bit_on_a_busy_machine(variant):
    """With gradients of gradients, which without it agree in no two of ten runs."""
    with busy_cores():
        first, second = (run(STEPS.replace("VARIANT", variant)) for _ in range(2))
    assert first == second and len(first.split()) == 1


def traced(terms, adversary=None):
    """The graph of a training step of a network with every layer of ours."""
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.SpectralConv2D(2, 3),
            layers.LipschitzBatchNormalization(),
            layers.CenteredSoftplus(),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.1),
            keras.layers.Flatten(),
            layers.SpectralDense(3),
        ]
    )
    model = RobustModel(network)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([5], [0.1, 0.01])
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer, penalties=terms, adversary=adversary)
    batch = tf.constant(IMAGES), tf.constant(LABELS)
    return tf.function(model.train_step).get_concrete_function(batch).graph


@pytest.mark.parametrize(
    ("terms", "adversary"),
    [
        ([penalties.Curvature(), penalties.GradientNorm()], None),
        ([penalties.Cure(), penalties.WeightDecay()], attacks.PGD(norm=2, eps=0.1)),
        (
            [
                penalties.GradientAlignment(
                    pag.ClassMean(IMAGES, LABELS, 3), classes_per_step=2
                )
            ],
            None,
        ),
    ],
    ids=["GradReg", "CURE and PGD", "PAG"],
)
def test_a_step_reads_no_variable_at_a_time_that_is_left_open(terms, adversary):
    """What is read before it is updated stays so in TensorFlow's optimised graph."""
    assert forgotten_reads(traced(terms, adversary)) == []


def test_an_open_read_is_found():
    """The batch norm that read its variance twice, as it was."""
    moving = tf.Variable([1.0, 2.0])

    @tf.custom_gradient
    def normalize(x, shrink):
        variance = tf.math.reduce_variance(x, axis=0)
        return (x * shrink, variance), lambda *upstreams: (upstreams[0] * shrink, None)

    @tf.function
    def step(x):
        y, variance = normalize(x, tf.reduce_min(moving))
        moving.assign(moving + 0.1 * (variance - moving))
        return y

    @tf.function
    def once(x):
        before = tf.identity(moving)
        y, variance = normalize(x, tf.reduce_min(before))
        moving.assign(before + 0.1 * (variance - before))
        return y

    x = tf.ones([3, 2])
    (found,) = forgotten_reads(step.get_concrete_function(x).graph)
    assert "Assign" in found[1]
    assert forgotten_reads(once.get_concrete_function(x).graph) == []
