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
from probe.description import Builder, Description, Ref, weights_of
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import described_class, described_name, describes
from ..describe.layer_tree import is_followed
from ..describe.windows import SlidingWindow, kernel_axes
from .activation import activation_steps

__all__ = ["OWN_CELLS", "STEPWISE", "CellOps", "Read", "Stepwise", "recurrence"]

CellOps = tuple[tuple[ops.Op, ...], ops.Recurrence]
"""What a cell's input goes through first, and the cell."""

OWN_CELLS: dict[str, Callable[[Any, KerasCall, str], CellOps]] = {}
"""Cells of other packages, by what they are described under: (cell, call, prefix of its weights'
names) -> the cell."""

Stepwise = Callable[[Ref, Ref], tuple[Ref, Ref]]
"""Adds one step of time: its input and the state before -> its output and the state after."""

STEPWISE: dict[str, Callable[[Any, KerasCall, str, Builder, Ref], tuple[Ref, Stepwise]]] = {}
"""Cells that are no op: (cell, call, prefix of its weights' names, steps, the input at all times)
-> what comes in, and one step."""

_CELLS = (
    "SimpleRNNCell",
    "LSTMCell",
    "GRUCell",
    "ConvLSTMCell",
    "QSimpleRNNCell",
    "QLSTMCell",
    "QGRUCell",
)
_LAYERS = (
    "SimpleRNN",
    "LSTM",
    "GRU",
    "RNN",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "QSimpleRNN",
    "QLSTM",
    "QGRU",
)
_ALIKE = (*_LAYERS, "QLIF", "QSimpleSNN")
"""Those of HGQ2 too, which are described there."""


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
        map(_users, layer.cell.cells if _stacked(layer.cell) else (layer.cell,))
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
    time = ("time", "batch") if getattr(layer, "time_major", False) else ("batch", "time")
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
    if layer.return_state and len(read.states) == 2 and not _stacked(layer.cell):
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
    if _dropping(layer.cell) and call.training:
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
    _described_name(layer, _ALIKE, call)
    if _dropping(layer.cell) and call.training:
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
    sequence = build.add(ops.Flip(axis=0), x) if layer.go_backwards else x
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
    cells = layer.cell.cells if _stacked(layer.cell) else (layer.cell,)
    remaining, final = list(states), list[Ref]()
    for index, cell in enumerate(cells):
        initial, remaining = remaining[: _count(cell)], remaining[_count(cell) :]
        zero_masked = index == len(cells) - 1 and getattr(layer, "zero_output_for_mask", False)
        options: dict[str, Any] = {
            "reverse": bool(layer.go_backwards),
            "zero_masked": bool(zero_masked),
        }
        named = f"{prefix}cells.{index}." if _stacked(layer.cell) else prefix
        if (name := described_name(cell, call.watched)) in STEPWISE:
            x, stepped = STEPWISE[name](cell, call, named, build, x)
            shape = (count, batch, cell.units)
            x, state = _step_by_step(build, stepped, x, shape, initial, mask, **options)
            final.append(state)
            continue
        before, op = _made(cell, call, named, tuple(spatial))
        for input_op in before:
            x = build.add(input_op, x)
        op = replace(op, **options, has_mask=mask is not None, has_states=bool(initial))
        x = build.add(op, x, *(() if mask is None else (mask,)), *initial)
        final += [Ref(x.step, 1 + state) for state in range(_count(cell))]
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


def _stacked(cell: Any) -> bool:
    return type(cell).__name__ == "StackedRNNCells"


def _described_name(layer: Any, names: Sequence[str], call: KerasCall) -> str:
    name = described_class(layer, call.watched).__name__
    if name not in names:
        raise Undescribed(f"the {type(layer).__name__} inside it is not one of {', '.join(names)}")
    return name


def _dropping(cell: Any) -> bool:
    if _stacked(cell):
        return any(_dropping(inner) for inner in cell.cells)
    rates = (getattr(cell, name, 0) for name in ("dropout", "recurrent_dropout"))
    return any(isinstance(rate, float | int) and bool(rate) for rate in rates)


def _count(cell: Any) -> int:
    if "LSTM" in type(cell).__name__:
        return 2
    return 1


def _function(activation: Any, call: KerasCall, rank: int, ndim: int) -> ops.Op:
    """The activation of a state of ``rank`` axes; the last of ``ndim`` of them is Keras' last
    one."""
    steps = activation_steps(activation, call, ndim)
    if not steps:
        return ops.Identity()
    fit = (ops.Elementwise, ops.Softmax, ops.LogSoftmax, ops.AutoQuantizedBits)
    if weights_of(steps) or not all(isinstance(step.op, fit) for step in steps):
        raise Undescribed(
            f"its activation {getattr(activation, '__name__', activation)!r} is not supported "
            "inside a recurrent layer"
        )
    parts = [
        replace(step.op, axis=step.op.axis - rank) if isinstance(step.op, fit[1:3]) else step.op
        for step in steps
    ]
    if len(parts) == 1:
        return parts[0]
    return ops.Chain(tuple(parts))


def _made(cell: Any, call: KerasCall, prefix: str, spatial: tuple[int, ...] = ()) -> CellOps:
    """The op of a cell; its direction, mask and states are those of the layer around it."""
    if type(cell).__name__ not in _CELLS and not any(
        cls.__name__ in _CELLS for cls in type(cell).__mro__
    ):
        raise Undescribed(f"its cell {type(cell).__name__} has no description")
    kind = _described_name(cell, _CELLS, call)
    if str(getattr(cell, "compute_dtype", None) or call.dtype) != call.dtype:
        raise Undescribed(
            f"its cell computes in {cell.compute_dtype}, and the layer around it in {call.dtype}"
        )
    name = described_name(cell, call.watched)
    if name in OWN_CELLS:
        return OWN_CELLS[name](cell, call, prefix)
    return (), _op(cell, kind, call, prefix, spatial)


def _op(
    cell: Any, kind: str, call: KerasCall, prefix: str, spatial: tuple[int, ...]
) -> ops.Recurrence:
    rank, ndim = (
        2 + len(spatial),
        2 + (len(spatial) if getattr(cell, "data_format", "") == "channels_first" else 0),
    )
    shared: dict[str, Any] = {"activation": _function(cell.activation, call, rank, ndim)}
    if kind.removeprefix("Q") != "SimpleRNNCell":
        shared["recurrent_activation"] = _function(cell.recurrent_activation, call, rank, ndim)
    if kind == "ConvLSTMCell":
        return _convolving(cell, call, prefix, spatial, shared)
    shared["kernel"] = call.weight(f"{prefix}kernel", cell.kernel)
    shared["recurrent"] = call.weight(f"{prefix}recurrent_kernel", cell.recurrent_kernel)
    shared["bias"] = call.weight(f"{prefix}bias", cell.bias if cell.use_bias else None)
    if getattr(cell, "state_quantizer", None):
        shared["state_quantizer"] = _function(cell.state_quantizer_internal, call, rank, ndim)
    match kind.removeprefix("Q"):
        case "SimpleRNNCell":
            return ops.RNN(**shared)
        case "LSTMCell":
            return ops.LSTM(**shared, gates="ifgo")
    return ops.GRU(**shared, gates="zrh", reset_after=bool(cell.reset_after))


def _convolving(
    cell: Any, call: KerasCall, prefix: str, spatial: tuple[int, ...], shared: dict[str, Any]
) -> ops.ConvLSTM:
    axes = kernel_axes(len(spatial))
    window = SlidingWindow.padded(
        cell.padding, spatial, cell.kernel_size, cell.strides, cell.dilation_rate
    )
    over_states = SlidingWindow.padded("same", window.counts(spatial), cell.kernel_size)
    return ops.ConvLSTM(
        **shared,
        kernel=call.weight(f"{prefix}kernel", cell.kernel, axes=axes),
        recurrent=call.weight(f"{prefix}recurrent_kernel", cell.recurrent_kernel, axes=axes),
        bias=call.weight(f"{prefix}bias", cell.bias if cell.use_bias else None),
        gates="ifgo",
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        state_pads=over_states.pads,
    )


@describes("SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells", arguments=("states",))
def _cell(layer: Any, call: KerasCall) -> Description:
    """One step: a sequence of one."""
    x, *states = (*_flat(next(iter(call.arguments.values()))), *_flat(call.arguments["states"]))
    if call.training and _dropping(layer):
        raise Undescribed("dropout is active in it (training mode)")
    build, ended = Builder(), list[Ref]()
    x = build.add(ops.Unsqueeze(axes=(0,)), x)
    for index, cell in enumerate(layer.cells if _stacked(layer) else (layer,)):
        given, states = states[: _count(cell)], states[_count(cell) :]
        named = f"cells.{index}." if _stacked(layer) else ""
        if (name := described_name(cell, call.watched)) in STEPWISE:
            x, stepped = STEPWISE[name](cell, call, named, build, x)
            x, state = _step_by_step(build, stepped, x, (1, call.shape[0], cell.units), given)
            ended.append(state)
            continue
        before, made = _made(cell, call, named)
        for op in before:
            x = build.add(op, x)
        x = build.add(replace(made, has_states=True), x, *given)
        ended += [Ref(x.step, 1 + state) for state in range(_count(cell))]
    output = build.add(ops.Squeeze(axes=(0,)), x)
    names = ("output", *(f"state {index}" for index in range(len(ended))))
    return Description(
        build.ended(output, *ended), ("batch", "features"), ("batch", "units"), names
    )
