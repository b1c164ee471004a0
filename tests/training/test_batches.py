"""What a batch must hold, and what of it counts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.common import (
    CLASSES,
    SHAPE,
    derived_step,
    linear,
    mlp,
    some_data,
)
from tfrobust import attacks, data, penalties
from tfrobust.training.batches import unpack


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_parts_of_a_batch(dtype):
    """Images and weights as float32, labels as int32, extras as they are."""
    images, labels = some_data(4)
    index = tf.range(4)
    given = {"images": images.astype(dtype), "index": index}
    batch = unpack((given, labels.astype(np.int64), np.arange(4)))
    assert batch.images.dtype == tf.float32 and batch.labels.dtype == tf.int32
    np.testing.assert_array_equal(batch.images, np.float32(images.astype(dtype)))
    np.testing.assert_array_equal(batch.labels, labels)
    np.testing.assert_array_equal(batch.weights, np.float32([0, 1, 2, 3]))
    assert batch.weights.dtype == tf.float32 and batch.extras == {"index": index}
    assert list(given) == ["images", "index"]
    plain = unpack((images, labels))
    assert plain.weights is None and plain.extras == {}


def test_a_dictionary_without_images_is_refused():
    images, labels = some_data(4)
    with pytest.raises(ValueError) as caught:
        unpack(({"pictures": images, "index": labels}, labels))
    assert str(caught.value) == (
        "A dictionary of a batch must hold its `images`. Received: index, pictures"
    )


def test_there_is_a_label_for_each_image():
    images, labels = some_data(4)
    with pytest.raises(ValueError, match="one class for each of the 4 images"):
        unpack((images, labels[:3]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x, y: ((x * 255).astype(np.uint8), y),
            "`images` must be floating, with pixels in [0, 1]. Received: dtype=uint8",
        ),
        (
            lambda x, y: (x * 255, y),
            "`images` must lie in [0, 1], or `bounds` must say where. "
            "Received: values from 0.",
        ),
        (
            lambda x, y: (x, np.where(np.arange(len(y)) == 1, CLASSES, y)),
            "`labels` must lie in [0, 3). Received: values from 0 to 3",
        ),
        (
            lambda x, y: (x,),
            "Training and evaluation need batches of (images, labels). "
            "Received: images alone",
        ),
        (
            lambda x, y: (x, y, np.ones((len(x), 2), np.float32)),
            "`sample_weight` must have shape (batch,). "
            "Received: sample_weight.shape=(None, 2)",
        ),
    ],
    ids=["uint8", "bytes", "no class", "no labels", "weights"],
)
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_a_wrong_batch_is_refused_in_a_sentence(change, message, method):
    """The whole message, with no traceback of a graph around it."""
    batches = tf.data.Dataset.from_tensor_slices(change(*some_data())).batch(5)
    with pytest.raises(ValueError) as caught:
        getattr(linear(), method)(batches, verbose=0)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_nothing_is_learnt_from_a_wrong_batch(compiled):
    """Under XLA, where TensorFlow itself would answer with NaN, as without."""
    images, labels = some_data()
    model = linear(jit_compile=compiled)
    before = model.network.get_weights()
    for x, y in ((images, np.full_like(labels, -1)), (images + 0.5, labels)):
        with pytest.raises(ValueError, match="must lie in"):
            model.fit(x, y, verbose=0)
    for a, b in zip(model.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y[:, None],
        lambda y: y.astype(np.float32),
        lambda y: np.eye(CLASSES, dtype=np.float64)[y],
        lambda y: np.eye(CLASSES, dtype=np.int64)[y],
        lambda y: tf.constant(y),
    ],
    ids=["column", "floating", "one-hot", "one-hot integers", "tensor"],
)
def test_labels_may_have_any_form(form):
    """The same update from each, under a penalty and an adversary that need classes."""
    images, labels = some_data()
    results = []
    for given in (labels, form(labels)):
        model = linear(
            optimizer=keras.optimizers.SGD(0.5),
            penalties=[penalties.Cure()],
            adversary=attacks.FGSM(eps=0.02),
        )
        model.fit(images, given, shuffle=False, verbose=0)
        results.append(model.network.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, tf.bfloat16.as_numpy_dtype])
def test_images_may_be_any_floating_numbers(dtype):
    """The same as the same numbers in float32."""
    images, labels = some_data()
    given = images.astype(dtype)
    losses = []
    for x in (given.astype(np.float32), given):
        data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(5)
        losses.append(linear().fit(data, verbose=0).history["loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_labels_may_be_any_integers(dtype):
    """As TFDS and Keras data sets have them."""
    images, labels = some_data()
    weights = [
        mlp().fit(images, y, shuffle=False, verbose=0).history["loss"]
        for y in (labels.astype(np.int32), labels.astype(dtype))
    ]
    assert weights[0] == weights[1]


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


def test_a_wrong_batch_of_a_step_by_step_run_is_refused_in_a_sentence():
    images, labels = some_data()
    model = linear(run_eagerly=True)
    with pytest.raises(ValueError) as caught:
        model.fit(images * 255, labels, verbose=0)
    assert str(caught.value).startswith("`images` must lie in [0, 1], or `bounds` must")
    assert len(str(caught.value).splitlines()) == 1
