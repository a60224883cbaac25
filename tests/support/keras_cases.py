"""One layer of every described class of Keras, and what it is called on: for the sweep over
precisions, and the table of docs/layers.md."""

import inspect

import numpy as np
from probe.adapters.keras.describe.described_classes import DESCRIBED
from probe.adapters.keras.layers.augmentation import RANDOM

SPATIAL = {1: (7,), 2: (7, 6), 3: (5, 6, 4)}
IMAGE = [(2, 6, 7, 3)]
VECTORS = [(2, 5, 4)]

CASES: dict[str, tuple[dict, list[tuple[int, ...]]]] = {}
"""Class -> the constructor's options, and the shapes of the inputs; ``units`` and such are there
too."""


def _case(name: str, shapes: list[tuple[int, ...]], **options: object) -> None:
    CASES[name] = (options, shapes)


for _rank, _sizes in SPATIAL.items():
    _x = [(2, *_sizes, 4)]
    _case(
        f"Conv{_rank}D",
        _x,
        filters=6,
        kernel_size=3,
        padding="same",
        groups=2 if _rank < 3 else 1,
        activation="relu",
    )
    _case(
        f"Conv{_rank}DTranspose",
        _x,
        filters=6,
        kernel_size=3,
        strides=2,
        padding="same",
        activation="tanh",
    )
    for _kind in ("MaxPooling", "AveragePooling"):
        _case(f"{_kind}{_rank}D", _x, pool_size=3, strides=2, padding="same")
    for _kind in (
        "GlobalAveragePooling",
        "GlobalMaxPooling",
        "ZeroPadding",
        "Cropping",
        "UpSampling",
    ):
        _case(f"{_kind}{_rank}D", _x)
    for _kind in ("AdaptiveAveragePooling", "AdaptiveMaxPooling"):
        _case(f"{_kind}{_rank}D", _x, output_size=3)
    _case(f"SpatialDropout{_rank}D", _x, rate=0.3)
    _case(
        f"ConvLSTM{_rank}D",
        [(2, 3, *_sizes, 2)],
        filters=3,
        kernel_size=3,
        padding="same",
        return_sequences=True,
    )
    if _rank < 3:
        _case(f"DepthwiseConv{_rank}D", _x, kernel_size=3, depth_multiplier=2)
        _case(f"SeparableConv{_rank}D", _x, filters=5, kernel_size=3, activation="relu")
        _case(f"LocallyConnected{_rank}D", _x, filters=5, kernel_size=3)
for _kind in ("LSTM", "GRU", "SimpleRNN"):
    _case(_kind, VECTORS, units=3, return_sequences=True)
for _kind in ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"):
    _case(_kind, VECTORS * 2)
for _kind in (
    "ELU",
    "PReLU",
    "ReLU",
    "LeakyReLU",
    "ThresholdedReLU",
    "Softmax",
    "Flatten",
    "Identity",
    "ActivityRegularization",
    "Masking",
):
    _case(_kind, VECTORS)
for _kind in ("AlphaDropout", "Dropout", "GaussianDropout"):
    _case(_kind, VECTORS, rate=0.3)
for _kind in (
    "BatchNormalization",
    "LayerNormalization",
    "RMSNormalization",
    "UnitNormalization",
    "Normalization",
):
    _case(_kind, VECTORS)
_case("Activation", VECTORS, activation="gelu")
_case("GaussianNoise", VECTORS, stddev=0.1)
_case("GroupNormalization", VECTORS, groups=2)
_case("Dense", VECTORS, units=5, activation="swish")
_case("EinsumDense", VECTORS, equation="abc,cd->abd", output_shape=(None, 6), bias_axes="d")
_case("Dot", VECTORS * 2, axes=2)
_case("Permute", VECTORS, dims=(2, 1))
_case("RepeatVector", [(2, 4)], n=3)
_case("Reshape", VECTORS, target_shape=(2, -1))
_case("Rescaling", VECTORS, scale=0.5, offset=-1.0)
_case("Discretization", VECTORS, bin_boundaries=[-1.0, 0.0, 1.0])
_case("CategoryEncoding", [], num_tokens=6, output_mode="one_hot")
_case("IntegerLookup", [], vocabulary=[12, 36, 1138])
_case("Embedding", [], input_dim=6, output_dim=4)
_case("ReversibleEmbedding", [], input_dim=6, output_dim=4)
_case("Attention", VECTORS * 2)
_case("AdditiveAttention", VECTORS * 2)
_case("MultiHeadAttention", VECTORS * 2, num_heads=2, key_dim=3)
_case("GroupedQueryAttention", VECTORS * 2, head_dim=3, num_query_heads=4, num_key_value_heads=2)
_case("CenterCrop", IMAGE, height=4, width=5)
_case("RandomCrop", IMAGE, height=4, width=5)
_case("Resizing", IMAGE, height=9, width=5)
_case("AutoContrast", IMAGE, value_range=(-3.0, 3.0))
_case("STFTSpectrogram", [(2, 50, 1)], mode="magnitude", frame_length=16)
_case("MelSpectrogram", [(2, 200)], fft_length=64, sequence_stride=16, num_mel_bins=8)

_RANDOM = {
    "height": 4,
    "width": 5,
    "factor": 0.3,
    "max_number": 3,
    "height_factor": 0.2,
    "width_factor": 0.2,
}
WITHIN = {"SpectralNormalization": "Dense", "TimeDistributed": "Dense", "Bidirectional": "LSTM"}
"""Wrappers, and the layer that they hold here."""
CELLS = {"GRUCell", "LSTMCell", "SimpleRNNCell", "ConvLSTMCell", "StackedRNNCells", "RNN"}
APPLICATIONS = {"CustomScaleLayer", "LayerScale", "StochasticDepth"}
INTEGERS = {"CategoryEncoding", "IntegerLookup", "Embedding", "ReversibleEmbedding"}


def class_of(keras, name):
    """The class, or None where this Keras has none of that name."""
    return getattr(keras.layers, name, None) or {
        "GroupedQueryAttention": getattr(keras.layers, "GroupQueryAttention", None)
    }.get(name)


def build(keras, name, dtype=None, **changed):
    """(layer, arrays) of a class, or None where this Keras has none of that name; ``changed`` are
    options in place of those above."""
    kind = class_of(keras, name)
    if kind is None:
        return None
    rng = np.random.default_rng(0)
    precision = {} if dtype is None else {"dtype": dtype}
    if name in WITHIN:
        inner, arrays = build(keras, WITHIN[name], dtype)
        return kind(inner, **precision, **changed), arrays
    if name == "RNN":
        return kind(keras.layers.LSTMCell(3, **precision), **precision, **changed), [
            _drawn(rng, (2, 5, 4))
        ]
    if name in RANDOM:
        wanted = [
            one.name
            for one in inspect.signature(kind.__init__).parameters.values()
            if one.default is one.empty and one.name in _RANDOM
        ]
        drawn = {one: 2 if name == "RandomPosterization" else _RANDOM[one] for one in wanted}
        return kind(**drawn | precision | changed), [_drawn(rng, IMAGE[0])]
    options, shapes = CASES[name]
    options = {
        key: value
        for key, value in options.items()
        if key in inspect.signature(kind.__init__).parameters or name in INTEGERS
    }
    if name in INTEGERS:
        precision = {} if name == "IntegerLookup" else precision
        return kind(**options | precision | changed), [
            np.array([12, 36, 7, 1138] if name == "IntegerLookup" else [0, 5, 2, 3])
        ]
    return kind(**options | precision | changed), [_drawn(rng, shape) for shape in shapes]


def _drawn(rng, shape):
    return rng.normal(size=shape).astype("float32")


def names() -> list[str]:
    """Every described class that a model can hold as a layer of its own."""
    return sorted(
        name
        for name, module in DESCRIBED.items()
        if module != "..qkeras" and name not in (CELLS - {"RNN"}) | APPLICATIONS
    )
