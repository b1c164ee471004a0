"""The Square attack: every query of it, replayed in NumPy from the paper's text.

Called on a `Problem` outside of a graph the search runs in Python, so that a model can
write down each image that it runs on.
"""

import fractions
import functools
import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks.common import CONV_SHAPE, Affine, affine, convnet, distances
from tfrobust.attacks import FGSM, Goal, Problem, Square
from tfrobust.attacks.square_bumps import bump
from tfrobust.attacks.square_moves import side_at

SHAPE = (6, 5, 2)
NORMS = [1, 2, "inf"]
# The norm of a gradient that goes with each.
DUAL = {1: np.inf, 2: 2, "inf": 1}
# The paper, section 5: p is halved at these of 10,000 queries.
HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def random_images(count, seed=0, shape=SHAPE):
    """A third of the pixels exactly 0 or 1."""
    rng = np.random.default_rng(seed)
    images = np.clip(rng.uniform(-0.2, 1.2, (count, *shape)), 0.0, 1.0)
    return images.astype(np.float32)


def queries_of(attack, model, images, labels, eps=None):
    """Every batch that the search asks about, `[Q,B,H,W,C]`, and what it returns."""
    queries = []

    def recorder(points):
        queries.append(points.numpy())
        return model(points)

    images = tf.constant(images)
    radius = attack.eps if eps is None else eps
    problem = Problem(
        classifier=recorder,
        images=images,
        goal=Goal(tf.constant(labels, tf.int32), targeted=False),
        eps=tf.broadcast_to(tf.constant(radius, tf.float32), images.shape[:1]),
        active=tf.ones(images.shape[:1], tf.bool),
        compact=False,
    )
    result, asked = attack.run(problem)
    np.testing.assert_array_equal(asked, len(queries))
    return np.array(queries), result.numpy()


def margins(model, points, label):
    """Lead of the best other class over the label's, float64 `[Q]`."""
    logits = model.logits(points)
    others = np.delete(logits, label, axis=1)
    return others.max(axis=1) - logits[:, label]


def paper_share(number, queries):
    """p over p_init, by the paper's rule in exact fractions."""
    rescaled = math.floor(fractions.Fraction(number * 10_000, queries))
    return 0.5 ** sum(rescaled > after for after in HALVED)


def far_model(shape=SHAPE, seed=0):
    """An affine model that has class 0 ahead by so much that it always wins."""
    return affine(3, shape, seed=seed, lead=1e3)


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=12)
@given(data=st.data())
def test_no_query_leaves_the_ball_the_box_or_the_budget(norm, data):
    """Each single question, not only the answer."""
    eps = data.draw(st.sampled_from([0.0, 1e-4, 8 / 255, 0.5, 3.0]))
    queries = data.draw(st.integers(1, 25))
    p_init = data.draw(st.sampled_from([0.05, 0.3, 1.0]))
    images = random_images(2, data.draw(st.integers(0, 1000)))
    attack = Square(norm=norm, eps=eps, queries=queries, p_init=p_init, seed=queries)
    calls, result = queries_of(attack, far_model(), images, [0, 0])
    assert len(calls) == queries
    for points in (*calls, result):
        assert points.min() >= 0.0 and points.max() <= 1.0
        assert np.all(distances(images, points, norm) <= eps + 1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_the_best_margin_only_rises(norm):
    """What comes back is the best query; each proposal starts from the best so far."""
    model, images = far_model(), random_images(3)
    attack = Square(norm=norm, eps=0.3, queries=60)
    queries, result = queries_of(attack, model, images, [0, 0, 0])
    for row in range(3):
        values = margins(model, queries[:, row], 0)
        best = np.argmax(values)
        np.testing.assert_array_equal(result[row], queries[best, row])
        record = np.maximum.accumulate(values)
        assert record[-1] > record[0] + 0.1
        assert len(set(record)) > 5


def side_by_hand(number, queries, p_init, height, width):
    share = paper_share(number, queries) * p_init
    return max(1, min(round(math.sqrt(share * height * width)), height, width))


def test_a_linf_proposal_is_one_square_of_one_color():
    """Of the side that the schedule has, `eps` or `-eps` from the image; it changes."""
    model, images = far_model(), random_images(2)
    eps, queries = 0.25, 60
    attack = Square(norm="inf", eps=eps, queries=queries, p_init=0.6)
    points, _ = queries_of(attack, model, images, [0, 0])
    edges = [np.clip(images + sign * np.float32(eps), 0, 1) for sign in (-1, 1)]
    for row in range(2):
        best = 0
        values = margins(model, points[:, row], 0)
        for number, point in enumerate(points[1:, row]):
            changed = point != points[best, row]
            assert changed.any()
            side = side_by_hand(number, queries, 0.6, *SHAPE[:2])
            ys, xs = np.nonzero(changed.any(axis=-1))
            fits = [
                (top, left)
                for top in range(SHAPE[0] - side + 1)
                for left in range(SHAPE[1] - side + 1)
                if top <= ys.min() and ys.max() < top + side
                if left <= xs.min()
                and xs.max() < left + side
                and all(
                    any(
                        np.array_equal(
                            point[top : top + side, left : left + side, channel],
                            edge[row, top : top + side, left : left + side, channel],
                        )
                        for edge in edges
                    )
                    for channel in range(SHAPE[2])
                )
            ]
            assert fits
            if values[number + 1] > values[best]:
                best = number + 1


def test_linf_starts_from_vertical_stripes():
    """One sign for each column and channel, both signs about as often."""
    images = np.full((20, *SHAPE), 0.5, np.float32)
    images += np.linspace(0, 0.01, 20, dtype=np.float32)[:, None, None, None]
    attack = Square(norm="inf", eps=0.25, queries=1)
    queries, _ = queries_of(attack, far_model(), images, [0] * 20)
    delta = queries[0] - images
    np.testing.assert_array_equal(delta, np.repeat(delta[:, :1], SHAPE[0], axis=1))
    np.testing.assert_allclose(np.abs(delta), 0.25, atol=1e-6)
    up = np.sum(delta[:, 0] > 0)
    assert scipy.stats.binomtest(int(up), 20 * SHAPE[1] * SHAPE[2]).pvalue > 1e-3


PAPER = {
    0: 1,
    10: 1,
    11: 2,
    50: 2,
    51: 4,
    200: 4,
    201: 8,
    500: 8,
    501: 16,
    1000: 16,
    1001: 32,
    2000: 32,
    2001: 64,
    4000: 64,
    4001: 128,
    6000: 128,
    6001: 256,
    8000: 256,
    8001: 512,
    9999: 512,
}


@pytest.mark.parametrize(("number", "divisor"), PAPER.items())
def test_the_schedule_of_the_paper(number, divisor):
    """10,000 queries, an ImageNet image and p of 0.05; then a tenth of the budget."""
    side = round(math.sqrt(0.05 / divisor * 224 * 224))
    assert side_at(number, 10_000, 0.05, 224, 224) == side
    if number % 10 == 1:
        # The first after a break is ten times as early, rounded up.
        later = side_at(number // 10 + 1, 1000, 0.05, 224, 224)
        assert later == side


@settings(max_examples=60)
@given(st.integers(1, 20_000), st.data())
def test_the_schedule_of_any_budget(queries, data):
    """In exact fractions, and never a square that does not fit."""
    number = data.draw(st.integers(0, queries))
    height, width = data.draw(st.sampled_from([(32, 32), (28, 20), (7, 40), (1, 3)]))
    expected = side_by_hand(number, queries, 0.8, height, width)
    assert side_at(number, queries, 0.8, height, width) == expected


def size_of(values, norm):
    """Norm of the first two axes, kept."""
    sums = np.sum(np.abs(values) ** norm, axis=(0, 1), keepdims=True)
    return sums ** (1 / norm)


def rectangle(rows, columns, norm):
    """Equation 2 as the sum it stands for: ever larger squares around the centre."""
    values = np.zeros((rows, columns))
    for k in range(max(rows // 2, columns // 2) + 1):
        for y, x in itertools.product(range(rows), range(columns)):
            if max(abs(y - rows // 2), abs(x - columns // 2)) <= k:
                values[y, x] += 1.0 / (k + 1) ** {1: 4, 2: 2}[norm]
    return values / max(size_of(values, norm), 1e-30)


def bump_by_hand(side, norm):
    above, below = (
        rectangle(side // 2, side, norm),
        rectangle(-(-side // 2), side, norm),
    )
    values = np.concatenate([above, -below])
    return values / size_of(values, norm)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("side", range(1, 10))
def test_the_bump_against_numpy(side, norm):
    """In the corner of a larger square of zeros."""
    expected = np.zeros((11, 11))
    expected[:side, :side] = bump_by_hand(side, norm)
    np.testing.assert_allclose(bump(side, 11, norm), expected, atol=1e-6)


def within_l1(delta, eps, image=0.5):
    """Nearest perturbation in L1 ball and box: bisection on what is taken off all."""

    def shrunk(amount):
        room = np.where(delta > 0, 1.0 - image, image)
        return np.minimum(np.maximum(np.abs(delta) - amount, 0.0), room)

    low, high = 0.0, np.abs(delta).max()
    if shrunk(0.0).sum() <= eps:
        return np.sign(delta) * shrunk(0.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        over = shrunk(middle).sum() > eps
        low, high = (middle, high) if over else (low, middle)
    return np.sign(delta) * shrunk(high)


@pytest.mark.parametrize("norm", [1, 2])
def test_starts_from_a_grid_of_bumps(norm):
    """5 x 5 tiles of 2 pixels, each a bump, turned or not, with a sign a channel."""
    images = np.full((2, 11, 10, 3), 0.5, np.float32)
    images[1] += 0.01
    attack = Square(norm=norm, eps=0.4, queries=1)
    queries, _ = queries_of(attack, far_model((11, 10, 3)), images, [0, 0])
    delta = (queries[0] - images).astype(np.float64)
    np.testing.assert_array_equal(delta[:, 10], 0.0)
    pattern = bump_by_hand(2, norm)
    if norm == 2:
        pattern = pattern * 0.4 / math.sqrt(25 * 3)
    else:  # 75 of them, all shrunk by what leaves 0.4
        pattern = within_l1(np.tile(pattern, (75, 1)), 0.4)[:2]
    patterns = set()
    for row, y, x in itertools.product(range(2), range(0, 10, 2), range(0, 10, 2)):
        tile = delta[row, y : y + 2, x : x + 2]
        kinds = [
            (turned, *signs)
            for turned in (0, 1)
            for signs in itertools.product([-1, 1], repeat=3)
            if np.allclose(
                tile,
                (pattern.T if turned else pattern)[..., None] * np.array(signs),
                atol=1e-6,
            )
        ]
        assert len(kinds) == 1
        patterns.update(kinds)
    assert len(patterns) > 8


def candidates(image, delta, eps, side, norm):
    """Every outcome of one step of algorithm 3, or of its L1 version, in float64."""
    height, width, channels = delta.shape
    pattern = bump_by_hand(side, norm)
    unused = max(eps**norm - np.sum(np.abs(delta) ** norm), 0.0)
    corners = list(itertools.product(range(height - side + 1), range(width - side + 1)))
    windows = []
    for top, left in corners:
        window = np.zeros((height, width), bool)
        window[top : top + side, left : left + side] = True
        windows.append(window)
    for (top, left), first in zip(corners, windows, strict=True):
        here = delta[top : top + side, left : left + side]
        norms = size_of(here, norm)
        kept = here / np.where(norms > 0, norms, 1.0)
        for second in windows:
            both = np.where((first | second)[..., None], delta, 0.0)
            budget = size_of(both, norm) ** norm + unused / channels
            length = budget ** (1 / norm) * (channels if norm == 1 else 1)
            for turned in (False, True):
                for signs in itertools.product([-1, 1], repeat=channels):
                    eta = pattern.T if turned else pattern
                    added = eta[..., None] * np.array(signs)
                    new = added + kept
                    # Not the paper's: where the two cancel, the bump alone.
                    new = np.where(size_of(new, norm) > 1e-3, new, added)
                    new = new / size_of(new, norm) * length
                    result = np.where(second[..., None], 0.0, delta)
                    result[top : top + side, left : left + side] = new
                    yield within_l1(result, eps, image) if norm == 1 else result


@pytest.mark.parametrize("norm", [1, 2])
def test_proposals_against_all_that_the_algorithm_allows(norm):
    """Images in the middle of the range, and one at its bounds, where norm is lost."""
    images = random_images(2)
    images[0] = 0.5
    queries, eps = 25, {1: 1.5, 2: 0.4}[norm]
    model = far_model()
    attack = Square(norm=norm, eps=eps, queries=queries, p_init=0.3)
    points, _ = queries_of(attack, model, images, [0, 0])
    for row in range(2):
        values = margins(model, points[:, row], 0)
        for number in range(0, queries - 1, {1: 8, 2: 4}[norm]):
            side = side_by_hand(number, queries, 0.3, *SHAPE[:2])
            assert side <= 3  # so that it is 3, the least
            best = np.argmax(values[: number + 1])
            image = images[row].astype(np.float64)
            delta = points[best, row] - image
            apart = min(
                np.abs(np.clip(image + step, 0, 1) - points[number + 1, row]).max()
                for step in candidates(image, delta, eps, 3, norm)
            )
            assert apart < 1e-5
    moved = distances(images[:1], points[-1][:1], norm)
    assert moved[0] == pytest.approx(eps, rel=1e-4)


class Counting:
    """An affine model that counts the images that it runs on, in a graph too."""

    def __init__(self, model):
        self.model, self.count = model, tf.Variable(0)

    def __call__(self, images):
        self.count.assign_add(tf.shape(images)[0])
        return self.model(images)


def queries_of_a_call(attack, model, image):
    """Images that a second call runs on, when nothing is traced any more."""
    counting = Counting(model)
    attack(counting, image, [0])
    counting.count.assign(0)
    result = attack(counting, image, [0])
    assert int(result.queries[0]) == int(counting.count) - 3
    return int(counting.count), bool(result.success[0])


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_queries_are_counted_by_the_model(norm):
    """All of them and the 3 of the verdict; fewer where one succeeds."""
    image = random_images(1)
    for queries in (1, 7, 30):
        attack = Square(norm=norm, eps=0.05, queries=queries)
        assert queries_of_a_call(attack, far_model(), image) == (queries + 3, False)
    model = affine(2, SHAPE)
    lead = np.diff(model.logits(image))[0, 0]
    model.bias[0] += lead + 0.3  # class 0 leads by 0.3 on this image
    far = Square(norm=norm, eps=2.0, queries=200)
    count, success = queries_of_a_call(far, model, image)
    assert success and count < 200


def test_images_that_are_done_cost_no_queries():
    """16 images of which 15 fall at the first query: the rest of the batch is small."""
    images = np.linspace(0.1, 0.9, 16, dtype=np.float32)[:, None, None, None]
    images = images * np.ones((1, *SHAPE), np.float32)
    model = Affine(np.zeros((60, 2)), [0.0, 0.0])

    def fragile(points):
        """Class 1 wherever there is any contrast, but for the darkest image."""
        spread = tf.math.reduce_variance(points, axis=[1, 2, 3])
        dark = tf.reduce_mean(points, axis=[1, 2, 3]) < 0.13
        ahead = tf.where(dark, -1.0, 0.0) + spread - 1e-8
        return model(points) + tf.stack([tf.zeros_like(ahead), ahead], axis=-1)

    counting = Counting(fragile)
    attack = Square(norm="inf", eps=0.01, queries=41)
    with pytest.warns(UserWarning, match="gradients of exactly 0"):
        attack(counting, images, [0] * 16)
    counting.count.assign(0)
    result = attack(counting, images, [0] * 16)
    assert int(tf.reduce_sum(tf.cast(result.success, tf.int32))) == 15
    # A batch shrinks in eighths: 2 images in each of the 40 queries that follow.
    assert int(counting.count) == 16 + 40 * 2 + 3 * 16
    np.testing.assert_array_equal(np.sort(result.queries), [1] * 15 + [41])


def edge_of(norm, seed):
    """A model, a grey image and the closed-form distance to its boundary."""
    shape = (3, 4, 2)
    model = affine(2, shape, seed=seed)
    image = np.full((1, *shape), 0.5, np.float32)
    model.bias += [0.4 - np.subtract(*model.logits(image)[0]), 0.0]
    normal = model.weights[:, 0] - model.weights[:, 1]
    return model, image, 0.4 / np.linalg.norm(normal, ord=DUAL[norm])


@pytest.mark.parametrize("seed", range(3))
def test_finds_what_the_fast_gradient_sign_finds(seed):
    """Just beyond the closed-form distance all signs must be right; short of it none"""
    model, image, distance = edge_of("inf", seed)
    for share in (0.99, 1.01):
        assert FGSM(eps=share * distance)(model, image, [0]).success[0] == (share > 1)
        result = Square(norm="inf", eps=share * distance)(model, image, [0])
        assert result.success[0] == (share > 1)
        assert float(result.distortion[0]) == pytest.approx(share * distance, rel=1e-4)


@pytest.mark.parametrize(("norm", "far"), [(1, 5), (2, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_search_with_bumps_on_either_side_of_the_boundary(seed, norm, far):
    """Squares of 3 pixels cannot follow random weights far, and never beat the best."""
    model, image, distance = edge_of(norm, seed)
    assert not Square(norm=norm, eps=0.99 * distance)(model, image, [0]).success[0]
    assert Square(norm=norm, eps=far * distance)(model, image, [0]).success[0]


@pytest.mark.parametrize("norm", NORMS)
def test_targets_are_reached_by_the_cross_entropy(norm):
    """Of three classes the target, and the score orders as its probability."""
    model = affine(3, (3, 4, 2))
    model.bias = np.array([0.5, 0.0, 0.0]) - 0.5 * model.weights.sum(axis=0)
    image = np.full((1, 3, 4, 2), 0.5, np.float32)
    eps = {1: 5.0, 2: 1.5, "inf": 0.3}[norm]
    attack = Square(norm=norm, eps=eps, queries=300)
    for target in (1, 2):
        result = attack(model, image, [0], [target])
        assert result.success[0]
        assert np.argmax(model.logits(result.adversarial)[0]) == target
    logits = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    goal = Goal(tf.fill([50], 2), targeted=True)
    probability = scipy.special.softmax(logits.astype(np.float64), axis=1)[:, 2]
    order = np.argsort(attack.score(tf.constant(logits), goal))
    np.testing.assert_array_equal(order, np.argsort(probability))


@pytest.mark.parametrize("norm", NORMS)
def test_any_split_of_a_batch_gives_the_same_images(norm):
    """To the last bit, on a model that rounds alike in any batch."""
    images, labels = random_images(7), np.zeros(7, int)

    def model(points):
        mean = tf.reduce_mean(tf.round(points * 16.0) / 16.0, axis=[1, 2, 3])
        return tf.stack([tf.zeros_like(mean), mean - 0.9], axis=-1)

    attack = functools.partial(Square(norm=norm, eps=0.2, queries=30), model)
    whole = attack(images, labels).adversarial.numpy()
    assert np.all(np.any(whole != images, axis=(1, 2, 3)))
    for cuts in ([3], [1, 2], [2, 5, 6]):
        parts = [
            attack(part, labels[: len(part)]).adversarial
            for part in np.split(images, cuts)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("norm", NORMS)
def test_seeds_and_images_draw_for_themselves(norm):
    """Neither another seed nor an image a bit apart gives the same first query."""
    images = np.full((3, *SHAPE), 0.5, np.float32)
    images[1, 0, 0, 0] = np.nextafter(np.float32(0.5), np.float32(1.0))
    starts = [
        queries_of(
            Square(norm=norm, eps=0.2, queries=1, seed=seed),
            far_model(),
            images,
            [0] * 3,
        )[0][0]
        for seed in (0, 1)
    ]
    assert np.abs(starts[0][0] - starts[0][1]).max() > 1e-3
    np.testing.assert_array_equal(starts[0][0], starts[0][2])
    assert np.abs(starts[0][0] - starts[1][0]).max() > 1e-3


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 3), (9, 2, 1), (3, 7, 4)])
@pytest.mark.parametrize("norm", NORMS)
def test_images_of_any_shape(norm, shape):
    """Smaller than the least square of L2 too."""
    images = np.full((2, *shape), 0.5, np.float32)
    images[1] -= 0.01
    attack = Square(norm=norm, eps=0.1, queries=8)
    queries, _ = queries_of(attack, far_model(shape), images, [0, 0])
    moved = np.array([distances(images, points, norm) for points in queries])
    np.testing.assert_allclose(moved, 0.1, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_height_and_width_may_be_unknown_in_a_graph(norm):
    """The same as where they are known."""
    attack = Square(norm=norm, eps=0.2, queries=6)

    def model(points):
        top, rest = points[:, 0, 0, 0], tf.reduce_mean(points, axis=[1, 2, 3])
        return tf.stack([top + rest, tf.ones_like(top) * 9.0 * rest], axis=-1)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 2])])
    def step(images):
        return attack.perturb(model, images, tf.ones(tf.shape(images)[:1], tf.int32))

    images = random_images(3)
    expected = attack.perturb(model, images, [1, 1, 1])
    np.testing.assert_allclose(step(images), expected, atol=1e-6)


def test_each_image_may_have_its_own_radius():
    """Each ends where it does when the radius is that of the attack."""
    images, radii = random_images(3), np.array([0.01, 0.0, 0.2], np.float32)
    for norm in NORMS:
        attack = Square(norm=norm, eps=9.0, queries=12)
        model = far_model()
        together, _ = queries_of(attack, model, images, [0] * 3, radii)
        for row, eps in enumerate(radii):
            alone = queries_of(attack, model, images[row : row + 1], [0], [eps])[0]
            np.testing.assert_allclose(together[:, row], alone[:, 0], atol=1e-5)


def test_a_model_without_gradient_is_attacked():
    """Which PGD refuses."""
    images = random_images(4, shape=CONV_SHAPE)
    labels = np.argmax(convnet()(np.round(images * 8) / 8, training=False), axis=-1)

    def quantized(points):
        return convnet()(tf.round(points * 8.0) / 8.0, training=False)

    result = Square(norm="inf", eps=0.2, queries=100)(quantized, images, labels)
    assert np.any(result.success) and not np.any(result.already)


SETTINGS = [
    ({"norm": 3}, '`norm` must be 1, 2 or "inf". Received: norm=3'),
    ({"eps": -1}, "`eps` must be finite and at least 0. Received: eps=-1"),
    (
        {"queries": 0},
        "`queries` must be an integer of at least 1. Received: queries=0",
    ),
    ({"p_init": 0}, "`p_init` must be above 0 and at most 1. Received: p_init=0"),
    ({"p_init": 1.5}, "`p_init` must be above 0 and at most 1. Received: p_init=1.5"),
    (
        {"seed": 2**31},
        f"`seed` must be an integer in [0, 2**31). Received: seed={2**31}",
    ),
]


@pytest.mark.parametrize(("change", "message"), SETTINGS, ids=str)
def test_wrong_settings_are_named(change, message):
    """The setting, what is allowed, and what came."""
    with pytest.raises(ValueError) as caught:
        Square(**{"norm": 2, "eps": 0.1, **change})
    assert str(caught.value) == message
