"""Training shuffles by TensorFlow's seed, which every test here starts from anew."""

import pytest


@pytest.fixture(autouse=True)
def _same_shuffling(tensorflow_seed) -> None:
    """The fixture `tensorflow_seed` of every test."""
