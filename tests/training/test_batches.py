"""What a batch must hold, and what of it counts."""

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
from tfrobust import data
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
            lambda x, y: (x, y.astype(np.float32)),
            "`labels` must be integers. Received: dtype=float32",
        ),
        (
            lambda x, y: (x, y[:, None]),
            "`labels` must have shape [B], one class for each image. "
            "Received: shape=(None, 1)",
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
