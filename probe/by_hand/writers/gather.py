"""What indices choose, and where they put; triangles, columns of windows, tables of codes."""

import math
import re

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, PRODUCT, Value, as_tuple, listed, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.linear import windows_of

_INTO = {"add": "add", "mul": "multiply", "max": "maximum", "min": "minimum"}
_NUMBER = re.compile(r"-?\d+")
_LISTED = re.compile(r"np\.array\((\[[-\d, ]+\])\)")
_FEW = 12
"""So many keys are written out."""


def given(w: HandWriter, source: int) -> np.ndarray:
    """What the step being written takes as one of its inputs."""
    ref = w.computation.steps[w.position].sources(w.position)[source]
    return np.asarray(ref.of(w.computation.inputs, w.computation.values))


def _whole(w: HandWriter, indices: Value) -> str:
    """The second input, whole numbers, which some frameworks have as floats."""
    if _NUMBER.fullmatch(indices.text) or given(w, 1).dtype.kind in "iu":
        return indices.text
    return f"{indices.array}.astype(int)"


@writes(ops.Gather)
def _gather(op: ops.Gather, w: HandWriter, x: Value, indices: Value) -> Value:
    x, indices = w.plain(x), w.plain(indices)
    places = _whole(w, indices)
    if (numbers := _LISTED.fullmatch(places)) is not None:
        places = numbers[1]
    return w.result(f"np.take({x.text}, {places}, axis={op.axis % x.rank})")


def _sparse(w: HandWriter, shape: tuple[int, ...]) -> str:
    return f"np.indices({as_tuple(shape)}, sparse=True)"


@writes(ops.GatherElements)
def _gather_elements(op: ops.GatherElements, w: HandWriter, x: Value, indices: Value) -> Value:
    x, indices = w.plain(x), w.plain(indices)
    at = w.local("at")
    axis = op.axis % x.rank
    lines = [f"{at} = [*{_sparse(w, indices.shape)}]"]
    lines.append(f"{at}[{axis}] = {_whole(w, indices)}")
    w.block(lines, f"at the place of each index, but on axis {axis} where it says")
    return w.result(f"{x.at(ATOM)}[tuple({at})]")


@writes(ops.GatherND)
def _gather_nd(op: ops.GatherND, w: HandWriter, x: Value, indices: Value) -> Value:
    x, indices = w.plain(x), w.plain(indices)
    places = f"tuple(np.moveaxis({_whole(w, indices)}, -1, 0))"
    return w.result(f"{x.at(ATOM)}[{places}]")


@writes(ops.Trilu)
def _trilu(op: ops.Trilu, w: HandWriter, x: Value) -> Value:
    name = "triu" if op.upper else "tril"
    return w.result(f"np.{name}({w.plain(x).text}, {op.k})")


@writes(ops.ScatterElements)
def _scatter_elements(
    op: ops.ScatterElements, w: HandWriter, x: Value, indices: Value, updates: Value
) -> Value:
    x, indices, updates = w.plain(x), w.plain(indices), w.plain(updates)
    axis, at = op.axis % x.rank, w.local("at")
    lines = [f"{at} = [*{_sparse(w, indices.shape)}]"]
    lines.append(f"{at}[{axis}] = {_whole(w, indices)}")
    comment = f"at the place of each index, but on axis {axis} where it says"
    return _put(op.reduction, w, x, lines, (f"tuple({at})", updates.text, comment))


@writes(ops.ScatterND)
def _scatter_nd(
    op: ops.ScatterND, w: HandWriter, x: Value, indices: Value, updates: Value
) -> Value:
    x, indices, updates = w.plain(x), w.plain(indices), w.plain(updates)
    at = f"tuple(np.moveaxis({_whole(w, indices)}, -1, 0))"
    return _put(op.reduction, w, x, [], (at, updates.text, "where the indices say"))


def _put(
    reduction: str, w: HandWriter, x: Value, lines: list[str], what: tuple[str, str, str]
) -> Value:
    """A copy of the input with other numbers at some places."""
    at, updates, comment = what
    name = w.local("scattered")
    copied = f"np.array({x.text}, dtype=np.result_type({x.text}, {updates}))"
    lines = [*lines, f"{name} = {copied}"]
    if reduction in _INTO:
        lines.append(f"np.{_INTO[reduction]}.at({name}, {at}, {updates})")
    elif reduction == "none":
        lines.append(f"{name}[{at}] = {updates}")
    else:
        raise Unwritten("another way of bringing numbers together")
    w.block(lines, comment)
    return Value(name, w.shape())


@writes(ops.Append)
def _append(op: ops.Append, w: HandWriter, x: Value) -> Value:
    x, tail = w.plain(x), w.plain(w.weight(op.weight))
    axis = op.axis % x.rank
    shape = tuple(tail.shape[axis] if k == axis else n for k, n in enumerate(x.shape))
    text = tail.text if tail.shape == shape else f"np.broadcast_to({tail.text}, {as_tuple(shape)})"
    return w.result(f"np.concatenate([{x.text}, {text}], axis={axis})")


@writes(ops.Im2Col)
def _im2col(op: ops.Im2Col, w: HandWriter, x: Value) -> Value:
    x = w.plain(x)
    windows = windows_of(w, x, op.kernel, op.strides, op.pads, op.dilations)
    rank = len(op.kernel)
    turn = (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
    return w.result(f"{windows.text}.transpose{as_tuple(turn)}.reshape{as_tuple(w.shape())}")


@writes(ops.Col2Im)
def _col2im(op: ops.Col2Im, w: HandWriter, x: Value) -> Value:
    x = w.plain(x)
    counts = [
        (n + sum(pad) - (k - 1) * d - 1) // s + 1
        for n, k, s, pad, d in zip(
            op.sizes, op.kernel, op.strides, op.pads, op.dilations, strict=True
        )
    ]
    if len(op.kernel) > 3 or not math.prod(x.shape) or min(counts) < 1:
        raise Unwritten("no columns")
    channels = x.shape[1] // math.prod(op.kernel)
    shape = (x.shape[0], channels, *op.kernel, *counts)
    columns = w.let("columns", Value(f"{x.at(ATOM)}.reshape{as_tuple(shape)}", shape))
    whole, taps = w.local("whole"), [w.local(tap) for tap in "ijk"[: len(op.kernel)]]
    sizes = (*shape[:2], *(n + sum(pad) for n, pad in zip(op.sizes, op.pads, strict=True)))
    lines = [f"{whole} = np.zeros({as_tuple(sizes)})"]
    single = len(taps) == 1
    loops = f"range({op.kernel[0]})" if single else f"np.ndindex{as_tuple(op.kernel)}"
    lines.append(f"for {', '.join(taps)} in {loops}:")
    places = [
        f"{tap} * {d}:{tap} * {d} + {(n - 1) * s + 1}:{s}"
        for tap, d, n, s in zip(taps, op.dilations, counts, op.strides, strict=True)
    ]
    cells = f"{columns.text}[:, :, {', '.join(taps)}]"
    lines.append(f"    {whole}[:, :, {', '.join(places)}] += {cells}")
    w.block(lines, "every window's cells are added where they lie")
    inner = [f"{before}:{before + n}" for n, (before, _) in zip(op.sizes, op.pads, strict=True)]
    return w.result(f"{whole}[:, :, {', '.join(inner)}]")


@writes(ops.Bucketize)
def _bucketize(op: ops.Bucketize, w: HandWriter, x: Value) -> Value:
    if len(op.boundaries) <= _FEW:
        rising = listed(op.boundaries)
    else:
        rising = w.constant("boundaries", np.array(op.boundaries)).text
    side = getattr(op, "side", "right")  # "left" of an op with a mistake in it
    return w.result(f'np.searchsorted({rising}, {x.text}, side="{side}")', ATOM, x.order)


@writes(ops.OneHot)
def _one_hot(op: ops.OneHot, w: HandWriter, x: Value) -> Value:
    order = None if x.order is None else (*x.order, x.rank)
    text = f"(np.round({x.text})[..., None] == np.arange({op.depth})).astype(float)"
    return w.result(text, ATOM, order)


@writes(ops.Lookup)
def _lookup(op: ops.Lookup, w: HandWriter, x: Value) -> Value:
    if len(op.keys) > _FEW:
        raise Unwritten("a long table of codes")
    codes = w.let("codes", Value(f"np.round({x.text}).astype(int)", x.shape, x.order))
    text = number(op.default)
    if op.modulus:
        text = f"{text} + {codes.text} % {op.modulus}"
    pairs = dict(zip(reversed(op.keys), reversed(op.values), strict=True))
    for key, value in pairs.items():
        text = f"np.where({codes.text} == {key}, {value}, {text})"
    if not pairs and not op.modulus:
        text = f"np.full({as_tuple(x.shape)}, {text})"
    return w.result(text, ATOM, x.order)


@writes(ops.Fourier)
def _fourier(op: ops.Fourier, w: HandWriter, *parts: Value) -> tuple[Value, Value]:
    parts = tuple(w.plain(part) for part in parts)
    text = parts[0].text
    if len(parts) > 1:
        text = f"{text} + 1j * {parts[1].at(ATOM)}"
    axes = as_tuple(op.axes)
    way = f'np.fft.ifftn({text}, axes={axes}, norm="forward")'
    if not op.inverse:
        way = f"np.fft.fftn({text}, axes={axes})"
    found = w.let("transform", Value(way, w.shape()))
    scale = "" if op.scale == 1 else f" * {number(op.scale)}"
    real = w.result(f"{found.text}.real{scale}", PRODUCT)
    return real, w.result(f"{found.text}.imag{scale}", PRODUCT, None, 1)


@writes(ops.Det)
def _det(op: ops.Det, w: HandWriter, x: Value) -> Value:
    return w.result(f"np.linalg.det({w.plain(x).text})")


@writes(ops.SingularValues)
def _singular_values(op: ops.SingularValues, w: HandWriter, x: Value) -> Value:
    return w.result(f"np.linalg.svd({w.plain(x).text}, compute_uv=False)")
