"""Quantised modules of torch.ao: the float layer on dequantised values, with integers behind its
weights, to levels behind it.

Measured over the engines of PyTorch 2.13: x86, fbgemm and onednn add the bias in float32 to the
integer sums and round once, half to even; qnnpack rounds the bias to an integer of the sums first.
onednn adds the output's zero point before it rounds.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Grid, Ref, Weight, followed_by
from probe.errors import Undescribed

from ..describe.describe import Levels, ModuleCall, chain, completes, described_as, describes
from ..layers.conv import convolution, linear

__all__ = ["DYNAMIC_HIGH", "to_levels", "unpacked"]

_PLACE = "torch.ao.nn.quantized"
_FUSED = "torch.ao.nn.intrinsic.quantized"


def unpacked(name: str, packed: Any) -> Weight:
    """A weight that was packed: its integers are what is stored."""
    if packed.is_quantized:
        values = packed.dequantize().numpy(force=True)
    else:
        values = packed.numpy(force=True)
    if not packed.is_quantized:
        return Weight(name, None, values.astype(np.float32), ("stored in float16",))
    if "per_channel" in str(packed.qscheme()):
        around = [1] * values.ndim
        around[packed.q_per_channel_axis()] = -1
        size, zero = (
            part.numpy(force=True).reshape(around)
            for part in (packed.q_per_channel_scales(), packed.q_per_channel_zero_points())
        )
    else:
        size, zero = np.asarray(packed.q_scale()), np.asarray(packed.q_zero_point())
    bits, signed = _DTYPES[str(packed.dtype).removeprefix("torch.")]
    codes = np.rint(values / size + zero)
    if size.size == 1:
        text = f"{size.min():g}"
    else:
        text = f"{size.min():g} to {size.max():g} per channel"
    words = (
        f"{'' if signed else 'u'}int{bits} ({int(np.unique(codes).size)} levels used), times "
        f"scale {text}"
    )
    words += f", minus zero point {_range_of(zero)}" if zero.any() else ""
    if zero.dtype.kind == "f":
        grid = None
    else:
        grid = Grid(size.astype(np.float64), bits, signed, zero.astype(np.int64))
    return Weight(name, codes.astype(np.int8 if signed else np.uint8), values, (words,), grid=grid)


_DTYPES = {"qint8": (8, True), "quint8": (8, False), "quint4x2": (4, False), "qint32": (32, True)}


def _range_of(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return f"{low:g}"
    return f"{low:g} to {high:g}"


def _bias(module: Any, call: ModuleCall, weight: Weight) -> Weight | None:
    """In float; qnnpack rounds it to multiples of the input's scale times the weight's."""
    held = module.bias()
    if held is None:
        return None
    stored = held.numpy(force=True)
    if call.engine != "qnnpack" or weight.grid is None or not call.levels or call.levels[0] is None:
        return Weight("bias", stored, stored)
    scale = np.float32(call.levels[0].scale) * weight.grid.scale.reshape(-1).astype(np.float32)
    effective = np.rint(stored / scale).astype(np.float64) * scale
    return Weight(
        "bias",
        stored,
        effective,
        (f"rounded to multiples of the input's scale times the weight's, {_range_of(scale)}",),
        grid=Grid(scale.astype(np.float64), 32),
    )


def _held(module: Any, call: ModuleCall) -> ModuleCall:
    """The call with the packed parameters for a description to read."""
    weight = unpacked("weight", module.weight())
    weights = {"weight": weight, "bias": _bias(module, call, weight)}
    return replace(call, read=lambda name: weights[name])


def _op(levels: Levels, zero_first: bool = True) -> ops.FakeQuantize:
    return ops.FakeQuantize(
        np.asarray(levels.scale), np.asarray(levels.zero_point), levels.low, levels.high, zero_first
    )


def to_levels(
    description: Description,
    input_levels: Sequence[Levels | None],
    output_levels: Sequence[Levels | None],
) -> Description:
    """What gives on a quantised tensor rounds to its levels, whatever it is; moving elements leaves
    them on those that they had."""
    if (
        not output_levels
        or output_levels[0] is None
        or isinstance(description.steps[-1].op, ops.FakeQuantize)
    ):
        return description
    moved = all(isinstance(step.op, ops.Rearrangement) for step in description.steps)
    if (
        moved
        and all(levels is None or levels == output_levels[0] for levels in input_levels)
        and any(input_levels)
        and set(output_levels) == {output_levels[0]}
    ):
        return description
    if len(output_levels) > 1:
        raise Undescribed("several quantised outputs are not supported")
    return followed_by(description, _op(output_levels[0]))


@completes
def _requantised(module: Any, call: ModuleCall, description: Description) -> Description:
    return to_levels(description, call.levels, call.output_levels)


def _rounded(call: ModuleCall) -> ops.FakeQuantize:
    """How sums of integers come to the output's levels."""
    (levels,) = call.output_levels
    assert levels is not None
    return _op(levels, call.engine == "onednn")


@describes(f"{_PLACE}.Quantize", f"{_PLACE}.DeQuantize", f"{_PLACE}.Dropout")
def _as_it_comes(module: Any, call: ModuleCall) -> Description:
    """What is compared are the numbers that a quantised tensor stands for; to_levels says what
    becomes of others."""
    return chain(ops.Identity())


Behind = Callable[[Any], tuple[ops.Op, ...]]
_SUMS: dict[str, tuple[Callable[[Any, ModuleCall], Description], Behind]] = {
    f"{_PLACE}.Linear": (linear, lambda m: ()),
    f"{_FUSED}.LinearReLU": (linear, lambda m: (ops.Relu(),)),
    f"{_FUSED}.LinearLeakyReLU": (linear, lambda m: (ops.LeakyRelu(alpha=m.negative_slope),)),
    f"{_FUSED}.LinearTanh": (linear, lambda m: (ops.Tanh(),)),
    **{f"{_PLACE}.Conv{rank}d": (convolution, lambda m: ()) for rank in (1, 2, 3)},
    **{f"{_FUSED}.ConvReLU{rank}d": (convolution, lambda m: (ops.Relu(),)) for rank in (1, 2, 3)},
    **{
        f"{_PLACE}.ConvTranspose{rank}d": (partial(described_as, "ConvTranspose1d"), lambda m: ())
        for rank in (1, 2, 3)
    },
}


def _register_sums(
    name: str, plain: Callable[[Any, ModuleCall], Description], behind: Behind
) -> None:
    @describes(name)
    def sums(module: Any, call: ModuleCall) -> Description:
        return followed_by(plain(module, _held(module, call)), *behind(module), _rounded(call))


for _name, (_plain, _behind) in _SUMS.items():
    _register_sums(_name, _plain, _behind)


@describes(f"{_FUSED}.ConvAdd2d", f"{_FUSED}.ConvAddReLU2d", several=True)
def _conv_add(module: Any, call: ModuleCall) -> Description:
    """The second input is added to the sums before they are rounded."""
    build = Builder()
    (y,) = build.include(convolution(module, _held(module, call)).steps, Ref(-1))
    y = build.add(ops.Add(), y, call.arguments["extra_input"])
    if "ReLU" in type(module).__name__:
        y = build.add(ops.Relu(), y)
    return Description(build.ended(build.add(_rounded(call), y)))


_SAME = {
    **{
        name: name
        for name in (
            "ELU",
            "GroupNorm",
            "Hardswish",
            "LayerNorm",
            "LeakyReLU",
            "ReLU6",
            "Sigmoid",
            "Softmax",
        )
    },
    **{
        f"{kind}{rank}d": f"{kind}{rank}d"
        for kind, ranks in (("BatchNorm", (2, 3)), ("InstanceNorm", (1, 2, 3)))
        for rank in ranks
    },
}


def _register_same(name: str, plain: str, *behind: ops.Op) -> None:
    @describes(name)
    def same(module: Any, call: ModuleCall) -> Description:
        """Computed in float, and rounded to the output's levels as ``_requantised`` says."""
        if behind:
            return followed_by(described_as(plain, module, call), *behind)
        return described_as(plain, module, call)


for _name, _as in _SAME.items():
    _register_same(f"{_PLACE}.{_name}", _as)
for _rank in (2, 3):
    _register_same(f"{_FUSED}.BNReLU{_rank}d", f"BatchNorm{_rank}d", ops.Relu())


@describes(f"{_PLACE}.PReLU")
def _prelu(module: Any, call: ModuleCall) -> Description:
    weight = unpacked("weight", module.weight)
    return described_as("PReLU", module, replace(call, read=lambda name: weight))


@describes(f"{_PLACE}.dynamic.Linear", "torch.ao.nn.intrinsic.quantized.dynamic.LinearReLU")
def _dynamic(module: Any, call: ModuleCall) -> Description:
    """The input goes to 128 levels over its own range in each call; the sums stay in float."""
    weight = unpacked("weight", module.weight())
    held = replace(call, read={"weight": weight, "bias": _bias(module, call, weight)}.__getitem__)
    behind = (ops.Relu(),) if "ReLU" in type(module).__name__ else ()
    if weight.grid is None:
        return followed_by(linear(module, held), *behind)
    if call.x.size == 0:
        raise Undescribed("an empty input is not supported")
    build = Builder()
    x = build.add(ops.DynamicQuantize(high=DYNAMIC_HIGH.get(call.engine, 127)), Ref(-1))
    (y,) = build.include(linear(module, held).steps, x)
    for op in behind:
        y = build.add(op, y)
    return replace(linear(module, held), steps=build.ended(y))


DYNAMIC_HIGH = {"qnnpack": 255}
"""The highest level; qnnpack, which sums in more bits, uses all 256."""
