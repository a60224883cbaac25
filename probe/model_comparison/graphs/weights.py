"""Nodes of two models that hold the same weights: matched row by row, whatever the order of axes,
gates and columns, whether a batch normalisation is folded in, and in which precision they lie.

A row is what one output channel is multiplied with. It is known by its projections on fixed random
directions once it is divided by its norm and given a sign. Where the places within a row are
permuted (a flattened image whose axes are in another order), sorted sizes take their place: they
prove the outputs, not the inputs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from probe.model_comparison.graphs.graph import GraphNode, ModelGraph
from probe.ops import BatchNormalization, Conv, ConvTranspose, Embedding, MatMul, Recurrence
from probe.ops.step import weight_fields
from probe.ops.weight import Weight

__all__ = ["Anchor", "anchors", "held_weights", "other_directions", "telling"]

_DIRECTIONS = 5
_CLOSE = 8e-3
"""How far projections of unit rows may lie apart: twice what rounding to bfloat16 does."""
_EQUAL = 1e-5
"""How far those of equal rows may, summed in float32."""
_SORTED = 14
_ALIKE = 1e-2
"""How far sorted sizes may lie apart, of a row whose mean square is 1."""
_SHORT = 4
"""A row of fewer elements says nothing."""
_TOGETHER = 64
"""Of so many at once the nearest are looked up."""
_ROWS = 1024
"""So many rows of a weight are looked at."""
_SHARE = 0.5
"""What part of the rows must be found."""
_SIGMAS = 4.0
"""How far rounding to integers is taken to go."""


@dataclass(frozen=True, eq=False)
class Anchor:
    """A node of A that holds the weights of one of B's."""

    node: GraphNode
    ordered: bool
    """Whether the places within rows correspond, so that the inputs do."""
    share: float
    """What part of B's rows are A's."""
    rows: np.ndarray
    """Which row of A each row of B is, -1 where none; of the rows looked at."""
    looked: np.ndarray
    """Which rows of B those are."""
    scale: np.ndarray
    """How many times A's row B's is."""
    counts: tuple[int, int] = (0, 0)
    """The rows of A's weight, and of B's."""

    @classmethod
    def of_place(cls, node: GraphNode) -> "Anchor":
        """A node in whose place one of other weights stands."""
        none = np.zeros(0, int)
        return cls(node, False, 0.0, none, none, np.zeros(0), (0, 0))

    def in_place_of(self, node: GraphNode) -> "Anchor":
        """The same of a part of a node's rows, which go to the places of these."""
        return replace(self, node=node, ordered=False, share=0.0)

    @property
    def same_order(self) -> bool:
        matched = self.rows >= 0
        return bool((self.rows[matched] == self.looked[matched]).all())

    @property
    def scaled(self) -> bool:
        """Whether rows are multiples of A's: a normalisation is folded in, or out."""
        scales = self.scale[self.rows >= 0]
        return bool(scales.size and np.abs(scales - 1).max() > _CLOSE)


def held_weights(node: GraphNode) -> Iterator[tuple[str, Weight]]:
    """The weights of a node by the names of its op's fields."""
    if node.op is None or not node.inputs:
        return
    yield from weight_fields(node.op).items()


def telling(node: GraphNode) -> bool:
    """Whether a node has weights of several axes that tell it from others."""
    return any(
        weight.value.ndim > 1 and _marked(node, matrix, True, 4) is not None
        for _, weight in held_weights(node)
        for matrix in _rows(node)
    )


def _rows(node: GraphNode) -> Iterator[np.ndarray]:
    """What the output channels of a node are multiplied with, a matrix for each weight of more than
    one axis."""
    op = node.op
    if isinstance(op, BatchNormalization):
        parts = [
            weight.value.astype(np.float64).ravel()
            for weight in (op.scale, op.bias, op.mean, op.variance)
            if weight is not None
        ]
        if parts:
            yield np.stack(parts)
        return
    for name, weight in held_weights(node):
        value = weight.value
        if value.dtype.kind != "f" or value.ndim == 0 or "bias" in name:
            continue
        if value.ndim == 1:
            yield value[None].astype(np.float64)
        elif isinstance(op, MatMul) or (isinstance(op, Recurrence) and value.ndim == 2):
            yield value.T
        elif isinstance(op, ConvTranspose):
            yield value.swapaxes(0, 1).reshape(value.shape[1], -1)
        else:
            yield value.reshape(len(value), -1)


@dataclass(frozen=True, eq=False)
class _MarkedRows:
    """The telling rows of one weight of a node."""

    node: GraphNode
    length: int
    marks: np.ndarray
    """(rows, directions), or (rows, sorted sizes)."""
    norms: np.ndarray
    places: np.ndarray
    count: int
    """Of the whole weight."""
    loose: np.ndarray
    """How far rounding to integers may have moved each mark."""


def _marked(
    node: GraphNode, matrix: np.ndarray, ordered: bool, limit: int | None
) -> _MarkedRows | None:
    count, length = matrix.shape
    if length < _SHORT:
        return None
    places = np.arange(count)
    if limit is not None and count > limit:
        places = np.unique(np.linspace(0, count - 1, limit).astype(int))
    rows: np.ndarray = matrix[places].astype(
        np.float32 if matrix.dtype == np.float32 else np.float64, copy=False
    )
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    with np.errstate(invalid="ignore", over="ignore"):
        # of equal elements alone the sum is that large; few rows are looked at once more
        same = np.abs(rows.sum(axis=1)) > 0.999 * np.sqrt(length) * norms
        same[same] = np.ptp(rows[same], axis=1) <= 1e-6 * norms[same]
    telling = (norms > 0) & np.isfinite(norms) & ~same
    if not telling.all():
        rows, norms, places = rows[telling], norms[telling], places[telling]
    if ordered:
        loose = _by_rounding(node, matrix)[places] / norms
    else:
        loose = np.zeros(len(norms))
    if not len(rows):
        return None
    if ordered:
        marks = (rows @ _directions(length).astype(rows.dtype)).astype(np.float64)
        marks /= norms[:, None]
        sign = np.sign(marks[np.arange(len(marks)), np.abs(marks).argmax(axis=1)])
        marks, norms = marks * sign[:, None], norms * sign
    else:
        sizes = np.sort(np.abs(rows), axis=1) * (np.sqrt(length) / norms)[:, None]
        marks = sizes[:, np.linspace(0, length - 1, _SORTED).astype(int)]
    return _MarkedRows(node, length, marks, norms, places, count, loose)


def _by_rounding(node: GraphNode, matrix: np.ndarray) -> np.ndarray:
    """How far each row's projections lie off by rounding of its entries to whole steps."""
    op = node.op
    none = np.zeros(len(matrix))
    weight = None
    if isinstance(op, Conv | MatMul):
        weight = op.weight
    elif isinstance(op, Embedding):
        weight = op.table
    size = None if weight is None else weight.step
    if size is None or size.size != matrix.size:
        return none
    rows = size.T if isinstance(op, MatMul) else size.reshape(len(size), -1)
    return np.asarray(_SIGMAS * np.sqrt(np.square(rows).sum(axis=1) / 12))


@lru_cache(maxsize=64)
def _directions(length: int) -> np.ndarray:
    return np.random.default_rng(length).standard_normal((length, _DIRECTIONS))


def anchors(a: ModelGraph, b: ModelGraph) -> dict[GraphNode, list[Anchor]]:
    """For nodes of B the nodes of A that hold their weights, the ones with most of them first."""
    anchors_of = _matched(a.nodes, b.nodes, ordered=True)
    kinds = (MatMul, Conv, ConvTranspose, Recurrence)
    rest = [node for node in b.nodes if node not in anchors_of and isinstance(node.op, kinds)]
    if rest:
        anchors_of |= _matched(a.nodes, rest, ordered=False)
    for node, held in anchors_of.items():
        if isinstance(node.op, Recurrence):
            anchors_of[node] = [anchor for anchor in held if not _is_crossing(node, anchor.node)]
    return anchors_of


def _is_crossing(b: GraphNode, a: GraphNode) -> bool:
    """Whether two recurrences of opposite directions hold the same weights, each beside one of the
    other direction: then they were exchanged."""
    if not isinstance(a.op, Recurrence) or not isinstance(b.op, Recurrence):
        return False
    return a.op.reverse != b.op.reverse and any(other_directions(a)) and any(other_directions(b))


def other_directions(node: GraphNode) -> Iterator[Recurrence]:
    """The recurrences of the same call that read the same in the other direction."""
    waiting = [node.inputs[0].root]
    while waiting:
        for reader in waiting.pop().consumers:
            if reader.layout:
                waiting += reader.outputs
            elif isinstance(reader.op, Recurrence) and reader.call is node.call:
                if isinstance(node.op, Recurrence) and reader.op.reverse != node.op.reverse:
                    yield reader.op


def _matched(
    a: Sequence[GraphNode], b: Sequence[GraphNode], ordered: bool
) -> dict[GraphNode, list[Anchor]]:
    tables: dict[tuple[str, int], list[_MarkedRows]] = {}
    for node in a:
        for matrix in _rows(node):
            marked = _marked(node, matrix, ordered, None)
            if marked is not None:
                tables.setdefault((node.kind, marked.length), []).append(marked)
    joined = {key: _RowTable(rows) for key, rows in tables.items()}
    anchors_of: dict[GraphNode, list[Anchor]] = {}
    close = _CLOSE if ordered else _ALIKE
    for node in b:
        best: dict[GraphNode, Anchor] = {}
        for matrix in _rows(node):
            marked = _marked(node, matrix, ordered, _ROWS)
            if marked is None:
                continue
            table = joined.get((node.kind, marked.length))
            if table is None:
                continue
            for anchor in table.nearest(marked, close, ordered):
                if anchor.node not in best or anchor.share > best[anchor.node].share:
                    best[anchor.node] = anchor
        chosen = sorted(best.values(), key=lambda anchor: (-anchor.share, anchor.node.index))
        if chosen and (chosen[0].share >= _SHARE or _covered(chosen) >= _SHARE):
            anchors_of[node] = chosen
    return anchors_of


def _covered(chosen: Sequence[Anchor]) -> float:
    """What part of the rows lies in some node of A."""
    if chosen:
        return float(np.any([anchor.rows >= 0 for anchor in chosen], axis=0).mean())
    return 0.0


class _RowTable:
    """The rows of one length of all nodes of one kind, to look up."""

    def __init__(self, parts: Sequence[_MarkedRows]) -> None:
        self.parts = parts
        self.marks = np.concatenate([rows.marks for rows in parts])
        self.norms = np.concatenate([rows.norms for rows in parts])
        self.places = np.concatenate([rows.places for rows in parts])
        self.owner = np.repeat(np.arange(len(parts)), [len(rows.marks) for rows in parts])
        self.order = np.argsort(self.marks[:, 0], kind="stable")
        self.first = self.marks[self.order, 0]

    def nearest(self, rows: _MarkedRows, close: float, ordered: bool) -> Iterator[Anchor]:
        count = len(rows.marks)
        hits: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for row, place, distance in self._close_by(rows, close + rows.loose):
            owner = int(self.owner[place])
            if owner not in hits:
                hits[owner] = np.full(count, -1), np.full(count, np.inf)
            at, best = hits[owner]
            # of equal rows the one at the same place
            if distance < best[row] - _EQUAL or (
                distance <= best[row] + _EQUAL and self.places[place] == rows.places[row]
            ):
                at[row], best[row] = place, distance
        for owner, (at, _) in hits.items():
            matched = at >= 0
            sources = np.where(matched, self.places[at], -1)
            scale = np.where(matched, rows.norms / self.norms[at], 1.0)
            part = self.parts[owner]
            counts = part.count, rows.count
            share = float(matched.mean())
            yield Anchor(part.node, ordered, share, sources, rows.places, scale, counts)

    def _close_by(self, rows: _MarkedRows, room: np.ndarray) -> Iterator[tuple[int, int, float]]:
        """The rows that have others in the table near them, these, and how far they lie apart."""
        left = np.searchsorted(self.first, rows.marks[:, 0] - room)
        right = np.searchsorted(self.first, rows.marks[:, 0] + room)
        for start in range(0, len(room), _TOGETHER):
            spans = (right - left)[start : start + _TOGETHER]
            row = start + np.repeat(np.arange(len(spans)), spans)
            within = np.arange(len(row)) - np.repeat(np.cumsum(spans) - spans, spans)
            place = self.order[left[row] + within]
            apart = np.abs(self.marks[place] - rows.marks[row]).max(axis=1, initial=0.0)
            near = apart <= room[row]
            yield from zip(
                row[near].tolist(), place[near].tolist(), apart[near].tolist(), strict=True
            )
