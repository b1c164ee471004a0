"""Results of attacks on tiny images, made by hand."""

import tensorflow as tf

from tfrobust.attacks import AttackResult


def result(distortion, success, already=None, rounded=None):
    """A result of tiny images; rounded ones fare as the others unless said."""
    distortion = tf.constant(distortion, tf.float32)
    success = tf.constant(success, tf.bool)
    rounded_distortion, rounded_success = rounded or (distortion, success)
    return AttackResult(
        adversarial=tf.zeros([len(success), 1, 1, 1]),
        success=success,
        distortion=distortion,
        success_rounded=tf.constant(rounded_success, tf.bool),
        distortion_rounded=tf.constant(rounded_distortion, tf.float32),
        already=tf.zeros_like(success) if already is None else tf.constant(already),
        queries=tf.zeros([len(success)], tf.int32),
    )
