"""Auto-PGD in float64 NumPy, one image at a time, and a smooth model to run it on.

Written down from the two papers and the behaviour of the authors' program, in loops and
with whole records of the losses, so that nothing is shared with the library.
"""

import numpy as np
import tensorflow as tf

SHAPE = (3, 4, 2)


class Wavy:
    """Logits `A tanh(B x + c)` of flattened images, and the points it was asked about.

    Attributes:
        points: float32 `[B,H,W,C]` of each question while `records` is set.
    """

    def __init__(self, classes=4, hidden=6, sharpness=1.0, seed=0):
        rng = np.random.default_rng(seed)
        self.inner = rng.normal(size=(hidden, int(np.prod(SHAPE)))) * sharpness
        self.offset = -self.inner.sum(axis=1) / 2 + rng.normal(size=hidden)
        self.outer = rng.normal(size=(classes, hidden))
        self.points, self.records = [], False

    def __call__(self, images):
        def record(points):
            if self.records:
                self.points.append(points)
            return np.float32(0)

        said = tf.numpy_function(record, [images], tf.float32)
        rows = tf.reshape(images, [tf.shape(images)[0], self.inner.shape[1]])
        with tf.control_dependencies([said]):
            rows = tf.identity(rows)
        inner, offset, outer = (
            tf.constant(values, tf.float32)
            for values in (self.inner, self.offset, self.outer)
        )
        hidden = tf.tanh(tf.matmul(rows, inner, transpose_b=True) + offset)
        return tf.matmul(hidden, outer, transpose_b=True)

    def logits(self, point):
        """Of one flat image, float64 `[K]`."""
        return self.outer @ np.tanh(self.inner @ point + self.offset)

    def pulled(self, point, cotangent):
        """Gradient of `cotangent . logits`, float64 `[d]`."""
        slope = 1.0 - np.tanh(self.inner @ point + self.offset) ** 2
        return (cotangent @ self.outer * slope) @ self.inner

    def images(self, count, seed=1):
        """Images at which it is of two minds, and its answers."""
        draws = np.random.default_rng(seed).uniform(-0.1, 1.1, (count, *SHAPE))
        images = np.clip(draws, 0, 1).astype(np.float32)
        flat = images.reshape(count, -1).astype(np.float64)
        return images, np.array([np.argmax(self.logits(each)) for each in flat])


def cross_entropy(label):
    """The published loss and its gradient in the logits."""

    def loss(logits):
        p = np.exp(logits - logits.max())
        p /= p.sum()
        return -np.log(p[label]), p - np.eye(len(p))[label]

    return loss


def dlr(label):
    """Equation 6 of the paper and its gradient."""

    def loss(logits):
        order = np.argsort(logits)
        other = order[-2] if order[-1] == label else order[-1]
        unit = np.eye(len(logits))
        lead, spread = logits[other] - logits[label], logits[order[-1]]
        spread = spread - logits[order[-3]]
        slope = (unit[other] - unit[label]) / spread
        return lead / spread, slope - lead / spread**2 * (
            unit[order[-1]] - unit[order[-3]]
        )

    return loss


def projected_l1(delta, image, eps):
    """Nearest perturbation in the L1 ball and the box, by bisection."""
    room = np.where(delta > 0, 1.0 - image, image)

    def shrunk(amount):
        return np.minimum(np.maximum(np.abs(delta) - amount, 0.0), room)

    if shrunk(0.0).sum() <= eps:
        return np.sign(delta) * shrunk(0.0)
    low, high = 0.0, np.abs(delta).max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if shrunk(middle).sum() > eps else (low, middle)
    return np.sign(delta) * shrunk(high)


def norm_ball(image, eps, norm):
    """Projection on the ball, then on the box."""

    def project(point):
        delta = point - image
        if norm == 2:
            delta = delta * min(1.0, eps / max(np.linalg.norm(delta), 1e-300))
        else:
            delta = np.clip(delta, -eps, eps)
        return np.clip(image + delta, 0.0, 1.0)

    return project


def ascend(model, loss, image, start, eps, norm, steps, rho=0.75):
    """Auto-PGD for L2 and L-infinity.

    Returns:
        The points visited, `steps + 1` of them; and at each checkpoint `(number of
        steps, whether too few rose, whether nothing changed)`.
    """
    project = norm_ball(image, eps, norm)

    def look(point):
        value, cotangent = loss(model.logits(point))
        return value, model.pulled(point, cotangent)

    point = start
    value, gradient = look(point)
    best, best_value, best_gradient = point, value, gradient
    size, before, path, checks = 2 * eps, point, [point], []
    losses = np.zeros(steps)
    window, since = max(int(0.22 * steps), 1), 0
    checked_value, was_halved = best_value, True
    for i in range(steps):
        share = 0.75 if i else 1.0
        last, before = point - before, point
        step = np.sign(gradient)
        if norm == 2:
            step = gradient / np.linalg.norm(gradient)
        ahead = project(point + size * step)
        point = project(point + share * (ahead - point) + (1 - share) * last)
        path.append(point)
        value, gradient = look(point)
        losses[i] = value
        if value > best_value:
            best, best_value, best_gradient = point, value, gradient
        since += 1
        if since == window:
            # The first step is compared with the last entry, which is still 0.
            rose = sum(losses[i - n] > losses[i - n - 1] for n in range(window))
            few = rose <= rho * window
            still = not was_halved and checked_value >= best_value
            checks.append((i + 1, few, still))
            was_halved, checked_value = few or still, best_value
            if was_halved:
                size /= 2
                point, gradient = best, best_gradient
            window = max(window - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
            since = 0
    return path, checks


def ascend_l1(model, loss, image, start, eps, steps, continues):
    """Auto-PGD for L1, at one radius.

    Returns:
        The points visited, the best of them, and at each checkpoint `(entries changed
        by a step from then on, length of a step, whether it was reset)`.
    """

    def look(point):
        value, cotangent = loss(model.logits(point))
        return value, model.pulled(point, cotangent)

    size_of_image = len(image)
    point = start
    value, gradient = look(point)
    best, best_value, best_gradient = point, value, gradient
    if continues:
        changed = np.count_nonzero(point - image)
        share = changed / size_of_image / 1.5
    else:
        changed, share = size_of_image, 0.2
    size, since, path, checks = eps, 0, [point], []
    for _ in range(steps):
        # Rounded as fractions of whole numbers are, not as their last bit has it.
        place = int(np.floor(round((1 - share) * size_of_image, 9)))
        least = np.sort(np.abs(gradient))[min(place, size_of_image - 1)]
        signs = np.sign(gradient) * (np.abs(gradient) >= least)
        moved = point + size * signs / np.abs(signs).sum() - image
        point = image + projected_l1(moved, image, eps)
        path.append(point)
        value, gradient = look(point)
        if value > best_value:
            best, best_value, best_gradient = point, value, gradient
        since += 1
        if since == max(int(0.04 * steps), 1):
            now = np.count_nonzero(best - image)
            fewer = now / changed < 0.95
            share = now / size_of_image / 1.5
            size = eps if fewer else max(size / 1.5, eps / 10)
            changed = now
            if fewer:
                point, gradient = best, best_gradient
            checks.append((now, size, fewer))
            since = 0
    return path, best, checks
