"""The teacher's gradients on disk: right, resumed bit for bit, and of this teacher."""

import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.pag.noise import CLASSES, COUNT, SHAPE, make_images, make_teacher
from tfrobust import data, models, pag
from tfrobust.pag import distillation

REPOSITORY = Path(__file__).resolve().parents[2]


def by_class(network, images):
    """Gradients `[N,K,H,W,C]`, one tape a class and image, in float64."""
    gradients = np.zeros((len(images), CLASSES, *SHAPE))
    for row, image in enumerate(images.images.astype(np.float32) / np.float32(255)):
        for t in range(CLASSES):
            x = tf.Variable(image[None])
            with tf.GradientTape() as tape:
                logit = network(x, training=False)[0, t]
            gradients[row, t] = tape.gradient(logit, x)[0]
    return gradients


def cosines(a, b):
    a, b = (v.reshape(len(v), CLASSES, -1).astype(np.float64) for v in (a, b))
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.sum(a * b, -1) / lengths


def test_rows_are_the_gradients_of_single_logits(teacher, images, whole):
    """Direction of a plain tape for each image and class, greatest entry 1."""
    rows = pag.cache_directions(teacher, images, whole)
    assert rows.shape == (COUNT, CLASSES, *SHAPE) and rows.dtype == np.float16
    expected = by_class(teacher, images)
    assert cosines(rows, expected).min() > 1 - 1e-6
    np.testing.assert_array_equal(np.abs(rows).max((2, 3, 4)), 1)
    # Half precision rounds by 2^-11 of a value.
    largest = np.abs(expected).max((2, 3, 4), keepdims=True)
    np.testing.assert_allclose(rows, expected / largest, rtol=1e-3, atol=1e-5)


def test_the_cache_says_what_the_teacher_does(teacher, images, whole):
    """The same directions, in training, as from the teacher in the step."""
    cached = pag.CachedDirections(pag.cache_directions(teacher, images, whole))
    floats = tf.constant(images.images / np.float32(255))
    chosen = tf.constant([[2, 0]] * COUNT)
    batch = {"directions": tf.constant(cached.rows, tf.float32)}
    direct = pag.Teacher(teacher)(floats, chosen).numpy().reshape(COUNT, 2, -1)
    result = cached(floats, chosen, batch).numpy().reshape(COUNT, 2, -1)
    lengths = np.linalg.norm(direct, axis=-1) * np.linalg.norm(result, axis=-1)
    assert (np.sum(direct * result, -1) / lengths).min() > 0.999
    assert (cached.classes, cached.image_shape) == (CLASSES, SHAPE)
    cached.check(SHAPE, CLASSES)


def test_gradients_beyond_half_precision_keep_their_direction(images, tmp_path):
    """A logit scaled by 1e-12, or by 1e9, and one that does not depend on x at all."""
    scaled = make_teacher()
    plain = by_class(scaled, images)
    kernel, bias = scaled.get_layer("logits").get_weights()
    scales = np.array([1e-12, 1e9, 0.0], np.float32)
    scaled.get_layer("logits").set_weights([kernel * scales, bias])
    rows = pag.cache_directions(scaled, images, tmp_path)
    for t in (0, 1):
        flat, other = (v[:, t].reshape(COUNT, -1).astype(float) for v in (rows, plain))
        lengths = np.linalg.norm(flat, axis=1) * np.linalg.norm(other, axis=1)
        assert (np.sum(flat * other, 1) / lengths).min() > 1 - 1e-6
    assert not rows[:, 2].any()


class Stop(Exception):
    """Stands for a kill."""


def stop_at(rows):
    def progress(done, total):
        if done >= rows:
            raise Stop

    return progress


@pytest.mark.parametrize("rows", [0, 4, 8])
def test_it_goes_on_where_it_stopped(teacher, images, whole, tmp_path, rows):
    """What is there is kept, what was written and not counted is done again, and every
    bit is that of an undisturbed cache; progress begins where the last one ended.
    """
    with pytest.raises(Stop):
        pag.cache_directions(
            teacher, images, tmp_path, batch_size=4, progress=stop_at(rows)
        )
    assert pag.cached_rows(teacher, images, tmp_path) == rows
    assert not pag.is_cache_complete(tmp_path)
    half = np.load(tmp_path / "directions.npy", mmap_mode="r+")
    half[rows:] = np.nan
    half.flush()
    (tmp_path / "directions.partial.json").write_text("{")
    (tmp_path / "directions.partial.npy").write_bytes(b"half")
    progress = []
    pag.cache_directions(
        teacher, images, tmp_path, batch_size=4, progress=lambda *n: progress.append(n)
    )
    steps = [done for done in (0, 4, 8, COUNT) if done >= rows]
    assert progress == [(done, COUNT) for done in steps]
    for name in ("directions.npy", "directions.json"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_another_batch_size_may_finish_it(teacher, images, whole, tmp_path):
    """With the same directions, though perhaps not the same bits."""
    with pytest.raises(Stop):
        pag.cache_directions(
            teacher, images, tmp_path, batch_size=4, progress=stop_at(4)
        )
    rows = pag.cache_directions(teacher, images, tmp_path, batch_size=3)
    expected = np.load(whole / "directions.npy")
    np.testing.assert_allclose(rows, expected, atol=1e-3)
    np.testing.assert_array_equal(rows[:4], expected[:4])


def test_a_complete_cache_is_opened_and_nothing_else(
    teacher, images, whole, monkeypatch
):
    """No gradient, no progress, no change of a file; and the result is read-only."""

    def never(*_):
        raise AssertionError("everything is there")

    monkeypatch.setattr(distillation, "_compiled", never)
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    rows = pag.cache_directions(teacher, images, whole, progress=never)
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before
    assert isinstance(rows, np.memmap) and not rows.flags.writeable
    assert pag.cached_rows(teacher, images, whole) == COUNT
    assert pag.is_cache_complete(whole)


def test_a_teacher_is_known_by_what_it_computes(teacher, images, whole, tmp_path):
    """Saved, loaded and compiled, it is the same one."""
    teacher.save(tmp_path / "teacher.keras")
    loaded = keras.saving.load_model(tmp_path / "teacher.keras", compile=False)
    assert pag.cached_rows(loaded, images, whole) == COUNT
    loaded.compile("sgd", "mse")
    assert pag.cached_rows(loaded, images, whole) == COUNT


def test_networks_of_the_zoo_are_the_same_whenever_they_are_made(tmp_path):
    """Keras counts what it makes; that leaves no trace in names and so in a cache."""
    dataset = make_images()
    for _ in range(2):
        keras.utils.set_random_seed(0)
        network = models.MLP(SHAPE, CLASSES, "lcnn", hidden=(3,))
        rows = pag.cache_directions(network, dataset, tmp_path, batch_size=4)
        assert rows.shape == (COUNT, CLASSES, *SHAPE)


def another_norm():
    """A teacher that differs in one number that is not trained."""
    network = make_teacher()
    network.get_layer("norm").moving_mean.assign([0.0, 0.0, 1e-3])
    return network


def one_pixel():
    dataset = make_images()
    dataset.images[-1, -1, -1, -1] ^= 1
    return dataset


REFUSED = (
    "`folder` must hold the gradients of this teacher for these images, or none. "
    "Received: {}, a cache of another {}"
)


@pytest.mark.parametrize(
    ("make_network", "make_data", "differs"),
    [
        (lambda: make_teacher(seed=1), make_images, "teacher"),
        (another_norm, make_images, "teacher"),
        (lambda: make_teacher("sigmoid"), make_images, "teacher"),
        (make_teacher, one_pixel, "data set"),
        (make_teacher, lambda: make_images(name="other"), "data set"),
        (
            make_teacher,
            lambda: make_images(count=COUNT - 1),
            "data set and another shape",
        ),
        (
            lambda: make_teacher(outputs=CLASSES + 1),
            make_images,
            "teacher and another shape",
        ),
    ],
)
def test_another_cache_is_refused(make_network, make_data, differs, whole):
    """Named is what differs; nothing is written."""
    network, dataset = make_network(), make_data()
    before = {path: path.read_bytes() for path in whole.iterdir()}
    for call in (pag.cache_directions, pag.cached_rows):
        with pytest.raises(ValueError) as caught:
            call(network, dataset, whole)
        assert str(caught.value) == REFUSED.format(whole, differs)
    assert {path: path.read_bytes() for path in whole.iterdir()} == before


def test_gradients_that_are_no_numbers_are_refused(images, tmp_path):
    """The rows before them are kept, those with them are not counted."""
    network = make_teacher()
    kernel, bias = network.get_layer("logits").get_weights()
    network.get_layer("logits").set_weights([np.full_like(kernel, np.inf), bias])
    with pytest.raises(ValueError, match="has none for an image from 0 to 3"):
        pag.cache_directions(network, images, tmp_path, batch_size=4)
    assert pag.cached_rows(network, images, tmp_path) == 0


def test_images_of_another_size_are_refused(teacher, tmp_path):
    """Before anything is written."""
    other = data.make_shapes(3, seed=0)
    with pytest.raises(ValueError) as caught:
        pag.cache_directions(teacher, other, tmp_path / "cache")
    assert str(caught.value) == (
        "`network` must take the images of `dataset`. Received: a network of images "
        "(6, 5, 2), 'shapes' of (32, 32, 3)"
    )
    with pytest.raises(ValueError, match="`batch_size` must be an integer of at least"):
        pag.cache_directions(teacher, make_images(), tmp_path / "cache", batch_size=0)
    assert not (tmp_path / "cache").exists()


def test_a_batch_without_directions_is_refused():
    """Said is where they come from, and what the batch has instead."""
    cached = pag.CachedDirections(np.zeros((2, CLASSES, *SHAPE), np.float16))
    for extras, held in ((None, "images"), ({"index": tf.zeros([2])}, "index")):
        with pytest.raises(ValueError) as caught:
            cached(tf.zeros([2, *SHAPE]), tf.zeros([2, 1], tf.int32), extras)
        assert str(caught.value) == (
            "A batch must hold the `directions` of its images, as "
            f"train_pipeline(directions=...) makes it. Received: {held} alone"
        )
    with pytest.raises(ValueError, match="`rows` must be the directions"):
        pag.CachedDirections(np.zeros((2, *SHAPE), np.float16))


def test_augmented_batches_bring_what_training_needs(teacher, images, whole):
    """From disk through crop and flip to the penalty: the chosen classes of the batch,
    each the teacher's gradient moved as its image is.
    """
    rows = pag.cache_directions(teacher, images, whole)
    cached = pag.CachedDirections(rows)
    pipeline = data.train_pipeline(
        images,
        batch_size=4,
        seed=2,
        epochs=3,
        augment="crop_flip",
        with_index=True,
        directions=rows,
    )
    flipped = 0
    for batch, _ in pipeline:
        values = dict(batch)
        moved = values.pop("images").numpy()
        result = cached(moved, tf.constant([[1, 0]] * 4), values).numpy()
        for directions_of_image, image, row in zip(
            result, moved, values["index"].numpy(), strict=True
        ):
            top, left, flip = where(image, images.images[row] / np.float32(255))
            flipped += flip
            for direction, t in zip(directions_of_image, (1, 0), strict=True):
                np.testing.assert_array_equal(
                    direction, shifted(rows[row, t].astype(np.float32), top, left, flip)
                )
    assert 0 < flipped < 24


def shifted(image, top, left, flip):
    """Padded by 4, cut out, and mirrored."""
    height, width, _ = image.shape
    padded = np.pad(image, [(4, 4), (4, 4), (0, 0)])
    window = padded[top : top + height, left : left + width]
    return window[:, ::-1] if flip else window


def where(moved, image):
    """The only crop and flip that makes `moved` of an image of noise."""
    places = [(t, le, f) for t in range(9) for le in range(9) for f in (False, True)]
    matches = [place for place in places if np.allclose(moved, shifted(image, *place))]
    # Shifted out of sight, crops look alike; their directions are all 0, too.
    return matches[0]


FILL = """
import sys, time
sys.path.insert(0, {repository!r})
from tests.pag import noise
from tfrobust import pag

def slowly(done, total):
    print(done, flush=True)
    time.sleep({seconds} if done else 0)

pag.cache_directions(noise.make_teacher(), noise.make_images(), {folder!r},
                     batch_size=4, progress=slowly)
"""


def start_filling(folder, seconds):
    values = dict(
        repository=str(REPOSITORY),
        folder=str(folder),
        seconds=seconds,
    )
    return subprocess.Popen(
        [sys.executable, "-c", FILL.format(**values)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_process_leaves_what_it_has_done(teacher, images, whole, tmp_path):
    """SIGKILL between two steps; the lock goes with the process."""
    process = start_filling(tmp_path, seconds=60)
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines == ["0\n", "4\n"], process.stderr.read()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert pag.cached_rows(teacher, images, tmp_path) == 4
    pag.cache_directions(teacher, images, tmp_path, batch_size=4)
    for name in ("directions.npy", "directions.json"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_two_processes_share_the_work_of_one(teacher, images, whole, tmp_path):
    """The second waits, then finds everything done."""
    process = start_filling(tmp_path, seconds=1)
    try:
        assert process.stdout.readline() == "0\n", process.stderr.read()
        lines = []
        pag.cache_directions(
            teacher, images, tmp_path, batch_size=4, progress=lambda *n: lines.append(n)
        )
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and lines == []
    assert (tmp_path / "directions.npy").read_bytes() == (
        whole / "directions.npy"
    ).read_bytes()
