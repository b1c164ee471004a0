"""What every test shares: a quiet, seeded TensorFlow and the data folder.

The environment is set before anything imports NumPy and TensorFlow, which read it once.
"""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SEED = 0

# `make test-backends` runs the tests of the layers without TensorFlow.
_BACKEND = os.environ.get("TFROBUST_TEST_BACKEND", "tensorflow")
os.environ["KERAS_BACKEND"] = _BACKEND
if _BACKEND != "tensorflow":
    # As if it were not installed.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# Oracles are compared in full float32, and processes share a GPU.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

# Several workers with a thread pool as wide as the machine each fight for its cores.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _WORKERS > 1:
    _threads = str(max(2, (os.cpu_count() or 2) // _WORKERS))
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", _threads)
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", _threads)
    # NumPy's threads wait for each other in a loop, at the cost of the other workers.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The same examples on every run, and no limit of time: the first call traces.
hypothesis.settings.register_profile("tfrobust", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tfrobust")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what is marked `gpu` where TensorFlow sees none."""
    if item.get_closest_marker("gpu") is not None:
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            pytest.skip("TensorFlow sees no GPU")


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    """Starts every test from the same seeds and the float32 policy.

    A test that has not loaded Keras is spared the seconds of importing it.
    """
    if "keras" in sys.modules:
        from tests.seeds import set_seeds

        set_seeds(SEED)
        sys.modules["keras"].config.set_dtype_policy("float32")
    else:
        random.seed(SEED)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(SEED)
    yield
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.config.set_dtype_policy("float32")


@pytest.fixture
def tensorflow_seed(_same_start: None) -> None:
    """Sets TensorFlow's own seed too, for a test in which `fit` shuffles.

    Not in every test, as it makes TensorFlow forget what it compiled.
    """
    import keras

    keras.utils.set_random_seed(SEED)


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    """A folder of ready-made TFDS data sets, or a skip that says where it looked."""
    default = REPOSITORY.parent / "shared" / "tfds"
    folder = Path(os.environ.get("TFROBUST_DATA_DIR") or default)
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; TFROBUST_DATA_DIR names another folder")
    return folder
