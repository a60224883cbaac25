"""Tables: rows by their numbers."""

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, Value, number
from probe.by_hand.writer import HandWriter


@writes(ops.Embedding)
def _embedding(op: ops.Embedding, w: HandWriter, x: Value) -> Value:
    table = w.plain(w.weight(op.table))
    order = None if x.order is None else (*x.order, x.rank)
    text = f"{table.at(ATOM)}[{x.at(ATOM)}.astype(int)]"
    if op.max_norm is None:
        return w.result(text, ATOM, order)
    if op.norm_type not in (1, 2):
        raise Unwritten("rows scaled to another norm")
    rows = w.let("rows", Value(text, (*x.shape, table.shape[-1]), order))
    norm = f"np.linalg.norm({rows.text}, ord={number(op.norm_type)}, axis=-1, keepdims=True)"
    norms = w.let("norms", Value(norm, (*x.shape, 1)))
    most = number(op.max_norm)
    scaled = f"{rows.text} * ({most} / ({norms.text} + 1e-07))"
    return w.result(f"np.where({norms.text} > {most}, {scaled}, {rows.text})", ATOM, order)
