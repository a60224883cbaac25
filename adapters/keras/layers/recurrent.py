"""Keras' recurrent layers and their cells: an op (or steps) for each cell, and around it what RNN
does about masks, states and direction.

``go_backwards`` reads from the end and gives the sequence in the order of reading; a mask skips
steps, whose output repeats the one before. Stacked cells are layers one after the other: where a
step is skipped, all of them skip it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import described_name, describes
from ..describe.layer_tree import is_followed
from .recurrent_cells import cell_ops, described_among, drops, is_stacked, state_count

__all__ = ["STEPWISE", "Read", "Stepwise", "recurrence"]

Stepwise = Callable[[Ref, Ref], tuple[Ref, Ref]]
"""Adds one step of time: its input and the state before -> its output and the state after."""

STEPWISE: dict[str, Callable[[Any, KerasCall, str, Builder, Ref], tuple[Ref, Stepwise]]] = {}
"""Cells that are no op: (cell, call, prefix of its weights' names, steps, the input at all times)
-> what comes in, and one step."""

_LAYERS = (
    "SimpleRNN",
    "LSTM",
    "GRU",
    "RNN",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
)
_ALIKE = (*_LAYERS, "QSimpleRNN", "QLSTM", "QGRU", "QLIF", "QSimpleSNN")
"""Those of QKeras and HGQ2 too, which are described there."""


@dataclass(frozen=True, eq=False)
class Read:
    """What a recurrent layer gives: the sequence in the order of reading, its last step, and the
    last states, batch first."""

    sequence: Ref
    last: Ref
    states: tuple[Ref, ...]


@describes(*_LAYERS, arguments=("mask", "initial_state", "constants"))
def _recurrent(layer: Any, call: KerasCall) -> Description:
    if type(layer).__name__ == "RNN" and any(
        map(_users, layer.cell.cells if is_stacked(layer.cell) else (layer.cell,))
    ):
        return _of_users_cell(layer, call)
    build = Builder()
    x, *states = _flat(call.arguments["sequences" if "sequences" in call.arguments else "inputs"])
    states = [*states, *_flat(call.arguments.get("initial_state"))]
    if call.arguments.get("constants") is not None:
        raise Undescribed("it was called with `constants`, which are not supported")
    read = recurrence(
        layer, call, build, x, call.inputs[x.index].shape, call.arguments.get("mask"), states
    )
    outputs = (
        read.sequence if layer.return_sequences else read.last,
        *(read.states if layer.return_state else ()),
    )
    if getattr(layer, "time_major", False):
        time = ("time", "batch")
    else:
        time = ("batch", "time")
    rank = len(call.inputs[x.index].shape)
    spatial = _spatial(layer, rank - 3)
    axes = (
        *(time if layer.return_sequences else ("batch",)),
        *spatial("filters" if rank > 3 else "units"),
    )
    if layer.return_state:
        names = ("output", *(f"state {index}" for index in range(len(read.states))))
    else:
        names = ()
    if layer.return_state and len(read.states) == 2 and not is_stacked(layer.cell):
        names = ("output", "state h", "state c")
    return Description(
        build.ended(*outputs),
        (*time, *spatial("channels" if rank > 3 else "features")),
        axes,
        names,
    )


def _users(cell: Any) -> bool:
    """Whether a cell is described nowhere, and its ``call`` is followed."""
    if not is_followed(type(cell)):
        return False
    try:
        described_name(cell)
    except Undescribed:
        return True
    return False


def _of_users_cell(layer: Any, call: KerasCall) -> Description:
    """Written out step by step, and the cell's ``call`` followed in each like a layer's."""
    if drops(layer.cell) and call.training:
        raise Undescribed("dropout is active in it (training mode)")
    try:
        return call.tracer.followed(layer, call)
    except Undescribed as error:
        raise Undescribed(
            str(error).removeprefix("RNN has no description, and its `call` cannot be traced: ")
        ) from None


def _spatial(layer: Any, rank: int) -> Any:
    places = {0: (), 1: ("steps",), 2: ("height", "width"), 3: ("depth", "height", "width")}[rank]
    first = rank and layer.cell.data_format == "channels_first"
    return lambda name: (name, *places) if first else (*places, name)


def recurrence(
    layer: Any,
    call: KerasCall,
    build: Builder,
    x: Ref,
    shape: tuple[int, ...],
    mask: Ref | None,
    states: Sequence[Ref],
    prefix: str = "",
) -> Read:
    """Adds a recurrent layer to the steps, on x (batch, time, ...), with its weights' names after
    ``prefix``.

    Raises Undescribed where the layer or its cell is not Keras' own.
    """
    described_among(layer, _ALIKE, call)
    if drops(layer.cell) and call.training:
        raise Undescribed("dropout is active in it (training mode)")
    if getattr(layer, "stateful", False) and states and call.legacy:
        raise Undescribed(
            "it is stateful and was called with initial states, which is not supported"
        )
    initial = list(states) or [build.ref(state) for state in call.states.get(id(layer), ())]
    major = getattr(layer, "time_major", False)
    first = getattr(layer.cell, "data_format", None) == "channels_first"
    into, back = _orders(len(shape), first)
    count = shape[0] if major else shape[1]
    outside = str(getattr(layer, "compute_dtype", None) or call.dtype)
    x, *initial = (_cast(build, ref, outside, call.dtype) for ref in (x, *initial))
    if not (major and len(shape) == 3):
        x = build.add(ops.Transpose(perm=into), x)
    if mask is not None and not major:
        mask = build.add(ops.Transpose(perm=(1, 0)), mask)
    initial = [_turned(build, state, len(shape) - 1, first) for state in initial]
    sizes = (count, shape[1] if major else shape[0], *(shape[axis] for axis in into[3:]))
    x, final = _through_cells(layer, call, build, x, sizes, mask, initial, prefix)
    x, *final = (_cast(build, ref, call.dtype, outside) for ref in (x, *final))
    rank = len(shape)
    at = 0 if layer.go_backwards else count - 1
    step = ops.Slice(starts=(at, *(0,) * (rank - 1)), stops=(at + 1, *(None,) * (rank - 1)))
    last = build.add(ops.Squeeze(axes=(0,)), build.add(step, x))
    last, *final = (_turned(build, ref, rank - 1, first, out=True) for ref in (last, *final))
    if layer.go_backwards:
        sequence = build.add(ops.Flip(axis=0), x)
    else:
        sequence = x
    if not major or rank != 3:
        sequence = build.add(ops.Transpose(perm=back), sequence)
    return Read(sequence, last, tuple(final))


def _through_cells(
    layer: Any,
    call: KerasCall,
    build: Builder,
    x: Ref,
    sizes: Sequence[int],
    mask: Ref | None,
    states: Sequence[Ref],
    prefix: str,
) -> tuple[Ref, list[Ref]]:
    """A sequence (time, batch, ...) through the layer's cell, or through stacked ones one after the
    other, and the states that they end with; ``sizes`` are those of time, batch and the spatial
    axes."""
    count, batch, *spatial = sizes
    cells = layer.cell.cells if is_stacked(layer.cell) else (layer.cell,)
    remaining, final = list(states), list[Ref]()
    for index, cell in enumerate(cells):
        initial, remaining = remaining[: state_count(cell)], remaining[state_count(cell) :]
        zero_masked = index == len(cells) - 1 and getattr(layer, "zero_output_for_mask", False)
        options: dict[str, Any] = {
            "reverse": bool(layer.go_backwards),
            "zero_masked": bool(zero_masked),
        }
        if is_stacked(layer.cell):
            named = f"{prefix}cells.{index}."
        else:
            named = prefix
        if (name := described_name(cell, call.watched)) in STEPWISE:
            x, stepped = STEPWISE[name](cell, call, named, build, x)
            shape = (count, batch, cell.units)
            x, state = _step_by_step(build, stepped, x, shape, initial, mask, **options)
            final.append(state)
            continue
        before, op = cell_ops(cell, call, named, tuple(spatial))
        for input_op in before:
            x = build.add(input_op, x)
        op = replace(op, **options, has_mask=mask is not None, has_states=bool(initial))
        x = build.add(op, x, *(() if mask is None else (mask,)), *initial)
        final += [Ref(x.step, 1 + state) for state in range(state_count(cell))]
    return x, final


def _step_by_step(
    build: Builder,
    stepped: Stepwise,
    x: Ref,
    sizes: tuple[int, int, int],
    initial: Sequence[Ref],
    mask: Ref | None = None,
    reverse: bool = False,
    zero_masked: bool = False,
) -> tuple[Ref, Ref]:
    """(the sequence (time, batch, units), the last state): at a masked step the state stays, and
    the output before is repeated."""
    count, batch, units = sizes
    nothing = build.ref(np.zeros((batch, units), np.float32))
    (state,), shown = list(initial) or [nothing], nothing
    outputs: dict[int, Ref] = {}
    for t in reversed(range(count)) if reverse else range(count):
        part = build.add(
            ops.Squeeze(axes=(0,)), build.add(ops.Slice((t, 0, 0), (t + 1, None, None)), x)
        )
        output, after = stepped(part, state)
        if mask is not None:
            keep = build.add(
                ops.Transpose(perm=(1, 0)), build.add(ops.Slice((t, 0), (t + 1, None)), mask)
            )
            output = build.add(ops.Where(), keep, output, nothing if zero_masked else shown)
            after = build.add(ops.Where(), keep, after, state)
        shown, state = output, after
        outputs[t] = build.add(ops.Unsqueeze(axes=(0,)), output)
    return build.add(ops.Concat(axis=0), *(outputs[t] for t in range(count))), state


_WIDER = {
    "float16": ("float32", "float64"),
    "bfloat16": ("float32", "float64"),
    "float32": ("float64",),
}
"""What holds every number of a dtype."""


def _cast(build: Builder, x: Ref, dtype: str, to: str) -> Ref:
    """A layer of another precision than its cell: the cell casts what it is given, the layer what
    the cell has given."""
    if to == dtype or to in _WIDER.get(dtype, ()):
        return x
    return build.add(ops.Cast(to=to), x)


def _orders(rank: int, channels_first: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(batch, time, ...) as (time, batch, channels, ...) and the other way round."""
    if channels_first or rank == 3:
        inner = tuple(range(2, rank))
    else:
        inner = (rank - 1, *range(2, rank - 1))
    into = (1, 0, *inner)
    return into, tuple(np.argsort(into).tolist())


def _turned(build: Builder, state: Ref, rank: int, channels_first: bool, out: bool = False) -> Ref:
    """A state with its channels after the batch axis; ``out``: where Keras has them."""
    if rank == 2 or channels_first:
        return state
    perm = (0, *range(2, rank), 1) if out else (0, rank - 1, *range(1, rank - 1))
    return build.add(ops.Transpose(perm=perm), state)


def _flat(value: Any) -> list[Ref]:
    """The Refs anywhere in an argument, in order."""
    if isinstance(value, Ref):
        return [value]
    if value is None:
        return []
    return [ref for entry in value for ref in _flat(entry)]


@describes("SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells", arguments=("states",))
def _cell(layer: Any, call: KerasCall) -> Description:
    """One step: a sequence of one."""
    x, *states = (*_flat(next(iter(call.arguments.values()))), *_flat(call.arguments["states"]))
    if call.training and drops(layer):
        raise Undescribed("dropout is active in it (training mode)")
    build, ended = Builder(), list[Ref]()
    x = build.add(ops.Unsqueeze(axes=(0,)), x)
    for index, cell in enumerate(layer.cells if is_stacked(layer) else (layer,)):
        given, states = states[: state_count(cell)], states[state_count(cell) :]
        named = f"cells.{index}." if is_stacked(layer) else ""
        if (name := described_name(cell, call.watched)) in STEPWISE:
            x, stepped = STEPWISE[name](cell, call, named, build, x)
            x, state = _step_by_step(build, stepped, x, (1, call.shape[0], cell.units), given)
            ended.append(state)
            continue
        before, made = cell_ops(cell, call, named)
        for op in before:
            x = build.add(op, x)
        x = build.add(replace(made, has_states=True), x, *given)
        ended += [Ref(x.step, 1 + state) for state in range(state_count(cell))]
    output = build.add(ops.Squeeze(axes=(0,)), x)
    names = ("output", *(f"state {index}" for index in range(len(ended))))
    return Description(
        build.ended(output, *ended), ("batch", "features"), ("batch", "units"), names
    )
