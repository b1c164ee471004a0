"""PGD on models whose answer is known, and as a guest in other people's graphs."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrobust import layers
from tfrobust.attacks import PGD
from tfrobust.attacks.pgd import _seeds

SHAPE = (3, 4, 2)
CLASSES = 3
NORMS = [2, "inf"]


class Linear(tf.Module):
    """f(x) = W x + b, small enough that the box never matters at x = 1/2."""

    def __init__(self, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        weights = rng.normal(size=(int(np.prod(SHAPE)), CLASSES))
        self.weights = tf.constant(weights, tf.float32)
        # Classes 0 and 1 close together, class 2 far below both.
        self.bias = tf.constant([0.5, 0.0, -20.0]) - 0.5 * tf.reduce_sum(
            self.weights, axis=0
        )
        self.traces = 0

    def __call__(self, images):
        self.traces += 1
        rows = tf.reshape(images, [-1, int(np.prod(SHAPE))])
        return rows @ self.weights + self.bias


@functools.cache
def convnet(batch_norm=True):
    """A small untrained network with everything that has state."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="softplus")(inputs)
    if batch_norm:
        x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="logits")(x))


def batch(size, seed=0):
    """Random images, labelled as the network answers so that all are attacked."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(size=(size, *SHAPE)).astype(np.float32)
    labels = np.argmax(convnet()(images), axis=-1)
    return tf.constant(images), tf.constant(labels, tf.int32)


def boundary(model, norm):
    """Closed form: distance from x = 1/2 to where class 1 overtakes class 0."""
    normal = (model.weights[:, 0] - model.weights[:, 1]).numpy().astype(np.float64)
    logits = model(tf.fill([1, *SHAPE], 0.5)).numpy()[0].astype(np.float64)
    dual = 2 if norm == 2 else 1
    return (logits[0] - logits[1]) / np.linalg.norm(normal, ord=dual)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize("norm", NORMS)
def test_finds_the_closed_form_boundary(norm, loss, random_start, targeted):
    model, images = Linear(), tf.fill([1, *SHAPE], 0.5)
    distance = boundary(model, norm)
    targets = [1] if targeted else None
    attack = functools.partial(PGD, norm=norm, loss=loss, random_start=random_start)
    beyond = attack(eps=1.05 * distance)(model, images, [0], targets)
    assert beyond.success[0]
    assert beyond.distortion[0] <= 1.05 * distance + 1e-6
    short = attack(eps=0.95 * distance)(model, images, [0], targets)
    assert not short.success[0]
    # It fails at the edge of the ball, where the loss is highest.
    assert float(short.distortion[0]) == pytest.approx(0.95 * distance, rel=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_result_stays_in_the_ball_and_the_box(norm, data):
    eps = data.draw(st.sampled_from([0.0, 1e-4, 8 / 255, 0.5, 3.0]))
    seed = data.draw(st.integers(0, 1000))
    images, labels = batch(2, seed)
    # Some pixels on the faces of the box, where clipping acts.
    images = tf.where(images < 0.2, 0.0, tf.where(images > 0.8, 1.0, images))
    attack = PGD(norm=norm, eps=eps, steps=3, attacks_reached=True)
    result = attack(convnet(), images, labels)
    adversarial = result.adversarial.numpy()
    assert adversarial.min() >= 0.0 and adversarial.max() <= 1.0
    delta = adversarial.astype(np.float64) - images.numpy().astype(np.float64)
    order = 2 if norm == 2 else np.inf
    distances = np.linalg.norm(delta.reshape(2, -1), ord=order, axis=1)
    assert np.all(distances <= eps + 1e-6)
    np.testing.assert_allclose(result.distortion, distances, atol=1e-6)
    predicted = np.argmax(convnet()(adversarial, training=False), axis=-1)
    np.testing.assert_array_equal(result.success, predicted != labels.numpy())


@pytest.mark.parametrize("norm", NORMS)
def test_result_does_not_depend_on_the_batch(norm):
    attack = PGD(norm=norm, eps=0.3, steps=5, restarts=2, attacks_reached=True)
    images, labels = batch(5)
    together = attack(convnet(), images, labels)
    backwards = attack(convnet(), images[::-1], labels[::-1])
    alone = [attack(convnet(), images[i : i + 1], labels[i : i + 1]) for i in range(5)]
    # Matrix products round differently at different batch sizes, hence not exact.
    np.testing.assert_allclose(
        together.adversarial, backwards.adversarial[::-1], atol=1e-5
    )
    for i, single in enumerate(alone):
        np.testing.assert_allclose(
            together.adversarial[i], single.adversarial[0], atol=1e-5
        )
        assert together.success[i] == single.success[0]


@pytest.mark.parametrize("norm", NORMS)
def test_seed_decides_the_result(norm):
    images, labels = batch(3)
    first = PGD(norm=norm, eps=0.3, steps=1, seed=1)(convnet(), images, labels)
    again = PGD(norm=norm, eps=0.3, steps=1, seed=1)(convnet(), images, labels)
    other = PGD(norm=norm, eps=0.3, steps=1, seed=2)(convnet(), images, labels)
    np.testing.assert_array_equal(first.adversarial, again.adversarial)
    assert np.abs(first.adversarial - other.adversarial).max() > 1e-3


def test_seeds_differ_where_images_do():
    """Also where pixels are only 0 and 1, whose low bits are all zero."""
    binary = np.zeros((25, *SHAPE), np.float32)
    for i in range(24):
        binary[i].flat[i] = 1.0
    noise = np.random.default_rng(0).integers(0, 256, (500, *SHAPE)) / 255
    images = np.concatenate([binary, noise]).astype(np.float32)
    seeds = _seeds(tf.constant(images), 7, 0).numpy()
    assert len(set(seeds[:, 0].tolist())) == len(images)
    # Neighbouring settings share no stream.
    settings = [(0, 0), (0, 1), (1, 0), (1, 1)]
    streams = {int(_seeds(images, *pair)[0, 1]) for pair in settings}
    assert len(streams) == len(settings)


def test_more_restarts_never_do_worse():
    images, labels = batch(6)
    settings = {"norm": "inf", "eps": 0.2, "steps": 2, "attacks_reached": True}
    one = PGD(**settings)
    five = PGD(**settings, restarts=5)
    goal_of = keras.losses.SparseCategoricalCrossentropy(True, reduction=None)
    losses = [
        goal_of(labels, convnet()(a(convnet(), images, labels).adversarial)).numpy()
        for a in (one, five)
    ]
    assert np.all(losses[1] >= losses[0] - 1e-6)


def test_saturated_logits_are_still_attacked():
    """At a margin of 1000 the float32 cross-entropy has no gradient at all."""
    model, images = Linear(), tf.fill([1, *SHAPE], 0.5)
    eps = 1.05 * boundary(model, 2)
    result = PGD(norm=2, eps=eps)(lambda x: 2000.0 * model(x), images, [0])
    assert result.success[0]


@pytest.mark.parametrize("norm", NORMS)
def test_a_flat_model_gives_no_nan(norm):
    images, labels = batch(2)
    result = PGD(norm=norm, eps=0.1)(
        lambda x: tf.reduce_sum(0.0 * x, axis=[1, 2, 3])[:, None] + 2.0 * tf.eye(3)[:1],
        images,
        tf.zeros_like(labels),
    )
    np.testing.assert_array_equal(result.adversarial, images)
    np.testing.assert_array_equal(result.distortion, 0.0)


def test_misclassified_images_come_back_as_they_are():
    images, labels = batch(4)
    wrong = (labels + 1) % CLASSES
    mixed = tf.where([True, False, True, False], wrong, labels)
    result = PGD(norm=2, eps=0.5)(convnet(), images, mixed)
    np.testing.assert_array_equal(result.adversarial[::2], images[::2])
    assert result.success[0] and result.success[2]
    assert result.distortion[0] == result.distortion[2] == 0.0
    assert result.distortion[1] > 0.1 and result.distortion[3] > 0.1


def test_model_state_is_untouched():
    images, labels = batch(4)
    before = [v.numpy() for v in convnet().variables]
    PGD(norm=2, eps=0.5, steps=3)(convnet(), images, labels)
    for variable, value in zip(convnet().variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)


def test_low_curvature_networks_keep_their_power_iteration_state():
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = layers.SpectralConv2D(4, 3)(inputs)
    x = layers.LipschitzBatchNormalization()(x)
    x = layers.CenteredSoftplus()(x)
    network = keras.Model(
        inputs, layers.SpectralDense(CLASSES)(keras.layers.Flatten()(x))
    )
    images = tf.random.stateless_uniform([4, *SHAPE], [0, 1])
    network(images, training=True)
    labels = tf.argmax(network(images, training=False), axis=-1)
    before = [v.numpy() for v in network.variables]
    result = PGD(norm=2, eps=1.0, steps=5)(network, images, labels)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)
    clean = network(images, training=False)
    moved = network(result.adversarial, training=False) - clean
    assert np.all(np.linalg.norm(moved, axis=1) > 0)


def test_smaller_last_batch_does_not_retrace():
    model = Linear()
    attack = PGD(norm=2, eps=0.1, steps=2)
    labels = tf.zeros([8], tf.int32)
    attack(model, tf.fill([8, *SHAPE], 0.5), labels)
    traces = model.traces
    attack(model, tf.fill([8, *SHAPE], 0.4), tf.cast(labels, tf.int64))
    attack(model, tf.fill([3, *SHAPE], 0.4), labels[:3])
    # An equal attack is the same attack.
    PGD(norm=2, eps=0.1, steps=2)(model, tf.fill([3, *SHAPE], 0.4), labels[:3])
    assert model.traces == traces


def test_many_attacks_in_a_row_raise_no_warning_of_retracing(caplog):
    model, images = Linear(), tf.fill([2, *SHAPE], 0.5)
    for steps in range(1, 8):
        PGD(norm=2, eps=0.1, steps=steps)(model, images, [0, 0])
    assert "retracing" not in caplog.text


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.uint8])
def test_integer_labels(dtype):
    images, labels = batch(2)
    attack = PGD(norm=2, eps=0.5, steps=2)
    expected = attack(convnet(), images, labels)
    result = attack(convnet(), images, tf.cast(labels, dtype))
    np.testing.assert_array_equal(result.adversarial, expected.adversarial)


def test_inside_a_graph_of_unknown_batch_size():
    attack = PGD(norm=2, eps=0.5, steps=3, restarts=2)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *SHAPE], tf.float32),
            tf.TensorSpec([None], tf.int64),
        ]
    )
    def step(images, labels):
        return attack(convnet(), images, labels)

    for size in (4, 2):
        images, labels = batch(size)
        result = step(images, tf.cast(labels, tf.int64))
        expected = attack(convnet(), images, labels)
        assert result.adversarial.shape == (size, *SHAPE)
        np.testing.assert_allclose(result.adversarial, expected.adversarial, atol=1e-5)
        np.testing.assert_array_equal(result.success, expected.success)


@pytest.mark.parametrize("norm", NORMS)
def test_under_xla(norm):
    """Without a random start: XLA draws other numbers from the same seed."""
    attack = PGD(norm=norm, eps=0.3, steps=3, random_start=False)
    images, labels = batch(3)
    compiled = tf.function(
        lambda *args: attack(convnet(), *args), jit_compile=True, autograph=False
    )
    result, expected = compiled(images, labels), attack(convnet(), images, labels)
    np.testing.assert_allclose(result.adversarial, expected.adversarial, atol=1e-5)


def test_random_start_and_restarts_under_xla():
    attack = PGD(norm=2, eps=0.3, steps=2, restarts=2, attacks_reached=True)
    images, labels = batch(3)
    compiled = tf.function(
        lambda *args: attack(convnet(), *args), jit_compile=True, autograph=False
    )
    result = compiled(images, labels)
    delta = (result.adversarial - images).numpy().reshape(3, -1)
    distances = np.linalg.norm(delta.astype(np.float64), axis=1)
    assert np.all(distances <= 0.3 + 1e-6) and np.all(distances > 0.01)


def test_inside_a_replica():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    attack = PGD(norm=2, eps=0.5, steps=2)
    images, labels = batch(3)

    @tf.function
    def step(images, labels):
        return strategy.run(lambda *args: attack(convnet(), *args), (images, labels))

    result, expected = step(images, labels), attack(convnet(), images, labels)
    np.testing.assert_allclose(result.adversarial, expected.adversarial, atol=1e-5)


def test_as_part_of_a_training_step():
    """Second-order tape outside, attack inside: gradients of weights, none of images"""
    attack = PGD(norm=2, eps=0.5, steps=2, attacks_reached=True)
    images, labels = batch(4)
    network = convnet()

    @tf.function
    def gradients(images, labels):
        with tf.GradientTape() as tape:
            tape.watch(images)
            adversarial = attack(network, images, labels).adversarial
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels, network(tf.stop_gradient(adversarial), training=True)
                )
            )
        return tape.gradient(loss, [images, network.trainable_variables[0].value])

    to_images, to_kernel = gradients(images, labels)
    assert to_images is None
    assert np.abs(to_kernel).max() > 0


def test_no_gradient_flows_through_the_result():
    attack = PGD(norm=2, eps=0.5, steps=2)
    images, labels = batch(2)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(attack(convnet(), images, labels).adversarial)
    assert tape.gradient(total, images) is None


def test_a_model_without_gradient_is_refused():
    with pytest.raises(ValueError, match="`model` must be differentiable"):
        images, labels = batch(2)
        PGD(norm=2, eps=0.5)(lambda x: convnet()(tf.round(x)), images, labels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -1}, "`eps` must be finite and at least 0. Received: eps=-1"),
        (
            {"eps": float("nan")},
            "`eps` must be finite and at least 0. Received: eps=nan",
        ),
        ({"steps": 0}, "`steps` must be at least 1. Received: steps=0"),
        ({"norm": 1}, '`norm` must be 2 or "inf". Received: norm=1'),
        (
            {"step_size": 0.0},
            "`step_size` must be positive and finite, or None. Received: step_size=0.0",
        ),
        ({"restarts": 0}, "`restarts` must be at least 1. Received: restarts=0"),
        (
            {"loss": "dlr"},
            "`loss` must be one of ('cross_entropy', 'margin'). Received: loss=dlr",
        ),
        ({"seed": -1}, "`seed` must be in [0, 2**31). Received: seed=-1"),
        (
            {"restarts": 2, "random_start": False},
            "`restarts` above 1 needs `random_start=True`, or every search is the "
            "same. Received: restarts=2",
        ),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError) as error:
        PGD(**{"norm": 2, "eps": 0.1, **settings})
    assert str(error.value) == message
