"""Quantisation-aware training of torch.ao: fake-quantised weights and outputs, convolutions that
hold their batch normalisation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Grid, Weight, followed_by
from probe.errors import Undescribed

from ..describe.describe import ModuleCall, chain, completes, describes, refusal
from ..layers.conv import convolution, linear
from ..layers.embedding import bag, embedding

__all__ = ["fake_quantised", "quantiser"]

_OBSERVERS = (
    "FixedQParamsObserver",
    "HistogramObserver",
    "MinMaxObserver",
    "MovingAverageMinMaxObserver",
    "MovingAveragePerChannelMinMaxObserver",
    "NoopObserver",
    "PerChannelMinMaxObserver",
    "PlaceholderObserver",
    "RecordingObserver",
    "ReuseInputObserver",
)


@describes(*(f"torch.ao.quantization.{name}" for name in (*_OBSERVERS, "QuantStub", "DeQuantStub")))
def _as_it_comes(module: Any, call: ModuleCall) -> Description:
    """An observer looks on, and a stub marks a place."""
    return chain(ops.Identity())


@describes(
    "torch.ao.quantization.FakeQuantize", "torch.ao.quantization.FusedMovingAvgObsFakeQuantize"
)
def _fake_quantise(module: Any, call: ModuleCall) -> Description:
    """The levels that this call has used: an observer that is on moves them in each call, in
    evaluation mode too."""
    op = _op(module, call.x.ndim)
    return chain(ops.Identity() if op is None else op)


def quantiser(module: Any, ndim: int) -> ops.FakeQuantize | None:
    """What a FakeQuantize does to a tensor of so many axes; None where it is off, or only
    observes."""
    why = refusal(module)
    if why:
        raise Undescribed(why)
    if hasattr(module, "fake_quant_enabled"):
        return _op(module, ndim)
    return None


def _op(module: Any, ndim: int) -> ops.FakeQuantize | None:
    if not int(module.fake_quant_enabled[0]):
        return None
    size, zero = (part.numpy(force=True).copy() for part in (module.scale, module.zero_point))
    if module.is_per_channel:
        around = [1] * ndim
        around[module.ch_axis] = -1
        size, zero = size.reshape(around), zero.reshape(around)
    else:
        size, zero = size.reshape(()), zero.reshape(())
    limits = module.activation_post_process
    return ops.FakeQuantize(
        size=size,
        zero_point=zero,
        low=int(limits.quant_min),
        high=int(limits.quant_max),
        zero_first=zero.dtype.kind == "f",
        wraps=bool(module.is_per_channel),
    )


@completes
def _observed(module: Any, call: ModuleCall, description: Description) -> Description:
    """The quantiser that ``prepare_qat`` hangs behind a layer works on what the layer gives on."""
    if "_observer_forward_hook" not in [
        getattr(hook, "__name__", "") for hook in module._forward_hooks.values()
    ]:
        return description
    if getattr(module.activation_post_process, "is_per_channel", False):
        raise Undescribed("per-channel quantisation of its output is not supported")
    op = quantiser(module.activation_post_process, 0)
    if op is None:
        return description
    if isinstance(description.steps[-1].op, ops.Outputs):
        raise Undescribed("several outputs with one quantiser are not supported")
    return followed_by(description, op)


def fake_quantised(weight: Weight, op: ops.FakeQuantize | None) -> Weight:
    """The weight after its quantiser, in float32 as the layer computes it, and the words for it."""
    if op is None:
        return weight
    values = weight.effective
    (effective,) = op.run(values.astype(np.float32, copy=False))
    scaled = np.rint(values / op.size) + op.zero_point
    clipped = int(((scaled < op.low) | (scaled > op.high)).sum())
    words = (
        f"fake-quantised to {op.levels} levels, {_range('scale', op.size)}, "
        f"{_range('zero point', op.zero_point)}: {clipped} values clipped"
    )
    grid = None
    if np.asarray(op.zero_point).dtype.kind != "f":
        zero = np.asarray(op.zero_point, np.int64)
        grid = Grid(
            np.asarray(op.size, np.float64), (op.high - op.low).bit_length(), op.low < 0, zero
        )
    return replace(
        weight, effective=effective.astype(values.dtype), steps=(*weight.steps, words), grid=grid
    )


def _range(name: str, values: np.ndarray) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    if low == high:
        return f"{name} {low:g}"
    return f"{name} {low:g} to {high:g} per channel"


def _with(call: ModuleCall, **weights: Weight | None) -> ModuleCall:
    """The call with these in place of the module's own parameters."""
    return replace(call, read=lambda name: weights[name] if name in weights else call.read(name))


def _quantised_weight(module: Any, call: ModuleCall) -> ModuleCall:
    weight = call.required("weight")
    return _with(
        call,
        weight=fake_quantised(weight, quantiser(module.weight_fake_quant, weight.effective.ndim)),
    )


_PLAIN: dict[str, Callable[[Any, ModuleCall], Description]] = {
    "torch.ao.nn.qat.Linear": linear,
    "torch.ao.nn.qat.dynamic.Linear": linear,
    "torch.ao.nn.qat.Embedding": embedding,
    **{f"torch.ao.nn.qat.Conv{rank}d": convolution for rank in (1, 2, 3)},
}
_WITH_RELU: dict[str, Callable[[Any, ModuleCall], Description]] = {
    "torch.ao.nn.intrinsic.qat.LinearReLU": linear,
    **{f"torch.ao.nn.intrinsic.qat.ConvReLU{rank}d": convolution for rank in (1, 2, 3)},
}


def _register(name: str, plain: Callable[[Any, ModuleCall], Description], relu: bool) -> None:
    @describes(name)
    def layer(module: Any, call: ModuleCall) -> Description:
        """The float layer with its weight fake-quantised."""
        described = plain(module, _quantised_weight(module, call))
        if relu:
            return followed_by(described, ops.Relu())
        return described


for _name, _layer in _PLAIN.items():
    _register(_name, _layer, False)
for _name, _layer in _WITH_RELU.items():
    _register(_name, _layer, True)


@describes("torch.ao.nn.qat.EmbeddingBag", several=True)
def _bag(module: Any, call: ModuleCall) -> Description:
    return bag(module, _quantised_weight(module, call))


def _batch_statistics(module: Any) -> str:
    if not module.bn.training:
        return ""
    return (
        "in training mode it normalises with the statistics of the batch; call eval() on it first"
    )


@describes(
    *(f"torch.ao.nn.intrinsic.qat.ConvBn{rank}d" for rank in (1, 2, 3)), refuses=_batch_statistics
)
def _conv_bn(module: Any, call: ModuleCall) -> Description:
    return _folded(module, call, convolution, len(module.kernel_size))


@describes(
    *(f"torch.ao.nn.intrinsic.qat.ConvBnReLU{rank}d" for rank in (1, 2, 3)),
    refuses=_batch_statistics,
)
def _conv_bn_relu(module: Any, call: ModuleCall) -> Description:
    return followed_by(_folded(module, call, convolution, len(module.kernel_size)), ops.Relu())


@describes("torch.ao.nn.intrinsic.qat.LinearBn1d", refuses=_batch_statistics)
def _linear_bn(module: Any, call: ModuleCall) -> Description:
    return _folded(module, call, linear, 0)


def _folded(
    module: Any, call: ModuleCall, plain: Callable[[Any, ModuleCall], Description], rank: int
) -> Description:
    """The sums with fake_quant(weight * gain), divided by the gain, plus the bias, normalised: the
    gain is undone and applied again.

    (torch/ao/nn/intrinsic/qat/modules/conv_fused.py, _forward_approximate; its slow form adds the
    folded bias to the sums.)
    """
    if call.x.ndim != rank + 2:
        raise Undescribed(f"an input with {call.x.ndim} axes; {rank + 2} were expected")
    parts = {
        name: call.required(name)
        for name in ("weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    }
    weight, bias = parts["weight"], call.weight("bias")
    deviation = np.sqrt(parts["bn.running_var"].effective + np.float32(module.bn.eps))
    gain = parts["bn.weight"].effective / deviation
    folded = weight.effective * gain.reshape(-1, *(1,) * (weight.effective.ndim - 1))
    words = (
        f"times bn.weight / sqrt(bn.running_var + {module.bn.eps:g}), a number per output channel"
    )
    held = {"weight before its fake quantisation": folded}
    kernel = replace(
        weight, effective=folded, steps=(*weight.steps, words), parts={**weight.parts, **held}
    )
    kernel = fake_quantised(kernel, quantiser(module.weight_fake_quant, folded.ndim))
    sums = plain(module, _with(call, weight=kernel, bias=None))
    around = (-1, *(1,) * rank)
    if getattr(module, "_enable_slow_path_for_better_numerical_stability", False):
        mean = parts["bn.running_mean"].effective - (0 if bias is None else bias.effective)
        value = parts["bn.bias"].effective - parts["bn.weight"].effective * mean / deviation
        text = "bn.bias - bn.weight * (bn.running_mean - bias) / sqrt(bn.running_var + eps)"
        stored = None if bias is None else bias.stored
        used = Weight("bias", stored, value, (text,), shape=around)
        return followed_by(sums, ops.AddConstant(used))
    undone_by = f"divides the sums by gain = bn.weight / sqrt(bn.running_var + {module.bn.eps:g})"
    undone = Weight("1 / gain", None, 1 / gain.astype(np.float64), (undone_by,), shape=around)
    biased = () if bias is None else (ops.AddConstant(replace(bias, shape=around)),)
    scale, offset, mean_, variance = (
        parts[f"bn.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    norm = ops.BatchNormalization(
        scale=scale, bias=offset, mean=mean_, variance=variance, epsilon=module.bn.eps, axis=1
    )
    return followed_by(sums, ops.MulConstant(undone), *biased, norm)
