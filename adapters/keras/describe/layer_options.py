"""Which options of a layer its description reads: the table that keeps an option of a new release
from being read as if it were not there.

An option is a parameter of the constructor of Keras' class, or a key of its configuration. Whatever
is neither in ``READ`` nor in ``IDLE`` and is set to other than its default makes the layer
unchecked, by that name. ``tests/adapters/keras/describe/test_options.py`` sets each of them.
"""

import inspect
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

from ...option_defaults import NO_PARAMETER, at_default
from .described_classes import ROOTS, key_of

__all__ = ["IDLE", "READ", "unread"]

IDLE = {
    "activity_regularizer": "it adds to the loss",
    "autocast": (
        "where it is False, and not all is float32, the layer is unchecked (description.py)"
    ),
    "cell": "made by the layer itself, whose cell is looked at",
    "conv_op": "TensorFlow's Keras has the parameter, and does nothing with it",
    "dtype": "what it means for the arithmetic is read as `compute_dtype`",
    "dynamic": "it keeps TensorFlow from compiling the call",
    "force_generator": "how random numbers are drawn, in training",
    "name": "a name",
    "pool_dimensions": "given by the class itself, 1 to 3 as its name says",
    "pool_function": "given by the class itself",
    "pool_mode": "given by the class itself",
    "rank": "given by the class itself, 1 to 3 as its name says",
    "rng_type": "how random numbers are drawn, in training",
    "seed": "how random numbers are drawn, in training",
    "trainable": "of BatchNormalization, which looks at it in training, it is read",
    "unroll": "Keras computes the same, and TensorFlow without a loop",
    "use_cudnn": "Keras computes the same by another kernel",
    "weights": "the first values of weights, which are read as they are",
}
"""Options of any layer that change no number outside training, and why."""

_IDLE_ENDS = ("_constraint", "_initializer", "_regularizer")
"""What says how a weight begins, is held and is punished in training."""

_KERNEL = "filters kernel_size strides padding data_format dilation_rate activation use_bias"
_LORA = "lora_rank lora_alpha quantization_config gptq_unpacked_column_size"
_IMAGES = "bounding_box_format data_format factor"
_POOL = "pool_size strides padding data_format"
_DROPS = "dropout recurrent_dropout"
_GATED = f"activation recurrent_activation use_bias unit_forget_bias implementation {_DROPS}"
_LOOP = (
    "return_sequences return_state go_backwards stateful zero_output_for_mask time_major "
    "num_constants"
)
_NORM = (
    "axis momentum epsilon center scale renorm renorm_clipping renorm_momentum synchronized "
    "fused virtual_batch_size adjustment"
)
_RANDOM = (
    f"{_IMAGES} addition_factor all_ops alpha bins brightness_factor chain_depth contrast_factor "
    "fill_mode fill_value height_factor "
    "hue_factor interpolation kernel_size max_number mode num_chains num_ops saturation_factor "
    "scale sigma threshold_factor value_range "
    "width_factor x_factor y_factor"
)
_QUANTIZED = "kernel_quantizer bias_quantizer kernel_range bias_range"
_DEPTHWISE = "depthwise_quantizer bias_quantizer depthwise_range bias_range"
_STATES = "kernel_quantizer recurrent_quantizer bias_quantizer state_quantizer"
_FOLDED = f"{_NORM} ema_freeze_delay folding_mode"
_CLUSTERS = (
    "layer number_of_clusters cluster_centroids_init preserve_sparsity "
    "cluster_per_channel cluster_gradient_aggregation"
)
_WRAPPED = "layer quantize_config name_prefix"

_TABLE = {
    "Activation": "activation",
    "ActivityRegularization": "l1 l2",
    "Add Average Identity Maximum Minimum Multiply Subtract": "",
    "AdditiveAttention Attention": "use_scale score_mode dropout",
    "AlphaDropout Dropout GaussianDropout SpatialDropout1D": "rate noise_shape",
    "AutoContrast": f"{_IMAGES} value_range",
    "BatchNormalization": _NORM,
    "Bidirectional QBidirectional": "layer merge_mode backward_layer num_constants",
    "CategoryEncoding": "num_tokens output_mode sparse",
    "CenterCrop RandomCrop": f"{_IMAGES} height width",
    "Concatenate": "axis",
    "Conv1D Conv2D Conv3D": f"{_KERNEL} groups {_LORA}",
    "Conv1DTranspose Conv2DTranspose Conv3DTranspose": f"{_KERNEL} output_padding groups",
    "ConvLSTM1D ConvLSTM2D ConvLSTM3D": f"{_KERNEL} {_GATED} {_LOOP}",
    "ConvLSTMCell": f"{_KERNEL} {_GATED}",
    "Cropping1D Cropping2D Cropping3D": "cropping data_format",
    "CustomScaleLayer": "scale",
    "Dense": f"units activation use_bias {_LORA}",
    "DepthwiseConv1D DepthwiseConv2D": f"{_KERNEL} depth_multiplier groups",
    "Discretization": "bin_boundaries num_bins epsilon output_mode sparse",
    "Dot": "axes normalize",
    "ELU": "alpha",
    "EinsumDense": f"equation output_shape activation bias_axes {_LORA}",
    "Embedding": f"input_dim output_dim mask_zero input_length sparse {_LORA}",
    "Flatten": "data_format",
    "GRU": f"units {_GATED} reset_after {_LOOP}",
    "GRUCell": f"units {_GATED} reset_after",
    "GaussianNoise": "stddev",
    "GroupNormalization": "groups axis epsilon center scale",
    "GroupedQueryAttention": (
        "head_dim num_query_heads num_key_value_heads dropout use_bias "
        "flash_attention sliding_window use_gate"
    ),
    "IntegerLookup": (
        "max_tokens num_oov_indices mask_token oov_token vocabulary vocabulary_dtype "
        "vocabulary_size idf_weights invert output_mode sparse "
        "pad_to_max_tokens oov_method salt"
    ),
    "LSTM": f"units {_GATED} {_LOOP}",
    "LSTMCell": f"units {_GATED}",
    "LayerNormalization": "axis epsilon center scale rms_scaling",
    "LayerScale": "init_values projection_dim",
    "LeakyReLU": "alpha negative_slope",
    "LocallyConnected1D LocallyConnected2D": f"{_KERNEL} implementation",
    "Masking": "mask_value",
    "MelSpectrogram": (
        "fft_length sequence_stride sequence_length window sampling_rate num_mel_bins min_freq "
        "max_freq power_to_db top_db mag_exp "
        "min_power ref_power"
    ),
    "MultiHeadAttention": (
        "num_heads key_dim value_dim dropout use_bias output_shape attention_axes flash_attention "
        "sliding_window use_gate "
        "softmax_robust_masking query_shape key_shape value_shape"
    ),
    "Normalization": "axis mean variance invert",
    "PReLU": "shared_axes",
    "Permute": "dims",
    "RMSNormalization": "axis epsilon",
    "RNN": _LOOP,
    "ReLU": "max_value negative_slope threshold",
    "RepeatVector": "n",
    "Rescaling": "scale offset",
    "Reshape": "target_shape",
    "Resizing": (
        f"{_IMAGES} height width interpolation crop_to_aspect_ratio pad_to_aspect_ratio "
        "fill_mode fill_value antialias"
    ),
    "ReversibleEmbedding": (
        f"input_dim output_dim tie_weights mask_zero reverse_dtype logit_soft_cap {_LORA}"
    ),
    "STFTSpectrogram": (
        "mode frame_length frame_step fft_length window periodic scaling padding "
        "expand_dims data_format"
    ),
    "SeparableConv1D SeparableConv2D": f"{_KERNEL} depth_multiplier groups",
    "SimpleRNN": f"units activation use_bias {_DROPS} {_LOOP}",
    "SimpleRNNCell": f"units activation use_bias {_DROPS}",
    "Softmax": "axis robust_masking",
    "SpatialDropout2D SpatialDropout3D": "rate data_format noise_shape",
    "SpectralNormalization": "layer power_iterations",
    "StackedRNNCells": "cells",
    "StochasticDepth": "drop_path_rate",
    "ThresholdedReLU": "theta",
    "TimeDistributed": "layer",
    "UnitNormalization": "axis",
    "UpSampling1D UpSampling3D": "size data_format",
    "UpSampling2D": "size data_format interpolation",
    "ZeroPadding1D ZeroPadding2D ZeroPadding3D": "padding data_format",
    **{f"{kind}Pooling1D {kind}Pooling2D {kind}Pooling3D": _POOL for kind in ("Average", "Max")},
    **{
        (
            f"Adaptive{kind}Pooling1D Adaptive{kind}Pooling2D Adaptive{kind}Pooling3D"
        ): "output_size data_format"
        for kind in ("Average", "Max")
    },
    **{
        (
            f"Global{kind}Pooling1D Global{kind}Pooling2D Global{kind}Pooling3D"
        ): "data_format keepdims"
        for kind in ("Average", "Max")
    },
    (
        "AugMix CutMix Equalization MaxNumBoundingBoxes MixUp RandAugment RandomBrightness "
        "RandomColorDegeneration RandomColorJitter "
        "RandomContrast RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur "
        "RandomGrayscale RandomHeight RandomHue "
        "RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation "
        "RandomSharpness RandomShear "
        "RandomTranslation RandomWidth RandomZoom Solarization"
    ): _RANDOM,
    "QActivation": "activation",
    "QAdaptiveActivation": (
        "activation total_bits current_step symmetric quantization_delay ema_freeze_delay "
        "ema_decay per_channel po2_rounding "
        "relu_neg_slope relu_upper_bound"
    ),
    "QAveragePooling2D": f"{_POOL} average_quantizer activation",
    "QBatchNormalization": (
        f"{_NORM} beta_quantizer gamma_quantizer mean_quantizer "
        "variance_quantizer gamma_range beta_range activation"
    ),
    "QConv1D QConv2D": f"{_KERNEL} groups {_QUANTIZED}",
    "QConv2DBatchnorm": f"{_KERNEL} groups {_QUANTIZED} {_FOLDED}",
    "QConv2DTranspose": f"{_KERNEL} output_padding groups {_QUANTIZED}",
    "QDense": f"units activation use_bias {_QUANTIZED}",
    "QDepthwiseConv2D": f"{_KERNEL} depth_multiplier groups {_DEPTHWISE}",
    "QDepthwiseConv2DBatchnorm": f"{_KERNEL} depth_multiplier groups {_DEPTHWISE} {_FOLDED}",
    "QGRU": f"units {_GATED} reset_after {_LOOP} {_STATES}",
    "QGRUCell": f"units {_GATED} reset_after {_STATES}",
    "QGlobalAveragePooling2D": "data_format keepdims average_quantizer activation",
    "QLSTM": f"units {_GATED} {_LOOP} {_STATES}",
    "QLSTMCell": f"units {_GATED} {_STATES}",
    "QSeparableConv1D QSeparableConv2D": (
        f"{_KERNEL} depth_multiplier groups depthwise_quantizer pointwise_quantizer bias_quantizer"
    ),
    "QSimpleRNN": f"units activation use_bias {_DROPS} {_LOOP} {_STATES}",
    "QSimpleRNNCell": f"units activation use_bias {_DROPS} {_STATES}",
    "ClusterWeights ClusterWeightsMHA ClusterWeightsRNN": _CLUSTERS,
    "PruneLowMagnitude": "layer pruning_schedule block_size block_pooling_type sparsity_m_by_n",
    "QuantizeLayer": "quantizer",
    "QuantizeWrapper QuantizeWrapperV2": _WRAPPED,
}

READ: dict[str, frozenset[str]] = {
    name: frozenset(options.split()) for names, options in _TABLE.items() for name in names.split()
}
"""Class name -> the options that its description reads, or needs not to read."""


def unread(layer: Any, described: type) -> str:
    """Which option of the layer is set and not read by the description of the class ``described``,
    in words, or ""."""
    for name, default in _unknown(layer.__class__, described):
        found, value = _set(layer, name)
        if found and not at_default(value, default):
            shown = " ".join(repr(value).split())[:60]
            return (
                f"{described.__name__} has option {name}={shown}, which its description does "
                "not support"
            )
        if not found and default is not NO_PARAMETER:
            return (
                f"{described.__name__} has option {name}, which its description does not "
                "support and whose value no attribute holds"
            )
    return ""


@lru_cache(maxsize=512)
def _unknown(kind: type, described: type) -> tuple[tuple[str, Any], ...]:
    """(name, default) of the options that are not in the table."""
    root = described.__module__.partition(".")[0]
    known = READ.get(key_of(root, described.__name__))
    if known is None:
        return ()
    options = {name: NO_PARAMETER for name in _keys(kind)} | _parameters(kind)
    return tuple(
        (name, default)
        for name, default in options.items()
        if name not in {*known, *IDLE} and not name.endswith(_IDLE_ENDS)
    )


def _own(kind: type) -> Iterator[type]:
    """The classes of a layer that are Keras' own; those before them are the user's, who has set
    options of Keras' by theirs."""
    return (cls for cls in kind.__mro__ if cls.__module__.partition(".")[0] in ROOTS)


def _parameters(kind: type) -> dict[str, Any]:
    """The parameters of the constructor, and of those that it hands what it does not know
    itself."""
    found: dict[str, Any] = {}
    for cls in _own(kind):
        if "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.setdefault(parameter.name, parameter.default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _keys(kind: type) -> Iterator[str]:
    """What ``get_config`` of the classes below Keras' Layer names: parameters that are taken from
    ``kwargs`` are in no signature."""
    for cls in _own(kind):
        if cls.__name__ == "Layer":
            return
        code = getattr(inspect.unwrap(vars(cls).get("get_config") or _nothing), "__code__", None)
        if isinstance(code, CodeType):
            for constant in code.co_consts:
                for name in constant if isinstance(constant, tuple) else (constant,):
                    if isinstance(name, str) and name.isidentifier() and not name.startswith("_"):
                        yield name


def _nothing() -> None:
    pass


def _set(layer: Any, name: str) -> tuple[bool, Any]:
    """Whether the layer tells what the option is set to, and that."""
    for place in (name, f"_{name}"):
        if place in vars(layer):
            return True, vars(layer)[place]
    config = layer.get_config()
    if name in config:
        return True, config[name]
    if isinstance(getattr(type(layer), name, None), property):
        return (True, getattr(layer, name))
    return (False, None)
