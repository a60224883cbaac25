"""A file of codes seen as the numbers that these stand for: what a model of floats is compared
with.

Each tensor is (code - zero point) * scale, each node the function that its operator is of floats,
with its constants as numbers, and the rounding of its output to the grid behind it.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from probe import ops
from probe.description import Description, Grid, Ref, Weight
from probe.errors import Undescribed, describing
from probe.listing import Layer, Shown
from probe.model import CallOutput, Capture, InputSpec, ModelInput, OnCall, Producer
from probe.ops.step import Step

from .arithmetic import EngineKernel
from .codes import as_codes
from .dataflow import CONTROL, Dataflow, short
from .describe import INTEGERS, describe_node
from .effective import dequantised, worked_out
from .engines import machine
from .node_capture import grid_of
from .runs import Values
from .schema import OMITTED, Quantisation, TfliteNode, TfliteTensor

if TYPE_CHECKING:
    from .model import TfliteModel

__all__ = ["InRealNumbers"]

_BIASES = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Which input is a bias, whose scale the kernels form of the input's and the weights'."""
_ROUNDING_ALONE = ("QUANTIZE", "DEQUANTIZE")
_HANDING_ON = {
    *("BATCH_TO_SPACE_ND", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER"),
    *("MAXIMUM", "MAX_POOL_2D", "MINIMUM", "MIRROR_PAD", "PACK", "PAD", "PADV2", "RESHAPE"),
    *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH"),
    *("SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK"),
}
"""What gives codes that it takes, and rounds nothing where all have one scale and zero point."""


@dataclass(frozen=True, eq=False, repr=False)
class InRealNumbers(Shown):
    """The model of codes with numbers in their place (``probe.model.Model``)."""

    codes: "TfliteModel"

    @property
    def flow(self) -> Dataflow:
        return self.codes.flow

    @property
    def source(self) -> str:
        return self.codes.source

    @property
    def framework(self) -> str:
        return self.codes.framework

    @property
    def notes(self) -> tuple[str, ...]:
        words = "its integers are compared as the numbers that they stand for"
        floats = [np.zeros(()) for _ in self._fed]
        if quantised := as_codes(self._fed, floats)[1]:
            words = f"{words}; its input is {quantised}"
        return (words, *self.codes.notes)

    @property
    def other_files(self) -> tuple[str, ...]:
        return self.codes.other_files

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.codes.layers

    @property
    def containers(self) -> tuple[Layer, ...]:
        return ()

    @property
    def input_hint(self) -> str:
        return ""

    @property
    def input_index_bound(self) -> int | None:
        return None

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        return tuple(
            spec if grid_of(tensor) is None else replace(spec, dtype="float32")
            for spec, tensor in zip(self.codes.inputs, self._fed, strict=True)
        )

    @cached_property
    def _fed(self) -> tuple[TfliteTensor, ...]:
        return tuple(self.flow.tensors[at] for at in self.flow.main.inputs if at != OMITTED)

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        return ()

    def argument_names(self) -> tuple[str, ...]:
        return ()

    def output_names(self) -> tuple[str, ...]:
        return self.codes.output_names()

    def names(self) -> tuple[str, ...]:
        return self.codes.names()

    def may_be_operation(self, name: str) -> bool:
        return False

    def settings(self) -> AbstractContextManager[None]:
        return self.codes.settings()

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        """With the rounding of each input as a call of its own before the others."""
        arrays, _ = as_codes(self._fed, list(map(np.asarray, inputs)))
        rounded: dict[Producer, Producer] = {}
        for place, (tensor, array) in enumerate(zip(self._fed, arrays, strict=True)):
            if (grid := grid_of(tensor)) is None:
                continue
            call = _rounding_of(tensor, np.asarray(inputs[place], np.float32), array, place, grid)
            rounded[ModelInput(place)] = CallOutput(call.layer, 0, 0)
            if wanted is None:
                on_call(call)

        def seen(node: TfliteNode, values: Values, call: Capture) -> Capture:
            return self._in_numbers(node, values, call, rounded if wanted is None else {})

        def in_codes(call: Capture) -> Any:
            given = on_call(call)
            if given is None:
                return None
            tensors = [self.flow.tensors[at] for at in self.flow.given(self.flow.nodes[call.layer])]
            return as_codes(tensors, list(map(np.asarray, given)))[0]

        results = replace(self.codes, seen=seen).run(arrays, wanted, in_codes)
        return tuple(
            _numbers(array, grid_of(self.flow.tensors[at]))
            for at, array in zip(self.flow.main.outputs, results, strict=True)
        )

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        def seen(node: TfliteNode, values: Values, call: Capture) -> Capture:
            return self._in_numbers(node, values, call, {})

        replace(self.codes, seen=seen).run_alone(name, inputs, on_call)

    def _in_numbers(
        self,
        node: TfliteNode,
        values: Values,
        call: Capture,
        rounded: Mapping[Producer, Producer],
    ) -> Capture:
        """A call whose arrays are numbers; as it is where it takes and gives no codes."""
        made_by = tuple(rounded.get(maker, maker) if maker else None for maker in call.made_by)
        if not any(grid is not None for grid in (*call.input_grids, *call.output_grids)):
            return replace(call, made_by=made_by)
        inputs, outputs = (
            tuple(map(_numbers, arrays, grids))
            for arrays, grids in (
                (call.inputs, call.input_grids),
                (call.outputs, call.output_grids),
            )
        )
        described, why = self._described(node, values, call, inputs, outputs)
        return replace(
            call,
            inputs=inputs,
            outputs=outputs,
            dtype="float32",
            description=described,
            why=why,
            made_by=made_by,
            input_grids=(),
            output_grids=(),
        )

    def _described(
        self,
        node: TfliteNode,
        values: Values,
        call: Capture,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
    ) -> tuple[Description | None, str]:
        if node.operator in CONTROL:
            return None, "its subgraphs compute with integers that stand for numbers"
        if node.operator in _ROUNDING_ALONE:
            return _rounded((Step(ops.Identity(), (Ref(-1, 0),)),), call.output_grids), ""
        given = self.flow.given(node)
        taken = self.flow.taken(node)
        if len(taken) != len(inputs):
            return None, "an input of it was not captured"
        arrays = dict(zip((*taken, *given), (*inputs, *outputs), strict=True))
        try:
            with describing():
                found = describe_node(
                    node,
                    replace(self.flow.main, tensors=tuple(map(_of_numbers, self.flow.tensors))),
                    arrays,
                    taken,
                    EngineKernel(self.codes.engine, machine(), values.delegated_to(node)),
                    worked_out(self.flow, node, values.arrays) | self._constants(node),
                )
        except Undescribed as error:
            return None, str(error)
        grids = {_key(grid) for grid in (*call.input_grids, *call.output_grids)}
        if node.operator in _HANDING_ON and len(grids) == 1:
            return found, ""
        return _rounded(found.steps, call.output_grids), ""

    def _constants(self, node: TfliteNode) -> dict[int, Weight]:
        """The constants of a node as numbers."""
        tensors = self.flow.tensors
        found = {}
        for place, at in enumerate(node.inputs):
            if at == OMITTED or at in self.flow.following:
                continue
            tensor = tensors[at]
            if place == _BIASES.get(node.operator) and tensor.constant is not None:
                scales = [tensors[of].quantisation for of in node.inputs[place - 2 : place]]
                tensor = replace(tensor, quantisation=_of_sums(tensor, scales))
            if tensor.constant is not None and tensor.quantisation is not None:
                found[at] = dequantised(tensor, tensor.constant)
        return found


def _rounding_of(
    tensor: TfliteTensor, given: np.ndarray, codes: np.ndarray, place: int, grid: Grid
) -> Capture:
    """The rounding of an input of the model as a call."""
    return Capture(
        f"{short(tensor.name)} to {tensor.dtype}",
        "QUANTIZE",
        0,
        (given,),
        (_numbers(codes, grid),),
        "float32",
        _rounded((Step(ops.Identity(), (Ref(-1, 0),)),), (grid,)),
        made_by=(ModelInput(place),),
    )


def _numbers(array: np.ndarray, grid: Grid | None) -> np.ndarray:
    """What codes stand for, in the float32 that a model of floats has."""
    if grid is None:
        return array
    numbers: np.ndarray = (array.astype(np.float64) - grid.zero_point) * grid.scale
    return numbers.astype(np.float32)


def _rounded(steps: Sequence[Step], grids: Sequence[Grid | None]) -> Description:
    """The steps and behind them the rounding of each output to its grid."""
    rounded, last = list(steps), len(steps) - 1
    ends = []
    for place, grid in enumerate(grids):
        ends.append(Ref(last, place))
        if grid is None:
            continue
        low, high = _limits(grid)
        op = ops.FakeQuantize(
            np.asarray(grid.scale), np.asarray(grid.zero_point, np.float64), low, high
        )
        rounded.append(Step(op, (ends.pop(),)))
        ends.append(Ref(len(rounded) - 1))
    if len(ends) > 1:
        rounded.append(Step(ops.Outputs(), tuple(ends)))
    return Description(tuple(rounded))


def _limits(grid: Grid) -> tuple[int, int]:
    name = f"int{grid.bits}" if grid.signed else f"uint{grid.bits}"
    if name not in INTEGERS:
        raise Undescribed(f"an output of {name} has no description")
    return INTEGERS[name]


def _key(grid: Grid | None) -> tuple[bytes, ...]:
    """What two grids are equal by."""
    if grid is None:
        return ()
    return tuple(np.asarray(part, np.float64).tobytes() for part in (grid.scale, grid.zero_point))


def _of_numbers(tensor: TfliteTensor) -> TfliteTensor:
    """A tensor as it would be without codes."""
    if grid_of(tensor) is None:
        return tensor
    return replace(tensor, dtype="float32", quantisation=None)


def _of_sums(tensor: TfliteTensor, factors: Sequence[Quantisation | None]) -> Quantisation | None:
    """The scale of a sum of products of codes, which that of a bias is."""
    if any(factor is None or not factor.scale.size for factor in factors):
        return tensor.quantisation
    scale = np.ones(1, np.float32)
    for factor in factors:
        assert factor is not None
        scale = scale * factor.scale
    return Quantisation(scale, np.zeros(scale.shape, np.int64), 0 if scale.size > 1 else None)
