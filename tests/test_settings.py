"""What a setting may be, and the sentence about one that may not."""

import math
import re

import numpy as np
import pytest

from tfrobust import settings


def test_settings_that_are_allowed_pass_in_silence():
    """The ends of each range, and the integers of NumPy."""
    settings.require(True, "name", "value", "anything")
    settings.require_positive("size", 1e-45)
    settings.require_not_negative("size", 0)
    settings.require_steps("steps", np.int64(1))
    settings.require_seed(0)
    settings.require_seed(np.uint8(3))
    settings.require_seed(2**31 - 1)


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
def test_a_number_above_zero(value):
    sentence = f"`size` must be a finite number above 0. Received: size={value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        settings.require_positive("size", value)


@pytest.mark.parametrize("value", [-1, math.inf, math.nan])
def test_a_number_from_zero_on(value):
    sentence = f"`size` must be finite and at least 0. Received: size={value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        settings.require_not_negative("size", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None])
def test_a_count(value):
    sentence = f"`steps` must be an integer of at least 1. Received: steps={value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        settings.require_steps("steps", value)


@pytest.mark.parametrize("value", [-1, 2**31, 0.0, False, "2", None])
def test_a_seed(value):
    sentence = f"`seed` must be an integer in [0, 2**31). Received: seed={value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        settings.require_seed(value)


def test_a_word():
    sentence = "`kind` must be one of ('low', 'high'). Received: kind='wide'"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        settings.require(False, "kind", "wide", "one of ('low', 'high')")
