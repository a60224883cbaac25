"""The functions of torch.nn.functional that do what a module of torch.nn does: described as that
module."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function

__all__ = ["activation"]

_ACTIVATIONS: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "relu": ("ReLU", "relu", {}),
    "relu6": ("ReLU6", "clip", {}),
    "celu": ("CELU", "celu", {"alpha": 1.0}),
    "elu": ("ELU", "elu", {"alpha": 1.0}),
    "gelu": ("GELU", "gelu", {"approximate": "none"}),
    "hardshrink": ("Hardshrink", "shrink", {"lambd": 0.5}),
    "hardsigmoid": ("Hardsigmoid", "hardsigmoid", {}),
    "hardswish": ("Hardswish", "hardswish", {}),
    "hardtanh": ("Hardtanh", "clip", {"min_val": -1.0, "max_val": 1.0}),
    "leaky_relu": ("LeakyReLU", "leakyrelu", {"negative_slope": 0.01}),
    "logsigmoid": ("LogSigmoid", "logsigmoid", {}),
    "log_sigmoid": ("LogSigmoid", "logsigmoid", {}),
    "mish": ("Mish", "mish", {}),
    "selu": ("SELU", "selu", {}),
    "silu": ("SiLU", "silu", {}),
    "sigmoid": ("Sigmoid", "sigmoid", {}),
    "special_expit": ("Sigmoid", "sigmoid", {}),
    "softplus": ("Softplus", "softplus", {"beta": 1.0, "threshold": 20.0}),
    "softshrink": ("Softshrink", "shrink", {"lambd": 0.5}),
    "softsign": ("Softsign", "softsign", {}),
    "tanh": ("Tanh", "tanh", {}),
    "tanhshrink": ("Tanhshrink", "tanhshrink", {}),
    "threshold": ("Threshold", "thresholdedrelu", {"threshold": 0.0, "value": 0.0}),
    "pixel_shuffle": ("PixelShuffle", "depthtospace", {"upscale_factor": 1}),
    "pixel_unshuffle": ("PixelUnshuffle", "spacetodepth", {"downscale_factor": 1}),
    "channel_shuffle": ("ChannelShuffle", "channelshuffle", {"groups": 1}),
    "native_channel_shuffle": ("ChannelShuffle", "channelshuffle", {"groups": 1}),
    "glu": ("GLU", "glu", {"dim": -1}),
    "local_response_norm": (
        "LocalResponseNorm",
        "lrn",
        {"size": 1, "alpha": 1e-4, "beta": 0.75, "k": 1.0},
    ),
    "fold": (
        "Fold",
        "col2im",
        {"output_size": None, "kernel_size": None, "dilation": 1, "padding": 0, "stride": 1},
    ),
}


def activation(
    build: CallBuilder,
    kind: str,
    defaults: Mapping[str, Any],
    input: Value,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Ref:
    given = {**defaults, **dict(zip(defaults, args, strict=False)), **kwargs}
    given.pop("inplace", None)
    if given.keys() - defaults.keys():
        raise Undescribed(
            f"the arguments {', '.join(sorted(given.keys() - defaults.keys()))} are not supported"
        )
    return build.module(kind, input, **given)


def _register_activation(name: str, kind: str, onnx: str, defaults: Mapping[str, Any]) -> None:
    @function(name, f"{name}_", onnx=onnx)
    def call(build: CallBuilder, input: Value, *args: Any, **kwargs: Any) -> Ref:
        return activation(build, kind, defaults, input, args, kwargs)


for _name, (_kind, _onnx, _defaults) in _ACTIVATIONS.items():
    _register_activation(_name, _kind, _onnx, _defaults)


def _register_softmax(name: str, kind: str) -> None:
    # Of `dtype` they take types of floats alone, and of two types of floats they are refused.
    @function(name, f"_{name}", f"special_{name}", onnx=kind.lower(), idle="rest _stacklevel dtype")
    def call(
        build: CallBuilder,
        input: Value,
        dim: int | None = None,
        *rest: Any,
        _stacklevel: int = 3,
        dtype: Any = None,
    ) -> Ref:
        return build.module(kind, input, dim=dim)


for _name, _kind in {
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "softmin": "Softmin",
}.items():
    _register_softmax(_name, _kind)


def _register_dropout(name: str) -> None:
    # torch.nn.functional.dropout(input, p, training, inplace) and torch.dropout(input, p, train).
    @function(name, f"{name}_", onnx="dropout")
    def call(
        build: CallBuilder,
        input: Value,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
        *,
        train: bool | None = None,
    ) -> Ref:
        if (training if train is None else train) and p:
            raise Undescribed("it drops elements at random")
        return build.add(ops.Identity(), input)


for _name in (
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
    "feature_dropout",
):
    _register_dropout(_name)


def _weights(build: CallBuilder, **values: Value | None) -> dict[str, Weight | None]:
    return {name: build.weight(name, value) for name, value in values.items()}


@function("prelu", "_prelu_kernel", onnx="prelu")
def prelu(build: CallBuilder, input: Value, weight: Value) -> Ref:
    return build.module("PReLU", input, _weights(build, weight=weight))


@function("rrelu", "rrelu_", onnx="leakyrelu")
def rrelu(
    build: CallBuilder,
    input: Value,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Ref:
    if training:
        raise Undescribed("in training mode its slopes are random")
    return build.add(ops.LeakyRelu(alpha=(lower + upper) / 2), input)


@function("layer_norm", "native_layer_norm", onnx="layernormalization", idle="rest")  # which kernel
def layer_norm(
    build: CallBuilder,
    input: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    *rest: Any,
) -> Ref:
    shape = tuple(normalized_shape)

    def normed(**given: Value | None) -> Ref:
        held = _weights(build, **given)
        return build.module("LayerNorm", input, held, normalized_shape=shape, eps=eps)

    return _affine(build, normed, {"weight": weight, "bias": bias})


def _affine(
    build: CallBuilder,
    normed: Callable[..., Ref],
    given: dict[str, Value | None],
    behind: int = 0,
) -> Ref:
    """A norm with its gain and bias, which may be computed from the model's input: these are then
    multiplied with and added to what it gives, with so many axes ``behind`` theirs."""
    if all(value is None or build.fixed(value) for value in given.values()):
        return normed(**given)
    y = normed(**dict.fromkeys(given))
    for name, op in (("weight", ops.Mul()), ("bias", ops.Add())):
        value = given.get(name)
        if value is not None and behind:
            value = build.add(ops.Reshape((-1, *(1,) * behind)), value)
        if value is not None:
            y = build.add(op, y, value)
    return y


@function("rms_norm", onnx="rmsnormalization")
def rms_norm(
    build: CallBuilder,
    input: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    eps: float | None = None,
) -> Ref:
    shape = tuple(normalized_shape)

    def normed(weight: Value | None) -> Ref:
        held = _weights(build, weight=weight)
        return build.module("RMSNorm", input, held, normalized_shape=shape, eps=eps)

    return _affine(build, normed, {"weight": weight})


@function("group_norm", onnx="groupnormalization", idle="rest")  # which kernel
def group_norm(
    build: CallBuilder,
    input: Value,
    num_groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    *rest: Any,
) -> Ref:
    def normed(**given: Value | None) -> Ref:
        held = _weights(build, **given)
        return build.module("GroupNorm", input, held, num_groups=num_groups, eps=eps)

    behind = build.array(input).ndim - 2
    return _affine(build, normed, {"weight": weight, "bias": bias}, behind)


@function("batch_norm", onnx="batchnormalization", idle="momentum")  # of the running statistics
def batch_norm(
    build: CallBuilder,
    input: Value,
    running_mean: Value | None,
    running_var: Value | None,
    weight: Value | None = None,
    bias: Value | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Ref:
    held = _weights(
        build, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    return build.module(
        "BatchNorm2d", input, held, running_mean=running_mean, eps=eps, training=training
    )


@function("aten.batch_norm", "aten._native_batch_norm_legit_no_training", onnx="batchnormalization")
def aten_batch_norm(
    build: CallBuilder,
    input: Value,
    weight: Value,
    bias: Value,
    running_mean: Value,
    running_var: Value,
    *rest: Any,
) -> Ref | tuple[Ref, ...]:
    """In ATen the statistics come last, and then (training, momentum, eps, cudnn), or (momentum,
    eps) where it is decomposed."""
    if isinstance(rest[0], bool):
        training, (_, eps, *_) = (rest[0], rest[1:])
    else:
        training, (_, eps, *_) = (False, rest)
    found = batch_norm(build, input, running_mean, running_var, weight, bias, training, 0.1, eps)
    if len(build.outputs) == 1:
        return found
    empty = [build.ref(np.zeros(out.shape)) for out in build.outputs[1:]]
    return (found, *empty)


# of the gradient, and of `max_norm`
@function("embedding", onnx="gather", idle="padding_idx norm_type")
def embedding(
    build: CallBuilder,
    input: Value,
    weight: Value,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Ref:
    """Rows of the weight; ``aten.embedding`` takes the weight first. A largest norm would change
    the weight."""
    if build.array(weight).dtype.kind != "f":
        return build.add(ops.Gather(axis=0), input, weight)
    if max_norm:
        raise Undescribed("max_norm is not supported, since it changes the weight in place")
    return build.add(ops.Gather(axis=0), weight, input)


_PADS = {
    "constant": "ConstantPad1d",
    "reflect": "ReflectionPad1d",
    "replicate": "ReplicationPad1d",
    "circular": "CircularPad1d",
}


@function("pad", "constant_pad_nd", onnx="pad")
def pad(
    build: CallBuilder,
    input: Value,
    pad: Sequence[Any],
    mode: Any = "constant",
    value: float | None = None,
) -> Ref:
    """``aten.constant_pad_nd`` has its value where ``pad`` has its mode; a number of places may be
    a tensor."""
    if not isinstance(mode, str):
        mode, value = "constant", mode
    places = tuple(width if isinstance(width, int) else int(build.array(width)) for width in pad)
    return build.module(_PADS[mode], input, padding=places, value=value or 0.0)


@function("one_hot", onnx="onehot", idle="num_classes")
def one_hot(build: CallBuilder, input: Value, num_classes: int = -1) -> Ref:
    return build.add(
        ops.Cast(to="int64"), build.add(ops.OneHot(depth=build.outputs[0].shape[-1]), input)
    )
