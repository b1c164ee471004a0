"""A teacher, its images, and the cache of its gradients."""

import pytest

from tests.pag.noise import make_images, make_teacher
from tfrobust import pag


@pytest.fixture(scope="module")
def teacher():
    return make_teacher()


@pytest.fixture(scope="module")
def images():
    return make_images()


@pytest.fixture(scope="module")
def whole(teacher, images, tmp_path_factory):
    """A cache that nothing disturbed, in batches that do not divide it."""
    folder = tmp_path_factory.mktemp("whole") / "cache"
    pag.cache_directions(teacher, images, folder, batch_size=4)
    return folder
