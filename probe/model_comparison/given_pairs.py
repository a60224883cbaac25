"""The user's own pairs: names of layers of A and of B that stand for one another."""

from collections.abc import Iterator, Mapping, Sequence
from operator import and_
from pathlib import Path
from typing import Any

from probe import printable
from probe.errors import BadInput
from probe.files.regular_file import read_json
from probe.model_comparison.graphs.graph import ModelGraph, Tensor
from probe.model_comparison.sides import Side
from probe.ops import Requantize

__all__ = ["Pairing", "given_pairs", "of_one_integer_file"]

Pairing = Mapping[str, str] | Sequence[tuple[str, str]] | str | Path | None
"""Which layers' outputs stand for one another: names of A and of B, or a JSON file of such."""


def given_pairs(
    pairs: Pairing, a: ModelGraph, b: ModelGraph, alone: Side | None
) -> list[tuple[Tensor, Tensor]]:
    """The user's pairs as tensors; BadInput where a name is none, or two of them cross."""
    if pairs is None:
        return []
    tensors = [*dict.fromkeys(_tensors(pairs, a, b, alone))]
    _refuse_crossing(tensors, a, b)
    return tensors


def of_one_integer_file(a: ModelGraph, b: ModelGraph) -> list[tuple[Tensor, Tensor]]:
    """The tensors of one file of integers that two engines run: all have the same names and sizes.
    Codes that differ by 1 have no partner by their values."""
    both = list(_outputs(a).values()), list(_outputs(b).values())
    listed = [[(tensor.name, tensor.value.shape) for tensor in outputs] for outputs in both]
    rounds = all(any(isinstance(node.op, Requantize) for node in graph.nodes) for graph in (a, b))
    return list(zip(*both, strict=True)) if rounds and listed[0] == listed[1] else []


def _tensors(
    pairs: Pairing, a: ModelGraph, b: ModelGraph, alone: Side | None
) -> Iterator[tuple[Tensor, Tensor]]:
    if isinstance(pairs, str | Path):
        pairs = read_json(pairs)
    entries: Any = pairs
    if isinstance(entries, Mapping) and isinstance(entries.get("pairs"), list):
        entries = entries["pairs"]
    if not isinstance(entries, Mapping | list | tuple):
        raise BadInput(f"pairs are names of layers of A and of B; you gave {entries!r}")
    rows = list(entries.items()) if isinstance(entries, Mapping) else entries
    of_a, of_b = _outputs(a), _outputs(b)
    for row in rows:
        if not _is_pair(row):
            raise BadInput(f"a pair is a layer of A and a layer of B; you gave {row!r}")
        first, second = row if alone is not Side.B else row[::-1]
        yield _named(first, of_a), _named(second, of_b)


def _is_pair(row: object) -> bool:
    return (
        isinstance(row, list | tuple)
        and len(row) == 2
        and all(isinstance(name, str) for name in row)
    )


def _refuse_crossing(pairs: Sequence[tuple[Tensor, Tensor]], a: ModelGraph, b: ModelGraph) -> None:
    """BadInput where a layer of A comes before another, and B's of the one after B's of the
    other."""
    before = _connected([of_a for of_a, _ in pairs], a)
    after = _connected([of_b for _, of_b in pairs], b, after=True)
    for second, crossing in enumerate(map(and_, before, after)):
        if crossing:
            first = (crossing & -crossing).bit_length() - 1
            names = [(of_a.name, of_b.name) for of_a, of_b in (pairs[first], pairs[second])]
            raise BadInput(
                f"pairs: {names[0][0]} comes before {names[1][0]} in A, but {names[0][1]} "
                f"after {names[1][1]} in B"
            )


def _connected(tensors: Sequence[Tensor], graph: ModelGraph, after: bool = False) -> list[int]:
    """Of each tensor which of them it is computed from, or which are computed from it, as bits."""
    own: dict[Tensor, int] = {}
    for place, tensor in enumerate(tensors):
        own[tensor] = own.get(tensor, 0) | 1 << place
    connected: dict[Tensor, int] = {}
    steps = [(node.inputs, node.outputs) for node in graph.nodes]
    if after:
        steps = [(outputs, inputs) for inputs, outputs in reversed(steps)]
    for read, written in steps:
        bits = 0
        for tensor in read:
            bits |= connected.get(tensor, 0) | own.get(tensor, 0)
        for tensor in written:
            connected[tensor] = connected.get(tensor, 0) | bits
    return [connected.get(tensor, 0) for tensor in tensors]


def _outputs(graph: ModelGraph) -> dict[str, Tensor]:
    """The outputs of the layers by name: "conv", "conv:1" for a second call."""
    return {tensor.name: tensor for tensor in graph.tensors if tensor.recorded is not None}


def _named(name: str, outputs: Mapping[str, Tensor]) -> Tensor:
    if name not in outputs:
        raise BadInput(
            f"pairs: no layer {printable.name(repr(name))}; there are "
            f"{printable.several(list(outputs), 8)}"
        )
    return outputs[name]
