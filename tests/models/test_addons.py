"""Networks of TensorFlow Addons go on in Keras 3, as docs/PORTING.md says.

Its optimizers are written out in NumPy; where it is installed, it is asked itself.
"""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

RATE, DECAY, MOMENTUM = 0.02, 0.003, 0.9


def adamw(weight, gradients, rate, decay):
    """Loshchilov and Hutter 2019, with the decay that is no multiple of the rate."""
    m = v = 0.0
    for t, gradient in enumerate(gradients, 1):
        weight = weight - decay * weight
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        step = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        weight = weight - step * m / (np.sqrt(v) + 1e-7)
    return weight


def sgdw(weight, gradients, rate, decay, nesterov=False):
    """The same of momentum, which the decay does not enter."""
    velocity = 0.0
    for gradient in gradients:
        weight = weight - decay * weight
        velocity = MOMENTUM * velocity - rate * gradient
        step = MOMENTUM * velocity - rate * gradient if nesterov else velocity
        weight = weight + step
    return weight


def keras_adamw(rate, decay):
    return keras.optimizers.AdamW(rate, weight_decay=decay / rate)


def keras_sgdw(rate, decay, nesterov=False):
    return keras.optimizers.SGD(
        rate, momentum=MOMENTUM, nesterov=nesterov, weight_decay=decay / rate
    )


@pytest.mark.parametrize(
    ("make", "rule", "settings"),
    [
        (keras_adamw, adamw, {}),
        (keras_sgdw, sgdw, {}),
        (keras_sgdw, sgdw, {"nesterov": True}),
    ],
)
def test_decay_over_rate_is_the_decay_of_addons(make, rule, settings):
    """Keras multiplies its `weight_decay` by the learning rate, Addons does not."""
    random = np.random.default_rng(0)
    start, gradients = random.standard_normal((3, 2)), random.standard_normal((6, 3, 2))
    variable = keras.Variable(start.astype("float32"))
    optimizer = make(RATE, DECAY, **settings)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
    expected = rule(start, gradients, RATE, DECAY, **settings)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6)
    # Without the division the difference is seen.
    other = rule(start, gradients, RATE, DECAY * RATE, **settings)
    assert np.abs(expected - other).max() > 0.01


def test_a_decay_scheduled_like_the_rate_is_a_constant_one():
    """Addons asks for `decay(t) = c * rate(t)`; in Keras that is `weight_decay=c`."""
    random = np.random.default_rng(0)
    start, gradients = random.standard_normal(4), random.standard_normal((5, 4))
    rates, c = [0.1, 0.1, 0.01, 0.01, 0.001], 0.2
    variable = keras.Variable(start.astype("float32"))
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [1, 3], [0.1, 0.01, 0.001]
    )
    optimizer = keras.optimizers.SGD(schedule, weight_decay=c)
    weight = start
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        weight = weight - c * rate * weight - rate * gradient
    np.testing.assert_allclose(variable.numpy(), weight, rtol=1e-5, atol=1e-6)


def test_biases_left_out_of_the_decay():
    """`decay_var_list` becomes `exclude_from_weight_decay`, its complement."""
    dense = keras.layers.Dense(2, bias_initializer="ones")
    dense.build((None, 3))
    before = dense.kernel.numpy()
    optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[dense.bias])
    optimizer.apply(
        [keras.ops.zeros((3, 2)), keras.ops.zeros(2)], dense.trainable_variables
    )
    np.testing.assert_allclose(dense.kernel.numpy(), 0.95 * before, rtol=1e-6)
    np.testing.assert_array_equal(dense.bias.numpy(), 1.0)


def network(layers, normalize, groups):
    """Of Keras 3 or of its predecessor, by their own classes."""
    return [
        layers.InputLayer((6, 5, 3)),
        normalize(layers.Conv2D(8, 3, strides=2, padding="same")),
        groups(groups=4),
        layers.ReLU(),
        layers.Flatten(),
        normalize(layers.Dense(4), power_iterations=2),
    ]


_THEIRS = """
import sys, inspect
import numpy as np
import tf_keras
sys.modules["keras"] = tf_keras
import tensorflow_addons as tfa
{network}
tf_keras.utils.set_random_seed(1)
model = tf_keras.Sequential(network(
    tf_keras.layers, tfa.layers.SpectralNormalization, tfa.layers.GroupNormalization))
def named(prefix):
    return {{
        f"{{prefix}}/{{i}}/{{w.name.split('/')[-1].split(':')[0]}}": w.numpy()
        for i, layer in enumerate(model.layers) for w in layer.weights
    }}
saved, start = named("start"), model.get_weights()
x, y = (np.load(sys.argv[1])[name] for name in "xy")
for kind, optimizer in (
    ("adamw", tfa.optimizers.AdamW({decay}, {rate})),
    ("sgdw", tfa.optimizers.SGDW({decay}, {rate}, momentum={momentum})),
):
    model.set_weights(start)
    model.compile(optimizer, "mse")
    model.fit(x, y, batch_size=len(x), epochs=3, verbose=0)
    saved |= named(kind)
    saved[f"{{kind}}/answers"] = model(x, training=False).numpy()
np.savez(sys.argv[2], **saved)
"""


@pytest.mark.slow
def test_a_network_of_addons_itself(tmp_path):
    """Its weights fit by their names, and three steps of training end where its do."""
    for package in ("tensorflow_addons", "tf_keras"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; `make test-backends` has it")
    import inspect

    random = np.random.default_rng(0)
    x = random.standard_normal((7, 6, 5, 3)).astype("float32")
    y = random.standard_normal((7, 4)).astype("float32")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    program = _THEIRS.format(
        network=inspect.getsource(network), decay=DECAY, rate=RATE, momentum=MOMENTUM
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "data.npz", tmp_path / "out.npz"],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    theirs = np.load(tmp_path / "out.npz")
    model = keras.Sequential(
        network(
            keras.layers,
            keras.layers.SpectralNormalization,
            keras.layers.GroupNormalization,
        )
    )
    weights = [(i, w) for i, layer in enumerate(model.layers) for w in layer.weights]

    def theirs_of(kind, i, weight):
        name = "sn_u" if weight.name == "vector_u" else weight.name
        return theirs[f"{kind}/{i}/{name}"]

    for kind, make in (("adamw", keras_adamw), ("sgdw", keras_sgdw)):
        for i, weight in weights:
            weight.assign(theirs_of("start", i, weight))
        model.compile(make(RATE, DECAY), "mse")
        model.fit(x, y, batch_size=len(x), epochs=3, verbose=0)
        for i, weight in weights:
            expected = theirs_of(kind, i, weight)
            np.testing.assert_allclose(
                weight.numpy(), expected, atol=1e-4, err_msg=weight.path
            )
        answers = model(x, training=False)
        np.testing.assert_allclose(answers, theirs[f"{kind}/answers"], atol=1e-4)
