"""Every layer of Keras, with arguments, as a function of an image, or why it is none.

Names are those of `keras.layers`. A value is a list of cases: the arguments, the shape
of an input without its batch, and whether to call the layer in training.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import layers as kl

IMAGE, SEQUENCE, VOLUME, VECTOR = (6, 5, 3), (7, 3), (4, 5, 4, 2), (6,)


class Case(NamedTuple):
    """A layer to be made with `arguments`, and what it is called on."""

    arguments: dict[str, Any] = {}
    shape: tuple[int, ...] = IMAGE
    training: bool | None = None
    inputs: int = 1


ACTIVATIONS = (
    "celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh "
    "leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu "
    "soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid "
    "squareplus tanh tanh_shrink"
).split()


def _both(shape: tuple[int, ...] = IMAGE, **arguments: Any) -> list[Case]:
    """In inference and in training."""
    return [Case(arguments, shape, training) for training in (False, True)]


def _pools(kind: str, **arguments: Any) -> dict[str, list[Case]]:
    shapes = {"1D": SEQUENCE, "2D": IMAGE, "3D": VOLUME}
    return {kind + rank: [Case(arguments, shape)] for rank, shape in shapes.items()}


_CONVOLUTION = {"filters": 2, "kernel_size": 3, "activation": "softplus"}
_RECURRENT = {"units": 2}

CASES: dict[str, list[Case]] = {
    "Activation": [Case({"activation": name}, (6, 4)) for name in ACTIVATIONS],
    "ActivityRegularization": [Case({"l2": 0.1})],
    **_pools("AdaptiveAveragePooling", output_size=2),
    **_pools("AdaptiveMaxPooling", output_size=2),
    "Add": [Case(inputs=2)],
    "AdditiveAttention": [Case(shape=SEQUENCE, inputs=2)],
    "AlphaDropout": _both(rate=0.3, seed=0),
    "Attention": [Case(shape=SEQUENCE, inputs=2)],
    "Average": [Case(inputs=2)],
    **_pools("AveragePooling", pool_size=2),
    "BatchNormalization": [*_both(), Case({"axis": 1}, training=True)],
    "Bidirectional": [Case({"layer": "GRU"}, SEQUENCE)],
    "CenterCrop": [Case({"height": 3, "width": 4}), Case({"height": 9, "width": 8})],
    "Concatenate": [Case(inputs=2)],
    "Conv1D": [Case(_CONVOLUTION, SEQUENCE)],
    "Conv1DTranspose": [Case({**_CONVOLUTION, "strides": 2}, SEQUENCE)],
    "Conv2D": [
        Case(_CONVOLUTION),
        Case({**_CONVOLUTION, "strides": 2, "padding": "same"}),
        Case({**_CONVOLUTION, "dilation_rate": 2, "padding": "same"}),
        Case({**_CONVOLUTION, "filters": 3, "groups": 3}),
    ],
    "Conv2DTranspose": [Case({**_CONVOLUTION, "strides": 2})],
    "Conv3D": [Case(_CONVOLUTION, VOLUME)],
    "Conv3DTranspose": [Case({**_CONVOLUTION, "strides": 2}, VOLUME)],
    "ConvLSTM1D": [Case({"filters": 2, "kernel_size": 2}, (3, *SEQUENCE))],
    "ConvLSTM2D": [Case({"filters": 2, "kernel_size": 2}, (3, *IMAGE))],
    "ConvLSTM3D": [Case({"filters": 1, "kernel_size": 2}, (2, *VOLUME))],
    "Cropping1D": [Case({"cropping": 1}, SEQUENCE)],
    "Cropping2D": [Case({"cropping": 1})],
    "Cropping3D": [Case({"cropping": 1}, VOLUME)],
    "Dense": [Case({"units": 3, "activation": "tanh"})],
    "DepthwiseConv1D": [
        Case({"kernel_size": 2, "depth_multiplier": 2, "strides": 2}, SEQUENCE)
    ],
    "DepthwiseConv2D": [
        Case({"kernel_size": 2, "depth_multiplier": 2}),
        Case({"kernel_size": 3, "strides": 2, "padding": "same"}),
    ],
    "Dot": [Case({"axes": 2}, SEQUENCE, inputs=2)],
    "Dropout": _both(rate=0.3, seed=0),
    "ELU": [Case()],
    "EinsumDense": [Case({"equation": "bhwc,ck->bhwk", "output_shape": (None, 5, 2)})],
    "Flatten": [Case()],
    "GRU": [
        Case(_RECURRENT, SEQUENCE),
        Case({**_RECURRENT, "unroll": True}, SEQUENCE),
        Case({**_RECURRENT, "reset_after": False}, SEQUENCE),
    ],
    "GaussianDropout": _both(rate=0.3, seed=0),
    "GaussianNoise": _both(stddev=0.3, seed=0),
    **_pools("GlobalAveragePooling"),
    **_pools("GlobalMaxPooling"),
    "GroupNormalization": [Case({"groups": 3})],
    "GroupQueryAttention": [
        Case(
            {"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1},
            SEQUENCE,
            inputs=-2,
        )
    ],
    "Identity": [Case()],
    "LSTM": [Case(_RECURRENT, SEQUENCE)],
    "LayerNormalization": [Case(), Case({"axis": (1, 2, 3)})],
    "LeakyReLU": [Case()],
    "Masking": [Case(shape=SEQUENCE)],
    **_pools("MaxPooling", pool_size=2),
    "Maximum": [Case(inputs=2)],
    "Minimum": [Case(inputs=2)],
    "MultiHeadAttention": [Case({"num_heads": 2, "key_dim": 2}, SEQUENCE, inputs=-2)],
    "Multiply": [Case(inputs=2)],
    "Normalization": [Case({"mean": [0.1, 0.2, 0.3], "variance": [0.5, 1.0, 2.0]})],
    "PReLU": [Case({"alpha_initializer": "ones"})],
    "Permute": [Case({"dims": (3, 1, 2)})],
    "RMSNormalization": [Case()],
    "RNN": [Case({"cell": "GRUCell"}, SEQUENCE)],
    "RandomBrightness": _both(factor=0.2, value_range=(0, 1), seed=1),
    "RandomColorDegeneration": _both(factor=0.5, value_range=(0, 1), seed=1),
    "RandomContrast": _both(factor=0.4, value_range=(0, 1), seed=1),
    "RandomCrop": _both(height=4, width=4, seed=1),
    "RandomElasticTransform": _both(factor=1.0, scale=1.0, seed=1, value_range=(0, 1)),
    "RandomErasing": _both(factor=1.0, value_range=(0, 1), seed=1),
    "RandomFlip": _both(seed=1),
    "RandomGaussianBlur": _both(factor=1.0, value_range=(0, 1), seed=1),
    "RandomGrayscale": _both(factor=1.0, seed=1),
    "RandomInvert": _both(factor=1.0, value_range=(0, 1), seed=1),
    "RandomPerspective": _both(factor=1.0, scale=0.3, seed=1),
    "RandomRotation": _both(factor=0.2, seed=1),
    "RandomSharpness": _both(factor=0.5, value_range=(0, 1), seed=1),
    "RandomShear": _both(x_factor=0.3, y_factor=0.2, seed=1),
    "RandomTranslation": _both(height_factor=0.2, width_factor=0.2, seed=1),
    "RandomZoom": _both(height_factor=0.3, seed=1),
    "ReLU": [Case(), Case({"max_value": 0.5, "negative_slope": 0.1})],
    "RepeatVector": [Case({"n": 3}, VECTOR)],
    "Rescaling": [Case({"scale": 0.5, "offset": 0.1})],
    "Reshape": [Case({"target_shape": (3, 30)})],
    "Resizing": [
        *(
            Case({"height": 8, "width": 4, "interpolation": name, "antialias": smooth})
            for name in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")
            for smooth in (False, True)
        ),
        Case({"height": 8, "width": 4, "crop_to_aspect_ratio": True}),
        Case({"height": 8, "width": 4, "pad_to_aspect_ratio": True}),
    ],
    "SeparableConv1D": [Case(_CONVOLUTION, SEQUENCE)],
    "SeparableConv2D": [Case(_CONVOLUTION)],
    "SimpleRNN": [Case(_RECURRENT, SEQUENCE)],
    "Softmax": [Case()],
    "Solarization": _both(value_range=(0, 1), addition_factor=0.1, seed=1),
    "SpatialDropout1D": _both(SEQUENCE, rate=0.3, seed=0),
    "SpatialDropout2D": _both(rate=0.3, seed=0),
    "SpatialDropout3D": _both(VOLUME, rate=0.3, seed=0),
    "SpectralNormalization": _both(layer="Conv2D"),
    "STFTSpectrogram": [
        Case({"frame_length": 8, "frame_step": 4, "mode": "real"}, (24, 1))
    ],
    "Subtract": [Case(inputs=2)],
    "TimeDistributed": [Case({"layer": "Conv1D"}, (3, *SEQUENCE))],
    "UnitNormalization": [Case()],
    "UpSampling1D": [Case(shape=SEQUENCE)],
    "UpSampling2D": [
        Case({"interpolation": name})
        for name in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
    ],
    "UpSampling3D": [Case(shape=VOLUME)],
    "ZeroPadding1D": [Case({"padding": 1}, SEQUENCE)],
    "ZeroPadding2D": [Case({"padding": 1})],
    "ZeroPadding3D": [Case({"padding": 1}, VOLUME)],
}

# A layer whose derivative is refused, with the operation that has none.
REFUSED: dict[str, tuple[Case, str]] = {
    "Discretization": (Case({"bin_boundaries": [0.3, 0.6]}), "Bucketize"),
    "RandomHue": (
        Case({"factor": 0.5, "value_range": (0, 1), "seed": 1}, training=True),
        "HSVToRGB",
    ),
    "RandomSaturation": (
        Case({"factor": 0.5, "value_range": (0, 1), "seed": 1}, training=True),
        "HSVToRGB",
    ),
}

_WORDS = "takes words or numbers of words, not images"
_CELL = "one step of a recurrent layer, which is in the table"
_OTHER = "runs another program's network"
_ABSTRACT = "a base class, or no layer"
_MIXTURE = "a random mixture of layers in the table, and of labels in training"
LEFT_OUT = {
    "AugMix": _MIXTURE,
    "AutoContrast": "stretches by percentiles of integers",
    "CategoryEncoding": _WORDS,
    "ContrastLimitedAdaptiveHistogramEqualization": "works by histograms of integers",
    "CutMix": _MIXTURE,
    "Embedding": _WORDS,
    "Equalization": "works by histograms of integers",
    "FlaxLayer": _OTHER,
    "GRUCell": _CELL,
    "HashedCrossing": _WORDS,
    "Hashing": _WORDS,
    "Input": _ABSTRACT,
    "InputLayer": _ABSTRACT,
    "InputSpec": _ABSTRACT,
    "IntegerLookup": _WORDS,
    "JaxLayer": _OTHER,
    "LSTMCell": _CELL,
    "Lambda": "whatever its function does",
    "Layer": _ABSTRACT,
    "MaxNumBoundingBoxes": "keeps boxes",
    "MelSpectrogram": "takes sounds",
    "MixUp": _MIXTURE,
    "Pipeline": "layers one after the other",
    "RandAugment": _MIXTURE,
    "RandomColorJitter": _MIXTURE,
    "RandomPosterization": "rounds to few levels, with a derivative of zero",
    "ReversibleEmbedding": _WORDS,
    "SimpleRNNCell": _CELL,
    "StackedRNNCells": _CELL,
    "StringLookup": _WORDS,
    "TFSMLayer": _OTHER,
    "TextVectorization": _WORDS,
    "TorchModuleWrapper": _OTHER,
    "Wrapper": _ABSTRACT,
}


def all_layers() -> dict[str, Any]:
    """Every class of `keras.layers` by its longest name, without the aliases."""
    found: dict[Any, str] = {}
    for name in sorted(dir(kl)):
        member = getattr(kl, name)
        if name[0].isupper() and callable(member):
            same = found.get(member, "")
            own = getattr(member, "__name__", name)
            found[member] = own if own in (name, same) else max(name, same, key=len)
    return {name: member for member, name in found.items()}


def make(name: str, case: Case, dtype: str = "float64") -> Any:
    """The layer of a case; `_in` names a layer, or a cell, that it wraps."""
    inner = {
        "GRU": lambda: kl.GRU(2, dtype=dtype),
        "GRUCell": lambda: kl.GRUCell(2, dtype=dtype),
        "Conv1D": lambda: kl.Conv1D(2, 2, activation="tanh", dtype=dtype),
        "Conv2D": lambda: kl.Conv2D(2, 2, dtype=dtype),
    }
    arguments = {
        key: inner[value]() if key in ("layer", "cell") else value
        for key, value in case.arguments.items()
    }
    return getattr(keras.layers, name)(**arguments, dtype=dtype)


def apply(layer: Any, case: Case, x: Any) -> Any:
    """What the layer makes of an input; of two, the other is the input's square."""
    inputs = [x, x**2] if abs(case.inputs) == 2 else [x]
    training = {} if case.training is None else {"training": case.training}
    if case.inputs > 1:
        return layer(inputs, **training)
    return layer(*inputs, **training)
