"""Smallest perturbations of affine binary models, in closed form or by bisection."""

import numpy as np
import scipy.optimize

from tests.attacks.common import Affine

SHAPE = (3, 4, 2)


def binary_model(seed=0, offset=None):
    """Class 0 where `w . x > b`; on grey images by a random margin."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((24, 2))
    weights[:, 0] = rng.normal(size=24)
    center = 0.5 * weights[:, 0].sum()
    bias = [-center + (0.4 if offset is None else offset), 0.0]
    return Affine(weights, bias)


def random_images(count, low, high, seed=1):
    rng = np.random.default_rng(seed)
    return np.clip(rng.uniform(low, high, (count, *SHAPE)), 0, 1).astype(np.float32)


def answers(model, images):
    return np.argmax(model.logits(images), axis=1)


def boundary_distance(model, images, norm, confidence=0.0):
    """Distance to where the other class leads by `confidence`, no box; `[B]`."""
    logits = model.logits(images)
    normal = model.weights[:, 0] - model.weights[:, 1]
    lead = np.abs(logits[:, 0] - logits[:, 1]) + confidence
    return lead / np.linalg.norm(normal, ord={2: 2, "inf": 1}[norm])


def boxed(model, image, norm, confidence=0.0):
    """Distance of one image to the same half-space within [0, 1], float64.

    The nearest point is `clip(x + t d)`, d the normal (L2) or its sign (L-infinity):
    the condition of Karush, Kuhn and Tucker. t is found by bisection.
    """
    x = np.asarray(image, np.float64).reshape(-1)
    logits = model.logits(image[None])[0]
    label = int(np.argmax(logits))
    normal = model.weights[:, 1 - label] - model.weights[:, label]
    offset = model.bias[1 - label] - model.bias[label]
    direction = normal if norm == 2 else np.sign(normal)

    def ahead(t):
        return np.clip(x + t * direction, 0, 1) @ normal + offset - confidence

    t = scipy.optimize.brentq(ahead, 0.0, 1e3, xtol=1e-12)
    delta = np.clip(x + t * direction, 0, 1) - x
    return np.linalg.norm(delta, ord=2 if norm == 2 else np.inf)
