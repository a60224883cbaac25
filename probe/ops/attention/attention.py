"""Attention: means of values, weighted by a softmax of how well a query and each position's key go
together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import SIGMAS, Precision
from probe.numerics.sum_error import of_partial_sums
from probe.ops.attention.score_blocks import Frame, ScoreBlock, cut, finite, gathered
from probe.ops.base import Arrays, Errors, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms, box
from probe.ops.linear.im2col_gemm import holds, scale_of
from probe.ops.weight import Weight

__all__ = ["Attention"]

_BOOL = 9
"""onnx.TensorProto.BOOL."""
_HIDDEN = -1e3
"""What is added to a score that is not to count, or less."""


@dataclass(frozen=True, eq=False)
class Attention(Op):
    """softmax(scale · q kᵀ) v (Vaswani et al., 2017): q (*lead, queries, d), k (*lead, positions,
    d), v (*lead, positions, e).

    The last of the leading axes are the heads, of which ``groups`` share a key and value head
    (Ainslie et al., 2023). Masks are further inputs that broadcast to (*lead, queries, positions):
    "keep" is true where a query attends, "drop" where it does not, "add" is added to the scores.
    ``causal`` lets query i see positions up to i, ``window`` those less than that far away. A query
    that no position is left for gives what ``empty`` says: "nan", "zero", the "mean" of all values,
    or, where masking subtracts a large number (``shift``) from every score, what the "raw" scores
    give. Outputs: (output,) or, with ``weights`` "each" or "mean" (over the heads), (output,
    weights).
    """

    scale: float
    masks: tuple[str, ...] = ()
    causal: bool = False
    window: int | None = None
    groups: int = 1
    empty: str = "nan"
    shift: float = 0.0
    weights: str = ""
    gain: Weight | None = None

    @property
    def sees_all(self) -> bool:
        """Whether a query whose positions are all masked looks at all of them."""
        return self.empty in ("mean", "raw")

    @property
    def _factor(self) -> float:
        if self.gain is None:
            return self.scale
        return self.scale * float(self.gain.value)

    def undetected(self, inputs: Arrays) -> list[str]:
        q, k, _, *masks = inputs
        queries, positions = q.shape[-2], k.shape[-2]
        if positions == 1:
            return ["there is one position, so queries, keys and their scale could be anything"]
        sentences = []
        if self.window is not None and self.window >= max(queries, positions):
            sentences.append(
                f"{positions} positions all lie within the window of {self.window}, so another "
                "window, or none, would not be detected"
            )
        for kind, mask in zip(self.masks, masks, strict=True):
            if kind == "add":
                seen = mask > _HIDDEN
            else:
                seen = (mask != 0) == (kind == "keep")
            if (mask == 0).all() if kind == "add" else seen.all():
                sentences.append("a mask hides no position, so omitting it would not be detected")
            elif (
                seen.shape[-2:] == (queries, positions)
                and queries > 1
                and not (seen ^ np.tri(queries, positions, positions - queries, dtype=bool)).any()
            ):
                sentences.append(
                    f"the mask hides later positions alone, so a window of {positions} positions "
                    "or more, or none, would not be detected"
                )
        return sentences

    def raw_scores(
        self, q: np.ndarray, k: np.ndarray, dtype: np.dtype, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Of queries (…, rows, d) and keys (…, positions, d); ``out`` is flat memory to use."""
        q, k = (
            (q * self._factor).astype(dtype, copy=False),
            k.astype(dtype, copy=False).swapaxes(-1, -2),
        )
        shape = (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-1])
        if out is None or out.dtype != dtype:
            target = None
        else:
            target = out[: int(np.prod(shape))].reshape(shape)
        return np.matmul(q, k, out=target)

    def _small(self, frame: Frame) -> bool:
        """Whether no score is so large that the largest must be subtracted before exponentials are
        taken."""
        if "add" in self.masks or not frame.q.size or not frame.k.size:
            return False
        sizes = [np.sqrt(np.einsum("ohld,ohld->ohl", x, x).max()) for x in (frame.q, frame.k)]
        return bool(
            abs(self._factor) * sizes[0] * sizes[1]
            < 0.4 * np.log(float(np.finfo(frame.q.dtype).max))
        )

    @property
    def output_count(self) -> int:
        if self.weights:
            return 2
        return 1

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        frame = Frame(self, inputs)
        dtype = np.result_type(*inputs[:3])
        out = np.empty(
            (frame.outer, frame.queries, frame.heads, frame.v.shape[-1]), dtype
        ).transpose(0, 2, 1, 3)
        per_head = self.weights == "each"
        shape = (frame.outer, frame.heads if per_head else 1, frame.queries, frame.positions)
        weights = np.zeros(shape, dtype) if self.weights else None
        buffer, small = frame.buffer().astype(dtype, copy=False), self._small(frame)
        for block in frame.blocks():
            scores = frame.masked(frame.raw(block, dtype, buffer), block)
            if not small:
                scores -= finite(scores.max(axis=-1, keepdims=True, initial=-np.inf))
            np.exp(scores, out=scores)
            total = scores.sum(axis=-1, keepdims=True)
            if self.empty == "zero":
                total[total == 0] = np.inf
            np.divide(scores @ frame.shared(frame.v, block), total, out=out[block.at])
            if weights is not None:
                scores /= total
                if per_head:
                    weights[block.at][..., : block.stop] = scores
                else:
                    weights[block.outer, :, block.rows, : block.stop] += (
                        scores.sum(axis=1, keepdims=True) / frame.heads
                    )
        if weights is None:
            return (frame.back(out),)
        if per_head:
            return frame.back(out), frame.back(weights)
        return frame.back(out), weights.reshape(*frame.lead[:-1], *shape[2:])

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        q, k, v, *masks = inputs
        if self.groups > 1:
            k, v = (self._repeated(graph, x) for x in (k, v))
        scores = self._emitted_scores(graph, q, k, len(graph.shape(inputs[1])))
        allowed = self._emitted_rows(graph, graph.shape(q)[-2], graph.shape(inputs[1])[-2])
        for kind, mask in zip(self.masks, masks, strict=True):
            if kind == "add":
                scores = graph.op("Add", scores, mask)
                continue
            part = graph.op("Cast", mask, to=_BOOL)
            if kind != "keep":
                part = graph.op("Not", part)
            if allowed is None:
                allowed = part
            else:
                allowed = graph.op("And", allowed, part)
        last, low = graph.const([-1]), graph.const(-np.inf)
        if allowed is not None:
            masked = graph.op(
                "Where", allowed, scores, graph.const(-3.0e38) if self.empty == "mean" else low
            )
            if self.empty == "raw":
                some = graph.op("Greater", graph.op("ReduceMax", masked, last), low)
                masked = graph.op("Where", some, masked, scores)
            scores = masked
        weights = graph.op("Softmax", scores, axis=-1)
        if self.empty == "zero":
            some = graph.op("Greater", graph.op("ReduceMax", scores, last), low)
            weights = graph.op("Where", some, weights, graph.const(0.0))
        out = graph.op("MatMul", weights, v)
        if self.weights == "mean":
            return out, graph.op("ReduceMean", weights, graph.const([-3]), keepdims=0)
        if self.weights:
            return (out, weights)
        return (out,)

    def _emitted_scores(self, graph: Graph, q: str, k: str, rank: int) -> str:
        turned = graph.op("Transpose", k, perm=[*range(rank - 2), rank - 1, rank - 2])
        scores = graph.op("MatMul", graph.op("Mul", q, graph.const(float(self.scale))), turned)
        if self.gain is None:
            return scores
        return graph.op("Mul", scores, graph.weight(self.gain))

    def _emitted_rows(self, graph: Graph, queries: int, positions: int) -> str | None:
        rows, columns = graph.const(np.arange(queries)[:, None]), graph.const(np.arange(positions))
        causal = graph.op("GreaterOrEqual", rows, columns) if self.causal else None
        if self.window is None:
            return causal
        near = graph.op(
            "Less", graph.op("Abs", graph.op("Sub", rows, columns)), graph.const(self.window)
        )
        if causal is None:
            return near
        return graph.op("And", causal, near)

    def _repeated(self, graph: Graph, x: str) -> str:
        """Each key head as often as queries share it."""
        *lead, heads, positions, features = graph.shape(x)
        wide = graph.op("Unsqueeze", x, graph.const([len(lead) + 1]))
        wide = graph.op(
            "Expand", wide, graph.const([*lead, heads, self.groups, positions, features])
        )
        return graph.op(
            "Reshape", wide, graph.const([*lead, heads * self.groups, positions, features])
        )

    def summary(self, inputs: Arrays) -> str:
        q, k = inputs[:2]
        if self.causal:
            seen = "the positions up to its own (causal)"
        else:
            seen = f"{k.shape[-2]} positions"
        masked = ""
        if self.masks:
            masked = f", {len(self.masks)} mask{'s' * (len(self.masks) != 1)}"
        return (
            f"each query of {q.shape[-1]} features attends to {seen}, scores times "
            f"{self._factor:.6g}{masked}"
        )

    def score_slack(
        self,
        frame: Frame,
        block: ScoreBlock,
        scores: np.ndarray,
        slacks: Sequence[np.ndarray | None],
        precision: Precision,
    ) -> np.ndarray:
        """The squared error of each score, in units of the unit roundoff squared: its sum of
        products, what q and k arrive with, and the roundings of scaling and masking."""
        d, kind = frame.q.shape[-1], scores.dtype.type
        squared = np.square(frame.q[block.at] * kind(self._factor))
        keys = np.square(frame.shared(frame.k, block)).swapaxes(-1, -2)
        left = squared * kind(SIGMAS**2 / 3 * (d / 6 + (3 if precision.casts else 1)))
        if slacks[0] is not None:
            left += np.square(slacks[0][block.at] * kind(self._factor / precision.unit))
        out = left @ keys
        if slacks[1] is not None:
            out += squared @ np.square(
                frame.shared(slacks[1], block) * kind(1 / precision.unit)
            ).swapaxes(-1, -2)
        own = np.square(scores)
        own *= kind(SIGMAS**2 / 9 * d + 16)
        out += own
        return out

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """The errors e of the scores move a mean of values by at most sqrt(E[e²] Var[v]), both
        under the weights, however they go together, and never beyond the values; then comes the
        weighted sum's own rounding, and what the values arrive with.
        """
        frame, slack, by = self._narrow(of.inputs, of.slacks, precision)
        exact = frame.four(np.asarray(of.outputs[0]))
        target = np.zeros(exact.shape)
        if self.weights:
            moved = np.zeros(
                (frame.outer, frame.heads, frame.queries, frame.positions), frame.q.dtype
            )
        else:
            moved = None
        for block in frame.blocks():
            share, error, total = self._shares(frame, block, slack, precision)
            mean = np.einsum("ohij,ohij->ohi", share, error)[..., None] / total
            # scores so far off that weights may be any, as beside a mask of -1e9
            lost = mean > (0.5 / precision.unit) ** 2
            if moved is not None:
                each = np.sqrt(error) + np.sqrt(mean) + 2 * np.sqrt(block.stop) + 6
                moved[block.at][..., : block.stop] = np.where(
                    lost, 1, precision.unit * share / total * each
                )
            spread = np.where(lost, np.inf, mean) if lost.any() else mean
            target[block.at] = (
                self._block_slack(
                    frame, block, share, total, spread, exact[block.at] * by, slack[2], precision
                )
                / by
            )
        own = frame.back(target)
        own = np.where(np.isfinite(own), own, 0.0) + precision.tiny
        if of.few is not None:
            own[of.few] = np.maximum(
                own[of.few], of_partial_sums(self.terms(of.inputs, of.few), precision)
            )
        if moved is None:
            return (own,)
        moved = (
            np.minimum(np.where(np.isfinite(moved), moved, 0.0), 1.0).astype(np.float64)
            + precision.tiny
        )
        if self.weights == "mean":
            return own, moved.mean(axis=1).reshape(of.outputs[1].shape)
        return own, frame.back(moved)

    def _narrow(
        self, inputs: Arrays, slacks: Errors, precision: Precision
    ) -> tuple[Frame, list[np.ndarray | None], float]:
        """The call in float32 where that holds it, with the values scaled to 1; the slacks of
        queries, keys, values and of each added mask that has one; and how the values were
        scaled."""
        q, k, v, *masks = inputs
        by = scale_of(v)
        if not np.isfinite(by):
            by = 1.0
        largest = [float(np.abs(x).max(initial=0)) for x in (q, k)]
        product = largest[0] * largest[1] * q.shape[-1] * max(1.0, abs(self._factor))
        narrow = all(size == 0 or holds(size) for size in largest) and product < 1e10
        # float64 has weights that vanish in float32
        narrow &= precision.tiny > np.finfo(np.float32).tiny
        dtype = np.dtype(np.float32 if narrow else np.float64)
        frame = Frame(self, [q.astype(dtype), k.astype(dtype), (v * by).astype(dtype), *masks])
        repeats = (1, self.groups, self.groups)
        four = [
            None if slack is None else frame.four(slack.astype(dtype), repeat)
            for slack, repeat in zip(slacks[:3], repeats, strict=True)
        ]
        if four[2] is not None:
            four[2] = four[2] * dtype.type(by)
        four += [
            frame.four(np.atleast_2d(np.broadcast_to(slack, mask.shape)).astype(dtype))
            for kind, mask, slack in zip(self.masks, masks, slacks[3:], strict=False)
            if kind == "add" and slack is not None
        ]
        return frame, four, by

    def _shares(
        self,
        frame: Frame,
        block: ScoreBlock,
        slack: Sequence[np.ndarray | None],
        precision: Precision,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The weights of a block times their total, the squared error of their logarithms in units
        of the unit roundoff, the total."""
        scores = frame.raw(block, frame.q.dtype)
        error = self.score_slack(frame, block, scores, slack, precision)
        for added in slack[3:]:
            assert added is not None
            off = np.minimum(cut(added, block) / added.dtype.type(precision.unit), 2.0**50)
            error += np.square(off).astype(error.dtype)
        frame.masked(scores, block)
        if self.empty == "raw" and (allowed := frame.allowed(block)) is not None:
            error += np.where(allowed.any(axis=-1, keepdims=True), 0.0, self.shift**2).astype(
                error.dtype
            )
        largest = finite(scores.max(axis=-1, keepdims=True, initial=-np.inf))
        # a mask of float32's lowest number has no square
        error += 4 * np.square(np.clip(largest, -(2.0**50), 2.0**50)) + 64
        scores -= largest
        np.exp(scores, out=scores)
        total = scores.sum(axis=-1, keepdims=True)
        return scores, error, np.where(total == 0, 1, total)

    def _block_slack(
        self,
        frame: Frame,
        block: ScoreBlock,
        share: np.ndarray,
        total: np.ndarray,
        mean: np.ndarray,
        exact: np.ndarray,
        arrived: np.ndarray | None,
        precision: Precision,
    ) -> np.ndarray:
        v = frame.shared(frame.v, block)
        squared = np.square(v)
        second = share @ squared / total
        spread = np.maximum(second - np.square(exact), 0) + 2.0**-18 * second + precision.tiny
        count = frame.seen(block)
        np.square(share, out=share)
        total = np.square(total)
        variance = (
            SIGMAS**2
            / 3
            * (
                count / 3 * np.square(exact)
                + (count / 6 + (6 if precision.casts else 4)) * (share @ squared / total)
            )
        )
        if arrived is not None:
            variance += (
                share
                @ np.square(frame.shared(arrived, block) * squared.dtype.type(1 / precision.unit))
                / total
            )
        own = np.sqrt(variance) + np.sqrt(mean * spread) + (2 * np.sqrt(count) + 4) * np.abs(exact)
        high, low = (
            v.max(axis=-2, keepdims=True, initial=-np.inf),
            v.min(axis=-2, keepdims=True, initial=np.inf),
        )
        spread_of_scores = np.maximum(high - exact, exact - low) / precision.unit
        return precision.unit * np.minimum(
            own, np.maximum(spread_of_scores, 0) + np.sqrt(variance) + 4 * np.abs(exact)
        )

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return inputs[1].shape[-2]

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, positions, 1)."""
        frame = Frame(self, inputs)
        *lead, rows, columns = where
        count = len(rows)
        if lead:
            places = np.ravel_multi_index(lead, frame.lead)
        else:
            places = np.zeros(count, int)
        terms = np.empty((count, frame.positions, 1))
        for row, (place, i, c) in enumerate(
            zip(places.tolist(), rows.tolist(), columns.tolist(), strict=True)
        ):
            o, h = divmod(place, frame.heads)
            terms[row, :, 0] = self._row(frame, o, h, i)[0] * frame.v[o, h // self.groups, :, c]
        return terms

    def _row(
        self, frame: Frame, outer: int, head: int, query: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """What one query gives every position, and its scores."""
        block = ScoreBlock(
            slice(outer, outer + 1), slice(head, head + 1), slice(query, query + 1), frame.positions
        )
        scores = frame.masked(frame.raw(block, np.dtype(np.float64)), block)[0, 0, 0]
        e = np.exp(scores - finite(scores.max()))
        total = e.sum()
        return e / (np.inf if self.empty == "zero" and not total else total), scores

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        frame = Frame(self, inputs)
        *lead, query, column = at
        outer, head = divmod(
            int(np.ravel_multi_index(lead, frame.lead)) if lead else 0, frame.heads
        )
        with np.errstate(all="ignore"):
            share, scores = self._row(frame, outer, head, query)
        seen = np.flatnonzero(~(share == 0))
        most = seen[np.argsort(-share[seen], kind="stable")[:3]]
        text = ", ".join(f"{share[j]:.4g} to position {j} (score {scores[j]:.6g})" for j in most)
        place = [
            at[axis] if size > 1 else 0
            for axis, size in zip(range(-inputs[2].ndim, -2), inputs[2].shape, strict=False)
        ]
        if self.groups > 1:
            place[-1] = lead[-1] // self.groups
        if len(seen) < frame.positions:
            rest = f", 0 to the other {frame.positions - len(seen)}"
        else:
            rest = ""
        words = f"attention weights of this query over {frame.positions} positions: {text}{rest}"
        terms = Terms(
            box([*place, seen, column]),
            input=2,
            factor=Weight("attention", None, share),
            factor_where=seen[:, None],
        )
        return Contributions((terms,), (Stage(words, float(outputs[0][at])),))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        frame = Frame(self, inputs)
        wanted = np.asarray(frame.four(mask))
        masks = [
            np.zeros((frame.outer, frame.heads, n, x.shape[-1]), bool)
            for n, x in zip((frame.queries, frame.positions, frame.positions), inputs, strict=False)
        ]
        masks[0] |= wanted.any(axis=-1, keepdims=True)
        for block in frame.blocks():
            allowed, part = frame.allowed(block), wanted[block.at]
            if allowed is None:
                seen = np.ones((1, 1, part.shape[2], block.stop))
            else:
                seen = allowed.astype(float)
            if self.sees_all:
                seen = np.where(seen.any(axis=-1, keepdims=True), seen, 1.0)
            seen = np.broadcast_to(seen, (*part.shape[:3], block.stop)).swapaxes(-1, -2)
            masks[1][block.outer, block.heads, : block.stop] |= (
                seen @ part.any(axis=-1, keepdims=True)
            ) > 0
            masks[2][block.outer, block.heads, : block.stop] |= (seen @ part) > 0
        given = [
            gathered(frame.back(reached), x.shape, self.groups if i else 1)
            for i, (reached, x) in enumerate(zip(masks, inputs, strict=False))
        ]
        rest = [np.full(x.shape, mask.any()) for x in inputs[3:]]
        return (*given, *rest)
