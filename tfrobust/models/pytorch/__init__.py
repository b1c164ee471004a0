"""PyTorch networks of other people as Keras networks, layer by layer.

`from_pytorch` converts one by the name of its architecture, and `register` gives an
architecture of your own a name. PyTorch itself is needed for nothing but reading a file
that `torch.save` wrote.
"""

# The architectures register themselves.
from tfrobust.models.pytorch import preact, resnet, wide_resnet  # noqa: F401
from tfrobust.models.pytorch.builder import Builder
from tfrobust.models.pytorch.convert import STATISTICS, from_pytorch
from tfrobust.models.pytorch.registry import architectures, register

__all__ = ["STATISTICS", "Builder", "architectures", "from_pytorch", "register"]
