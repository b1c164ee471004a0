"""What every layer of the library must be able to do, checked in one call."""

import keras
import numpy as np
import tensorflow as tf

BATCH = 3


def images(*shape, seed=0):
    """Standard normal float32 numbers, the same on every run."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def functional(layer, input_shape):
    """The layer alone in a functional model of unknown batch size."""
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layer(inputs))


def check_layer(
    kind, arguments, input_shape, folder, *, trainable, non_trainable, call_shape=None
):
    """Takes one layer through its whole life.

    Args:
        kind: The layer class.
        arguments: Keyword arguments, every one of them away from its default.
        input_shape: Shape of one input, without the batch.
        folder: An empty folder for files.
        trainable: Names of the trainable weights, in order.
        non_trainable: Names of the other weights, in order.
        call_shape: Shape of one output; the input's where it is left out.
    """
    x = images(BATCH, *input_shape)
    output_shape = tuple(input_shape if call_shape is None else call_shape)
    layer = kind(**arguments)
    model = functional(layer, input_shape)
    assert [w.name for w in layer.trainable_variables] == trainable
    assert [w.name for w in layer.non_trainable_variables] == non_trainable

    _check_config(kind, layer, arguments)
    _check_shapes(layer, model, x, output_shape)
    _check_training(model, x)
    _check_keras_file(model, x, folder)
    _check_saved_model(model, input_shape, folder)
    _check_compiled(layer, x)
    for policy in ("mixed_bfloat16", "mixed_float16"):
        _check_mixed_precision(kind, arguments, x, policy)
    _check_strategy(kind, arguments, input_shape, x)


def _check_config(kind, layer, arguments):
    config = layer.get_config()
    for name, value in arguments.items():
        assert config[name] == value, name
    again = kind.from_config(config)
    assert again.get_config() == config
    frozen = kind(**arguments, trainable=False)
    assert not kind.from_config(frozen.get_config()).trainable


def _check_shapes(layer, model, x, output_shape):
    assert model.output_shape == (None, *output_shape)
    assert layer.compute_output_shape(x.shape) == (len(x), *output_shape)
    assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *output_shape)
    for size in (1, len(x)):
        for training in (False, True):
            assert layer(x[:size], training=training).shape == (size, *output_shape)


def _check_training(model, x):
    """One step of `fit` moves every weight that can learn."""
    target = images(len(x), *model.output_shape[1:], seed=1)
    before = [w.numpy() for w in model.trainable_variables]
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    model.fit(x, target, batch_size=len(x), verbose=0)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.all(np.isfinite(variable.numpy())), variable.path
        assert np.any(variable.numpy() != old), variable.path


def _check_keras_file(model, x, folder):
    """State that training left comes back bit by bit, in safe mode."""
    path = folder / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path, safe_mode=True)
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(theirs.numpy(), ours.numpy())
    np.testing.assert_array_equal(loaded(x).numpy(), model(x).numpy())


def _check_saved_model(model, input_shape, folder):
    path = str(folder / "saved_model")
    model.export(path, verbose=False)
    loaded = tf.saved_model.load(path)
    for size in (1, BATCH + 2):
        x = images(size, *input_shape, seed=2)
        np.testing.assert_allclose(
            loaded.serve(x).numpy(), model(x).numpy(), rtol=1e-6, atol=1e-6
        )


def _check_compiled(layer, x):
    compiled = tf.function(lambda x: layer(x, training=False), jit_compile=True)
    eager = layer(x, training=False).numpy()
    np.testing.assert_allclose(compiled(x).numpy(), eager, rtol=1e-5, atol=1e-5)


def _check_mixed_precision(kind, arguments, x, policy):
    layer = kind(**arguments, dtype=policy)
    for training in (False, True):
        y = layer(x, training=training)
        assert y.dtype.name == policy.removeprefix("mixed_")
        assert np.all(np.isfinite(tf.cast(y, "float32").numpy()))
    assert {w.dtype for w in layer.weights} == {"float32"}


def _check_strategy(kind, arguments, input_shape, x):
    """Built and trained under a strategy, the layer is the layer built without one."""
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        layer = kind(**arguments)
        functional(layer, input_shape)
    plain = kind(**arguments)
    plain.build((None, *input_shape))
    plain.set_weights(layer.get_weights())
    step = tf.function(lambda x: layer(x, training=True))
    distributed = strategy.run(step, args=(tf.constant(x),))
    np.testing.assert_allclose(
        distributed.numpy(), plain(x, training=True).numpy(), rtol=1e-5, atol=1e-5
    )
    for ours, theirs in zip(plain.weights, layer.weights, strict=True):
        np.testing.assert_allclose(theirs.numpy(), ours.numpy(), rtol=1e-5, atol=1e-6)
