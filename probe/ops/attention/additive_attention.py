"""Additive attention: scores that are sums over the features of tanh(query + key)."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.attention.attention import Attention
from probe.ops.attention.score_blocks import Frame, ScoreBlock
from probe.ops.base import Arrays, Errors, Graph
from probe.ops.weight import Weight

__all__ = ["AdditiveAttention"]


@dataclass(frozen=True, eq=False)
class AdditiveAttention(Attention):
    """Attention whose scores are the sum over features of tanh(inner · (q + k)) times ``outer``
    (Bahdanau et al., 2015).

    ``outer`` is one weight for every feature or one for all, ``inner`` one for all; ``gain`` and
    ``scale`` multiply the scores.
    """

    outer: Weight | None = None
    inner: Weight | None = None

    def _small(self, frame: Frame) -> bool:
        return False

    def _activated(self, q: np.ndarray, k: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """(…, rows, positions, features)."""
        added = (
            q.astype(dtype, copy=False)[..., :, None, :]
            + k.astype(dtype, copy=False)[..., None, :, :]
        )
        if self.inner is not None:
            added *= dtype.type(self.inner.value)
        return np.tanh(added, out=added)

    def _outer(self, features: int, dtype: np.dtype) -> np.ndarray:
        if self.outer is None:
            weight = np.ones(features)
        else:
            weight = np.broadcast_to(self.outer.value.astype(np.float64), (features,))
        return (weight * self._factor).astype(dtype)

    def raw_scores(
        self, q: np.ndarray, k: np.ndarray, dtype: np.dtype, out: np.ndarray | None = None
    ) -> np.ndarray:
        scores = np.empty(
            (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2]), dtype
        )
        outer = self._outer(q.shape[-1], dtype)
        step = max(1, (1 << 20) // max(1, scores[..., :1, :].size * q.shape[-1]))
        for start in range(0, q.shape[-2], step):
            rows = (..., slice(start, start + step), slice(None))
            scores[rows] = self._activated(q[rows], k, dtype) @ outer
        return scores

    def score_slack(
        self,
        frame: Frame,
        block: ScoreBlock,
        scores: np.ndarray,
        slacks: Errors,
        precision: Precision,
    ) -> np.ndarray:
        """Each tanh is off by a few units of its own size, and by what rounding its argument does
        to it; all of one sign at worst."""
        kind = scores.dtype.type
        features = frame.q.shape[-1]
        outer = np.abs(self._outer(features, scores.dtype))
        inner = kind(1.0 if self.inner is None else abs(float(self.inner.value)))
        q, k = frame.q[block.at], frame.shared(frame.k, block)
        each = [4 * inner * np.abs(q), 4 * inner * np.abs(k)]
        if slacks[0] is not None:
            each[0] = each[0] + inner * slacks[0][block.at] * kind(1 / precision.unit)
        if slacks[1] is not None:
            each[1] = each[1] + inner * frame.shared(slacks[1], block) * kind(1 / precision.unit)
        moved = np.minimum(each[0], 2 / precision.unit) @ outer[:, None] + (
            np.minimum(each[1], 2 / precision.unit) @ outer[:, None]
        ).swapaxes(-1, -2)
        return np.square(moved + kind(6 + features**0.5) * outer.sum()) + 16 * np.square(scores)

    def _emitted_scores(self, graph: Graph, q: str, k: str, rank: int) -> str:
        added = graph.op(
            "Add",
            graph.op("Unsqueeze", q, graph.const([-2])),
            graph.op("Unsqueeze", k, graph.const([-3])),
        )
        if self.inner is not None:
            added = graph.op("Mul", added, graph.weight(self.inner))
        made = graph.op("Tanh", added)
        if self.outer is not None:
            made = graph.op("Mul", made, graph.weight(self.outer))
        scores = graph.op("ReduceSum", made, graph.const([-1]), keepdims=0)
        if self.scale != 1:
            scores = graph.op("Mul", scores, graph.const(float(self.scale)))
        if self.gain is None:
            return scores
        return graph.op("Mul", scores, graph.weight(self.gain))

    def summary(self, inputs: Arrays) -> str:
        return (
            f"scores are sums over {inputs[0].shape[-1]} features of tanh(query + key), "
            f"{inputs[1].shape[-2]} positions"
        )
