"""Two models on servers, and the protocols to ask them by."""

import keras
import pytest
import tensorflow as tf

from export import export_saved_model
from export.client import GrpcClient, RestClient
from tests.export import servers
from tests.export.client.common import LABELS, SHAPE, Kind, Odd
from tests.export.servers import NAME


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A model whose logits are its pixels, to the last bit."""
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])
    folder = tmp_path_factory.mktemp("served") / NAME
    return tf.saved_model.load(
        export_saved_model(
            model, folder, LABELS, signatures=("serving_default", "predict_bytes")
        )
    )


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    model, folder = Odd(), str(tmp_path_factory.mktemp("odd"))
    signatures = {"echo": model.echo, "kinds": model.kinds}
    tf.saved_model.save(model, folder, signatures)
    return tf.saved_model.load(folder)


@pytest.fixture(params=["rest", "grpc"])
def kind(request):
    if request.param == "rest":
        return Kind(RestClient, servers.rest, [503, 429], 500)
    codes = pytest.importorskip("grpc").StatusCode
    pytest.importorskip("tensorflow_serving.apis")
    busy = [codes.UNAVAILABLE, codes.RESOURCE_EXHAUSTED]
    return Kind(GrpcClient, servers.grpc, busy, codes.INTERNAL)
