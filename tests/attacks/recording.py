"""A problem outside of a graph, whose network writes down what it is asked about."""

import numpy as np
import tensorflow as tf

from tfrobust.attacks import Goal, Problem


def recorded(model, images, classes, eps=None, targeted=False, active=None):
    """A problem whose batches are not compacted, and the list of what it asks about.

    The list gets every batch `[B,H,W,C]` that the network runs on, with or without a
    gradient.
    """
    asked = []

    def recorder(points):
        asked.append(np.array(points))
        return model(points)

    images = tf.constant(images)
    rows = len(images)
    problem = Problem(
        classifier=recorder,
        images=images,
        goal=Goal(tf.constant(classes, tf.int32), targeted=targeted),
        eps=None
        if eps is None
        else tf.constant(np.broadcast_to(eps, rows), tf.float32),
        active=tf.constant([True] * rows if active is None else active),
        compact=False,
    )
    return problem, asked
