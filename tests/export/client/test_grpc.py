"""What only gRPC can refuse."""

import sys

import pytest

from export.client import GrpcClient
from tests.export.servers import NAME


def test_an_address_has_no_scheme():
    with pytest.raises(ValueError, match="`address` must be HOST:PORT"):
        GrpcClient("http://localhost:8500", NAME)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ImportError) as error:
        GrpcClient("localhost:8500", NAME)
    assert str(error.value) == (
        'GrpcClient needs the extra packages of `pip install "tfrobust[serving]"`.'
    )
