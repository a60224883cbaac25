"""The call of a module as a layer: what is known when it begins, and its description when it
ends."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from probe.description import Description, Weight
from probe.description.custom_layers import registered
from probe.errors import Undescribed, describing
from probe.model import Producer, WorkedOut

from ..describe.describe import ModuleCall, Scale, describe
from ..describe.mixed_precision import refuse_mixture, rounding
from .module_frames import SourceLine
from .restore_state import written
from .tensors import autocast_in, copied, dtype_name, floating_types, levels_of, weight_of
from .writes import Begun, Writes

__all__ = ["ModuleBegun", "Parameters", "described", "dtype_of", "member"]


class ModuleBegun(NamedTuple):
    """A call that is on: copies of its inputs and what made them, and the tensors themselves."""

    inputs: list[np.ndarray]
    tensors: list[torch.Tensor]
    scales: tuple[Scale | None, ...]
    """Those of the inputs that are Brevitas' QuantTensors."""
    cache: ExitStack
    made_by: tuple[Producer | None, ...]
    fixed: tuple[int, ...]
    since: int
    """How many calls had ended when it began."""
    held: list[Begun]
    """The tensors that the module holds."""
    constants: Callable[[], Mapping[int | str, WorkedOut]] | None
    """As of ``Capture``."""
    line: SourceLine
    """The line of the forward around it that makes the call, where it is known."""


@dataclass
class Parameters:
    """The parameters of a module, as a call of it sees them, which may itself change them."""

    module: torch.nn.Module
    writes: Writes
    rewritten: Collection[int]
    """The ids of the parameters that calls of any module write to."""
    before: dict[str, np.ndarray] = field(default_factory=dict)
    """Those that the call changes, as they were."""
    inside: dict[str, np.ndarray] = field(default_factory=dict)
    """The same as a layer within met them, which they were changed for."""

    def copies(self) -> dict[str, np.ndarray]:
        """What the call writes to."""
        return {name: copied(member(self.module, name)) for name in written(self.module)}

    def read(self, name: str) -> Weight | None:
        weight, before = weight_of(self.module, name), self.before.get(name)
        if weight is None:
            return None
        if before is not None:
            return Weight(name, before, self.inside.get(name, before), parts=weight.parts)
        if self._is_rewritten(name):
            values = weight.effective.copy()  # as they are now: they are put back after the pass
            return Weight(name, values, values)
        return weight

    def _is_rewritten(self, name: str) -> bool:
        tensor = member(self.module, name)
        return id(tensor) in self.rewritten or self.writes.count(tensor) > 0


def member(module: torch.nn.Module, name: str) -> torch.Tensor:
    """A tensor by its dotted name, also where it is no parameter (or not now)."""
    inside, _, last = name.rpartition(".")
    tensor: torch.Tensor = getattr(module.get_submodule(inside), last)
    return tensor


def dtype_of(inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> str:
    """The type that a call computes in, "" of one that takes and gives no tensors."""
    tensors = [*outputs, *inputs]
    for tensor in tensors:
        if tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized:
            return dtype_name(tensor)
    if not tensors:
        return ""
    return dtype_name(tensors[0])


def described(
    module: torch.nn.Module,
    begun: ModuleBegun,
    arguments: Mapping[str, Any],
    outputs: Sequence[torch.Tensor],
    read: Callable[[str], Weight | None],
) -> Description:
    """What a call computes; Undescribed where that is not known. ``read`` gives the parameters,
    ``arguments`` are those by their names."""
    tensors, inputs = begun.tensors, tuple(begun.inputs)
    own = [parameter for parameter in module._parameters.values() if parameter is not None]
    kinds = floating_types([*tensors, *own]), floating_types(outputs)
    name = type(module).__name__
    rounded = rounding(name, *kinds, autocast_in(outputs))
    if rounded is None:
        if len(kinds[0] | kinds[1]) > 1:
            refuse_mixture(name, *kinds)
        inputs_read, read_rounded = inputs, read
    else:
        inputs_read = tuple(map(rounded.array, inputs))

        def read_rounded(name: str) -> Weight | None:
            return rounded.weight(read(name))

    quantized = ".quantized." in type(module).__module__
    call = ModuleCall(
        inputs_read,
        read_rounded,
        arguments,
        _may_use_shortcuts(tensors),
        tuple(map(levels_of, tensors)),
        tuple(map(levels_of, outputs)),
        torch.backends.quantized.engine if quantized else "",
        _may_be_fused(tensors),
        begun.scales,
    )
    with nullcontext() if registered(module) else describing():
        description = describe(module, call)
        if rounded is not None:
            description = rounded.before(description, begun.inputs)
    if any(tensor.is_complex() for tensor in (*tensors, *outputs, *own)):
        raise Undescribed("complex numbers are not supported")
    return description


def _may_be_fused(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether a MultiheadAttention called on these may take its fused kernel, as far as its
    parameters do not say."""
    if len(tensors) < 2:
        return False
    first = {(tensor.data_ptr(), tensor.shape, tensor.stride()) for tensor in tensors[:3]}
    return (
        len(first) == 1
        and torch.backends.mha.get_fastpath_enabled()
        and torch._C._len_torch_function_stack() == 0
    )


def _may_use_shortcuts(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether kernels may be chosen that take a shortcut: in channels_last, on another device
    (cuDNN), or NNPACK's without oneDNN."""
    plain = all(
        tensor.layout != torch.strided or (tensor.is_contiguous() and tensor.device.type == "cpu")
        for tensor in tensors
    )
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return not (plain and built and torch.backends.mkldnn.enabled)
