"""What the weights of two recurrences differ in, gate by gate, and whether they are those of the
other direction."""

from collections.abc import Iterator

import numpy as np

from probe.model_comparison.causes.weight_differences import Difference
from probe.model_comparison.causes.weight_relations import RoundingBetween
from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.graphs.weights import other_directions
from probe.numerics.dtypes import widened
from probe.ops import Recurrence

__all__ = ["differing_gates"]

_SAME = 1e-6
"""How far numbers may lie apart that went through float32, as a share of the largest."""
_ADDED = "bias"


def differing_gates(
    a: GraphNode, first: Recurrence, second: Recurrence, unit: float
) -> Iterator[Difference]:
    """The weights of two recurrences gate by gate, whatever the order of the gates; biases that are
    only ever added, added. ``a`` is A's node."""
    if sorted(first.gates) != sorted(second.gates) or first.width != second.width:
        yield Difference("gates", first.gates, second.gates)
        return
    rounding = RoundingBetween(unit)
    mine, theirs = _by_gates(first), _by_gates(second)
    differing = [name for name in mine if not _same(mine[name], theirs[name], rounding)]
    other = [_by_gates(op) for op in other_directions(a)]
    exchanged = [
        name
        for name in differing
        if any(_same(held[name], theirs[name], rounding) for held in other)
    ]
    if exchanged:
        yield Difference(
            f"{' and '.join(exchanged)} of the {_direction(second)} direction",
            "its own",
            f"those of the {_direction(second, other=True)} direction",
            note="the two directions are exchanged",
            certain=True,
        )
    for name in differing:
        if name not in exchanged:
            yield from _gate_by_gate(name, mine[name], theirs[name], rounding)


def _direction(op: Recurrence, other: bool = False) -> str:
    return "backward" if op.reverse != other else "forward"


def _by_gates(op: Recurrence) -> dict[str, dict[str, np.ndarray]]:
    """The weights by their fields and gates, biases added."""
    fields = {name: widened(getattr(op, name).value) for name in ("kernel", "recurrent")}
    biases = (bias for bias in op.biases() if bias is not None)
    fields[_ADDED] = sum(biases, np.zeros(op.kernel.value.shape[1]))
    return {
        name: {gate: values[..., op.block(gate)] for gate in op.gates}
        for name, values in fields.items()
    }


def _same(
    mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray], rounding: RoundingBetween
) -> bool:
    return mine.keys() == theirs.keys() and all(
        _alike(values, theirs[gate], rounding).all() for gate, values in mine.items()
    )


def _alike(a: np.ndarray, b: np.ndarray, rounding: RoundingBetween) -> np.ndarray:
    if a.shape != b.shape:
        return np.zeros(1, bool)
    digits = 10 * _SAME if a.ndim == 1 else _SAME  # sums
    return rounding.between(a.reshape(1, -1), b.reshape(1, -1), digits, 2.0).reshape(a.shape)


def _gate_by_gate(
    name: str, mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray], rounding: RoundingBetween
) -> Iterator[Difference]:
    for gate, values in mine.items():
        other = theirs[gate]
        if values.shape != other.shape:
            continue
        same = _alike(values, other, rounding)
        if same.all():
            continue
        at = np.unravel_index(int(np.abs(values - other).argmax()), values.shape)
        place = f"{name} of gate {gate} at [{', '.join(map(str, at))}]"
        if name != _ADDED:
            place += f", {int((~same).sum())} of {values.size} entries"
        yield Difference(place, float(values[at]), float(other[at]))
