"""Dynamically quantised recurrences of torch.ao: integers for weights, and what they multiply
quantised in each call.

The input of a layer goes to levels over the range of its whole sequence, the state to levels over
the range of the batch before each step (ATen/native/RNN.cpp, QuantizedCellParamsDynamic); sums,
gates and states stay in float. In float16 only the weights are narrowed.
"""

from dataclasses import replace
from typing import Any

from probe.description import Description, Weight
from probe.errors import Undescribed

from ..describe.describe import ModuleCall, describes
from ..layers.recurrent import cell, recurrence
from .ao_quantized import DYNAMIC_HIGH, unpacked

__all__: list[str] = []

_PLACE = "torch.ao.nn.quantized.dynamic"


def _held(module: Any, call: ModuleCall) -> tuple[ModuleCall, int | None]:
    """The call with the packed parameters to read, and the highest level of what they multiply."""
    if call.inputs[0].size == 0:
        raise Undescribed("an empty input is not supported")
    weights = {name: unpacked(name, tensor) for name, tensor in module.get_weight().items()}
    for name, tensor in module.get_bias().items():
        if tensor is not None:
            values = tensor.detach().numpy(force=True)
            weights[name] = Weight(name, values, values)
    integers = all(
        weight.grid is not None for name, weight in weights.items() if name.startswith("weight")
    )
    return replace(call, read=weights.get), DYNAMIC_HIGH.get(call.engine, 127) if integers else None


@describes(f"{_PLACE}.LSTM", f"{_PLACE}.GRU", several=True)
def _recurrence(module: Any, call: ModuleCall) -> Description:
    return recurrence(module, *_held(module, call))


@describes(f"{_PLACE}.LSTMCell", f"{_PLACE}.GRUCell", f"{_PLACE}.RNNCell", several=True)
def _cell(module: Any, call: ModuleCall) -> Description:
    return cell(module, *_held(module, call))
