"""Claim: one colour at a time smooths faster than any other way that needs no inverse.

Longer than other files: the methods that are compared are written out here, next to one
another.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.smoothing --data_dir=... --rounds=5

With more threads SciPy's float64 inner products wait for each other on a busy machine,
and they were seen to take 40 times as long.

First table: one smoothing of 4 images of 299x299x3 at alpha 0.997, each method with the
fewest steps that bring every image's error to 1e-3, measured against a direct sparse
solve in float64. Ratios are to SciPy's conjugate gradients, float64, which take the
images and channels one after another, as in the paper's release. A channel by itself
may need fewer steps than ours, which take an image's channels as one system, so SciPy's
are counted for themselves: in float64, and float32 takes as many.

Below it the call that users make, `smoother(z)` of `Smoother(images, alpha)`, and the
same inside of a `tf.function`: a call compiles itself, and is to take at most 1.1 times
as long.

Second table: an attack's loop on 200 images of 28x28x1 at alpha 0.95. Between two
solves the right-hand side moves by a share of its length, and a warm start is the last
answer. Steps are the fewest that keep the error of the batch within a bound at every
solve; ratios are to the multiplication by a dense inverse computed once.

Methods take turns, and what is compared is each round's ratio, so that a busy neighbour
slows all. With `--data_dir` the images are the first of CIFAR-10, enlarged, and of
MNIST; else they are smooth random ones. The signals are normal noise.

"reduced" is conjugate gradients on the pixels of one colour, the others eliminated.
"multigrid" is conjugate gradients preconditioned by a V-cycle: blocks of 2x2 pixels
become one, their edges are added up, Jacobi's sweeps before and after.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import tensorflow as tf

from benchmarks.reports import TIMES, Parser, Report, need_data, start
from benchmarks.turns import alternate, rows
from tfrobust import data
from tfrobust.smoothing import (
    Chebyshev,
    Checkerboard,
    ConjugateGradient,
    GridGraph,
    Smoother,
    grid_graph,
)

# From a number of steps to a solve of (I - alpha W) x = b.
Method = Callable[[int], Callable[[], np.ndarray]]

# A solve takes little.
_TIMES = {**TIMES, "wall_s": ".4f", "cpu_s": ".4f"}
_QUICK = {"size": 32, "images": 2, "batch_size": 4, "solves": 2, "rounds": 2}


def main(argv: Sequence[str] | None = None) -> Report:
    """Measures what both tables hold."""
    parser = Parser(__file__, __doc__, quick=_QUICK)
    parser.add_data_dir()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=299)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--batch_size", type=int, default=200)
    parser.add_argument("--solves", type=int, default=20)
    parser.add_argument("--tables", default="1,2", help="which to measure")
    arguments, report = parser.parse(argv)
    tables = arguments.tables.split(",")
    if "1" in tables:
        _one_smoothing(arguments, report)
    if "2" in tables:
        _a_loop(arguments, report)
    return report


def _one_smoothing(arguments: argparse.Namespace, report: Report) -> None:
    size = arguments.size
    images = _cifar(arguments.data_dir, arguments.images, size)
    alpha, bound = 0.997, 1e-3
    graph = grid_graph(images)
    b = tf.random.stateless_normal(images.shape, [0, 1])
    matrices = _matrices(graph, alpha)
    exact = _per_channel([_direct(matrix) for matrix in matrices], b)
    methods: dict[str, Method] = {
        "CG": _traced(_plain(graph, alpha), b),
        "CG, reduced": _traced(_reduced(graph, alpha), b),
        "CG, multigrid": _traced(_multigrid(graph, alpha), b),
        "Chebyshev": _traced(_chebyshev(graph, alpha), b),
        "checkerboard": _traced(_checkerboard(graph, alpha), b),
        "checkerboard, XLA": _traced(_checkerboard(graph, alpha), b, jit_compile=True),
    }
    steps = [
        _fewest(lambda k, m=method: _error(m(k)(), exact) <= bound)
        for method in methods.values()
    ]
    precisions = {"float64": np.float64, "float32": np.float32}
    scipys = {
        f"SciPy CG, {name}": _scipy(matrices, b, dtype)
        for name, dtype in precisions.items()
    }
    reference = scipys["SciPy CG, float64"]
    own = _fewest(lambda k: _error(reference(k)(), exact) <= bound)
    methods, steps = scipys | methods, [own, own, *steps]
    runs = [method(k) for method, k in zip(methods.values(), steps, strict=True)]
    errors = [_error(run(), exact) for run in runs]
    timed = rows(list(methods), alternate(runs, arguments.rounds))
    extra = _columns(steps=steps, error=errors)
    report.table(
        f"one smoothing of {len(images)} images {size}x{size}x3, alpha {alpha}, every "
        f"image's error <= {bound}, {arguments.rounds} rounds",
        [row | more for row, more in zip(timed, extra, strict=True)],
        {"steps": "d", "error": ".1e", **_TIMES},
        key="one smoothing",
        claimed={"checkerboard": 1.0},
    )
    smoother = Smoother(images, alpha)
    graph = tf.function(smoother.__call__, autograph=False)
    runs = [lambda: graph(b).numpy(), lambda: smoother(b).numpy()]
    report.table(
        f"`Smoother` on the same images, {3 * arguments.rounds} rounds",
        rows(["in a graph", "as it is called"], alternate(runs, 3 * arguments.rounds)),
        _TIMES,
        key="Smoother",
        claimed={"as it is called": 1.1},
    )


def _a_loop(arguments: argparse.Namespace, report: Report) -> None:
    images = _mnist(arguments.data_dir, arguments.batch_size)
    alpha, solves = 0.95, arguments.solves
    graph = grid_graph(images)
    solvers = [_direct(matrix) for matrix in _matrices(graph, alpha)]
    start = time.perf_counter()
    dense = Smoother(images, alpha, solver="dense")
    seconds = time.perf_counter() - start
    values = sum(weight.numpy().nbytes for weight in graph.weights)
    report.note(
        f"{solves} solves for {len(images)} images 28x28x1, alpha {alpha}; the "
        f"inverses take {len(images) * 784**2 * 4 / 2**20:.0f} MiB and {seconds:.1f} s,"
        f" the weights {values / 2**20:.1f} MiB."
    )
    for drift in (0.01, 0.1):
        signals = _drifting(images.shape, solves + 1, drift)
        exact = [_per_channel(solvers, b) for b in signals]
        makers = {
            "CG": _plain(graph, alpha),
            "Chebyshev": _chebyshev(graph, alpha),
            "checkerboard": _checkerboard(graph, alpha),
        }
        product = tf.function(lambda b, x: dense.smooth(b) / (1.0 - alpha))
        for bound in (1e-2, 1e-3):
            names, steps, runs = ["dense inverse"], [None], [_looped(product, signals)]
            for name, make in makers.items():
                for warmth, first in (("cold", None), ("warm", exact[0])):
                    count, run = _cheapest_loop(make, signals, exact, first, bound)
                    names.append(f"{name}, {warmth}")
                    steps.append(count)
                    runs.append(run)
            timed = rows(names, alternate(runs, arguments.rounds))
            extra = _columns(steps=steps)
            report.table(
                f"drift {drift:.0%} a solve, the batch's error <= {bound}, "
                f"{arguments.rounds} rounds",
                [row | more for row, more in zip(timed, extra, strict=True)],
                {"steps": "d", **_TIMES},
                key=f"drift {drift:.0%} to {bound}",
            )


def _columns(**values: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Lists of equal length as one dictionary for each row."""
    for row in zip(*values.values(), strict=True):
        yield dict(zip(values, row, strict=True))


def _cheapest_loop(
    make: Callable,
    signals: list[tf.Tensor],
    exact: list[np.ndarray],
    first: np.ndarray | None,
    bound: float,
) -> tuple[int, Callable]:
    """The fewest steps a solve that keep the error within the bound, and the loop."""
    start = None if first is None else tf.constant(first, tf.float32)

    def run(count: int) -> Callable[[], list[np.ndarray]]:
        return _looped(tf.function(make(count)), signals, start)

    count = _fewest(lambda k: _worst(run(k)(), exact) <= bound)
    return count, run(count)


# Methods: from a number of steps to a function of b and a start.


def _plain(graph: GridGraph, alpha: float, preconditioner=None) -> Callable:
    def make(steps: int) -> Callable:
        method = ConjugateGradient(iterations=steps, tolerance=0.0)

        def solve(b: tf.Tensor, start: tf.Tensor | None = None) -> tf.Tensor:
            operator = _operator(graph, alpha)
            return method.solve(operator, b, start, preconditioner).x

        return solve

    return make


def _chebyshev(graph: GridGraph, alpha: float) -> Callable:
    def make(steps: int) -> Callable:
        method = Chebyshev(radius=alpha, iterations=steps)
        return lambda b, start=None: method.solve(
            lambda x: alpha * graph.multiply(x), b, start
        )

    return make


def _checkerboard(graph: GridGraph, alpha: float) -> Callable:
    board = Checkerboard(graph, alpha)
    return lambda steps: lambda b, start=None: board.solve(b, steps, start)


def _reduced(graph: GridGraph, alpha: float) -> Callable:
    """`(I - M M') x = b + M c` for the black pixels, M the edges from white ones."""
    board = Checkerboard(graph, alpha)

    def to_black(white: tf.Tensor) -> tf.Tensor:
        return tf.add_n(board._to_black(white))

    def to_white(black: tf.Tensor) -> tf.Tensor:
        return tf.add_n(board._to_white(black))

    def operator(x: tf.Tensor) -> tf.Tensor:
        black = x[:, :, 0, 0]
        return x - to_black(to_white(black))[:, :, None, None]

    def make(steps: int) -> Callable:
        method = ConjugateGradient(iterations=steps, tolerance=0.0)

        def solve(b: tf.Tensor, start: None = None) -> tf.Tensor:
            black_b, white_b = board._split(b)
            right = (black_b + to_black(white_b))[:, :, None, None]
            black = method.solve(operator, right).x[:, :, 0, 0]
            return board._join(black, white_b + to_white(black))

        return solve

    return make


class _Level(NamedTuple):
    """A graph's Laplacian plus masses; the edges ahead `[B, H, W, C]`."""

    right: tf.Tensor
    down: tf.Tensor
    diagonal: tf.Tensor

    def multiply(self, x: tf.Tensor) -> tf.Tensor:
        right, down = self.right, self.down
        near = [
            right * tf.roll(x, -1, 2),
            tf.roll(right * x, 1, 2),
            down * tf.roll(x, -1, 1),
            tf.roll(down * x, 1, 1),
        ]
        return self.diagonal * x - tf.add_n(near)


def _multigrid(graph: GridGraph, alpha: float, sweeps: int = 1) -> Callable:
    """Conjugate gradients with a V-cycle, in the variable `D^-1/2 x`."""
    root = tf.tile(graph.root_degrees, [1, 1, 1, graph.shape[2]])
    right, down = (tf.reshape(w, [-1, *graph.shape]) for w in graph.weights)
    right *= alpha * root * tf.roll(root, -1, 2)
    down *= alpha * root * tf.roll(root, -1, 1)
    mass = (1.0 - alpha) * root**2
    levels = [_level(right, down, mass)]
    while min(levels[-1].right.shape[1:3]) > 3:
        right, down, mass = (_even(x) for x in (right, down, mass))
        # Half of the sum: pieces that are constant make jumps look too stiff.
        right = 0.5 * (right[:, ::2, 1::2] + right[:, 1::2, 1::2])
        down = 0.5 * (down[:, 1::2, ::2] + down[:, 1::2, 1::2])
        mass = _block_sum(mass)
        levels.append(_level(right, down, mass))

    def cycle(depth: int, b: tf.Tensor) -> tf.Tensor:
        level = levels[depth]
        last = depth + 1 == len(levels)
        relaxation = 0.7 / level.diagonal
        x = relaxation * b
        for _ in range(8 * sweeps - 1 if last else sweeps - 1):
            x += relaxation * (b - level.multiply(x))
        if last:
            return x
        coarse = cycle(depth + 1, _block_sum(_even(b - level.multiply(x))))
        fine = tf.repeat(tf.repeat(coarse, 2, axis=1), 2, axis=2)
        x += fine[:, : x.shape[1], : x.shape[2]]
        for _ in range(sweeps):
            x += relaxation * (b - level.multiply(x))
        return x

    return _plain(graph, alpha, lambda residual: root * cycle(0, root * residual))


def _level(right: tf.Tensor, down: tf.Tensor, mass: tf.Tensor) -> _Level:
    around = right + tf.roll(right, 1, 2) + down + tf.roll(down, 1, 1)
    # What is padded has no mass and no edge, and stays 0.
    diagonal = mass + around
    return _Level(right, down, tf.where(diagonal > 0.0, diagonal, 1.0))


def _even(x: tf.Tensor) -> tf.Tensor:
    height, width = x.shape[1:3]
    return tf.pad(x, [[0, 0], [0, height % 2], [0, width % 2], [0, 0]])


def _block_sum(x: tf.Tensor) -> tf.Tensor:
    rows = x[:, ::2] + x[:, 1::2]
    return rows[:, :, ::2] + rows[:, :, 1::2]


def _operator(graph: GridGraph, alpha: float) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda x: x - alpha * graph.multiply(x)


def _traced(make: Callable, b: tf.Tensor, jit_compile: bool = False) -> Method:
    def method(steps: int) -> Callable[[], np.ndarray]:
        solve = tf.function(make(steps), jit_compile=jit_compile)
        return lambda: solve(b).numpy()

    return method


def _scipy(matrices: list, b: tf.Tensor, dtype: type) -> Method:
    matrices, rows = [m.astype(dtype) for m in matrices], b.numpy().astype(dtype)

    def method(steps: int) -> Callable[[], np.ndarray]:
        def solver(matrix) -> Callable[[np.ndarray], np.ndarray]:
            return lambda column: scipy.sparse.linalg.cg(
                matrix, column, rtol=0.0, maxiter=steps
            )[0]

        return lambda: _per_channel([solver(m) for m in matrices], rows)

    return method


# Right-hand sides, exact answers and errors.


def _matrices(graph: GridGraph, alpha: float) -> list[scipy.sparse.csr_matrix]:
    """`I - alpha W` of each image in float64."""
    sparse = graph.to_sparse()
    index, values = sparse.indices.numpy(), sparse.values.numpy().astype(np.float64)
    batch, pixels = (int(n) for n in sparse.dense_shape.numpy()[:2])
    identity = scipy.sparse.identity(pixels, format="csr")
    matrices = []
    for image in range(batch):
        own = index[:, 0] == image
        place = (index[own, 1], index[own, 2])
        shape = (pixels, pixels)
        weights = scipy.sparse.csr_matrix((values[own], place), shape)
        matrices.append(identity - alpha * weights)
    return matrices


def _direct(matrix: scipy.sparse.csr_matrix) -> Callable[[np.ndarray], np.ndarray]:
    order = "MMD_AT_PLUS_A"  # for symmetric matrices
    return scipy.sparse.linalg.splu(matrix.tocsc(), permc_spec=order).solve


def _per_channel(solvers: list[Callable], b: tf.Tensor | np.ndarray) -> np.ndarray:
    """Each image's solver on each of its channels."""
    answers = []
    for solve, image in zip(solvers, np.asarray(b), strict=True):
        columns = image.reshape(-1, image.shape[-1]).T
        columns = [solve(np.ascontiguousarray(column)) for column in columns]
        answers.append(np.stack(columns, axis=-1).reshape(image.shape))
    return np.stack(answers)


def _drifting(shape: tuple[int, ...], count: int, drift: float) -> list[tf.Tensor]:
    """Normal noise, each the last one moved by a share of its length."""
    random = np.random.default_rng(0)
    signals = [random.standard_normal(shape)]
    for _ in range(count - 1):
        noise = random.standard_normal(shape)
        signals.append(signals[-1] + drift * noise)
    return [tf.constant(signal, tf.float32) for signal in signals]


def _looped(
    solve: Callable, signals: list[tf.Tensor], first: tf.Tensor | None = None
) -> Callable[[], list[np.ndarray]]:
    """All solves but that of the first signal, from the last answer or from zero."""

    def run() -> list[np.ndarray]:
        x, answers = first, []
        for b in signals[1:]:
            solution = solve(b, x)
            x = None if first is None else solution
            answers.append(solution.numpy())
        return answers

    return run


def _error(solution: np.ndarray, exact: np.ndarray) -> float:
    """Of the worst image, relative."""
    missing = (solution - exact).reshape(len(exact), -1)
    size = np.linalg.norm(exact.reshape(len(exact), -1), axis=1)
    return float(np.max(np.linalg.norm(missing, axis=1) / size))


def _worst(answers: list[np.ndarray], exact: list[np.ndarray]) -> float:
    """Of the whole batch, relative, at the worst solve."""
    pairs = zip(answers, exact[1:], strict=True)
    return max(float(np.linalg.norm(a - e) / np.linalg.norm(e)) for a, e in pairs)


def _fewest(is_enough: Callable[[int], bool], most: int = 512) -> int:
    """The least number of steps that is enough, by doubling and halving."""
    high = 1
    while not is_enough(high):
        if high >= most:
            raise RuntimeError(f"{most} steps are not enough")
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _cifar(data_dir: str | None, count: int, size: int) -> np.ndarray:
    shape = (count, size, size, 3)
    if data_dir is None:
        return _random_images(shape)
    need_data("cifar10_jpeg", data_dir)
    dataset = data.load("cifar10_jpeg", "test", data_dir).take(count)
    images = tf.cast(dataset.images, tf.float32) / 255.0
    return tf.clip_by_value(tf.image.resize(images, (size, size), "bicubic"), 0.0, 1.0)


def _mnist(data_dir: str | None, count: int) -> np.ndarray:
    if data_dir is None:
        return _random_images((count, 28, 28, 1))
    need_data("mnist", data_dir)
    dataset = data.load("mnist", "test", data_dir).take(count)
    return tf.cast(dataset.images, tf.float32) / 255.0


def _random_images(shape: tuple[int, ...]) -> tf.Tensor:
    """Noise of few pixels, enlarged."""
    batch, height, width, channels = shape
    small = [batch, math.ceil(height / 8), math.ceil(width / 8), channels]
    noise = tf.random.stateless_uniform(small, [0, 0])
    return tf.image.resize(noise, (height, width))


if __name__ == "__main__":
    start(main)
