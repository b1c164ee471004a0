"""The metrics of training by themselves."""

import keras
import numpy as np
import tensorflow as tf

from tfrobust.training.metrics import GivenMetrics, RunningMean


def test_running_means_are_of_examples():
    """Weights behind each value, and which way is better."""
    mean = RunningMean("loss")
    mean.update_state([1.0, 4.0], [2.0, 1.0])
    assert float(mean.result()) == 2.0
    assert (mean._direction, RunningMean("a", rises=True)._direction) == ("down", "up")


def test_metrics_without_variables_are_built_and_count_nothing():
    """F1 as NumPy has it afterwards; what has variables already is left alone."""
    given = GivenMetrics([keras.metrics.F1Score(), keras.metrics.AUC()], None)
    f1, auc = given.metrics
    auc.update_state = None
    given.build((2,))
    assert f1.variables
    del auc.update_state
    targets = np.float32([[1, 0], [0, 1], [0, 1]])
    answers = np.float32([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    given.update(tf.constant(targets), tf.constant(answers), None)
    # Class 0: one right of two found; class 1: one found, of two that there are.
    np.testing.assert_allclose(f1.result(), [2 / 3, 2 / 3], rtol=1e-6)
