"""Smoothing against direct float64 solves, and its gradients against theirs."""

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.attacks.common import affine
from tests.smoothing.common import (
    SHAPE,
    draw,
    exact,
    exact_normalized,
    laplacian,
    normal,
    relative_error,
)
from tfrobust.attacks import SmoothCarliniWagner, SmoothPGD
from tfrobust.smoothing import Smoother

REPOSITORY = Path(__file__).resolve().parents[2]
SOLVERS = ["checkerboard", "chebyshev", "cg", "dense"]
# Enough steps to be exact to float32.
ENOUGH = {0.0: 1, 0.5: 20, 0.95: 70, 0.997: 260}


@pytest.fixture
def images():
    return draw(3, *SHAPE)


@pytest.fixture
def z():
    return normal(3, *SHAPE)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("alpha", ENOUGH)
def test_smoothing_is_the_direct_solve(solver, alpha, images, z):
    smoother = Smoother(images, alpha, ENOUGH[alpha], solver=solver)
    assert relative_error(smoother.smooth(z), exact(images, z, alpha)).max() < 1e-3
    result, expected = smoother(z), exact_normalized(images, z, alpha)
    assert result.dtype == tf.float32
    assert relative_error(result, expected).max() < 1e-3
    if alpha == 0:
        np.testing.assert_allclose(result, z, 1e-6, 1e-7)


@pytest.mark.parametrize(
    "graph",
    [
        {"kernel": "gaussian", "bandwidth": 0.3},
        {"neighbors": 8},
        {"neighbors": 8, "spatial_bandwidth": 0.7, "kernel": "gaussian"},
    ],
)
def test_settings_reach_the_graph(graph, images, z):
    smoother = Smoother(images, 0.95, 70, **graph)
    expected = exact_normalized(images, z, 0.95, **graph)
    assert relative_error(smoother(z), expected).max() < 1e-3
    assert relative_error(exact_normalized(images, z, 0.95), expected).min() > 0.02


def test_the_default_solver_is_the_one_for_the_neighbors(images, z):
    for neighbors, solver in ((4, "checkerboard"), (8, "chebyshev")):
        result = Smoother(images, 0.95, 3, neighbors=neighbors)(z)
        named = Smoother(images, 0.95, 3, neighbors=neighbors, solver=solver)(z)
        np.testing.assert_array_equal(result, named)


@pytest.mark.parametrize(("solver", "steps"), [("checkerboard", 50), ("chebyshev", 99)])
def test_fifty_steps_leave_a_thousandth(solver, steps):
    """At alpha 0.997, as documented, on the slowest mode, from zeros.

    Smoothing starts from the answer for the mean, which is nearer.
    """
    image = draw(1, 8, 9, 1)
    z = Smoother(image).graph.root_degrees.numpy()
    smoother = Smoother(image, 0.997, steps, solver=solver)
    error = relative_error(smoother.solve(z), z).max()
    assert error < 1.02e-3
    assert relative_error(smoother.smooth(z), z).max() < 0.5 * error
    result = Smoother(image, 0.997, steps - 5, solver=solver).solve(z)
    assert relative_error(result, z).max() > 1.3e-3


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.997])
@pytest.mark.parametrize("neighbors", [4, 8])
def test_the_matrix(alpha, neighbors, images, z):
    """It is the definition, positive definite, its spectrum as documented."""
    smoother = Smoother(images, alpha, 1, neighbors=neighbors)
    matrices = tf.sparse.to_dense(smoother.to_sparse()).numpy().astype(np.float64)
    for matrix, image in zip(matrices, images, strict=True):
        expected = laplacian(image, alpha, neighbors=neighbors).toarray()
        np.testing.assert_allclose(matrix, expected, 2e-5, 1e-4 * alpha)
        np.testing.assert_array_equal(matrix, matrix.T)
        values = np.linalg.eigvalsh(matrix)
        assert values[0] > 1 - 3e-4 and values[-1] <= (1 + alpha) / (1 - alpha) + 1e-3
    products = matrices @ z.reshape(3, -1, SHAPE[2])
    result = smoother.multiply(z)
    np.testing.assert_allclose(result, products.reshape(z.shape), 1e-3, 1e-3)


def test_products_undo_smoothing_and_residuals_tell(images, z):
    smoother = Smoother(images, 0.95, 70)
    smoothed = smoother.smooth(z)
    np.testing.assert_allclose(smoother.multiply(smoothed), z, atol=1e-4)
    assert np.all(smoother.residual(z, smoothed).numpy() < 1e-5)
    off = smoothed + 0.1
    residual = z - smoother.multiply(off).numpy().astype(np.float64)
    size = np.linalg.norm(z.reshape(3, -1), axis=1)
    expected = np.linalg.norm(residual.reshape(3, -1), axis=1) / size
    np.testing.assert_allclose(smoother.residual(z, off), expected, 1e-4)
    for scale in (1e-30, 1e30):
        result = smoother.residual(np.float32(scale) * z, np.float32(scale) * off)
        np.testing.assert_allclose(result, expected, 1e-4)
    assert np.all(smoother.residual(0 * z, 0 * z).numpy() == 0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 3, 50])
def test_constants_are_kept(solver, steps, images):
    """However few steps there are."""
    smoother = Smoother(images, 0.997, steps, solver=solver)
    result = smoother(np.full_like(images, -0.25))
    np.testing.assert_allclose(result, -0.25, 1e-5)


@pytest.mark.slow
@settings(max_examples=15)
@given(
    image=arrays.arrays(np.float32, (1, 3, 4, 1), elements=st.floats(0, 1, width=32)),
    z=arrays.arrays(np.float32, (1, 3, 4, 1), elements=st.floats(-1, 1, width=32)),
    alpha=st.sampled_from([0.0, 0.5, 0.95]),
    bandwidth=st.sampled_from([1e-4, 0.1, 10.0]),
    neighbors=st.sampled_from([4, 8]),
)
def test_every_value_is_a_weighted_mean(image, z, alpha, bandwidth, neighbors):
    """The inverse of L has no negative entry."""
    smoother = Smoother(image, alpha, 90, bandwidth=bandwidth, neighbors=neighbors)
    result = smoother(z).numpy()
    assert z.min() - 1e-4 <= result.min() and result.max() <= z.max() + 1e-4


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [1e-30, 1e20])
def test_scale_makes_no_difference(solver, scale, images, z):
    smoother = Smoother(images, 0.95, 60, solver=solver)
    scaled = smoother((scale * z.astype(np.float64)).astype(np.float32))
    np.testing.assert_allclose(scaled / np.float32(scale), smoother(z), atol=1e-4)


@pytest.mark.parametrize("solver", ["checkerboard", "chebyshev", "dense"])
def test_linear_however_few_the_steps(solver, images, z):
    smoother = Smoother(images, 0.997, 7, solver=solver)
    other = normal(*z.shape, seed=4)
    result = smoother(2 * z - 3 * other)
    np.testing.assert_allclose(result, 2 * smoother(z) - 3 * smoother(other), atol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_symmetric(solver, images, z):
    """`<s(a), b> = <a, s(b)>`, so that the gradient of a solve is a solve."""
    smoother = Smoother(images, 0.95, 60, solver=solver)
    other = normal(*z.shape, seed=4)
    left, right = (
        np.sum(np.float64(smoother.smooth(a)) * b, axis=(1, 2, 3))
        for a, b in ((z, other), (other, z))
    )
    np.testing.assert_allclose(left, right, atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_gradient_is_that_of_exact_solves(solver, images, z):
    """Differences of float64 solves, along random directions."""
    smoother = Smoother(images, 0.95, 70, solver=solver)
    w, x = normal(*z.shape, seed=4), tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(w * smoother(x))
    gradient = tape.gradient(total, x).numpy().astype(np.float64)
    for seed in range(3):
        step = 1e-3 * normal(*z.shape, seed=10 + seed).astype(np.float64)
        ahead, behind = (
            np.sum(w * exact_normalized(images, z + side, 0.95))
            for side in (step, -step)
        )
        along = np.sum(gradient * step)
        np.testing.assert_allclose(along, (ahead - behind) / 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("solver", ["checkerboard", "chebyshev", "cg", "dense"])
def test_the_gradient_is_that_of_the_iterations(solver, images, z):
    """The solver differentiated through its loop, `smooth` by another solve.

    Through `solve`, which is for loops without a tape, no gradient flows.
    """
    smoother = Smoother(images, 0.95, 70, solver=solver)
    w, x = normal(*z.shape, seed=4), tf.constant(z)
    gradients = []
    through_the_loop = smoother._make_solver(solver, 70, 1e-5)
    for solve in (smoother.smooth, lambda z: through_the_loop(z, None), smoother.solve):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(w * solve(x))
        gradients.append(tape.gradient(total, x))
    np.testing.assert_allclose(*gradients[:2], atol=2e-3)
    assert gradients[2] is None


def test_the_gradient_of_a_gradient(images, z):
    """Hessian-vector products of a sum of fourth powers, by the exact inverse.

    Of `sum(s^4) / 12` with `s = N z` it is `N' (s^2 * N v)`.
    """
    smoother, x = Smoother(images, 0.95, 70), tf.constant(z)
    v = normal(*z.shape, seed=4)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            total = tf.reduce_sum(smoother(x) ** 4) / 12
        gradient = inner.gradient(total, x)
    product = outer.gradient(gradient, x, output_gradients=tf.constant(v))
    smoothed_ones = exact(images, np.ones_like(z), 0.95)
    s, moved = (
        exact(images, z, 0.95) / smoothed_ones,
        exact(images, v, 0.95) / smoothed_ones,
    )
    expected = exact(images, s**2 * moved / smoothed_ones, 0.95)
    assert relative_error(product, expected).max() < 1e-3


def test_no_gradient_flows_into_the_images(images, z):
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(Smoother(x, 0.5, 5)(z))
    assert tape.gradient(total, x) is None


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_image_by_itself(solver, images, z):
    """Also beside one that is far harder, and one with nothing to smooth."""
    images[0], z[0], z[2] = 0.5, 1e4 * z[0], 0
    result = Smoother(images, 0.95, 40, solver=solver)(z)
    for k in range(3):
        own = slice(k, k + 1)
        alone = Smoother(images[own], 0.95, 40, solver=solver)(z[own])
        np.testing.assert_allclose(result[k], alone[0], 2e-4, 2e-5 * abs(z[k]).max())
    np.testing.assert_array_equal(result[2], 0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_start_at_the_answer_stays_there(solver, images, z):
    smoother = Smoother(images, 0.997, 2, solver=solver)
    answer = exact(images, z, 0.997)
    warm = smoother.solve(z, tf.constant(answer, tf.float32))
    assert relative_error(warm, answer).max() < 1e-3
    mean = z.mean(axis=(1, 2), keepdims=True)
    guess = tf.constant(mean * smoother.of_ones.numpy(), tf.float32)
    np.testing.assert_allclose(smoother.solve(z, guess), smoother.smooth(z), 1e-3, 1e-6)
    if solver != "dense":
        assert relative_error(smoother.solve(z), answer).min() > 0.1


def test_smooths_and_does_not_smear_over_an_edge():
    """Noise gets smoother; a signal on one side of an edge stays there."""
    images = np.zeros((1, 8, 8, 1), np.float32)
    images[:, :, 4:] = 1
    z = normal(1, 8, 8, 1)
    z[:, :, 4:] = 0
    roughness = []
    for alpha in (0.0, 0.5, 0.95):
        smoother = Smoother(images, alpha, 60, bandwidth=0.05)
        result = smoother(z)
        roughness.append(float(smoother.graph.roughness(result)[0]))
        assert np.max(np.abs(result[:, :, 4:])) < 1e-6
    assert roughness[0] > 1.2 * roughness[1] > 2 * roughness[2]
    smeared = Smoother(images, 0.95, 60, bandwidth=10.0)(z)
    assert np.max(np.abs(smeared[:, :, 4:])) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "jit_compile"),
    [*((solver, False) for solver in SOLVERS), *((s, True) for s in SOLVERS[:3])],
)
def test_one_graph_for_every_batch(solver, jit_compile, images, z):
    """With values and gradients; compiled too, but for the dense inverse."""
    row = tf.TensorSpec([None, *SHAPE])

    def both(images, z):
        smoother = Smoother(images, 0.95, 60, solver=solver)
        with tf.GradientTape() as tape:
            tape.watch(z)
            smoothed = smoother(z)
            total = tf.reduce_sum(smoothed**2)
        return smoothed, tape.gradient(total, z), smoother.residual(z, z)

    call = tf.function(both, input_signature=[row, row], jit_compile=jit_compile)
    for rows in ([0, 1, 2], [1], [2, 0]):
        x = tf.constant(z[rows])
        result = call(tf.constant(images[rows]), x)
        for first, second in zip(result, both(images[rows], x), strict=True):
            np.testing.assert_allclose(first, second, 1e-3, 1e-4)
    assert call.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_under_mixed_precision(dtype, images, z):
    """What comes is cast; what is computed is float32."""
    images, z = images.astype(dtype), z.astype(dtype)
    expected = Smoother(images.astype(np.float32), 0.95)(z.astype(np.float32))
    keras.config.set_dtype_policy("mixed_float16")
    x = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = Smoother(images, 0.95)(x)
    assert result.dtype == tf.float32
    assert tape.gradient(result, x).dtype == x.dtype
    np.testing.assert_array_equal(result, expected)


# Logical devices must be set up before TensorFlow starts.
REPLICAS = """
import sys
import numpy as np
import tensorflow as tf

device = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    device, 2 * [tf.config.LogicalDeviceConfiguration()]
)
from tests.smoothing.test_operator import LINEAR, OPERATIONS

given = np.load(sys.argv[1])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
results = {"replicas": strategy.num_replicas_in_sync}

def halves(array):
    parts = np.split(array, 2)
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )

batch = tuple(halves(given[name]) for name in ("images", "z", "labels"))
for name, operation in OPERATIONS.items():

    @tf.function
    def step(batch, operation=operation):
        return strategy.run(operation, batch)

    parts = strategy.experimental_local_results(step(batch))
    results[name] = np.concatenate([part.numpy() for part in parts])
np.savez(sys.argv[2], **results)
"""
LINEAR = affine(2, SHAPE)
OPERATIONS = {
    "Smoother": lambda images, z, labels: Smoother(images, 0.95)(z),
    "SmoothPGD": lambda images, z, labels: (
        SmoothPGD(norm=2, eps=0.3, steps=3)(LINEAR, images, labels).adversarial
    ),
    "SmoothCarliniWagner": lambda images, z, labels: (
        SmoothCarliniWagner(steps=8, search_steps=2)(LINEAR, images, labels).adversarial
    ),
}


@pytest.mark.slow
def test_inside_two_replicas(tmp_path):
    """Half of the batch on each is as all of it without a strategy."""
    images, z = draw(4, *SHAPE), normal(4, *SHAPE)
    labels = np.argmax(LINEAR.logits(images), axis=1)
    np.savez(tmp_path / "in.npz", images=images, z=z, labels=labels)
    files = [tmp_path / "in.npz", tmp_path / "out.npz"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS, *map(str, files)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    arrays = np.load(files[1])
    assert arrays["replicas"] == 2
    for name, operation in OPERATIONS.items():
        expected = operation(*map(tf.constant, (images, z, labels)))
        np.testing.assert_allclose(arrays[name], expected, atol=1e-5, err_msg=name)
        # Every image was worked on, so that leaving one out would be seen.
        moved = abs(expected - (z if name == "Smoother" else images))
        assert np.all(np.max(moved, axis=(1, 2, 3)) > 1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 1, 3), (1, 5, 1), (6, 1, 2)])
def test_thin_images(solver, size):
    """A pixel alone is left as it is."""
    images, z = draw(2, *size), normal(2, *size)
    result = Smoother(images, 0.95, 60, solver=solver)(z)
    np.testing.assert_allclose(result, exact_normalized(images, z, 0.95), 1e-3, 1e-4)
    if size[:2] == (1, 1):
        np.testing.assert_allclose(result, z, 1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_images(solver):
    result = Smoother(np.zeros((0, 3, 4, 1), np.float32), 0.5, solver=solver)(
        np.zeros((0, 3, 4, 1), np.float32)
    )
    assert result.shape == (0, 3, 4, 1)


PEAK = """
import re, sys
import tensorflow as tf
from tfrobust.smoothing import ConjugateGradient, Smoother

solver, through, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
images = tf.random.stateless_uniform([1, 256, 256, 3], [0, 1])

def peak():  # of this program; getrusage counts what started it too
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) / 1024

@tf.function
def gradient(x):
    smoother = Smoother(images, 0.997, steps, solver=solver, tolerance=0.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        if through == "loop":
            solution = ConjugateGradient(iterations=steps, tolerance=0.0)
            total = tf.reduce_sum(solution.solve(smoother.multiply, x).x ** 2)
        else:
            total = tf.reduce_sum(smoother.smooth(x) ** 2)
    return tape.gradient(total, x)

gradient.get_concrete_function(images)
before = peak()
gradient(images).numpy()
print(peak() - before)
"""


needs_status = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc/self/status"
)


def peak(*arguments):
    """MiB that a gradient adds to the peak of a process of its own."""
    command = [sys.executable, "-c", PEAK, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout)


@needs_status
@pytest.mark.slow
@pytest.mark.parametrize("solver", ["checkerboard", "chebyshev", "cg"])
def test_memory_does_not_grow_with_the_iterations(solver):
    """An image is 0.75 MiB: 380 more steps, stored once each, would add 285."""
    assert peak(solver, "smooth", 400) < peak(solver, "smooth", 20) + 40


@needs_status
@pytest.mark.slow
def test_memory_that_grows_is_seen():
    """The same measurement through a recorded loop of conjugate gradients."""
    few, many = (peak("cg", "loop", steps) for steps in (20, 400))
    assert many > few + 285


CLIENT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *args):
        if name.split(".")[0] in {"keras", "tf_keras", "tfrobust"}:
            return None
        return self.finder.find_spec(name, *args)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import numpy as np
import tensorflow as tf

folder, inputs, outputs = sys.argv[1:]
module = tf.saved_model.load(folder)
given = np.load(inputs)
images, z = tf.constant(given["images"]), tf.constant(given["z"])
with tf.GradientTape() as tape:
    tape.watch(z)
    smoothed = module.smooth(images, z)
    total = tf.reduce_sum(smoothed**2)
np.savez(outputs, smoothed=smoothed, gradient=tape.gradient(total, z))
assert not {"keras", "tfrobust"} & set(sys.modules), "imported all the same"
"""


class Smoothing(tf.Module):
    """A smoother as a function of images and a signal, to be saved."""

    @tf.function(input_signature=2 * [tf.TensorSpec([None, *SHAPE])])
    def smooth(self, images, z):
        return Smoother(images, 0.95, 40)(z)


@pytest.mark.slow
def test_saved_with_its_gradient(tmp_path, images, z):
    """Loaded where the library is not, a different batch size."""
    folder = str(tmp_path / "saved")
    tf.saved_model.save(Smoothing(), folder)
    np.savez(tmp_path / "in.npz", images=images, z=z)
    answer = tmp_path / "out.npz"
    command = [sys.executable, "-c", CLIENT, folder, tmp_path / "in.npz", answer]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    x = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(x)
        smoothed = Smoother(images, 0.95, 40)(x)
        total = tf.reduce_sum(smoothed**2)
    arrays = np.load(answer)
    np.testing.assert_allclose(arrays["smoothed"], smoothed, atol=1e-5)
    np.testing.assert_allclose(arrays["gradient"], tape.gradient(total, x), atol=1e-4)


def test_too_few_steps_do_not_divide_by_nothing():
    """Three steps at a narrow bandwidth: s(1) is precise, and no value explodes."""
    image, z = draw(1, 12, 13, 1), normal(1, 12, 13, 1)
    for solver in SOLVERS:
        smoother = Smoother(image, 0.997, 3, bandwidth=0.01, solver=solver)
        result = smoother(z)
        assert np.max(np.abs(result)) < 2 * np.max(np.abs(z))
        smoothed_ones = exact(image, np.ones_like(z), 0.997, bandwidth=0.01)
        assert relative_error(smoother.of_ones, smoothed_ones).max() < 1e-4


@pytest.mark.parametrize("solver", ["checkerboard", "chebyshev", "cg"])
def test_compiled_by_xla_it_is_the_same(solver, images, z):
    """Values, a solve from a start, and the gradient, to rounding."""
    plain = Smoother(images, 0.95, 20, solver=solver, tolerance=0.0)
    compiled = Smoother(
        images, 0.95, 20, solver=solver, tolerance=0.0, jit_compile=True
    )
    close = {"rtol": 1e-3, "atol": 1e-5}
    np.testing.assert_allclose(compiled(z), plain(z), **close)
    start = plain.smooth(z)
    np.testing.assert_allclose(compiled.solve(z, start), plain.solve(z, start), **close)
    gradients = []
    for smoother in (plain, compiled):
        signal = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(signal)
            total = tf.reduce_sum(tf.square(smoother(signal)))
        gradients.append(tape.gradient(total, signal))
    np.testing.assert_allclose(gradients[1], gradients[0], **close)


@pytest.mark.parametrize("solver", ["checkerboard", "chebyshev", "cg", "dense"])
def test_a_smoother_is_not_kept_by_its_graphs(solver, images, z):
    """Compiled where it is called eagerly, and forgotten with the last reference."""
    smoother = Smoother(images, 0.9, 20, solver=solver)
    smoother(z)
    gone = weakref.ref(smoother)
    del smoother
    gc.collect()
    assert gone() is None
