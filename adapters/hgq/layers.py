"""HGQ2's layers that are Keras' or hardly more: dense, convolution, einsum, pooling, merging, sums,
and functions kept as tables."""

from collections.abc import Sequence
from typing import Any

from probe import ops
from probe.description import Description, Ref, Step
from probe.errors import Undescribed

from ..keras.describe.call import KerasCall
from ..keras.describe.describe import REGISTERED, describes
from ..keras.layers import conv, einsum, merging, pooling  # noqa: F401 (they register what the layers here extend)
from ..keras.layers.activation import activation_steps
from .description import between_quantizers
from .quantizers import quantizer_ops

for _name in (
    *(
        "Dense",
        "EinsumDense",
        "Conv1D",
        "Conv2D",
        "Conv3D",
        "Add",
        "Subtract",
        "Multiply",
        "Maximum",
        "Minimum",
        "Dot",
    ),
    *(
        f"{pooled}Pooling{rank}D"
        for pooled in ("Max", "Average", "GlobalMax", "GlobalAverage")
        for rank in (1, 2, 3)
    ),
):
    between_quantizers(f"Q{_name}")(REGISTERED[_name])


@describes("hgq.Quantizer")
def _quantizer(layer: Any, call: KerasCall) -> Description:
    if call.training:
        raise Undescribed("in training mode it adapts to the batch")
    return Description(
        tuple(Step(op) for op in quantizer_ops(layer, "it is")) or (Step(ops.Identity()),)
    )


def _scaled(steps: Sequence[Step], gain: float) -> Description:
    return Description((*steps, Step(ops.Affine(gain=float(gain), offset=0.0))))


@between_quantizers("QAveragePow2")
def _average(layer: Any, call: KerasCall) -> Description:
    return _scaled(REGISTERED["Add"](layer, call).steps, layer._scale)


@between_quantizers("QSum", "QMeanPow2")
def _sum(layer: Any, call: KerasCall) -> Description:
    return _scaled(
        (Step(ops.ReduceSum(axes=tuple(layer.axes), keepdims=bool(layer.keepdims))),), layer.scale
    )


@between_quantizers("QEinsum")
def _einsum(layer: Any, call: KerasCall) -> Description:
    return Description(
        (
            Step(
                ops.Einsum(equation=layer.equation),
                tuple(Ref(-1, index) for index in range(len(call.inputs))),
            ),
        )
    )


@between_quantizers("QUnaryFunctionLUT")
def _function(layer: Any, call: KerasCall) -> Description:
    return Description(
        activation_steps(layer.activation, call, len(call.shape)) or (Step(ops.Identity()),)
    )


@between_quantizers("QAffinedUnaryFunctionLUT")
def _affined(layer: Any, call: KerasCall) -> Description:
    line = (
        Step(ops.MulConstant(call.weight("scale", layer.scale))),
        Step(ops.AddConstant(call.weight("bias", layer.bias))),
    )
    return Description((*line, *activation_steps(layer.activation, call, len(call.shape))))
