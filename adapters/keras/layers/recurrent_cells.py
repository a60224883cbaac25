"""The cells of Keras' recurrent layers as ops."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from probe import ops
from probe.description import weights_of
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import described_class, described_name
from ..describe.windows import SlidingWindow, kernel_axes
from .activation import activation_steps

__all__ = [
    "OWN_CELLS",
    "CellOps",
    "cell_ops",
    "described_among",
    "drops",
    "is_stacked",
    "state_count",
]

CellOps = tuple[tuple[ops.Op, ...], ops.Recurrence]
"""What a cell's input goes through first, and the cell."""

OWN_CELLS: dict[str, Callable[[Any, KerasCall, str], CellOps]] = {}
"""Cells of other packages, by what they are described under: (cell, call, prefix of its weights'
names) -> the cell."""

_CELLS = (
    "SimpleRNNCell",
    "LSTMCell",
    "GRUCell",
    "ConvLSTMCell",
    "QSimpleRNNCell",
    "QLSTMCell",
    "QGRUCell",
)


def is_stacked(cell: Any) -> bool:
    """Whether it is several cells one after the other."""
    return type(cell).__name__ == "StackedRNNCells"


def described_among(layer: Any, names: Sequence[str], call: KerasCall) -> str:
    """What a layer or cell is described as; Undescribed where that is none of these classes."""
    name = described_class(layer, call.watched).__name__
    if name not in names:
        raise Undescribed(f"the {type(layer).__name__} inside it is not one of {', '.join(names)}")
    return name


def drops(cell: Any) -> bool:
    """Whether it drops anything in training."""
    if is_stacked(cell):
        return any(drops(inner) for inner in cell.cells)
    rates = (getattr(cell, name, 0) for name in ("dropout", "recurrent_dropout"))
    return any(isinstance(rate, float | int) and bool(rate) for rate in rates)


def state_count(cell: Any) -> int:
    """How many states it has."""
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


def cell_ops(cell: Any, call: KerasCall, prefix: str, spatial: tuple[int, ...] = ()) -> CellOps:
    """The op of a cell; its direction, mask and states are those of the layer around it."""
    if type(cell).__name__ not in _CELLS and not any(
        cls.__name__ in _CELLS for cls in type(cell).__mro__
    ):
        raise Undescribed(f"its cell {type(cell).__name__} has no description")
    kind = described_among(cell, _CELLS, call)
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
