"""HGQ2's spiking layers, step by step: a membrane gathers its input, fires above a threshold, and
is set back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hgq.layers.snn import ATan, LIFCell, SpikingNeuralCell

from probe import ops
from probe.description import Builder, Description, Ref
from probe.errors import Undescribed

from ..keras.describe.call import KerasCall
from ..keras.describe.describe import REGISTERED, described_class, describes
from ..keras.layers.recurrent import STEPWISE, Stepwise
from .description import at_inference
from .quantizers import quantizer_ops

_CELLS = ("LIFCell", "QLIFCell", "QSimpleSNNCell", "SpikingNeuralCell")


@describes("hgq.QSimpleSNN", "hgq.QLIF", arguments=("mask", "initial_state"))
def _layer(layer: Any, call: KerasCall) -> Description:
    at_inference(call)
    return REGISTERED["RNN"](layer, call)


def _stepwise(
    cell: Any, call: KerasCall, prefix: str, build: Builder, x: Ref
) -> tuple[Ref, Stepwise]:
    at_inference(call)
    made = _SpikingCell.of(cell, call, prefix)
    return made.received(build, x), lambda part, state: made.step(build, part, state)


STEPWISE.update(dict.fromkeys((f"hgq.{name}" for name in _CELLS), _stepwise))


@describes(*(f"hgq.{name}" for name in _CELLS), arguments=("states",))
def _cell(layer: Any, call: KerasCall) -> Description:
    at_inference(call)
    build, cell = Builder(), _SpikingCell.of(layer, call)
    (state,) = _flat(call.arguments["states"])
    output, after = cell.step(build, cell.received(build, call.arguments["inputs"]), state)
    return Description(
        build.ended(output, after), ("batch", "features"), ("batch", "units"), ("output", "state 0")
    )


def _flat(value: Any) -> list[Ref]:
    if isinstance(value, Ref):
        return [value]
    if value is None:
        return []
    return [ref for entry in value for ref in _flat(entry)]


@dataclass(frozen=True, eq=False)
class _SpikingCell:
    """A cell's weights, and what its input, output and state go through."""

    cell: Any
    beta: Any
    threshold: Any
    factor: Any
    input: Sequence[ops.Op]
    output: Sequence[ops.Op]
    state: Sequence[ops.Op]

    @classmethod
    def of(cls, cell: Any, call: KerasCall, prefix: str = "") -> "_SpikingCell":
        if described_class(cell, call.watched).__name__ not in _CELLS:
            raise Undescribed(f"its cell {type(cell).__name__} has no description")
        grad = cell.spike_grad
        if (
            not (type(grad) is ATan and grad.alpha >= 0)
            and grad is not SpikingNeuralCell._surrogate_bypass
        ):
            raise Undescribed("its spikes come from a custom function")
        return cls(
            cell,
            call.weight(
                f"{prefix}beta",
                cell.beta if isinstance(cell, LIFCell) else getattr(cell, "lif_beta", None),
            ),
            call.weight(f"{prefix}threshold", cell.threshold),
            call.weight(f"{prefix}graded_spikes_factor", cell.graded_spikes_factor),
            *(
                _ops(cell, name, where)
                for name, where in (("iq", "input"), ("oq", "output"), ("sq", "state"))
            ),
        )

    def received(self, build: Builder, x: Ref) -> Ref:
        return _through(build, x, self.input)

    def step(self, build: Builder, x: Ref, state: Ref) -> tuple[Ref, Ref]:
        """(output, the state after)."""
        if self.beta is None:
            decayed = state
        else:
            decayed = build.add(ops.MulConstant(self.beta), state)
        gathered = build.add(ops.Add(), decayed, x)
        threshold, nothing = (build.ref(self.threshold), build.ref(np.zeros((), np.float32)))
        fires = build.add(ops.Greater(), gathered, threshold)
        if self.cell.inhibition:
            above = build.add(ops.Sub(), gathered, threshold)
            first = build.add(ops.ArgMax(axis=1, keepdims=True), above)
            places = build.ref(np.arange(self.cell.units)[None])
            fires = build.add(ops.And(), fires, build.add(ops.Equal(), first, places))
        output = build.add(ops.Where(), fires, self.factor, nothing)
        after = gathered
        if self.cell.reset_mechanism != "none":
            if self.cell.reset_mechanism == "zero":
                back = nothing
            else:
                back = build.add(ops.Sub(), gathered, threshold)
            after = build.add(ops.Where(), fires, back, gathered)
        return _through(build, output, self.output), _through(build, after, self.state)


def _ops(cell: Any, name: str, where: str) -> tuple[ops.Op, ...]:
    if getattr(cell, f"enable_{name}", False):
        return quantizer_ops(getattr(cell, name), f"its {where} goes through")
    return ()


def _through(build: Builder, x: Ref, chain: Sequence[ops.Op]) -> Ref:
    for op in chain:
        x = build.add(op, x)
    return x
