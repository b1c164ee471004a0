"""Pipelines: every example, bit-for-bit resumption, threads, shards and replicas."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.addresses import free_ports
from tfrobust.data import (
    Dataset,
    crop_flip,
    eval_pipeline,
    make_shapes,
    steps_per_epoch,
    train_pipeline,
)

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def examples():
    """Fifty images: six batches of 8 and two left over."""
    return make_shapes(50, seed=0)


def numbered(count, channels=3):
    """Images that carry their index in every pixel."""
    index = np.arange(count, dtype=np.uint8)[:, None, None, None]
    images = np.tile(index, (1, 6, 5, channels))
    return Dataset("numbered", images, np.arange(count), tuple(map(str, range(count))))


def stacked(pipeline):
    """All elements of one static shape, a component at a time."""
    return [np.stack(part) for part in zip(*pipeline.as_numpy_iterator(), strict=True)]


def assert_same(first, second):
    """Equal in every bit."""
    assert len(first) == len(second)
    for actual, expected in zip(first, second, strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)


def test_an_epoch_visits_every_example_once_in_a_new_order():
    """Each epoch is a permutation, and no two are alike."""
    pipeline = train_pipeline(numbered(60), batch_size=12, seed=4, epochs=3)
    _, labels = stacked(pipeline)
    epochs = labels.reshape(3, 60)
    for order in epochs:
        assert sorted(order) == list(range(60))
        # A random order leaves one example in its place on average.
        assert (order == np.arange(60)).sum() < 8
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (epochs[first] == epochs[second]).sum() < 8


def test_the_remainder_is_dropped_and_changes_with_the_epoch():
    """With 50 examples in batches of 8, two rest each epoch, not always the same."""
    pipeline = train_pipeline(numbered(50), batch_size=8, seed=1, epochs=4)
    _, labels = stacked(pipeline)
    rested = [set(range(50)) - set(epoch.ravel()) for epoch in labels.reshape(4, 48)]
    assert [len(rest) for rest in rested] == [2] * 4
    assert len(set.union(*rested)) > 4


@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_with_their_labels_and_are_divided_by_255(channels):
    """Each image is that of its label, as the exact float32 quotient."""
    pipeline = train_pipeline(numbered(50, channels), batch_size=8, seed=1, epochs=1)
    images, labels = stacked(pipeline)
    expected = (labels.astype(np.float32) / np.float32(255))[..., None, None, None]
    assert images.dtype == np.float32 and labels.dtype == np.int32
    np.testing.assert_array_equal(
        images, np.broadcast_to(expected, (6, 8, 6, 5, channels))
    )


def test_shapes_are_static_and_the_length_is_known(examples):
    """`element_spec` and `len` need no running."""
    pipeline = train_pipeline(
        examples, batch_size=8, seed=0, epochs=5, start_epoch=2, augment="crop_flip"
    )
    images, labels = pipeline.element_spec
    assert images == tf.TensorSpec([8, 32, 32, 3], tf.float32)
    assert labels == tf.TensorSpec([8], tf.int32)
    assert len(pipeline) == 3 * steps_per_epoch(examples, 8) == 18


@pytest.mark.parametrize("augment", [None, "crop_flip"])
def test_starting_later_resumes_bit_for_bit(examples, augment):
    """From any epoch on, a fresh pipeline continues the uninterrupted one."""
    settings = dict(batch_size=8, seed=7, epochs=4, augment=augment)
    whole = stacked(train_pipeline(examples, **settings))
    for start in (1, 3):
        rest = stacked(train_pipeline(examples, start_epoch=start, **settings))
        assert_same(rest, [part[6 * start :] for part in whole])
    assert len(train_pipeline(examples, start_epoch=4, **settings)) == 0


def test_the_number_of_epochs_does_not_change_the_first_ones(examples):
    """A longer run begins like a shorter one."""
    settings = dict(batch_size=8, seed=7, augment="crop_flip")
    short = stacked(train_pipeline(examples, epochs=1, **settings))
    long = stacked(train_pipeline(examples, epochs=3, **settings))
    assert_same(short, [part[:6] for part in long])


def test_the_seed_decides_order_and_augmentation(examples):
    """One seed repeats every bit; another changes order and, apart from it, crops."""
    settings = dict(batch_size=50, epochs=1, augment="crop_flip")
    images, labels = stacked(train_pipeline(examples, seed=1, **settings))
    assert_same([images, labels], stacked(train_pipeline(examples, seed=1, **settings)))
    other_images, other_labels = stacked(train_pipeline(examples, seed=2, **settings))
    assert (labels != other_labels).any()
    totals = [np.sort(part.sum((0, 2, 3, 4))) for part in (images, other_images)]
    assert (totals[0] != totals[1]).mean() > 0.5


def test_epochs_and_batches_are_augmented_differently():
    """Where all images are the same, no two batches come out alike."""
    image = make_shapes(1, seed=0).images
    same = Dataset("same", np.repeat(image, 32, 0), np.zeros(32, int), ("only",))
    pipeline = train_pipeline(
        same, batch_size=16, seed=0, epochs=3, augment="crop_flip"
    )
    batches, _ = stacked(pipeline)
    assert len({batch.tobytes() for batch in batches}) == 6


def test_threads_do_not_matter(examples):
    """One thread yields the same bits as eight."""
    pipeline = train_pipeline(
        examples, batch_size=8, seed=3, epochs=2, augment="crop_flip"
    )
    runs = []
    for threads in (1, 8):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        runs.append(stacked(pipeline.with_options(options)))
    assert_same(*runs)


def test_a_function_augments_like_its_name(examples):
    """`crop_flip` by name and as a function see the same seeds."""
    settings = dict(batch_size=8, seed=3, epochs=1)
    assert_same(
        stacked(train_pipeline(examples, augment="crop_flip", **settings)),
        stacked(train_pipeline(examples, augment=crop_flip, **settings)),
    )


def test_shards_are_the_parts_of_the_global_batch(examples):
    """Side by side, the shards make up the unsharded batch, augmentation included."""
    settings = dict(batch_size=8, seed=3, epochs=1, augment="crop_flip")
    shards = [
        stacked(train_pipeline(examples, shard=(index, 4), **settings))
        for index in range(4)
    ]
    joined = [np.concatenate(parts, axis=1) for parts in zip(*shards, strict=True)]
    assert_same(joined, stacked(train_pipeline(examples, **settings)))


def accompanied(examples, count=3):
    """Directions that are their image times 1, 2, ...: exact in float16 at 255 * 3."""
    factors = np.arange(1, count + 1)[:, None, None, None]
    return (examples.images[:, None] * factors).astype(np.float16)


def gathered(pipeline):
    """`{name: all batches}` of dictionaries, and the labels."""
    elements = list(pipeline.as_numpy_iterator())
    named = {
        name: np.stack([batch[name] for batch, _ in elements])
        for name in elements[0][0]
    }
    return named, np.stack([labels for _, labels in elements])


def test_the_index_says_which_example_an_image_is(examples):
    """Without augmentation images and labels are those of the index."""
    pipeline = train_pipeline(examples, batch_size=8, seed=2, epochs=2, with_index=True)
    values, labels = gathered(pipeline)
    assert pipeline.element_spec[0]["index"] == tf.TensorSpec([8], tf.int32)
    assert sorted(values) == ["images", "index"]
    np.testing.assert_array_equal(labels, examples.labels[values["index"]])
    floats = examples.images.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(values["images"], floats[values["index"]])


@pytest.mark.parametrize("augment", [None, "crop_flip", crop_flip])
def test_directions_follow_their_image(examples, augment):
    """Directions that are multiples of their image stay so, through crop and flip."""
    pipeline = train_pipeline(
        examples,
        batch_size=8,
        seed=2,
        epochs=2,
        augment=augment,
        with_index=True,
        directions=accompanied(examples),
    )
    spec = pipeline.element_spec[0]["directions"]
    assert spec == tf.TensorSpec([8, 3, 32, 32, 3], tf.float32)
    values, _ = gathered(pipeline)
    bytes_again = np.rint(values["images"] * 255)
    for k in range(3):
        np.testing.assert_array_equal(
            values["directions"][:, :, k], (k + 1) * bytes_again
        )
    still = accompanied(examples).astype(np.float32)[values["index"]]
    moved = (values["directions"] != still).any((2, 3, 4, 5)).mean()
    assert moved == 0 if augment is None else moved > 0.9


@pytest.mark.parametrize("augment", [None, "crop_flip"])
@pytest.mark.parametrize("shard", [None, (1, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_comes_with_images_leaves_them_alone(augment, shard, channels):
    """Images and labels are the same in every bit, whatever accompanies them."""
    examples = numbered(50, channels)
    settings = dict(batch_size=8, seed=3, epochs=2, augment=augment, shard=shard)
    images, labels = stacked(train_pipeline(examples, **settings))
    for more in (
        dict(with_index=True),
        dict(directions=accompanied(examples)),
        dict(directions=accompanied(examples, 1), with_index=True),
    ):
        values, others = gathered(train_pipeline(examples, **settings, **more))
        brought = {"with_index": "index", "directions": "directions"}
        assert set(values) == {"images", *(brought[setting] for setting in more)}
        assert_same([values["images"], others], [images, labels])
        if "directions" in more:
            count = more["directions"].shape[1]
            assert values["directions"].shape[1:3] == (4 if shard else 8, count)


def test_directions_resume_bit_for_bit(examples):
    """From the second epoch on, a fresh pipeline continues the uninterrupted one."""
    settings = dict(
        batch_size=8,
        seed=7,
        epochs=3,
        augment="crop_flip",
        with_index=True,
        directions=accompanied(examples, 2),
    )
    whole, _ = gathered(train_pipeline(examples, **settings))
    rest, _ = gathered(train_pipeline(examples, start_epoch=1, **settings))
    for name in ("images", "directions", "index"):
        assert_same([rest[name]], [whole[name][6:]])


DIRECTIONS = (
    "`directions` must be a float16 array (50, K, 32, 32, 3), K for each image of "
    "'shapes'. Received: shape {} and type {}"
)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((49, 2, 32, 32, 3), np.float16),
        ((50, 32, 32, 3), np.float16),
        ((50, 2, 32, 32, 1), np.float16),
        ((50, 0, 32, 32, 3), np.float16),
        ((50, 2, 32, 32, 3), np.float32),
    ],
)
def test_directions_of_other_images_are_refused(examples, shape, kind):
    """The message gives number, size and type."""
    with pytest.raises(ValueError) as caught:
        train_pipeline(examples, **GOOD, directions=np.zeros(shape, kind))
    assert str(caught.value) == DIRECTIONS.format(shape, np.dtype(kind))


def test_directions_go_through_no_foreign_augmentation(examples):
    """A function of the user's own knows of images alone."""

    def brighter(images, seed):
        return images + 0.1

    directions = np.zeros((50, 2, 32, 32, 3), np.float16)
    with pytest.raises(ValueError) as caught:
        train_pipeline(examples, **GOOD, augment=brighter, directions=directions)
    assert str(caught.value) == (
        "`augment` must be None or 'crop_flip' with `directions`, which another "
        f"function would not move with the images. Received: augment={brighter!r}"
    )


def test_evaluation_is_in_order_and_complete(examples):
    """All examples come once; the last batch is smaller."""
    pipeline = eval_pipeline(examples, batch_size=16)
    batches = list(pipeline.as_numpy_iterator())
    assert len(pipeline) == len(batches) == 4
    assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_array_equal(labels, examples.labels)
    np.testing.assert_array_equal(
        images, examples.images.astype(np.float32) / np.float32(255)
    )


@pytest.mark.parametrize(("batch_size", "padding"), [(16, 14), (25, 0), (50, 0)])
def test_padding_has_no_weight(examples, batch_size, padding):
    """Padded batches have one static shape; what is added is black, 0 and weight 0."""
    pipeline = eval_pipeline(examples, batch_size=batch_size, pad=True)
    assert [spec.shape[0] for spec in pipeline.element_spec] == [batch_size] * 3
    images, labels, weights = (
        part.reshape(-1, *part.shape[2:]) for part in stacked(pipeline)
    )
    assert weights.dtype == np.float32
    assert weights.tolist() == [1.0] * 50 + [0.0] * padding
    np.testing.assert_array_equal(labels[:50], examples.labels)
    np.testing.assert_array_equal(
        images[:50], examples.images.astype(np.float32) / np.float32(255)
    )
    assert not labels[50:].any() and not images[50:].any()


def run_script(*arguments):
    """Start `distributed_batches.py`."""
    root = str(HERE.parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(HERE / "distributed_batches.py")]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    """Wait for a script to succeed."""
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, output[-3000:]


def check_global_batches(parts, examples):
    """Replicas side by side, `(steps, replicas, b, ...)`, make up the global batch."""
    train = train_pipeline(
        examples, batch_size=8, seed=3, epochs=2, augment="crop_flip"
    )
    test = eval_pipeline(examples, batch_size=8, pad=True)
    names = ("images", "labels", "test_images", "test_labels", "weights")
    expected_parts = dict(zip(names, stacked(train) + stacked(test), strict=True))
    named, _ = gathered(
        train_pipeline(
            examples,
            batch_size=8,
            seed=3,
            epochs=2,
            augment="crop_flip",
            with_index=True,
            directions=accompanied(examples),
        )
    )
    np.testing.assert_array_equal(named["images"], expected_parts["images"])
    expected_parts |= {"directions": named["directions"], "index": named["index"]}
    for name, expected in expected_parts.items():
        together = np.concatenate([part[name] for part in parts], axis=1)
        assert together.shape[1:3] == (2, 4), name
        np.testing.assert_array_equal(
            together.reshape(expected.shape), expected, err_msg=name
        )


@pytest.mark.slow
def test_mirrored_replicas_see_the_global_batch(examples, tmp_path):
    """Two replicas, with op determinism on, share each batch half and half."""
    finish(run_script(tmp_path / "mirrored.npz"))
    check_global_batches([np.load(tmp_path / "mirrored.npz")], examples)


@pytest.mark.slow
def test_workers_see_the_global_batch(examples, tmp_path):
    """Two workers share each batch half and half."""
    ports = free_ports(2)
    outs = [tmp_path / f"worker{index}.npz" for index in range(2)]
    workers = [run_script(out, index, *ports) for index, out in enumerate(outs)]
    for worker in workers:
        finish(worker)
    check_global_batches([np.load(out) for out in outs], examples)


GOOD = dict(batch_size=8, seed=0, epochs=2)
SIZE = (
    "`batch_size` must be from 1 to 50, the size of 'shapes'. Received: batch_size={}"
)
SHARD = (
    "`shard` must be (index, count) with 0 <= index < count and count dividing the "
    "batch size 8. Received: shard={}"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(batch_size=0), SIZE.format(0)),
        (dict(batch_size=51), SIZE.format(51)),
        (dict(seed=-1), "`seed` must not be negative. Received: seed=-1"),
        (dict(epochs=0), "`epochs` must be at least 1. Received: epochs=0"),
        (
            dict(start_epoch=3),
            "`start_epoch` must be from 0 to 2, the number of epochs. "
            "Received: start_epoch=3",
        ),
        (dict(shard=(2, 2)), SHARD.format((2, 2))),
        (dict(shard=(0, 3)), SHARD.format((0, 3))),
        (
            dict(augment="mixup"),
            "`augment` must be None, 'crop_flip' or a function. "
            "Received: augment='mixup'",
        ),
    ],
)
def test_bad_training_settings_are_refused(examples, change, message):
    """Each message gives the whole range."""
    with pytest.raises(ValueError) as caught:
        train_pipeline(examples, **{**GOOD, **change})
    assert str(caught.value) == message


@pytest.mark.parametrize("batch_size", [0, 51])
def test_bad_batch_sizes_are_refused(examples, batch_size):
    """Evaluation and the step count check the batch size as well."""
    for call in (eval_pipeline, steps_per_epoch):
        with pytest.raises(ValueError) as caught:
            call(examples, batch_size=batch_size)
        assert str(caught.value) == SIZE.format(batch_size)
