"""An adversarial image is planted, and the attack has to find it.

Near each image the features of the network are given a new linear readout for two
classes: one holds the image and many draws from the ball, the other a single point at
the edge of it. So there is an adversarial image, a random draw all but never meets it,
and the way to it leads through the network that is judged. An attack that misses it
says nothing where it finds nothing.

The attack is a PGD of the judge's own: those of an evaluation are not run again. What
is tested is whether gradients of this network lead an attack to what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrobust.analysis.batching import any_number, traced
from tfrobust.analysis.judging.case import Case
from tfrobust.analysis.judging.claims import Claims
from tfrobust.analysis.judging.drawing import draws_of
from tfrobust.analysis.judging.results import Check, check, idle
from tfrobust.analysis.masking_report import speaks
from tfrobust.attacks import evaluate
from tfrobust.core.classifier import as_classifier
from tfrobust.core.estimates import mean
from tfrobust.core.keras_graph import is_graph
from tfrobust.core.pixels import UNIT, from_unit

_EXAMPLES = 16
# Images of which a readout has to part, at the least, for the test to say anything.
_LEAST = 4
# Draws from the ball on the image's side, and others that must not meet the planted.
_INNER, _FRESH = 96, 32
# Where the boundary is between the farthest inner draw (0) and the planted one (1).
_NEAR = 0.9
# Of the variance of features along the draws: as little as keeps the solution finite.
_RIDGE = 1e-3
_CHECK = "planted", "a gradient attack finds planted adversarial images"

Features = Callable[[tf.Tensor], tf.Tensor]
"""Maps float32 images `[B,H,W,C]` in [0, 1] to `[B,D]`."""


class Readout(NamedTuple):
    """A boundary in the features, near one image: planted is `weights @ f > offset`.

    Attributes:
        weights: float64 `[D]`.
        offset: What the planted point is above, and every draw below.
        parts: Whether it is.
    """

    weights: np.ndarray
    offset: float
    parts: bool


def planted_check(case: Case, claims: Claims, at_random: bool) -> Check:
    """Whether a gradient attack finds what was planted, beside images that withstand.

    It is the judge's own PGD, whatever attacks the evaluation holds.

    Images that withstand come first; where they are few, others that are classified
    correctly are taken too.

    Args:
        case: What is judged.
        claims: What the evaluation breaks.
        at_random: Whether the model answers at random, and has no boundaries.

    Reference: Zimmermann et al. 2022 (https://arxiv.org/abs/2206.13991), section 4:
    the binarization test.
    """
    if at_random:
        return idle(*_CHECK, "the model answers at random")
    standing = case.standing(claims)
    others = np.setdiff1d(np.flatnonzero(case.correct), standing)
    rows = np.concatenate([standing, others])[:_EXAMPLES]
    features, where = features_of(case)
    readouts = [readout for readout in planted(case, rows, features)]
    rows = np.array(
        [row for row, r in zip(rows, readouts, strict=True) if r.parts], int
    )
    readouts = [readout for readout in readouts if readout.parts]
    if len(rows) < _LEAST:
        return idle(*_CHECK, f"no boundary in the {where} leaves an image alone")
    found = attacked(case, rows, readouts, features)
    evidence = (
        f"the judge's own PGD finds {found.sum()} of {len(found)}, behind a boundary "
        f"in the {where} that random draws do not cross"
    )
    missed = int(np.sum(~found))
    reason = f"PGD misses {missed} of {len(found)} planted adversarial images"
    return check(*_CHECK, evidence, speaks(mean(~found)), reason)


def features_of(case: Case) -> tuple[Features, str]:
    """The features before the last dense layer, or else the logits; and which it is."""
    network = case.network
    if isinstance(network, keras.Model) and is_graph(network) and case.differentiable:
        dense = [
            each for each in network.layers if isinstance(each, keras.layers.Dense)
        ]
        try:
            inner = keras.Model(network.inputs, dense[-1].input)
            inner(case.own.given[:1], training=False)
        except Exception:  # No such layer, or one that is called more than once.
            inner = None
        if inner is not None:

            def features(images: tf.Tensor) -> tf.Tensor:
                known = inner(from_unit(images, case.own.bounds), training=False)
                rows = tf.reshape(known, [tf.shape(images)[0], -1])
                rows.set_shape([None, int(np.prod(known.shape[1:]))])
                return tf.cast(rows, tf.float32)

            return features, "features"
    return as_classifier(case.model, case.pixels.bounds), "logits"


def planted(case: Case, rows: np.ndarray, features: Features) -> list[Readout]:
    """A readout for each of some images.

    Args:
        case: What is judged.
        rows: Indices of the images.
        features: Of the network.
    """
    images, draw = tf.gather(case.images, rows), draws_of(case, rows)
    graph = traced(features, any_number(images))

    def ask(number: int) -> np.ndarray:
        return np.asarray(graph(draw(number)))

    # Even draws fill the ball, odd ones are at its edge: so is the planted one.
    inner = [np.asarray(graph(images))]
    inner += [ask(2 * number) for number in range(_INNER)]
    edge = ask(2 * _INNER + 1)
    fresh = [ask(2 * (_INNER + 1) + number) for number in range(_FRESH)]
    return [
        readout_of(
            np.stack([each[row] for each in inner]),
            edge[row],
            np.stack([each[row] for each in fresh]),
        )
        for row in range(len(rows))
    ]


def readout_of(inner: np.ndarray, edge: np.ndarray, fresh: np.ndarray) -> Readout:
    """The boundary that parts one point from a cloud, as far from the cloud as it can.

    Its normal is that of a linear discriminant analysis, the inverse of the cloud's
    covariance (with a ridge) times the way from its centre to the point.

    Args:
        inner: `[N,D]`, the cloud.
        edge: `[D]`, the point.
        fresh: `[M,D]`, others that must be on the cloud's side.

    Example:
        >>> cloud = np.array([[0.0, 1.0], [0.0, -1.0], [0.1, 0.0], [-0.1, 0.0]])
        >>> readout = readout_of(cloud, np.array([1.0, 0.0]), cloud)
        >>> readout.parts, bool(readout.weights[0] > 100 * abs(readout.weights[1]))
        (True, True)
    """
    inner, edge, fresh = (np.asarray(a, np.float64) for a in (inner, edge, fresh))
    if not all(np.isfinite(a).all() for a in (inner, edge, fresh)):
        return Readout(np.zeros_like(edge), 0.0, False)
    centre = inner.mean(axis=0)
    cloud, way = inner - centre, edge - centre
    count = len(cloud)
    # By the matrix of N rather than of D, which may be thousands.
    products = cloud @ cloud.T
    ridge = _RIDGE * np.trace(products) / count
    if not np.isfinite(ridge) or ridge <= 0.0:
        return Readout(way, 0.0, False)
    mixed = np.linalg.solve(products + ridge * np.eye(count), cloud @ way)
    weights = way - cloud.T @ mixed
    along = float(weights @ way)
    if along <= 0.0:
        return Readout(weights, 0.0, False)
    weights = weights / along  # the planted point is at 1, the centre at 0
    farthest = float(np.max(cloud @ weights))
    border = farthest + _NEAR * (1.0 - farthest)
    parts = farthest < 1.0 and bool(np.all((fresh - centre) @ weights < border))
    return Readout(weights, border + float(weights @ centre), parts)


def attacked(
    case: Case, rows: np.ndarray, readouts: list[Readout], features: Features
) -> np.ndarray:
    """Which planted images the judge's own PGD finds, bool `[M]`.

    Args:
        case: What is judged.
        rows: Indices of the images.
        readouts: One for each.
        features: Of the network.
    """
    images = tf.gather(case.images, rows)
    flat = tf.reshape(images, [len(rows), -1])
    weights = tf.constant(np.stack([r.weights for r in readouts]), tf.float32)
    offsets = tf.constant([r.offset for r in readouts], tf.float32)

    def model(points: tf.Tensor) -> tf.Tensor:
        # Each point belongs to the image that it is next to: attacks may ask of some.
        spread = tf.reshape(points, [tf.shape(points)[0], -1])
        apart = tf.reduce_sum(flat**2, axis=1) - 2.0 * spread @ tf.transpose(flat)
        nearest = tf.argmin(tf.stop_gradient(apart), axis=1)
        known = features(points)
        lead = tf.reduce_sum(known * tf.gather(weights, nearest), axis=1)
        lead -= tf.gather(offsets, nearest)
        return tf.stack([-lead, lead], axis=1)

    attack = case.assault.planted()
    result = evaluate(
        model,
        (images, np.zeros(len(rows), np.int32)),
        {"attack": attack},
        batch_size=case.batch_size,
        bounds=UNIT,
    )
    found: np.ndarray = result.results["attack"].success
    return found
