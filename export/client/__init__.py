"""A client of TensorFlow Serving, over REST and over gRPC: NumPy in, NumPy out.

Both clients try again where a server says that it cannot answer now, and only then, and
both keep to one deadline for a prediction with all its tries. REST needs nothing but
NumPy and the standard library. gRPC needs the packages of
`pip install "tfrobust[serving]"`, TensorFlow among them.

The folder runs on its own, wherever it is copied to: its files import one another by
relative names, and nothing else of this repository.
"""

from .base import DEFAULT
from .grpc import GrpcClient
from .rest import RestClient

__all__ = ["DEFAULT", "GrpcClient", "RestClient"]
