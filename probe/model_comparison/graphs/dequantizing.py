"""Steps that make numbers of the integers that stand for them: (code - zero point) * scale."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.normalize import is_constant, values_in
from probe.ops import Cast, Gather, Identity, MaxPool, Mul, Parameter, QuantizeLinear, Sub
from probe.ops.weight import Grid, Weight

__all__ = [
    "Chains",
    "becomes_copy",
    "chains_behind",
    "mismatches",
    "only_reader",
    "take_chains",
    "take_constant",
    "take_table",
]

_SAME = 1e-6


class Chains(NamedTuple):
    """What is read of integers: where these are handed on, and the steps that make numbers of
    them."""

    codes: list[Tensor]
    """The integers, and copies of them."""
    ends: list[tuple[list[GraphNode], Tensor]]
    """The steps of each, and the integers that they begin with."""
    casts: list[GraphNode]
    """What hands the integers on in another type."""


def chains_behind(codes: Tensor, size: float, zero: float) -> Chains | None:
    """What is read of integers, where all of it makes numbers of them by this scale and zero
    point; None where anything else is."""
    chains = Chains([codes], [], [])
    for tensor in chains.codes:
        if not tensor.consumers:  # the model gives the integers
            return None
        for reader in tensor.consumers:
            if (chain := _dequantizing(reader, size, zero)) is not None:
                chains.ends.append((chain, tensor))
            elif not _hands_on(reader):
                return None
            else:
                chains.codes.append(reader.outputs[0])
                chains.casts.extend([reader] * isinstance(reader.op, Cast))
    if chains.ends:
        return chains
    return None


def _hands_on(node: GraphNode) -> bool:
    """Whether a step gives the integers that it takes, or some of them."""
    if isinstance(node.op, Cast):
        return np.array_equal(node.inputs[0].value, node.outputs[0].value)
    return (node.layout or isinstance(node.op, MaxPool)) and len(node.outputs) == 1


def take_table(node: GraphNode, gone: set[GraphNode]) -> None:
    """Makes of rows of integers, all dequantised behind, rows of the numbers: a table of 8 bits, as
    of an embedding."""
    table = node.inputs[0]
    codes = is_constant(table)
    if not isinstance(node.op, Gather) or codes is None or table.node is None:
        return
    integers = values_in(codes)
    scaling = _first_scaling(node.outputs[0])
    if integers.dtype.kind not in "iu" or len(table.consumers) != 1 or scaling is None:
        return
    _, size, zero = scaling
    if (chains := chains_behind(node.outputs[0], size, zero)) is None:
        return
    numbers = _numbers(codes, table.node, size, zero)
    table.node.op, table.recorded = Parameter(numbers), numbers.value.astype(np.float32)
    take_chains(chains, size, zero, gone)


def take_constant(node: GraphNode, gone: set[GraphNode]) -> None:
    """Makes numbers of integers of the model's own that are all dequantised: a constant of 8
    bits."""
    codes = is_constant(node.outputs[0]) if node.outputs else None
    scaling = None if codes is None else _first_scaling(node.outputs[0])
    if codes is None or scaling is None:
        return
    integers = values_in(codes)
    _, size, zero = scaling
    if integers.dtype.kind not in "iu" or integers.dtype.itemsize > 2:
        return
    if (chains := chains_behind(node.outputs[0], size, zero)) is None or chains.codes[1:]:
        return
    for chain, _ in chains.ends:
        chain[-1].op, chain[-1].inputs = Parameter(_numbers(codes, node, size, zero)), ()
        chain[-1].__dict__.pop("layout", None)
        gone.update(chain[:-1])
    gone.add(node)


def _numbers(codes: np.ndarray | Weight, node: GraphNode, size: float, zero: float) -> Weight:
    """What integers stand for, with these."""
    integers = values_in(codes)
    name = codes.name if isinstance(codes, Weight) else node.call.name
    grid = Grid(np.asarray(size), 8 * integers.dtype.itemsize, integers.dtype.kind == "i")
    return Weight(name, None, (integers.astype(np.float64) - zero) * size, grid=grid)


def _first_scaling(codes: Tensor) -> tuple[list[GraphNode], float, float] | None:
    """The first steps behind integers that make numbers of them."""
    waiting = [codes]
    for tensor in waiting:
        for reader in tensor.consumers:
            if (scaling := _scaling(reader)) is not None:
                return scaling
            if _hands_on(reader):
                waiting.append(reader.outputs[0])
    return None


def take_chains(chains: Chains, size: float, zero: float, gone: set[GraphNode]) -> None:
    """Puts numbers in the place of integers, and copies in that of what made numbers of them."""
    values = [(np.asarray(codes.value, np.float64) - zero) * size for codes in chains.codes]
    for tensor, value in zip(chains.codes, values, strict=True):
        tensor.recorded = value.astype(np.float32)
    for node in chains.casts:
        becomes_copy(node, node.inputs[0])
    for chain, tensor in chains.ends:
        gone.update(chain[:-1])
        becomes_copy(chain[-1], tensor)


def becomes_copy(node: GraphNode, tensor: Tensor) -> None:
    node.op, node.inputs = Identity(), (tensor,)
    node.__dict__.pop("layout", None)


def _dequantizing(node: GraphNode, size: float, zero: float) -> list[GraphNode] | None:
    """The steps (code - zero) * size; None where they are others, or have other numbers."""
    scaling = _scaling(node)
    if scaling is not None and _alike(scaling[1:], (size, zero)):
        return scaling[0]
    return None


def _alike(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    """Whether two pairs of a scale and a zero point are the same."""
    return abs(left[0] - right[0]) <= _SAME * right[0] and left[1] == right[1]


def _scaling(node: GraphNode) -> tuple[list[GraphNode], float, float] | None:
    """The steps (code - zero point) * scale that begin here, the scale and the zero point."""
    if not isinstance(node.op, Cast) or node.op.to not in ("float32", "float64"):
        return None
    chain = [node]
    following = only_reader(node)
    point = 0.0
    if following is not None and isinstance(following.op, Sub):
        zero = _number(following.inputs[1])
        if zero is None:
            return None
        chain.append(following)
        point, following = zero, only_reader(following)
    if following is None or not isinstance(following.op, Mul) or len(following.inputs) != 2:
        return None
    scale = _number(following.inputs[1])
    if scale is None:
        return None
    return ([*chain, following], scale, point)


def only_reader(node: GraphNode) -> GraphNode | None:
    readers = node.outputs[0].consumers
    if len(readers) == 1:
        return readers[0]
    return None


def _number(tensor: Tensor) -> float | None:
    constant = is_constant(tensor)
    if constant is not None and values_in(constant).size == 1:
        return float(values_in(constant).ravel()[0])
    return None


def mismatches(nodes: Iterable[GraphNode]) -> Iterator[str]:
    """How values are dequantised by other numbers than they were quantised by."""
    for node in nodes:
        op = node.op
        if not isinstance(op, QuantizeLinear) or np.size(op.size) != 1:
            continue
        size, zero = (float(np.ravel(parameter)[0]) for parameter in (op.size, op.zero_point))
        for reader in node.outputs[0].consumers:
            if (scaling := _scaling(reader)) is not None and not _alike(scaling[1:], (size, zero)):
                _, scale, point = scaling
                yield (
                    f"{printable.name(node.call.name)} quantises by scale {size:.6g} and zero "
                    f"point {zero:g}, {printable.name(reader.call.name)} dequantises by scale "
                    f"{scale:.6g} and zero point {point:g}"
                )
