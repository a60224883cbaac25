"""Which options of a module, and which arguments of its call, its description reads: so that none
of a new release is passed over.

An option is a parameter of the constructor of a class of torch.nn, or one of its ``__constants__``.
Whatever is neither in ``READ`` nor in ``IDLE`` and is set to other than its default leaves the
module unchecked, by that name, and so does an argument of its call.
``tests/adapters/torch/describe/test_options.py`` compares the tables with PyTorch;
``layers/test_described_classes.py`` tries every option at two values.
"""

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...option_defaults import NO_PARAMETER, at_default

__all__ = ["ARGUMENTS", "IDLE", "READ", "unread", "unread_argument"]

IDLE = {
    "device": "where the parameters lie at first",
    "dtype": "the type of the parameters, which are read as they are",
    "inplace": "where the result is written",
    "name": "a name",
}
"""Options of any module that change no number, and why."""

_CONV = (
    "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode "
    "output_padding"
)
_MOMENTS = "num_features eps momentum affine track_running_stats bias"
_POOL = "kernel_size stride padding ceil_mode"
_RECURRENT = (
    "mode input_size hidden_size num_layers bias batch_first dropout bidirectional "
    "proj_size nonlinearity"
)
_SAMPLE = "size scale_factor mode align_corners recompute_scale_factor"
_TABLE = (
    "num_embeddings embedding_dim max_norm norm_type scale_grad_by_freq sparse padding_idx "
    "_weight _freeze"
)
_WINDOW = "kernel_size dilation padding stride"


def _ranks(name: str) -> str:
    return " ".join(f"{name}{rank}d" for rank in (1, 2, 3))


_OPTIONS = {
    "AdaptiveLogSoftmaxWithLoss": "in_features n_classes cutoffs div_value head_bias",
    "CELU ELU": "alpha",
    "ChannelShuffle": "groups",
    "CosineSimilarity": "dim eps",
    "Bilinear": "in1_features in2_features out_features bias",
    "CrossMapLRN2d LocalResponseNorm": "size alpha beta k",
    "Embedding": _TABLE,
    "EmbeddingBag": f"{_TABLE} mode include_last_offset",
    "Flatten": "start_dim end_dim",
    "Fold": f"{_WINDOW} output_size",
    "FractionalMaxPool2d FractionalMaxPool3d": (
        "kernel_size output_size output_ratio return_indices _random_samples"
    ),
    "GELU": "approximate",
    "GLU LogSoftmax Softmax Softmin": "dim",
    "GRU LSTM RNN": _RECURRENT,
    "GRUCell LSTMCell RNNCell": "input_size hidden_size bias nonlinearity",
    "GroupNorm": "num_groups num_channels eps affine bias",
    "Hardshrink Softshrink": "lambd",
    (
        "Hardsigmoid Hardswish Identity LogSigmoid Mish ReLU SELU SiLU Sigmoid Softmax2d Softsign "
        "Tanh Tanhshrink"
    ): "",
    "Hardtanh ReLU6": "min_val max_val min_value max_value",
    "LayerNorm RMSNorm": "normalized_shape eps elementwise_affine bias",
    "LeakyReLU": "negative_slope",
    "Linear": "in_features out_features bias",
    "MultiheadAttention": (
        "embed_dim num_heads dropout bias add_bias_kv add_zero_attn kdim vdim batch_first"
    ),
    "PReLU": "num_parameters init",
    "PairwiseDistance": "p eps keepdim norm",
    "PixelShuffle": "upscale_factor",
    "PixelUnshuffle": "downscale_factor",
    "RReLU": "lower upper",
    "Softplus": "beta threshold",
    "SyncBatchNorm": f"{_MOMENTS} process_group",
    "Threshold": "threshold value",
    "Unflatten": "dim unflattened_size",
    "Unfold": _WINDOW,
    "Upsample UpsamplingBilinear2d UpsamplingNearest2d": _SAMPLE,
    "AlphaDropout Dropout FeatureAlphaDropout": "p",
    **{_ranks(name): "p" for name in ("Dropout",)},
    **{_ranks(name): _CONV for name in ("Conv", "ConvTranspose")},
    **{_ranks(name): _MOMENTS for name in ("BatchNorm", "InstanceNorm")},
    **{
        _ranks(name): "padding value"
        for name in ("CircularPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "ZeroPad")
    },
    _ranks("AdaptiveAvgPool"): "output_size",
    _ranks("AdaptiveMaxPool"): "output_size return_indices",
    _ranks("AvgPool"): f"{_POOL} count_include_pad divisor_override",
    _ranks("LPPool"): f"{_POOL} norm_type",
    _ranks("MaxPool"): f"{_POOL} dilation return_indices",
    _ranks("MaxUnpool"): "kernel_size stride padding",
}

READ: dict[str, frozenset[str]] = {
    name: frozenset(options.split())
    for names, options in _OPTIONS.items()
    for name in names.split()
}
"""Class of torch.nn -> the options that its description reads, or needs not to read."""

ARGUMENTS: dict[str, frozenset[str]] = {
    name: frozenset(arguments.split())
    for names, arguments in {
        "AdaptiveLogSoftmaxWithLoss": "target_",
        "Bilinear": "input2",
        "CosineSimilarity PairwiseDistance": "x2",
        "EmbeddingBag": "offsets per_sample_weights",
        "GRU GRUCell LSTM LSTMCell RNN RNNCell": "hx",
        "MultiheadAttention": (
            "key value key_padding_mask need_weights attn_mask average_attn_weights is_causal"
        ),
        _ranks("ConvTranspose"): "output_size",
        _ranks("MaxUnpool"): "indices output_size",
    }.items()
    for name in names.split()
}
"""Class of torch.nn -> the arguments of its call that its description reads beside the first."""


def unread(module: Any, described: type) -> str:
    """Which option of the module is set and not read by the description of the class ``described``,
    in words, or ""."""
    for name, default in _unknown(described):
        places = [
            space
            for space in (vars(module), module._parameters, module._buffers, module._modules)
            if name in space
        ]
        if not places and default is not NO_PARAMETER:
            return (
                f"{described.__name__} has option {name}, which its description does not "
                "support and whose value no attribute holds"
            )
        if places and not at_default(places[0][name], default):
            shown = " ".join(repr(places[0][name]).split())[:60]
            return (
                f"{described.__name__} has option {name}={shown}, which its description does "
                "not support"
            )
    return ""


def unread_argument(module: Any, described: type, arguments: Mapping[str, Any]) -> str:
    """Which argument of a call of the module was given and is not read, in words, or ""."""
    known = ARGUMENTS.get(described.__name__, frozenset())
    for name, value in list(arguments.items())[1:]:
        if name in known or value is None:
            continue
        parameter = inspect.signature(type(module).forward).parameters.get(name)
        if parameter is None or not at_default(value, parameter.default):
            return f"it was called with `{name}`, which its description does not support"
    return ""


@lru_cache(maxsize=512)
def _unknown(described: type) -> tuple[tuple[str, Any], ...]:
    """(name, default) of the options that are not in the table; none for the classes of other
    packages."""
    known = READ.get(described.__name__)
    if known is None or not described.__module__.startswith("torch.nn.modules."):
        return ()
    constants = (name for cls in described.__mro__ for name in vars(cls).get("__constants__", ()))
    options = dict.fromkeys(constants, NO_PARAMETER) | _parameters(described)
    return tuple(
        (name, default)
        for name, default in options.items()
        if name not in known and name not in IDLE
    )


def _parameters(described: type) -> dict[str, Any]:
    """The parameters of the constructor, and of those that it hands what it does not know
    itself."""
    found: dict[str, Any] = {}
    for cls in described.__mro__:
        if cls.__name__ == "Module" or "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        more = [
            parameter
            for parameter in parameters
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
        found = {
            parameter.name: parameter.default for parameter in parameters if parameter not in more
        } | found
        if not more:
            break
    return found
