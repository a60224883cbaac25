"""Mistakes with attention and embeddings: the scale, the masks, the heads, the order of the
projections, the index."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import Value
from probe.by_hand.writers.attention import attended
from probe.hypotheses.registry import hypothesis, more
from probe.ops.step import Ref
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps

__all__: list[str] = []


@hypothesis("attention-scale")
def attention_scale(case: Case) -> Iterator[Edit]:
    """The attention scores are not divided by the square root of the head size, or are divided by
    another number.

    Multi-head attention divides by sqrt(features of one head), not of the whole model; Keras'
    ``Attention`` does not divide. The attention weights become sharper or flatter, and the mean
    over an unmasked query hardly changes.
    """
    for position, op in case.having(ops.Attention):
        if isinstance(op, ops.AdditiveAttention):
            continue
        q = case.input_of(position)
        size, heads = q.shape[-1], q.shape[-3] if q.ndim > 2 else 1
        values = case.input_of(position, 2).shape[-1]
        tried = {
            "1 (not scaled)": 1.0,
            f"1 / sqrt({size})": size**-0.5,
            f"1 / {size}": 1 / size,
            "the square of the scale": op.scale**2,
        }
        if heads > 1:
            tried[f"1 / sqrt({size * heads}), from the features of all heads"] = (
                size * heads
            ) ** -0.5
        tried |= {
            f"sqrt({size})": size**0.5,
            f"1 / sqrt({q.shape[-2]}), from the number of queries": q.shape[-2] ** -0.5,
            f"1 / sqrt({values}), from the features of a value": values**-0.5,
        }
        right = f"multiply the scores by {op.scale:.6g}"
        if op.scale == 1:
            right = "do not scale the scores"
        for told, scale in tried.items():
            if abs(scale - op.scale) > 1e-9 * op.scale:
                claim = f"scores are multiplied by {told}; the layer's factor is {op.scale:.6g}"
                yield case.edit(
                    claim,
                    case.changed(position, scale=scale),
                    do=right,
                )


def _without(case: Case, position: int, dropped: tuple[int, ...], **changes: Any) -> Steps:
    """The steps with some masks of an attention left out."""
    step = case.steps[position]
    op, sources = step.op, step.sources(position)
    assert isinstance(op, ops.Attention)
    kept = [k for k in range(len(op.masks)) if k not in dropped]
    changed = replace(op, masks=tuple(op.masks[k] for k in kept), **changes)
    inputs = (*sources[:3], *(sources[3 + k] for k in kept))
    return (
        *case.steps[:position],
        replace(step, op=changed, inputs=inputs),
        *case.steps[position + 1 :],
    )


def _masks_named(op: ops.Attention, which: tuple[int, ...]) -> str:
    """Some masks of an attention with the verb; one that is added may be a bias."""
    if len(which) == 1 < len(op.masks):
        return f"mask {which[0]} is"
    if all(op.masks[k] == "add" for k in which):
        return "what is added to the scores is"
    if len(which) > 1:
        return "the masks are"
    return "the mask is"


@hypothesis("attention-mask")
def attention_mask(case: Case) -> Iterator[Edit]:
    """A causal or padding mask was ignored, or its true and false values were inverted.

    In PyTorch's ``MultiheadAttention`` a boolean attn_mask is True where a position is hidden; in
    Keras and in ``scaled_dot_product_attention`` it is True where the position is visible. If only
    the last query of a causal layer agrees, the causal mask is missing.
    """
    for position, op in case.having(ops.Attention):
        yield from _causal_masks(case, position, op)
        if op.window is not None:
            yield case.edit(
                f"the sliding window of {op.window} positions is not applied",
                case.changed(position, window=None),
                do="mask the positions outside the window",
            )
        if (op.causal or op.masks or op.window is not None) and not op.weights:
            yield case.edit(
                "the attention weights of hidden positions are set to 0 after the softmax, so that "
                "they no longer sum to 1",
                case.with_op(position, _MaskedAfterSoftmax(op)),
                do="mask the scores, before the softmax",
                as_healthy=True,
            )
        yield from _masks_left_out(case, position, op)
        yield from _masks_of_other_kinds(case, position, op)


def _sees_past_alone(case: Case, position: int) -> bool:
    """Whether there are more keys than queries, and a mask of the layer is causal: the last query
    sees the last key."""
    queries, keys = (np.shape(case.input_of(position, k))[-2] for k in (0, 1))
    causal = np.tri(queries, keys, keys - queries, dtype=bool)
    masks = (ref.of(case.inputs, case.values) for ref in case.steps[position].sources(position)[3:])
    return keys > queries and any(
        np.array_equal(mask.reshape(-1, queries, keys)[0] > 0, causal)
        for mask in masks
        if mask.shape[-2:] == (queries, keys)
    )


def _causal_masks(case: Case, position: int, op: ops.Attention) -> Iterator[Edit]:
    """No causal mask, nor any other; or one where the layer has none."""
    if not op.causal:
        claim, do = (
            "a causal mask is applied, which the layer does not have",
            "apply no causal mask",
        )
        if _sees_past_alone(case, position):
            claim = (
                "the causal mask begins at the first key, where the layer's lets the last query "
                "see the last key: the keys before the first query count as later ones"
            )
            do = "let query i see the keys up to i + keys - queries"
        yield case.edit(claim, case.changed(position, causal=True), do=do)
        return
    yield case.edit(
        "the causal mask is not applied: queries see later positions",
        case.changed(position, causal=False),
        do="mask later positions (causal)",
    )
    if op.masks:
        yield case.edit(
            "neither the causal mask nor any other mask is applied",
            _without(case, position, tuple(range(len(op.masks))), causal=False),
            do="apply the masks",
        )


def _masks_left_out(case: Case, position: int, op: ops.Attention) -> Iterator[Edit]:
    """All masks that are inputs left out, and each of several alone."""
    masks = tuple(range(len(op.masks)))
    choices = [masks] if masks else []
    if len(masks) > 1:
        choices += [(mask,) for mask in masks]
    for dropped in choices:
        yield case.edit(
            f"{_masks_named(op, dropped)} not applied",
            _without(case, position, dropped),
            do="apply the mask before the softmax",
        )


def _masks_of_other_kinds(case: Case, position: int, op: ops.Attention) -> Iterator[Edit]:
    """True and false exchanged, or taken for numbers that are added."""
    turned = {"keep": "drop", "drop": "keep"}
    if not any(kind in turned for kind in op.masks):
        return
    other = tuple(turned.get(kind, kind) for kind in op.masks)
    yield case.edit(
        "true and false of the mask are inverted",
        case.changed(position, masks=other),
        do="invert the mask",
    )
    masks = (case.input_of(position, 3 + k) for k in range(len(op.masks)))
    if any(
        (mask == (kind == "keep")).all(-1).any()
        for kind, mask in zip(op.masks, masks, strict=True)
        if kind in turned
    ):
        yield case.edit(
            "true and false of the mask are inverted; a query for which every position is "
            "hidden takes the mean of all values",
            case.changed(position, masks=other, empty="mean"),
            do="invert the mask",
        )
    yield case.edit(
        "the mask's values 1 and 0 are added to the scores",
        case.changed(position, masks=tuple("add" for _ in op.masks)),
        do="add minus infinity where a position is masked",
    )


@dataclass(frozen=True, eq=False)
class _MaskedAfterSoftmax(ops.Op):
    """Attention whose weights are masked in place of its scores."""

    op: ops.Attention

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        q, k, v, *_ = inputs
        each = replace(self.op, weights="each")
        free = replace(each, causal=False, window=None, masks=()).run(q, k, v)[1]
        weights = np.where(each.run(*inputs)[1] != 0, free, 0.0)
        v = np.repeat(v, self.op.groups, axis=-3) if self.op.groups > 1 else v
        return (weights @ v,)


@writes(_MaskedAfterSoftmax)
def _masked_by_hand(
    op: _MaskedAfterSoftmax, w: Any, q: Value, k: Value, v: Value, *m: Value
) -> Any:
    if "add" in op.op.masks:
        raise Unwritten("a mask that is added")
    return attended(op.op, w, (q, k, v), m, hidden_after=True)


@more("wrong-axis")
def softmax_over_queries(case: Case) -> Iterator[Edit]:
    """Attention weights that sum to 1 over the queries, not over the positions."""
    for position, op in case.having(ops.Attention):
        if not (op.causal or op.masks or op.weights or op.window is not None) and op.groups == 1:
            yield case.edit(
                "the softmax of the scores is over the queries, not over the positions",
                case.with_op(position, _OverQueries(op)),
                do="take the softmax over the last axis of q k^T",
                as_healthy=True,
            )


@dataclass(frozen=True, eq=False)
class _OverQueries(ops.Op):
    """Attention with the softmax over the other axis of its scores."""

    op: ops.Attention

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        q, k, v = inputs
        turned = replace(self.op, weights="each").run(k, q, q)[1]
        return (turned.swapaxes(-1, -2) @ v,)


@writes(_OverQueries)
def _over_queries_by_hand(op: _OverQueries, w: Any, q: Value, k: Value, v: Value) -> Any:
    return attended(op.op, w, (q, k, v), (), over=-2)


def _split(case: Case, position: int) -> dict[int, tuple[int, int]] | None:
    """(Reshape, Transpose) that make the heads of each of the first three inputs, and of the output
    (key -1)."""
    splits = {}
    for k, ref in enumerate(case.steps[position].sources(position)[:3]):
        turn = case.steps[ref.step] if ref.step >= 0 else None
        if turn is None or not isinstance(turn.op, ops.Transpose):
            return None
        before = turn.sources(ref.step)[0].step
        if before < 0 or not isinstance(case.steps[before].op, ops.Reshape):
            return None
        splits[k] = (before, ref.step)
    after = next((i for i, step in enumerate(case.steps) if Ref(position) in step.sources(i)), None)
    if (
        after is not None
        and isinstance(case.steps[after].op, ops.Transpose)
        and after + 1 < len(case.steps)
    ):
        splits[-1] = (after + 1, after)
    return splits


@more("group-axis")
def heads_formed_otherwise(case: Case) -> Iterator[Edit]:
    """Heads taken from the features in another way: every so many apart, or by a reshape where the
    axes must be moved."""
    for position, _ in case.having(ops.Attention):
        splits = _split(case, position)
        if splits is None:
            continue
        steps = list(case.steps)
        for k, (_, turn) in splits.items():
            value = case.values[turn][0]
            steps[turn] = replace(steps[turn], op=ops.Reshape(shape=value.shape))
            if k == 2:
                yield case.edit(
                    "features are split into heads by a reshape alone, without a transpose",
                    tuple(steps),
                    do="reshape, then transpose",
                )
        yield case.edit(
            "heads are split and merged by a reshape alone, without a transpose",
            tuple(steps),
            do="reshape, then transpose",
        )
        steps = list(case.steps)
        for k, (split, turn) in splits.items():
            if k < 0:
                continue
            *lead, heads, size = case.values[split][0].shape
            perm = list(case.steps[turn].op.perm)  # type: ignore[attr-defined]
            last = len(perm) - 1
            swapped = tuple({last: last - 1, last - 1: last}.get(axis, axis) for axis in perm)
            steps[split] = replace(steps[split], op=ops.Reshape(shape=(*lead, size, heads)))
            steps[turn] = replace(steps[turn], op=ops.Transpose(perm=swapped))
        yield case.edit(
            "each head takes interleaved features instead of contiguous ones",
            tuple(steps),
            do="split the features as (heads, features)",
        )


_BLOCKS = 4
"""Of how many blocks all orders are tried, at most."""


def _blocks(case: Case) -> dict[str, list[int]]:
    """The products that use rows of one and the same parameter."""
    found: dict[str, list[int]] = {}
    for position, op in case.having(ops.MatMul):
        if op.weight.rows is not None:
            found.setdefault(op.weight.name, []).append(position)
    return {
        name: positions
        for name, positions in found.items()
        if len({op.weight.value.shape for op in _ops(case, positions)}) == 1
    }


def _ops(case: Case, positions: list[int]) -> list[Any]:
    return [case.steps[position].op for position in positions]


def _with_ops(case: Case, changed: dict[int, Any]) -> Steps:
    return tuple(
        replace(step, op=changed[i]) if i in changed else step for i, step in enumerate(case.steps)
    )


@more("swapped-parameters")
def blocks_in_another_order(case: Case) -> Iterator[Edit]:
    """The rows of in_proj_weight are those of the queries, then of the keys, then of the values."""
    for name, positions in _blocks(case).items():
        made = _ops(case, positions)
        names = [str(k) for k in range(len(positions))]
        if len(positions) == 3:
            names = ["query", "key", "value"]
        for order in permutations(range(len(positions))) if len(positions) <= _BLOCKS else ():
            if order != tuple(range(len(positions))):
                steps = _with_ops(
                    case, {position: made[k] for position, k in zip(positions, order, strict=True)}
                )
                words = ", ".join(names[k] for k in order)
                yield case.edit(
                    f"the row blocks of {name} are read in the order {words}",
                    steps,
                    do=f"read them in the order {', '.join(names)}",
                )


@more("missing-bias")
def no_projection_has_its_bias(case: Case) -> Iterator[Edit]:
    """The biases of the projections into heads, all left out."""
    held = {position: op for position, op in case.having(ops.MatMul) if op.bias is not None}
    attends = next((position for position, _ in case.having(ops.Attention)), -1)
    before = {
        position: replace(op, bias=None) for position, op in held.items() if position < attends
    }
    if before:
        yield case.edit(
            "the query, key and value projections do not add their biases",
            _with_ops(case, before),
            do="add the biases of query, key and value",
        )
    if len(before) < len(held) and before:
        changed = {position: replace(op, bias=None) for position, op in held.items()}
        yield case.edit(
            "none of the projections adds its bias", _with_ops(case, changed), do="add the biases"
        )


@more("transposed-kernel")
def blocks_transposed(case: Case) -> Iterator[Edit]:
    """The square blocks of in_proj_weight, each transposed: x W instead of x Wᵀ."""
    changed = {
        position: op
        for positions in _blocks(case).values()
        for position, op in zip(positions, _ops(case, positions), strict=True)
    }
    if changed and all(
        op.weight.value.shape[0] == op.weight.value.shape[1] for op in changed.values()
    ):
        turned = {
            i: replace(op, weight=Weight(op.weight.name, None, op.weight.value.T))
            for i, op in changed.items()
        }
        yield case.edit(
            "each row block of the weight is transposed",
            _with_ops(case, turned),
            do="multiply by the transposed block",
        )


def _shifted(op: Any, step: int, move: Callable[[np.ndarray, int], np.ndarray]) -> Any:
    rows = move(np.arange(op.table.effective.shape[0]) + step, op.table.effective.shape[0])
    return replace(op, table=replace(op.table, stored=None, effective=op.table.effective[rows]))


@hypothesis("off-by-one")
def off_by_one(case: Case) -> Iterator[Edit]:
    """An index is one too large or too small: rows counted from 1, or the row for padding or
    unknown words was forgotten.

    Every output is the table row next to the right one.
    """
    ways: tuple[Callable[[np.ndarray, int], np.ndarray], ...] = (
        lambda i, n: i % n,
        lambda i, n: np.clip(i, 0, n - 1),
    )
    for position, op in case.having(ops.Embedding):
        rows, used = op.table.effective.shape[0], case.input_of(position).astype(int)
        for step in (1, -1):
            at_end = bool((used % rows == (rows - 1 if step > 0 else 0)).any())
            for move in ways if at_end else ways[:1]:
                text = f"row {'index + 1' if step > 0 else 'index - 1'} of {op.table.name} is used"
                yield case.edit(
                    text,
                    case.with_op(position, _shifted(op, step, move)),
                    do="use the row of the index, counted from 0",
                )


@more("raw-weights")
def rows_not_scaled(case: Case) -> Iterator[Edit]:
    """Rows of an embedding that are not scaled to its largest norm."""
    for position, op in case.having(ops.Embedding):
        if op.max_norm is not None:
            claim = (
                f"rows of {op.table.name} are used as stored, not rescaled to a norm of at "
                f"most {op.max_norm:g}"
            )
            yield case.edit(
                claim, case.changed(position, max_norm=None), do="rescale rows whose norm is larger"
            )


def _bags(case: Case) -> Iterator[tuple[int, Any]]:
    yield from case.having(ops.EmbeddingBag)


@more("pool-counts-padding")
def bag_counts_padding(case: Case) -> Iterator[Edit]:
    """A bag's mean over all indices, those of padding counted."""
    for position, op in _bags(case):
        if op.padding is not None:
            yield case.edit(
                "padding indices are included",
                case.changed(position, padding=None),
                do=f"leave out the padding index {op.padding}",
            )
