"""Loss scales by the precision of a network's layers."""

import keras
import numpy as np
import pytest

from tfrobust import models
from tfrobust.penalties.precision import gradient_scale


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_only_float16_needs_a_scale(policy):
    """One that keeps a gradient of 1e-7 above float16's smallest number, exactly."""
    keras.config.set_dtype_policy(policy)
    scale = gradient_scale(models.MLP((2,), classes=2, hidden=(3,)))
    if policy != "mixed_float16":
        assert scale == 1.0
        return
    assert np.log2(scale) % 1 == 0
    tiny = np.finfo(np.float16).smallest_normal
    assert 1e-7 < tiny < 1e-7 * scale
