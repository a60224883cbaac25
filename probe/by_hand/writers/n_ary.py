"""Arithmetic of several inputs, and constants."""

from probe import ops
from probe.by_hand.registry import writes
from probe.by_hand.values import ATOM, POWER, PRODUCT, SUM, Value, number
from probe.by_hand.writer import HandWriter


@writes(ops.Add, ops.Beside)
def _add(op: ops.Add, w: HandWriter, *values: Value) -> Value:
    terms = tuple(value for value in values if not value.is_zero)
    if len(terms) == 1 and terms[0].own_shape == w.shape():
        return terms[0]
    return chain(w, " + ", SUM, values)


def chain(w: HandWriter, mark: str, level: int, values: tuple[Value, ...]) -> Value:
    """Values with an operator between each and the next, of which the first may bind as loosely."""
    values, order = w.aligned(*values)
    first, *rest = values
    text = mark.join([first.at(level), *(value.at(level + 1) for value in rest)])
    return w.result(text, level, order)


@writes(ops.Mul)
def _mul(op: ops.Mul, w: HandWriter, *values: Value) -> Value:
    factors = tuple(value for value in values if value.text != "1") or values[:1]
    if len(factors) == 1 and factors[0].own_shape == w.shape():
        return factors[0]
    if len(factors) == 2 and factors[1].text.startswith("1 / ") and factors[1].level == PRODUCT:
        (left, right), order = w.aligned(*factors)
        if right == factors[1]:
            return w.result(f"{left.at(PRODUCT)} / {right.text[4:]}", PRODUCT, order)
    return chain(w, " * ", PRODUCT, factors)


@writes(ops.Sub)
def _sub(op: ops.Sub, w: HandWriter, *values: Value) -> Value:
    return chain(w, " - ", SUM, values)


@writes(ops.Constant)
def _constant(op: ops.Constant, w: HandWriter) -> Value:
    return w.constant("constant", op.value)


@writes(ops.Parameter)
def _parameter(op: ops.Parameter, w: HandWriter) -> Value:
    return w.weight(op.weight)


@writes(ops.AddConstant)
def _add_constant(op: ops.AddConstant, w: HandWriter, x: Value) -> Value:
    return chain(w, " + ", SUM, (x, w.weight(op.value)))


@writes(ops.MulConstant)
def _mul_constant(op: ops.MulConstant, w: HandWriter, x: Value) -> Value:
    if op.value.value.size == 1 and x.level == PRODUCT:
        factor = float(op.value.value.item())
        text = x.text.removesuffix(f" / {number(factor)}")
        if factor and "%" not in text and "//" not in text:
            text = text.removeprefix(f"{number(1 / factor)} * ")
        if text != x.text:
            return w.result(text, PRODUCT, x.order)
    return chain(w, " * ", PRODUCT, (x, w.weight(op.value)))


@writes(ops.Div)
def _div(op: ops.Div, w: HandWriter, *values: Value) -> Value:
    return chain(w, " / ", PRODUCT, values)


@writes(ops.Pow)
def _pow(op: ops.Pow, w: HandWriter, *values: Value) -> Value:
    (base, exponent), order = w.aligned(*values)
    return w.result(f"{base.at(ATOM)} ** {exponent.at(ATOM)}", POWER, order)


@writes(ops.Max)
def _max(op: ops.Max, w: HandWriter, *values: Value) -> Value:
    return _nested(w, "np.maximum", values)


@writes(ops.Min)
def _min(op: ops.Min, w: HandWriter, *values: Value) -> Value:
    return _nested(w, "np.minimum", values)


def _nested(w: HandWriter, function: str, values: tuple[Value, ...]) -> Value:
    (first, *rest), order = w.aligned(*values)
    text, level = first.text, first.level
    for value in rest:
        text, level = f"{function}({text}, {value.text})", ATOM
    return w.result(text, level, order)


@writes(ops.Mean)
def _mean(op: ops.Mean, w: HandWriter, *values: Value) -> Value:
    values, order = w.aligned(*values)
    total = " + ".join(value.at(SUM) for value in values)
    return w.result(f"({total}) / {len(values)}", PRODUCT, order)


@writes(ops.Concat)
def _concat(op: ops.Concat, w: HandWriter, *values: Value) -> Value:
    if len(values) == 1:
        return values[0]
    values, order = w.aligned(*values)
    axis = op.axis % values[0].rank
    if order is not None:
        axis = order[axis]
    texts = [value.text for value in values]
    listed = f"[{', '.join(texts)}]"
    if len(texts) > 2 and len({*texts}) == 1:
        listed = f"[{texts[0]}] * {len(texts)}"
    return w.result(f"np.concatenate({listed}, axis={axis})", ATOM, order)
