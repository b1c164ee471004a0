"""The training step against a NumPy derivation, and around it the ways it is run."""

import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrobust import attacks, data, layers, models, penalties
from tfrobust.training import RobustModel

SHAPE, CLASSES = (2, 3, 2), 3


def some_data(count=10, shape=SHAPE):
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, count)
    return random.random((count, *shape), np.float32), labels


def linear(**settings):
    """Softmax regression, whose step can be derived by hand."""
    random = np.random.default_rng(1)
    network = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )
    network.set_weights([random.normal(size=(12, CLASSES)), random.normal(size=3)])
    model = RobustModel(network)
    model.compile(**settings)
    return model


def mlp(seed=0, **settings):
    keras.utils.set_random_seed(seed)
    model = RobustModel(models.MLP(SHAPE, CLASSES, "lcnn", hidden=(5,)))
    model.compile(**{"optimizer": sgd(), **settings})
    return model


def convolutional(variant="lcnn", seed=0):
    """Both strides, a norm before and after, 6x5 images."""
    keras.utils.set_random_seed(seed)
    lcnn = variant == "lcnn"
    convolution = layers.SpectralConv2D if lcnn else keras.layers.Conv2D
    norm = (
        layers.LipschitzBatchNormalization if lcnn else keras.layers.BatchNormalization
    )
    beta = 5.0 if lcnn else 20.0
    return keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            convolution(3, 3, padding="same"),
            norm(),
            layers.CenteredSoftplus(beta, trainable=lcnn),
            convolution(4, 3, strides=2, padding="same"),
            norm(),
            layers.CenteredSoftplus(beta, trainable=lcnn),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(CLASSES, dtype="float32"),
        ]
    )


def sgd(rate=0.1):
    return keras.optimizers.SGD(rate, momentum=0.9)


def weights_of(model):
    variables = [*model.network.variables, *model.optimizer.variables]
    return [variable.numpy() for variable in variables]


def check_close(found, expected, tolerance):
    """Each variable, relative to its largest entry."""
    for a, b in zip(found, expected, strict=True):
        scale = max(np.max(np.abs(b)), 1e-3)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def derived_step(weights, images, labels, rate, decay, sample_weight=None):
    """One SGD step on cross-entropy and gradient norm, and its values, in float64.

    With residual r = p - onehot, an example's input-gradient is `W r`, and the chain
    rule runs through both W and r, where dr/dz = diag(p) - p p^T.
    """
    kernel, bias = (weight.astype(np.float64) for weight in weights)
    x = images.reshape(len(images), -1).astype(np.float64)
    logits = x @ kernel + bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    p = odds / odds.sum(1, keepdims=True)
    losses = -np.log(p[np.arange(len(x)), labels])
    r = p - np.eye(CLASSES)[labels]
    scale = np.ones(len(x)) if sample_weight is None else sample_weight
    to_logits = r * scale[:, None] / len(x)
    gradient = r @ kernel.T
    back = 2 * decay / len(x) * (gradient @ kernel)
    to_logits = to_logits + p * (back - np.sum(p * back, axis=1, keepdims=True))
    by_kernel = x.T @ to_logits + 2 * decay / len(x) * gradient.T @ r
    norms = np.linalg.norm(gradient, axis=1)
    values = {
        "cross_entropy": np.mean(scale * losses),
        "gradient_penalty": decay * np.mean(norms**2),
        "gradient_norm": np.mean(norms),
        "accuracy": np.sum(scale * (logits.argmax(1) == labels)) / np.sum(scale),
    }
    values["loss"] = values["cross_entropy"] + values["gradient_penalty"]
    return (kernel - rate * by_kernel, bias - rate * to_logits.sum(0)), values


@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_a_step_is_the_derived_one(decay):
    """Weights after a step, and the values reported for it, are those of NumPy."""
    images, labels = some_data()
    terms = [penalties.GradientNorm(decay)]
    model = linear(optimizer=keras.optimizers.SGD(0.5), penalties=terms)
    expected, values = derived_step(
        model.network.get_weights(), images, labels, 0.5, decay
    )
    history = model.fit(images, labels, batch_size=10, verbose=0).history
    for a, b in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert history.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_allclose(history[name], [value], rtol=1e-5, err_msg=name)
    assert history["loss"][0] > 0.1


def test_sample_weights_scale_examples():
    """The sum is divided by the batch size, the accuracy by the sum of weights."""
    images, labels = some_data()
    weights = np.linspace(0.0, 3.0, 10)
    model = linear(optimizer=keras.optimizers.SGD(0.5))
    expected, values = derived_step(
        model.network.get_weights(), images, labels, 0.5, 0.0, weights
    )
    history = model.fit(images, labels, 10, sample_weight=weights, verbose=0).history
    for a, b in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for name in ("loss", "cross_entropy", "accuracy"):
        np.testing.assert_allclose(history[name], [values[name]], rtol=1e-5)


def test_an_epoch_reports_means_over_examples():
    """A last batch of 2 counts for 2 of 10, in every value of the history."""
    images, labels = some_data()
    terms = [penalties.GradientNorm(0.7)]
    model = linear(optimizer=keras.optimizers.SGD(0.0), penalties=terms)
    _, values = derived_step(model.network.get_weights(), images, labels, 0.0, 0.7)
    history = model.fit(images, labels, batch_size=4, epochs=2, verbose=0).history
    for name, value in values.items():
        np.testing.assert_allclose(history[name], [value] * 2, rtol=1e-5, err_msg=name)


def test_the_loss_is_the_sum_of_its_terms():
    """With every penalty at once; beta and gamma are today's, not the epoch's."""
    terms = [penalties.Curvature(0.1, 0.2), penalties.WeightDecay(0.3)]
    model = RobustModel(convolutional())
    model.compile(sgd(), [*terms, penalties.GradientNorm(0.4)])
    images, labels = some_data(8, (6, 5, 2))
    log = {n: v[0] for n, v in model.fit(images, labels, verbose=0).history.items()}
    names = ["cross_entropy", "curvature_penalty", "weight_penalty", "gradient_penalty"]
    np.testing.assert_allclose(log["loss"], sum(log[n] for n in names), rtol=1e-5)
    assert min(log[name] for name in names) > 0
    assert log.keys() == {"loss", "accuracy", "gradient_norm", "beta", "gamma", *names}
    mean_beta = np.mean(list(models.betas(model.network).values()))
    mean_gamma = np.mean(list(models.gammas(model.network).values()))
    # Reported from inside the step, so one update before.
    np.testing.assert_allclose(log["beta"], mean_beta, rtol=0.2)
    np.testing.assert_allclose(log["gamma"], mean_gamma, rtol=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x, y: ((x * 255).astype(np.uint8), y),
            "`images` must be floating point, in [0, 1]. Received: images.dtype=uint8",
        ),
        (
            lambda x, y: (x, y.astype(np.float32)),
            "`labels` must be integers of shape (batch,). "
            "Received: labels.dtype=float32, labels.shape=(None,)",
        ),
        (
            lambda x, y: (x, y[:, None]),
            "`labels` must be integers of shape (batch,). "
            "Received: labels.dtype=int64, labels.shape=(None, 1)",
        ),
        (
            lambda x, y: (x,),
            "Training and evaluation need batches of (images, labels). "
            "Received: images alone",
        ),
        (
            lambda x, y: (x, y, np.ones((len(x), 1), np.float32)),
            "`sample_weight` must have shape (batch,). "
            "Received: sample_weight.shape=(None, 1)",
        ),
    ],
    ids=["uint8", "float labels", "column", "no labels", "weights"],
)
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_a_wrong_batch_is_refused_in_a_sentence(change, message, method):
    """The whole message, with no traceback of a graph around it."""
    batches = tf.data.Dataset.from_tensor_slices(change(*some_data())).batch(5)
    with pytest.raises(ValueError) as caught:
        getattr(linear(), method)(batches, verbose=0)
    assert str(caught.value) == message


def test_labels_out_of_range_are_refused():
    """On a CPU, by TensorFlow, which names the label and the range."""
    images, labels = some_data()
    labels[3] = CLASSES
    text = r"label value of 3 which is outside the valid range of \[0, 3\)"
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        linear().fit(images, labels, verbose=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_labels_may_be_any_integers(dtype):
    """As TFDS and Keras data sets have them."""
    images, labels = some_data()
    weights = [
        mlp().fit(images, y, shuffle=False, verbose=0).history["loss"]
        for y in (labels.astype(np.int32), labels.astype(dtype))
    ]
    assert weights[0] == weights[1]


def test_an_unbuilt_network_is_refused():
    """Its input shape is not known."""
    network = keras.Sequential([keras.layers.Dense(3)], name="plan")
    with pytest.raises(ValueError) as caught:
        RobustModel(network)
    assert str(caught.value) == (
        "`network` must be built, so that its input shape is known. "
        "Received: network='plan', not built"
    )


def test_a_network_of_unknown_shapes_is_refused():
    """A subclassed model does not say what it takes and gives."""

    class Written(keras.Model):
        def call(self, inputs):
            return inputs

    network = Written(name="written")
    network(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError) as caught:
        RobustModel(network)
    assert str(caught.value) == (
        "`network` must be a functional or sequential model, whose shapes are known. "
        "Received: network='written' of class Written"
    )


def test_a_network_without_logits_is_refused():
    """Its output is an image."""
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError) as caught:
        RobustModel(network)
    assert str(caught.value) == (
        "`network` must end in logits of shape (batch, classes). "
        "Received: output_shape=(None, 4, 4, 2)"
    )


OWN = "loss, accuracy, cross_entropy, gradient_norm, beta, gamma"


@pytest.mark.parametrize("names", [("a", "a"), ("a", "loss"), ("beta",)])
def test_names_of_penalties_are_different(names):
    """From each other, and from what the step reports itself."""
    terms = []
    for name in names:
        terms.append(penalties.WeightDecay(1e-3))
        terms[-1].name = name
    with pytest.raises(ValueError) as caught:
        linear(penalties=terms)
    assert str(caught.value) == (
        f"`penalties` must have different names, none of them one of {OWN}. "
        f"Received: names={list(names)}"
    )


def test_an_adversary_is_an_attack():
    """Something else is refused before training starts."""
    with pytest.raises(ValueError) as caught:
        linear(adversary="pgd")
    assert str(caught.value) == (
        "`adversary` must be an attack from `tfrobust.attacks`. "
        "Received: adversary='pgd'"
    )


def test_compiling_by_xla_is_refused_under_several_replicas(monkeypatch):
    """Only the number of replicas matters, so the strategy is a stand-in."""
    strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(RobustModel, "distribute_strategy", strategy)
    with pytest.raises(ValueError) as caught:
        linear(jit_compile=True)
    assert str(caught.value) == (
        "`jit_compile` must be False under a strategy with several replicas, which "
        "cannot reduce inside a compiled step. Received: jit_compile=True, replicas=2"
    )


class Shapes(penalties.Penalty):
    """Zero; notes the image shapes that the step was traced with."""

    name = "shapes"

    def __init__(self):
        self.seen = []

    def __call__(self, context):
        self.seen.append(tuple(context.images.shape))
        return tf.constant(0.0)


KINDS = {
    "standard": ("standard", []),
    "lcnn": ("lcnn", [penalties.Curvature()]),
    "gradreg": ("lcnn", [penalties.Curvature(), penalties.GradientNorm(0.1)]),
}


def trained(kind, **settings):
    """Six steps on static batches, from one seed."""
    variant, terms = KINDS[kind]
    model = RobustModel(convolutional(variant))
    model.compile(**{"optimizer": sgd(0.05), "penalties": terms, **settings})
    images, labels = some_data(24, (6, 5, 2))
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    history = model.fit(
        batches.batch(8, drop_remainder=True), epochs=2, verbose=0
    ).history
    return weights_of(model), history


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_compiled_by_xla_trains_the_same(kind):
    """Weights to 1e-4 after six steps, from static shapes alone, as on a TPU."""
    plain, history = trained(kind)
    shapes = Shapes()
    compiled, again = trained(
        kind, jit_compile=True, penalties=[*KINDS[kind][1], shapes]
    )
    assert set(shapes.seen) == {(8, 6, 5, 2)}
    check_close(compiled, plain, 1e-4)
    np.testing.assert_allclose(again["loss"], history["loss"], rtol=1e-4)


@pytest.mark.parametrize("kind", ["standard", "gradreg"])
def test_eager_training_is_the_same(kind):
    """`run_eagerly` is for looking, not for other results."""
    graph, _ = trained(kind)
    eager, _ = trained(kind, run_eagerly=True)
    check_close(eager, graph, 1e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_sees_the_same_gradients(policy):
    """The input-gradient of the first step to a few per cent of float32.

    float16 has 3 digits and bfloat16 2; what matters is that no loss scale, of the
    optimiser or of the step itself, is left in the number.
    """

    def first_and_last(policy):
        keras.config.set_dtype_policy(policy)
        optimizer = sgd(0.05)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model = RobustModel(convolutional())
        model.compile(optimizer, [penalties.GradientNorm(0.1)])
        images, labels = some_data(16, (6, 5, 2))
        return model.fit(images, labels, 16, epochs=8, verbose=0).history

    full, mixed = first_and_last("float32"), first_and_last(policy)
    for name in ("gradient_norm", "gradient_penalty", "loss"):
        np.testing.assert_allclose(mixed[name][0], full[name][0], rtol=0.04)
    assert np.all(np.isfinite(mixed["loss"]))
    assert mixed["loss"][-1] < mixed["loss"][0]


@pytest.mark.parametrize("batch_size", [2, 3])
def test_several_steps_in_one_execution_are_the_same_steps(batch_size):
    """Five and four batches in threes: the last execution is a partial one."""
    images, labels = some_data()
    results = []
    for steps in (1, 3):
        model = mlp(steps_per_execution=steps, penalties=[penalties.WeightDecay()])
        history = model.fit(
            images, labels, batch_size, epochs=2, shuffle=False, verbose=0
        ).history
        evaluated = model.evaluate(
            images, labels, batch_size, verbose=0, return_dict=True
        )
        results.append((history, evaluated, weights_of(model)))
    check_close(results[1][2], results[0][2], 1e-5)
    for one, three in zip(results[0][:2], results[1][:2], strict=True):
        assert one.keys() == three.keys()
        for name, value in one.items():
            np.testing.assert_allclose(three[name], value, rtol=1e-5, err_msg=name)


def test_a_step_is_traced_once():
    """Over batches and epochs, and again only after another `compile`."""
    shapes = Shapes()
    images, labels = some_data(12)
    model = mlp(penalties=[shapes])
    model.fit(images, labels, batch_size=4, epochs=3, verbose=0)
    model.fit(images, labels, batch_size=4, verbose=0)
    assert len(shapes.seen) == 1
    model.compile(sgd(), penalties=[shapes])
    model.fit(images, labels, batch_size=4, verbose=0)
    assert len(shapes.seen) == 2


def test_compiling_again_changes_the_penalties():
    """What the first `compile` said is forgotten, its values included."""
    images, labels = some_data()
    model = mlp(penalties=[penalties.Curvature()])
    model.fit(images, labels, verbose=0)
    model.compile(sgd(), penalties=[penalties.GradientNorm(0.5)])
    history = model.fit(images, labels, verbose=0).history
    assert "curvature_penalty" not in history
    np.testing.assert_allclose(
        history["loss"][0] - history["cross_entropy"][0],
        history["gradient_penalty"][0],
        rtol=1e-4,
    )


def test_one_batch_by_hand_is_the_same_step():
    """`train_on_batch` and `test_on_batch`, on NumPy arrays."""
    images, labels = some_data()
    fitted, stepped = mlp(), mlp()
    expected = fitted.fit(images, labels, 10, verbose=0).history
    found = stepped.train_on_batch(images, labels, return_dict=True)
    assert {name: value[0] for name, value in expected.items()} == pytest.approx(found)
    check_close(weights_of(stepped), weights_of(fitted), 1e-5)
    expected = fitted.evaluate(images, labels, verbose=0, return_dict=True)
    found = stepped.test_on_batch(images, labels, return_dict=True)
    assert expected == pytest.approx(found)


def test_padding_does_not_count():
    """Padded and weighted batches evaluate as the examples alone."""
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (13, *SHAPE), np.uint8)
    examples = data.Dataset("few", pixels, random.integers(0, 3, 13), tuple("abc"))
    model = linear()
    padded, plain = [
        model.evaluate(
            data.eval_pipeline(examples, batch_size=8, pad=pad),
            verbose=0,
            return_dict=True,
        )
        for pad in (True, False)
    ]
    assert padded == pytest.approx(plain, rel=1e-6)
    _, values = derived_step(
        model.network.get_weights(), pixels / 255, examples.labels, 0.0, 0.0
    )
    np.testing.assert_allclose(plain["loss"], values["loss"], rtol=1e-5)
    np.testing.assert_allclose(plain["accuracy"], values["accuracy"], rtol=1e-6)


def test_evaluation_changes_nothing():
    """Neither statistics, nor singular vectors, nor the optimiser."""
    images, labels = some_data(8, (6, 5, 2))
    model = RobustModel(convolutional())
    model.compile(sgd(), [penalties.GradientNorm()])
    model.fit(images, labels, verbose=0)
    before = weights_of(model)
    model.evaluate(images, labels, verbose=0)
    model.predict(images, verbose=0)
    for after, value in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(after, value)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_adversary_takes_the_place_of_the_clean_images(jit_compile):
    """The loss of a step is that at the perturbed images."""
    images, labels = some_data()
    attack = attacks.PGD(norm="inf", eps=0.1, steps=3, random_start=False)
    model = linear(
        optimizer=keras.optimizers.SGD(0.0), adversary=attack, jit_compile=jit_compile
    )
    found = attack.perturb(model.network, images, labels).numpy()
    weights = model.network.get_weights()
    _, clean = derived_step(weights, images, labels, 0.0, 0.0)
    _, perturbed = derived_step(weights, found, labels, 0.0, 0.0)
    history = model.fit(images, labels, 10, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], [perturbed["loss"]], rtol=1e-4)
    assert perturbed["loss"] > 1.05 * clean["loss"]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("share", "attacked"), [(0.5, 5), (0.3, 3), (0.25, 2), (0.96, 10), (0.01, 1)]
)
def test_an_adversary_takes_its_share_of_the_batch(share, attacked, jit_compile):
    """The step is that of NumPy on `round(share * 10)` perturbed rows and the clean
    rest; half a row goes to the even number, and one row at least is attacked.
    """
    images, labels = some_data()
    attack = attacks.FGSM(norm="inf", eps=0.1)
    model = linear(
        optimizer=keras.optimizers.SGD(0.5),
        adversary=attack,
        adversary_share=share,
        jit_compile=jit_compile,
    )
    weights = model.network.get_weights()
    # One step to the corner of the ball that the sign of W (p - onehot) names.
    kernel, bias = (np.float64(weight) for weight in weights)
    odds = np.exp(images.reshape(10, -1) @ kernel + bias)
    residual = odds / odds.sum(1, keepdims=True) - np.eye(CLASSES)[labels]
    sign = np.sign(residual @ kernel.T).reshape(images.shape)
    mixed = np.float64(images)
    mixed[:attacked] = np.clip(images + 0.1 * sign, 0, 1)[:attacked]
    expected, values = derived_step(weights, mixed, labels, 0.5, 0.0)
    history = model.fit(images, labels, 10, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], [values["loss"]], rtol=1e-5)
    for a, b in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_clean_rows_cost_the_adversary_nothing():
    """It is run on its share alone, anew for every batch, the shorter last one too."""
    seen = []

    class Rows:
        """Notes the sizes of what it is given, and leaves the images alone."""

        def perturb(self, model, images, labels):
            seen.append((int(images.shape[0]), int(labels.shape[0])))
            return images

    images, labels = some_data(10)
    model = linear(adversary=Rows(), adversary_share=0.5, run_eagerly=True)
    model.fit(images, labels, 4, shuffle=False, verbose=0)
    assert seen == [(2, 2), (2, 2), (1, 1)]


@pytest.mark.parametrize("settings", [{}, {"jit_compile": True}])
def test_the_share_is_the_same_of_known_and_unknown_batch_sizes(settings):
    """Weights and losses after two epochs of three batches."""
    found = []
    for static in (True, False):
        batches = tf.data.Dataset.from_tensor_slices(some_data(21))
        batches = batches.batch(7, drop_remainder=static)
        assert batches.element_spec[0].shape[0] == (7 if static else None)
        model = linear(
            optimizer=sgd(),
            adversary=attacks.FGSM(eps=0.1),
            adversary_share=0.6,
            **settings,
        )
        history = model.fit(batches, epochs=2, shuffle=False, verbose=0).history
        found.append([*weights_of(model), np.array(history["loss"])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_share_of_one_is_the_whole_batch():
    """In every bit what training without the argument gives."""
    found, attack = [], attacks.PGD(norm=2, eps=0.1, steps=2)
    for settings in ({}, {"adversary_share": 1}, {"adversary_share": 0.999}):
        model = RobustModel(convolutional())
        model.compile(sgd(), adversary=attack, **settings)
        images, labels = some_data(12, (6, 5, 2))
        model.fit(images, labels, 6, epochs=2, shuffle=False, verbose=0)
        found.append(weights_of(model))
    for one, other, nearly in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
        # 0.999 of 6 rows are 6 rows as well, cut out and put together again.
        np.testing.assert_allclose(nearly, one, rtol=1e-4, atol=1e-6)


TWO_REPLICAS = """
import sys
import keras, numpy as np, tensorflow as tf
from tfrobust import attacks, training

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
given = np.load(sys.argv[1])
with training.make_strategy("mirrored").scope():
    network = keras.Sequential(
        [keras.Input((2, 3, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    network.set_weights([given["kernel"], given["bias"]])
    model = training.RobustModel(network)
    model.compile(
        keras.optimizers.SGD(0.5), (), attacks.FGSM(eps=0.1), adversary_share=0.5
    )
batch = tf.data.Dataset.from_tensor_slices((given["images"], given["labels"]))
model.fit(batch.batch(8, drop_remainder=True), shuffle=False, verbose=0)
np.savez(sys.argv[2], *network.get_weights())
"""


@pytest.mark.slow
def test_each_replica_takes_the_share_of_its_own_rows(tmp_path):
    """Two replicas of four rows attack the first two each: the step of one device on
    the same mix, made beforehand.
    """
    images, labels = some_data(8)
    attack = attacks.FGSM(eps=0.1)
    model = linear(optimizer=keras.optimizers.SGD(0.5))
    kernel, bias = model.network.get_weights()
    given = {"images": images, "labels": labels, "kernel": kernel, "bias": bias}
    np.savez(tmp_path / "given.npz", **given)
    files = [str(tmp_path / name) for name in ("given.npz", "found.npz")]
    command = [sys.executable, "-c", TWO_REPLICAS, *files]
    subprocess.run(command, check=True, timeout=300)
    mixed = images.copy()
    attacked = [0, 1, 4, 5]
    mixed[attacked] = attack.perturb(model.network, images[attacked], labels[attacked])
    expected, _ = derived_step((kernel, bias), mixed, labels, 0.5, 0.0)
    found = np.load(tmp_path / "found.npz")
    for name, value in zip(found.files, expected, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_is_above_zero_and_at_most_one(share):
    """Nothing else is a share."""
    with pytest.raises(ValueError) as caught:
        linear(adversary=attacks.FGSM(eps=0.1), adversary_share=share)
    assert str(caught.value) == (
        "`adversary_share` must be above 0 and at most 1. "
        f"Received: adversary_share={share}"
    )


def test_a_share_of_no_adversary_is_refused():
    """It would silently do nothing."""
    with pytest.raises(ValueError) as caught:
        linear(adversary_share=0.5)
    assert str(caught.value) == (
        "`adversary_share` must be 1 without an adversary. "
        "Received: adversary_share=0.5, adversary=None"
    )


def test_a_model_is_rebuilt_from_its_configuration():
    """Same name and network; the weights are fresh."""
    model = RobustModel(convolutional(), name="robust")
    again = RobustModel.from_config(model.get_config())
    assert again.name == "robust"
    assert again.network.get_config() == model.network.get_config()
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


@pytest.mark.filterwarnings("error:.*compile.*")
def test_a_model_can_be_saved_whole(tmp_path):
    """With its weights, and to be compiled anew, since penalties are not saved."""
    images, labels = some_data()
    model = mlp(penalties=[penalties.Curvature()])
    model.fit(images, labels, verbose=0)
    model.save(tmp_path / "robust.keras")
    again = keras.models.load_model(tmp_path / "robust.keras")
    np.testing.assert_array_equal(
        again.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert not again.compiled


def test_training_goes_on_from_a_checkpoint(tmp_path):
    """`RobustModel` of a loaded one, or of one in memory, trains the network in it."""
    images, labels = some_data()
    model = mlp()
    path = tmp_path / "best.keras"
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    model.fit(images, labels, verbose=0, callbacks=[checkpoint])
    assert RobustModel(model).network is model.network
    again = RobustModel(keras.models.load_model(path))
    assert not isinstance(again.network, RobustModel)
    for new, old in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    again.compile(sgd())
    again.fit(images, labels, verbose=0)


@pytest.mark.slow
def test_the_network_loads_without_training_code(tmp_path):
    """In a process that imports `tfrobust.layers` and nothing else of the library."""
    images, labels = some_data(8, (6, 5, 2))
    model = RobustModel(convolutional())
    model.compile(sgd(), [penalties.Curvature(), penalties.GradientNorm()])
    model.fit(images, labels, epochs=2, verbose=0)
    model.network.save(tmp_path / "network.keras")
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, keras, numpy as np, tfrobust.layers\n"
        "network = keras.models.load_model(sys.argv[1] + '/network.keras')\n"
        "images = np.load(sys.argv[1] + '/images.npy')\n"
        "np.save(sys.argv[1] + '/logits.npy', network(images))\n"
        "assert not [m for m in sys.modules if m.startswith('tfrobust.training')]\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, timeout=300
    )
    found = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(found, model.network(images), rtol=1e-5, atol=1e-6)
