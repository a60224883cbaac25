"""The call of a function as a capture: what it took and gave, and its description."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from probe.capture.producers import Producers
from probe.description import Description, Ref, Site, Weight
from probe.errors import Undescribed, describing
from probe.model import Capture, Producer

from ..describe.mixed_precision import refuse_mixture, rounding
from ..functions import CallBuilder, describe_function, functions, named
from ..packages.ao_quantized import to_levels
from .call_notes import notes_on_autocast
from .constants import Constants, DescribedCall
from .function_names import BOUNDED, CASTS, NESTED, writes_to_argument
from .module_frames import ModuleFrame, SourceLine
from .module_tensors import ModuleTensors
from .onnx_export import Called, Settings, alone
from .other_arguments import FunctionAgain
from .tensor_marks import VARIES, Marks
from .tensors import (
    array_of,
    autocast_in,
    copied,
    dtype_name,
    floating_types,
    leaf_tensor,
    levels_of,
)
from .writes import Writes, arrays_of
from .written_views import WrittenBase, written_base

__all__ = ["BeforeCall", "CallName", "FunctionCall", "FunctionCaptures"]


class FunctionCall(NamedTuple):
    """A call of a function that is on."""

    function: Callable[..., Any]
    args: Any
    kwargs: Any
    name: str
    """In the table of functions."""
    shown: str
    tensors: list[torch.Tensor]
    """Those among the arguments, in order."""
    follows: bool
    varies: bool
    learned: bool
    """Whether it takes parameters, and nothing that varies."""


class CallName(NamedTuple):
    """The name of a call, the one by its source line, how many of its name came before it, and the
    line."""

    layer: str
    alias: str | None
    number: int
    line: SourceLine


class BeforeCall(NamedTuple):
    """What is known only before a call: the values of tensors, by their ids, where it writes to
    some, and what had made these."""

    writes: bool
    values: Mapping[int, np.ndarray]
    made_by: Mapping[int, Producer | None]
    bases: Sequence[WrittenBase]
    constants: Collection[int]
    """The ids of the tensors that follow neither from the model's input nor from the arguments of a
    container: of what is written to only the time before tells it."""


_NOTHING_WRITTEN = BeforeCall(False, {}, {}, (), ())


@dataclass
class _Operands:
    """What stands for each tensor of a call, by its id: an input, or a weight."""

    places: dict[int, Ref | Weight] = field(default_factory=dict)
    inputs: list[np.ndarray] = field(default_factory=list)
    dtypes: list[torch.dtype] = field(default_factory=list)
    made_by: list[Producer | None] = field(default_factory=list)
    fixed: list[int] = field(default_factory=list)

    def inputs_of(self, tensors: Sequence[torch.Tensor]) -> dict[int, torch.Tensor]:
        """The tensors that inputs stand for, by the number of the input."""
        placed = [(self.places[id(tensor)], tensor) for tensor in tensors]
        return {place.index: tensor for place, tensor in placed if isinstance(place, Ref)}


@dataclass
class FunctionCaptures:
    """Makes the captures of one pass."""

    marks: Marks
    held: ModuleTensors
    producers: Producers
    writes: Writes
    settings: Settings
    constants: Constants = field(default_factory=Constants)

    def before(self, call: FunctionCall, contained: bool) -> BeforeCall:
        """To be asked before the call; ``contained`` says whether a container is asked for that it
        lies in."""
        constants: set[int] = set()
        if contained:
            constants = {id(tensor) for tensor in call.tensors if self.marks.constant(tensor)}
        if not writes_to_argument(call.function, call.name, call.args, call.kwargs):
            return BeforeCall(False, {}, {}, (), constants)
        values: dict[int, np.ndarray] = {}
        made_by: dict[int, Producer | None] = {}
        for tensor in call.tensors:
            values[id(tensor)] = _copied(tensor, call)
            made_by[id(tensor)] = self.producers.of(tensor, values[id(tensor)])
        bases = [tensor._base for tensor in call.tensors] if contained else []
        written = [
            written_base(base, self.marks, self.producers) for base in bases if base is not None
        ]
        return BeforeCall(True, values, made_by, written, constants)

    def capture(
        self,
        call: FunctionCall,
        before: BeforeCall,
        name: CallName,
        results: Sequence[torch.Tensor],
        frame: ModuleFrame,
    ) -> Capture:
        """The capture of a call that has ended."""
        operands = self._operands(call, before, frame)
        outputs = tuple(_copied(result, call) for result in results)
        build = _builder(call, operands, outputs, results, frame.module.training)
        placed = [(operands.places[id(tensor)], tensor) for tensor in call.tensors]
        held = self.writes.begun(
            (place.name, tensor) for place, tensor in placed if isinstance(place, Weight)
        )
        description, why = _described(call, build, operands.places, results)
        exported = again = None
        if description is None and not (before.writes or build.lengths or build.complexes):
            args, kwargs = self._stood_for(call, operands)
            again = FunctionAgain(call.function, args, kwargs, operands.inputs, operands.dtypes)
            exported = self._alone(again)
        return Capture(
            layer=name.layer,
            kind=call.shown,
            call=name.number,
            inputs=tuple(operands.inputs),
            outputs=outputs,
            dtype=_dtype(results, call.tensors),
            description=description,
            why=why,
            training=frame.module.training,
            notes=notes_on_autocast(results[:1]),
            made_by=tuple(operands.made_by),
            fixed=tuple(operands.fixed),
            constants=self.constants.asked(operands.inputs_of(call.tensors)),
            alias=name.alias,
            line=name.line.number,
            code=name.line.code,
            expression=name.line.expression,
            function=call.shown,
            alone=exported,
            again=again,
            changed=self.writes.changed(held, arrays_of(description)),
        )

    def note_constant(
        self, call: FunctionCall, results: Sequence[torch.Tensor], frame: ModuleFrame
    ) -> None:
        """Notes a call that has ended and took nothing that follows from the model's input."""
        if results and not writes_to_argument(call.function, call.name, call.args, call.kwargs):
            describe = partial(self._constant, call, results, frame)
            name, line = f"{frame.place}/constant/{named(call.name)}", frame.line()
            site = Site(
                name, _dtype(results, call.tensors), -1, call.shown, line.code, line.expression
            )
            self.constants.note(call.tensors, results, describe, site)

    def _constant(
        self, call: FunctionCall, results: Sequence[torch.Tensor], frame: ModuleFrame
    ) -> DescribedCall:
        with torch._C.DisableTorchFunction():
            operands = self._operands(call, _NOTHING_WRITTEN, frame)
            outputs = tuple(_copied(result, call) for result in results)
            build = _builder(call, operands, outputs, results, frame.module.training)
            found, _ = _described(call, build, operands.places, results)
            return DescribedCall(found, operands.places)

    def _operands(self, call: FunctionCall, before: BeforeCall, frame: ModuleFrame) -> _Operands:
        operands = _Operands()
        for tensor in call.tensors:
            key = id(tensor)
            if key in operands.places:
                continue
            name = self.held.name(tensor, frame)
            varies = self.marks.of(tensor) & VARIES
            values = before.values.get(key)
            if name is not None and not varies:
                if values is None:
                    lasts = self.held.lasts(tensor, self.writes)
                    values = array_of(tensor) if lasts else copied(tensor)
                operands.places[key] = _weight(name, frame.place, values)
                continue
            number = len(operands.inputs)
            operands.places[key] = Ref(-1, number)
            if key in before.constants or not (varies or values is not None):
                operands.fixed.append(number)
            if values is None:
                values = copied(tensor)
            operands.inputs.append(values)
            operands.dtypes.append(tensor.dtype)
            if key in before.made_by:
                operands.made_by.append(before.made_by[key])
            else:
                operands.made_by.append(self.producers.of(tensor, values))
        return operands

    def _stood_for(self, call: FunctionCall, operands: _Operands) -> Any:
        """The arguments of a call with its weights as they are now, and what stands for inputs."""
        values: dict[int, Ref | torch.Tensor] = {}
        for tensor in call.tensors:
            place = operands.places[id(tensor)]
            values[id(tensor)] = place if isinstance(place, Ref) else tensor.detach()
        return _replaced((call.args, call.kwargs), values)

    def _alone(self, again: FunctionAgain) -> Callable[[], tuple[np.ndarray, ...]]:
        """Exports the call, and runs that in ONNX Runtime."""
        function, args, kwargs, inputs, dtypes = again
        return lambda: alone(Called(function, args, kwargs), inputs, dtypes, self.settings)


def _copied(tensor: torch.Tensor, call: FunctionCall) -> np.ndarray:
    """The values in memory of their own. Where the call has ``out=``, without a word to NumPy of
    the tensor itself, which could not be resized any more, as that does."""
    if call.kwargs.get("out") is not None:
        return copied(tensor.clone())
    return copied(tensor)


def _weight(name: str, place: str, values: np.ndarray) -> Weight:
    """A parameter or buffer as a weight, named from the module that uses it."""
    array = values.view()
    array.flags.writeable = False
    return Weight(name.removeprefix(f"{place}.") if place else name, array, array)


def _builder(
    call: FunctionCall,
    operands: _Operands,
    outputs: Sequence[np.ndarray],
    results: Sequence[torch.Tensor],
    training: bool,
) -> CallBuilder:
    inputs = operands.inputs_of(call.tensors)
    layouts = {}
    if call.name == "as_strided":
        layouts = {
            number: (tensor.stride(), int(tensor.storage_offset()))
            for number, tensor in inputs.items()
        }
    return CallBuilder(
        operands.inputs,
        outputs,
        [dtype_name(result) for result in results],
        training=training,
        fixed=operands.fixed,
        lengths={
            number: [len(sample) for sample in tensor.unbind()]
            for number, tensor in inputs.items()
            if tensor.is_nested
        },
        complexes=[operands.places[id(tensor)] for tensor in call.tensors if tensor.is_complex()],
        layouts=layouts,
    )


def _replaced(tree: Any, values: Mapping[int, Any]) -> Any:
    """The arguments with what stands for each tensor in its place."""
    if isinstance(tree, torch.Tensor):
        return values[id(tree)]
    if leaf_tensor(tree):
        return values[id(tree.value)]
    if isinstance(tree, list | tuple) and not isinstance(tree, torch.Size):
        parts = [_replaced(part, values) for part in tree]
        if isinstance(tree, tuple):
            return tuple(parts)
        return parts
    if isinstance(tree, dict):
        return {key: _replaced(part, values) for key, part in tree.items()}
    return tree


def _described(
    call: FunctionCall,
    build: CallBuilder,
    places: Mapping[int, Ref | Weight],
    results: Sequence[torch.Tensor],
) -> tuple[Description | None, str]:
    args, kwargs = _replaced((call.args, call.kwargs), places)
    name, inputs = call.name, call.tensors
    tensors = [*inputs, *results]
    try:
        if name in BOUNDED:
            typed = [tensor for tensor in inputs if tensor.dim()]
        else:
            typed = inputs
        kinds = floating_types(typed or inputs), floating_types(results)
        mixed = len({*kinds[0], *kinds[1]}) > 1 and name not in CASTS
        rounded = rounding(name, *kinds, autocast_in(results)) if mixed else None
        if mixed and rounded is None:
            refuse_mixture(name, *kinds, kwargs.get("out") is not None)
        if any(tensor.is_nested for tensor in tensors) and name not in NESTED:
            raise Undescribed(
                "nested tensors (samples of different lengths) are not supported here"
            )
        if any(tensor.is_complex() for tensor in tensors):
            name = f"complex.{name}"
            if name not in functions():
                raise Undescribed(f"complex numbers are not supported in {call.shown}")
        if rounded is not None:
            args, kwargs = rounded.weights_in((args, kwargs))
            build.inputs, before = tuple(map(rounded.array, build.inputs)), build.inputs
        with describing():
            description = describe_function(name, call.shown, build, args, kwargs)
            if rounded is not None:
                description = rounded.before(description, before)
            levels = [list(map(levels_of, side)) for side in (inputs, results)]
            return to_levels(description, *levels), ""
    except Undescribed as error:
        return None, str(error)


def _dtype(results: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> str:
    """The type that a call computes in."""
    for tensor in (*results, *inputs):
        if tensor.is_floating_point() or tensor.is_complex():
            return dtype_name(tensor)
    return dtype_name(results[0])
