"""`compile` and `fit` mean what they mean for `keras.Model`, on the same network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.seeds import set_seeds
from tests.training.common import CLASSES, SHAPE, mlp, some_data
from tfrobust import attacks, models, pag, penalties
from tfrobust.training import RobustModel

kl = keras.layers


def network(end=None, units=CLASSES, **settings):
    set_seeds(0)
    layers = [keras.Input(SHAPE), kl.Flatten(), kl.Dense(6, activation="tanh")]
    return keras.Sequential([*layers, kl.Dense(units, activation=end, **settings)])


def trained(model, labels, fit=None, **settings):
    """History and weights after two epochs of batches that do not divide the data."""
    images, _ = some_data()
    optimizer = keras.optimizers.SGD(0.3, momentum=0.9)
    model.compile(**{"optimizer": optimizer, **settings})
    given = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    history = model.fit(images, labels, **given | (fit or {})).history
    return history, model.get_weights()


LABELS = some_data()[1]
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[LABELS]
BINARY = (LABELS == 1).astype(np.float32)


def from_logits(kind, **settings):
    return lambda: getattr(keras.losses, kind)(from_logits=True, **settings)


CASES = {
    "sparse": (network, LABELS, {"loss": from_logits("SparseCategoricalCrossentropy")}),
    "smoothed": (
        network,
        ONE_HOT,
        {"loss": from_logits("CategoricalCrossentropy", label_smoothing=0.1)},
    ),
    "by name": (
        lambda: network("softmax"),
        ONE_HOT,
        {"loss": lambda: "categorical_crossentropy", "loss_weights": 0.5},
    ),
    "focal": (
        lambda: network("softmax"),
        ONE_HOT,
        {"loss": keras.losses.CategoricalFocalCrossentropy},
    ),
    "sum": (
        network,
        LABELS,
        {"loss": from_logits("SparseCategoricalCrossentropy", reduction="sum")},
    ),
    "binary": (
        lambda: network("sigmoid", 1),
        BINARY[:, None],
        {"loss": lambda: "binary_crossentropy"},
    ),
    "regularized": (
        lambda: network(
            kernel_regularizer="l2", activity_regularizer=keras.regularizers.L1(0.1)
        ),
        LABELS,
        {"loss": from_logits("SparseCategoricalCrossentropy")},
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_it_trains_as_keras_does(name, weighted):
    """The same losses and weights, of the same network under Keras's own loop."""
    make, labels, settings = CASES[name]
    fit = {"sample_weight": np.linspace(0.0, 2.0, 10)} if weighted else {}
    ours, theirs = [
        trained(
            model,
            labels,
            fit,
            loss=settings["loss"](),
            loss_weights=settings.get("loss_weights"),
        )
        for model in (RobustModel(make()), make())
    ]
    # Keras counts a batch's mean by its size, ours by that of its examples: the same.
    np.testing.assert_allclose(ours[0]["loss"], theirs[0]["loss"], rtol=1e-5)
    for a, b in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_metrics_are_those_of_keras():
    """With weights, and in evaluation too; accuracy of logits and of shares."""

    def settings():
        return {
            "loss": "categorical_crossentropy",
            "metrics": [
                "accuracy",
                keras.metrics.AUC(name="auc"),
                keras.metrics.TopKCategoricalAccuracy(2, name="top2"),
            ],
            "weighted_metrics": [keras.metrics.CategoricalAccuracy(name="weighted")],
        }

    weights = np.linspace(0.5, 2.0, 10)
    images, _ = some_data()
    results = []
    for model in (RobustModel(network("softmax")), network("softmax")):
        history, _ = trained(model, ONE_HOT, {"sample_weight": weights}, **settings())
        evaluated = model.evaluate(images, ONE_HOT, verbose=0, return_dict=True)
        results.append((history, evaluated))
    (ours, evaluated), (theirs, expected) = results
    for name in ("accuracy", "auc", "top2", "weighted"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(evaluated[name], expected[name], rtol=1e-5)
    assert set(ours) == {*theirs, "data_loss"}


def test_the_default_loss_is_exact_past_a_softmax():
    """Logits so far apart that a probability is 0: the loss is their difference."""
    images, labels = some_data()
    made = network("softmax")
    made.layers[-1].kernel.assign(1e4 * made.layers[-1].kernel)
    logits = keras.Model(made.inputs, made.layers[-2].output)(images).numpy()
    logits = logits @ made.layers[-1].kernel.numpy()
    own = np.take_along_axis(logits, labels[:, None], 1)[:, 0]
    model = RobustModel(made)
    model.compile("sgd")
    loss = model.evaluate(images, labels, verbose=0)[0]
    np.testing.assert_allclose(loss, np.mean(np.max(logits, 1) - own), rtol=1e-5)


@pytest.mark.parametrize("kind", ["sample_weight", "class_weight"])
@pytest.mark.slow
def test_weights_reach_the_penalties(kind):
    """An example of weight 2 counts as two of them, but for the divisor."""
    images, labels = some_data()
    weights = np.where(labels == 1, 2.0, np.where(labels == 2, 0.0, 1.0))
    rows = np.concatenate([np.flatnonzero(labels != 2), np.flatnonzero(labels == 1)])
    fit = {"sample_weight": weights}
    if kind == "class_weight":
        fit = {"class_weight": {0: 1.0, 1: 2.0, 2: 0.0}}
    terms = [
        penalties.GradientNorm(1.0),
        penalties.Cure(10.0),
        penalties.Trades(1.0, attacks.FGSM(eps=0.1, loss="margin")),
        penalties.GradientAlignment(pag.ClassMean(images, labels, CLASSES), exact=True),
    ]
    histories = []
    for x, y, given in ((images, labels, fit), (images[rows], labels[rows], {})):
        model = RobustModel(network())
        model.compile(keras.optimizers.SGD(0.0), penalties=terms)
        histories.append(model.fit(x, y, len(x), verbose=0, **given).history)
    for name in ("loss", "cross_entropy", *(term.name for term in terms)):
        weighted, repeated = (history[name][0] for history in histories)
        np.testing.assert_allclose(
            weighted * len(images), repeated * len(rows), rtol=1e-4, err_msg=name
        )


def test_callbacks_know_which_way_is_better():
    """In mode "auto", of Keras's metrics and of ours."""
    images, labels = some_data()
    model = mlp(penalties=[penalties.GradientNorm(0.1)])
    names = ["val_accuracy", "val_cross_entropy", "gradient_penalty", "gradient_norm"]
    callbacks = [keras.callbacks.EarlyStopping(name) for name in [*names, "beta"]]
    callbacks.append(keras.callbacks.ReduceLROnPlateau("val_accuracy"))
    model.fit(
        images, labels, verbose=0, callbacks=callbacks, validation_data=(images, labels)
    )
    assert callbacks[0].monitor_op is keras.ops.greater
    assert all(each.monitor_op is keras.ops.less for each in callbacks[1:5])


def test_options_of_the_optimizer_and_of_the_loop():
    """Accumulation, averaged weights, clipping, a schedule, several steps in a call."""

    def optimizer():
        rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
        return keras.optimizers.Adam(
            rate, use_ema=True, gradient_accumulation_steps=2, clipnorm=0.1
        )

    loss = from_logits("SparseCategoricalCrossentropy")
    results = [
        trained(
            model, LABELS, optimizer=optimizer(), loss=loss(), steps_per_execution=2
        )
        for model in (RobustModel(network()), network())
    ]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


class Pairs(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        images, labels = some_data()
        return images[4 * index : 4 * index + 4], labels[4 * index : 4 * index + 4]


def generated():
    images, labels = some_data()
    while True:
        for first in (0, 4, 8):
            yield images[first : first + 4], labels[first : first + 4]


@pytest.mark.parametrize("kind", ["tf.data", "generator", "PyDataset", "dictionary"])
def test_data_in_any_form(kind):
    """The same as arrays."""
    images, labels = some_data()
    pairs = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    given = {
        "tf.data": {"x": pairs},
        "generator": {"x": generated(), "steps_per_epoch": 3},
        "PyDataset": {"x": Pairs(), "shuffle": False},
        "dictionary": {
            "x": {"images": images},
            "y": labels,
            "batch_size": 4,
            "shuffle": False,
        },
    }[kind]
    weights = []
    for data in ({"x": images, "y": labels, "batch_size": 4, "shuffle": False}, given):
        model = RobustModel(network())
        model.compile(keras.optimizers.SGD(0.5))
        model.fit(**data, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_by_hand():
    """`train_on_batch` and `test_on_batch`, with weights of classes."""
    images, labels = some_data()
    ours, theirs = RobustModel(network()), network()
    loss = from_logits("SparseCategoricalCrossentropy")
    results = []
    for model in (ours, theirs):
        model.compile(keras.optimizers.SGD(0.3), loss=loss(), metrics=["accuracy"])
        given = {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}, "return_dict": True}
        steps = [model.train_on_batch(images, labels, **given) for _ in range(2)]
        steps.append(model.test_on_batch(images, labels, return_dict=True))
        results.append(steps)
    for own, expected in zip(*results, strict=True):
        np.testing.assert_allclose(own["loss"], expected["loss"], rtol=1e-5)
        np.testing.assert_allclose(own["accuracy"], expected["accuracy"], rtol=1e-5)


@pytest.mark.slow
def test_a_loss_for_a_penalty_or_an_adversary():
    """The cross-entropy of Keras is ours; another loss is another gradient."""
    images, labels = some_data()
    own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    smoothed = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.5
    )
    results = []
    for loss in (None, own, smoothed):
        climbed = "cross_entropy" if loss is None else loss
        model = RobustModel(network())
        model.compile(
            keras.optimizers.SGD(0.5),
            penalties=[
                penalties.GradientNorm(1.0, loss=loss),
                penalties.Cure(loss=loss),
            ],
            adversary=attacks.PGD(norm=2, eps=0.3, steps=2, loss=climbed),
        )
        results.append(model.fit(images, labels, 10, shuffle=False, verbose=0).history)
    for name in ("loss", "gradient_penalty", "cure_penalty"):
        default, same, other = (history[name][0] for history in results)
        np.testing.assert_allclose(default, same, rtol=1e-4, err_msg=name)
        assert abs(other - default) > 1e-3 * abs(default), name


def test_a_step_by_step_run_is_the_same():
    """`run_eagerly`, for a network whose logits a graph alone shows."""
    images, labels = some_data()
    results = []
    for eagerly in (False, True):
        model = RobustModel(network("softmax", kernel_regularizer="l2"))
        model.compile(
            keras.optimizers.SGD(0.5),
            run_eagerly=eagerly,
            penalties=[penalties.GradientNorm(1.0)],
            adversary=attacks.FGSM(eps=0.1),
        )
        history = model.fit(images, labels, 10, shuffle=False, verbose=0).history
        results.append((history, model.get_weights()))
    for name, values in results[0][0].items():
        np.testing.assert_allclose(values, results[1][0][name], rtol=1e-5)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_classes_by_one_output():
    """As by two logits of opposite sign: losses, penalties, adversary, accuracy."""
    images, _ = some_data()
    labels = BINARY.astype(int)

    class Opposite(kl.Layer):
        def call(self, z):
            return keras.ops.concatenate([-z / 2, z / 2], axis=-1)

    results = []
    for twin in (False, True):
        made = network(None if twin else "sigmoid", 1)
        if twin:
            made = keras.Sequential([*made.layers, Opposite()])
        model = RobustModel(made)
        model.compile(
            keras.optimizers.SGD(0.5),
            penalties=[
                penalties.GradientNorm(1.0),
                penalties.GradientAlignment(pag.ClassMean(images, labels, 2)),
            ],
            adversary=attacks.PGD(norm=2, eps=0.1, steps=2),
        )
        history = model.fit(images, labels, 10, shuffle=False, verbose=0).history
        results.append((history, made.get_weights()))
    for name, values in results[0][0].items():
        np.testing.assert_allclose(values, results[1][0][name], rtol=1e-4, err_msg=name)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_half_precision_scales_the_loss_as_keras_does():
    """By the layers' policy, whatever the global one; unless it is not to be."""
    made = network(dtype="mixed_float16")
    model = RobustModel(made)
    model.compile("sgd")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()))
    assert not isinstance(
        model.optimizer.inner_optimizer, keras.optimizers.LossScaleOptimizer
    )
    model.compile("sgd", auto_scale_loss=False)
    assert isinstance(model.optimizer, keras.optimizers.SGD)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"loss": "no_such"}, "`loss` must be a Keras loss, its name, or a function"),
        ({"metrics": ["no_such"]}, "`metrics` must be Keras's metrics, their names"),
        ({"loss_weights": [1.0, 2.0]}, "`loss_weights` must be one number, or None"),
    ],
)
def test_what_cannot_be_compiled_is_named(settings, sentence):
    with pytest.raises(ValueError) as caught:
        RobustModel(network()).compile("sgd", **settings)
    assert str(caught.value).startswith(sentence)
    assert len(str(caught.value).splitlines()) == 1


def test_probabilities_of_another_step_are_refused_in_the_first_batch():
    """A softmax that is written by hand."""
    image = keras.Input(SHAPE)
    powers = keras.ops.exp(kl.Dense(CLASSES)(kl.Flatten()(image)))
    odds = powers / keras.ops.sum(powers, axis=-1, keepdims=True)
    model = RobustModel(keras.Model(image, odds))
    model.compile("sgd")
    with pytest.raises(ValueError, match="`model` must answer with logits, or end in"):
        model.fit(*some_data(), verbose=0)


def test_one_head_of_several_is_trained():
    """Labels and weights may come by its name; the other head stays as it is."""
    images, labels = some_data()
    image = keras.Input(SHAPE)
    flat = kl.Flatten()(image)
    heads = {"a": kl.Dense(CLASSES, name="a")(flat), "b": kl.Dense(2, name="b")(flat)}
    made = keras.Model(image, heads)
    kept = made.get_layer("b").get_weights()
    model = RobustModel(made, output="a")
    model.compile("sgd", loss_weights={"a": 2.0})
    history = model.fit(images, {"a": labels}, verbose=0).history
    np.testing.assert_allclose(
        history["loss"], 2 * np.array(history["cross_entropy"]), rtol=1e-6
    )
    for before, after in zip(kept, made.get_layer("b").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(ValueError, match="`output` must be one of the model's outputs"):
        RobustModel(made, output="c")
    assert isinstance(models.Classifier(made, output="b").network, keras.Model)


def test_metrics_keep_the_names_they_are_given():
    """By which callbacks and histories know them, as Keras has it."""
    ours, theirs = [
        trained(model, ONE_HOT, loss="mse", metrics=["mae", "AUC", "cosine_similarity"])
        for model in (RobustModel(network("softmax")), network("softmax"))
    ]
    assert set(ours[0]) == {*theirs[0], "data_loss"}


@pytest.mark.parametrize("given", [penalties.Cure(), ["cure"], None])
def test_penalties_are_a_list_of_penalties(given):
    with pytest.raises(ValueError, match="`penalties` must be a list of penalties"):
        RobustModel(network()).compile("sgd", penalties=given)


def test_its_network_is_exported_by_keras(tmp_path):
    """As a plain Keras model is after `fit`."""
    images, labels = some_data()
    model = RobustModel(network())
    model.compile("sgd")
    model.fit(images, labels, verbose=0)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_allclose(served.serve(images), model(images), rtol=1e-5)
    assert (model.input_shape, model.output_shape) == ((None, *SHAPE), (None, CLASSES))
