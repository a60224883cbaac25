"""The arrays of an attention in one form, (outer, head, query or position, features), walked in
blocks of 2^18 scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from probe.ops.attention.attention import Attention

__all__ = ["Frame", "ScoreBlock", "cut", "finite", "gathered"]

_SCORES = 1 << 18


@dataclass(frozen=True, eq=False)
class ScoreBlock:
    """Some heads' queries, as indices of (outer, head, query) arrays, and the positions that they
    can see at all."""

    outer: slice
    heads: slice
    rows: slice
    stop: int

    @property
    def at(self) -> tuple[slice, slice, slice]:
        return self.outer, self.heads, self.rows


class Frame:
    """The arrays of one call."""

    def __init__(self, op: "Attention", inputs: Sequence[np.ndarray]):
        q, k, v, *masks = inputs
        self.op = op
        if op.groups == 1:
            keyed = k.shape[:-2]
        else:
            keyed = (*k.shape[:-3], k.shape[-3] * op.groups)
        self.lead = np.broadcast_shapes(
            q.shape[:-2], keyed, v.shape[:-2] if op.groups == 1 else keyed
        )
        self.queries, self.positions = q.shape[-2], k.shape[-2]
        self.q, self.k, self.v = self.four(q), self.four(k, op.groups), self.four(v, op.groups)
        self.masks = [self.four(np.atleast_2d(mask)) for mask in masks]
        self.outer, self.heads = self.q.shape[:2]
        for mask in self.masks:  # of a larger one a block would take its part
            queries, positions = mask.shape[-2:]
            if queries not in (1, self.queries) or positions not in (1, self.positions):
                raise ValueError(
                    f"a mask of {queries} queries and {positions} keys does not fit "
                    f"{self.queries} and {self.positions}"
                )

    def four(self, x: np.ndarray, groups: int = 1) -> np.ndarray:
        """x over the leading axes as (outer, head, …, …); a view wherever NumPy can give one."""
        head = self.lead[-1] // groups if self.lead else 1
        outer = int(np.prod(self.lead[:-1], dtype=int))
        if all(size == 1 for size in x.shape[:-2]):
            return np.broadcast_to(x.reshape(1, 1, *x.shape[-2:]), (outer, head, *x.shape[-2:]))
        lead = (*self.lead[:-1], head) if self.lead else ()
        return np.broadcast_to(x, (*lead, *x.shape[-2:])).reshape(outer, head, *x.shape[-2:])

    def back(self, y: np.ndarray) -> np.ndarray:
        return y.reshape(*self.lead, *y.shape[2:])

    def blocks(self) -> Iterator[ScoreBlock]:
        each = max(1, self.queries * self.positions)
        count = max(1, _SCORES // each)
        heads = min(self.heads, count)
        outer = max(1, count // self.heads) if heads == self.heads else 1
        rows = max(
            1, self.queries if count > 1 else min(self.queries, _SCORES // max(1, self.positions))
        )
        for o in range(0, self.outer, outer):
            for h in range(0, self.heads, heads):
                for r in range(0, self.queries, rows):
                    end = min(self.queries, r + rows)
                    if self.op.causal and not self.op.sees_all:
                        stop = min(self.positions, end)
                    else:
                        stop = self.positions
                    yield ScoreBlock(
                        slice(o, o + outer),
                        slice(h, min(self.heads, h + heads)),
                        slice(r, end),
                        stop,
                    )

    def shared(self, x: np.ndarray, block: ScoreBlock) -> np.ndarray:
        """The keys or values of a block's heads, as far as its queries see."""
        if self.op.groups > 1:
            first, last = block.heads.start, block.heads.stop
            few = slice(first // self.op.groups, first // self.op.groups + 1)
            heads = few if last == first + 1 else np.arange(first, last) // self.op.groups
            return x[block.outer][:, heads, : block.stop]
        return x[block.outer, block.heads, : block.stop]

    def allowed(self, block: ScoreBlock) -> np.ndarray | None:
        """Which positions each query may attend to; None where all."""
        op, rows = self.op, np.arange(block.rows.start, block.rows.stop)[:, None]
        columns = np.arange(block.stop)
        found = rows >= columns if op.causal else None
        if op.window is not None:
            near = np.abs(rows - columns) < op.window
            found = near if found is None else found & near
        for kind, mask in zip(op.masks, self.masks, strict=True):
            if kind != "add":
                part = cut(mask, block) != 0
                if kind != "keep":
                    part = ~part
                found = part if found is None else found & part
        return found

    def raw(self, block: ScoreBlock, dtype: np.dtype, out: np.ndarray | None = None) -> np.ndarray:
        return self.op.raw_scores(self.q[block.at], self.shared(self.k, block), dtype, out)

    def masked(self, scores: np.ndarray, block: ScoreBlock) -> np.ndarray:
        """The scores of a block changed in place: -inf where a query may not attend."""
        for kind, mask in zip(self.op.masks, self.masks, strict=True):
            if kind == "add":
                scores += cut(mask, block)
        allowed = self.allowed(block)
        if allowed is not None:
            allowed = np.broadcast_to(allowed, scores.shape)
            if self.op.sees_all:
                empty = ~allowed.any(axis=-1)
            else:
                empty = np.zeros(1, bool)
            kept = scores[empty] if empty.any() and self.op.empty == "raw" else 0.0
            np.copyto(scores, -np.inf, where=~allowed)
            if empty.any():
                scores[empty] = kept
        return scores

    def seen(self, block: ScoreBlock) -> np.ndarray:
        """How many positions each query of a block sees."""
        allowed = self.allowed(block)
        if allowed is None:
            return np.full((1, 1, 1, 1), float(block.stop))
        return np.maximum(
            np.broadcast_to(allowed, (*allowed.shape[:-1], block.stop)).sum(axis=-1, keepdims=True),
            1.0,
        )

    def buffer(self) -> np.ndarray:
        first = next(self.blocks(), None)
        if first is None:
            return np.empty(0)
        return np.empty(
            min(self.outer, first.outer.stop) * first.heads.stop * first.rows.stop * self.positions
        )


def cut(mask: np.ndarray, block: ScoreBlock) -> np.ndarray:
    """A block of a mask, one of whose last axes may have one place for all."""
    rows = block.rows if mask.shape[2] > 1 else slice(None)
    columns = slice(0, block.stop) if mask.shape[3] > 1 else slice(None)
    return mask[block.outer, block.heads, rows, columns]


def finite(largest: np.ndarray) -> np.ndarray:
    """The largest score of a query, 0 for one with nothing to look at."""
    return np.where(np.isneginf(largest), 0, largest)


def gathered(reached: np.ndarray, shape: tuple[int, ...], groups: int) -> np.ndarray:
    """What all heads of a group, and all that an input was broadcast to, reach of it."""
    if groups > 1:
        *lead, heads, positions, features = reached.shape
        reached = np.asarray(
            reached.reshape(*lead, heads // groups, groups, positions, features).any(axis=-3)
        )
    extra = reached.ndim - len(shape)
    reached = np.asarray(reached.any(axis=tuple(range(extra))))
    return np.asarray(
        reached.any(axis=tuple(axis for axis, size in enumerate(shape) if size == 1), keepdims=True)
    )
