"""Tables: rows by their numbers."""

import re

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, Value, as_tuple, listed, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.gather import given

_ROLLED = re.compile(r"np\.roll\((\w+), (-?\d+), axis=0\)")
"""A table whose rows lie further on."""


@writes(ops.Embedding)
def _embedding(op: ops.Embedding, w: HandWriter, x: Value) -> Value:
    table = w.plain(w.weight(op.table))
    order = None if x.order is None else (*x.order, x.rank)
    text = _rows(w, table, f"{x.at(ATOM)}.astype(int)")
    if op.max_norm is None:
        return w.result(text, ATOM, order)
    rows = w.let("rows", Value(text, (*x.shape, table.shape[-1]), order))
    norm = f"np.linalg.norm({rows.text}, ord={number(op.norm_type)}, axis=-1, keepdims=True)"
    norms = w.let("norms", Value(norm, (*x.shape, 1)))
    most = number(op.max_norm)
    scaled = f"{rows.text} * ({most} / ({norms.text} + 1e-07))"
    return w.result(f"np.where({norms.text} > {most}, {scaled}, {rows.text})", ATOM, order)


def _rows(w: HandWriter, table: Value, places: str) -> str:
    """The rows of a table; of one whose rows are rolled those before or behind."""
    rolled = _ROLLED.fullmatch(table.text)
    if rolled is None or np.max(given(w, 0), initial=0) - int(rolled[2]) >= table.shape[0]:
        return f"{table.at(ATOM)}[{places}]"
    name, by = rolled[1], int(rolled[2])
    return f"{name}[{places} {'+' if by < 0 else '-'} {abs(by)}]"


@writes(ops.EmbeddingBag)
def _embedding_bag(op: ops.EmbeddingBag, w: HandWriter, x: Value, *others: Value) -> Value:
    if op.max_norm is not None or op.mode not in ("sum", "mean", "max"):
        raise Unwritten("rows scaled to a norm")
    table, x = w.plain(w.weight(op.table)), w.plain(x)
    indices = f"{x.at(ATOM)}.astype(int)"
    plain = not op.offsets and op.padding is None and op.mode != "max" and x.own_shape[1]
    if plain:
        rows = f"{table.at(ATOM)}[{indices}]"
        if op.weighted:
            rows = f"({rows} * {w.plain(others[-1]).at(ATOM)}[..., None])"
        return w.result(f"{rows}.{'sum' if op.mode == 'sum' else 'mean'}(axis=1)")
    return _bags(op, w, table, x, others)


def _bags(
    op: ops.EmbeddingBag, w: HandWriter, table: Value, x: Value, others: tuple[Value, ...]
) -> Value:
    """Bags of different sizes: each row goes to its own."""
    count, features = w.shape()
    names = ("indices", "bags", "kept", "rows", "sizes", "bagged")
    indices, bags, kept, rows, sizes, made = (w.local(name) for name in names)
    if op.offsets:
        starts = f"{w.plain(others[0]).at(ATOM)}.astype(int)"
        each = f'np.searchsorted({starts}, np.arange({indices}.size), side="right") - 1'
    else:
        each = f"np.repeat(np.arange({count}), {x.own_shape[1]})"
    lines = [
        f"{indices} = {x.at(ATOM)}.astype(int).reshape(-1)",
        f"{bags} = {each}",
        f"{kept} = ({bags} >= 0) & ({bags} < {count})",
    ]
    if op.padding is not None:
        lines.append(f"{kept} &= {indices} != {op.padding}")
    lines.append(f"{indices}, {bags} = {indices}[{kept}], {bags}[{kept}]")
    factor = ""
    if op.weighted and op.mode != "max":
        factor = f" * {w.plain(others[-1]).at(ATOM)}.reshape(-1)[{kept}][:, None]"
    lines.append(f"{rows} = {table.at(ATOM)}[{indices}]{factor}")
    lines.append(f"{sizes} = np.bincount({bags}, minlength={count})[:, None]")
    shape = f"({count}, {features})"
    if op.mode == "max":
        lines.append(f"{made} = np.full({shape}, -np.inf)")
        lines.append(f"np.maximum.at({made}, {bags}, {rows})")
        lines.append(f"{made} = np.where({sizes} > 0, {made}, 0)")
    else:
        lines.append(f"{made} = np.zeros({shape})")
        lines.append(f"np.add.at({made}, {bags}, {rows})")
    if op.mode == "mean":
        lines.append(f"{made} = {made} / np.maximum({sizes}, 1)")
    w.block(lines, "each index' row goes to its bag")
    return Value(made, (count, features))


_FEW = 24
"""So many groups of words are counted in a script, each at each distance."""


@writes(ops.CountNgrams)
def _count_ngrams(op: ops.CountNgrams, w: HandWriter, x: Value) -> Value:
    x = w.plain(x)
    lines_of_text, length = x.shape if x.rank == 2 else (1, x.shape[-1])
    if x.rank != 2:
        x = Value(f"{x.at(ATOM)}.reshape(1, -1)", (1, length))
    x = w.named("lines", x)
    counts = w.local("counts")
    lines = [f"{counts} = np.zeros(({lines_of_text}, {max(op.places) + 1}))"]
    for gram, place in zip(op.grams, op.places, strict=True):
        if not op.shortest <= len(gram) <= op.longest:
            continue
        for step in range(1, (min(op.skips, length) if len(gram) > 1 else 0) + 2):
            starts = length - step * (len(gram) - 1)
            if starts > 0:
                apart = f"{step} * " if step > 1 else ""
                at = f"np.arange({starts})[:, None] + {apart}np.arange({len(gram)})"
                same = f"({x.text}[:, {at}] == {listed(gram)}).all(axis=-1)"
                lines.append(f"{counts}[:, {place}] += {same}.sum(axis=-1)")
    if len(lines) > _FEW:
        raise Unwritten("counts many groups of words")
    w.block(lines, "how often each group of words stands in a line")
    factor = np.ones(max(op.places) + 1)
    if op.weights:
        factor[list(op.places)] = op.weights
    text = counts
    if op.mode != "TF":
        text = f"({counts} > 0)" if op.mode == "IDF" else counts
        text = f"{text} * {w.constant('factor', factor).text}"
    return Value(f"({text}).reshape{as_tuple(w.shape())}", w.shape())
