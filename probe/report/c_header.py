"""A layer's weights, inputs and outputs as a C header or as plain numbers, for a test bench in C or
a hardware description language.

Quantised weights are written as their integers, with the number format said; everything else as
floats in digits that give the same bits back. All in the framework's own layout, in row-major
order.
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from probe import printable
from probe.ops.weight import Grid, Weight
from probe.report.blocks import arrays
from probe.report.c_identifiers import identifiers, plain
from probe.report.c_integers import multiples

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["header", "listing"]

_GUARD = 8
"""Digits of what is in a header, in the name of its guard."""
_MARK = re.compile(r"(?<=\*)(?=/)|(?<=/)(?=\*)")
"""Within what would end or begin a comment."""


class _Table(NamedTuple):
    name: str
    words: str
    values: np.ndarray


def header(report: "Report") -> str:
    """A C header: an array per weight (and its scale and shift), input and output of the framework,
    each with its format in a comment. All names begin with the layer's, so that headers of several
    layers fit one program; the guard is of what is in it, so that none hides another."""
    prefix = _prefix(report)
    values = [*_values(report), *_codes(report)]
    weights = [*_weights(report, shifts=True), *_numbers(report)]
    fixed = [f"{prefix}_{table.name}" for table in values]
    names = identifiers((f"{prefix}_{_of_path(table.name)}" for table in weights), fixed)
    lines = []
    for name, table in zip([*names, *fixed], [*weights, *values], strict=True):
        words = f"{table.name}: {table.words}"
        if name == f"{prefix}_{table.name}":
            words = table.words
        lines += [_comment(words), *_c_array(name, table.values), ""]
    guard = f"{prefix}_{sha256(repr(lines).encode()).hexdigest()[:_GUARD]}_h".upper()
    return "\n".join(
        [
            *map(_comment, _title(report)),
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#include <math.h>",
            "#include <stdint.h>",
            "",
            *lines,
            f"#endif /* {guard} */",
            "",
        ]
    )


def _prefix(report: "Report") -> str:
    """What the names of a call's arrays begin with: the layer's name, and of a later call its
    number."""
    name = _of_path(report.layer).strip("_") if report.layer else "model"
    if not name[:1].isalpha():
        name = f"layer_{name}"
    return f"{name}_call{report.call}" if report.call else name


def _of_path(name: str) -> str:
    """The name in letters, digits and underscores: two of them where a dot or a slash parts a layer
    from what is in it, so that the weight "b.w" of "a" is none of "a.b", nor "a.b" the layer
    "a_b"."""
    return plain(re.sub(r"[./]", "__", name))


def listing(report: "Report") -> str:
    """The same as text: comments after ``#``, and then a number a line (``numpy.loadtxt`` reads it,
    all tables in a row)."""
    lines = [printable.line(f"# {line}") for line in _title(report)]
    for table in (*_weights(report, shifts=False), *_numbers(report), *_values(report)):
        lines += [
            printable.line(f"# {table.name}: {table.words}"),
            *(_digits(value) for value in table.values.ravel()),
        ]
    return "\n".join([*lines, ""])


def _comment(words: str) -> str:
    """A comment in C, which no name in it can end, or begin again."""
    return f"/* {_MARK.sub(' ', printable.line(words))} */"


def _title(report: "Report") -> list[str]:
    return [
        f"layer {report.layer or '(root)'} ({report.kind}) of {report.source}, written by probe: "
        f"{report.verdict}",
        "in row-major order, in the framework's own layout",
        *(f"computes {words}" for words in report.ops if report.numbers),
    ]


def _weights(report: "Report", *, shifts: bool) -> Iterator[_Table]:
    for weight in report.weights.values():
        yield from _weight(weight, shifts)


def _values(report: "Report") -> Iterator[_Table]:
    """The inputs and outputs, whose names are those of every layer."""
    for place, x in enumerate(report.inputs):
        yield _of_grid(_plain(f"input_{place}", x, report.input_axes), report.input_grids, place)
    for place, y in enumerate(arrays(report.outputs["framework"])):
        if y is not None:
            yield _of_grid(
                _plain(f"output_{place}", y, report.output_axes), report.output_grids, place
            )


def _of_grid(table: _Table, grids: Sequence[Grid | None], place: int) -> _Table:
    """With what the integers stand for."""
    grid = grids[place] if place < len(grids) else None
    if grid is None:
        return table
    return table._replace(words=f"{table.words}; {_number_format(grid)}")


def _numbers(report: "Report") -> Iterator[_Table]:
    """What the steps of a layer of codes compute with."""
    for name, values in report.numbers.items():
        whole = values.dtype.kind in "iu"
        yield _plain(name, _narrowest(values) if whole else values, ())


_CODE_BITS = 24
"""Bits of an input or output beyond which it is no fixed-point number, but a float."""


def _codes(report: "Report") -> Iterator[_Table]:
    """Of a layer with quantised weights, or with none, the inputs and outputs as integers and the
    shift that scales them, where they are multiples of a power of two."""
    if any(weight.grid is None for weight in report.weights.values()):
        return
    for table in _values(report):
        finite = table.values.dtype.kind == "f" and np.isfinite(table.values).all()
        if not finite or (found := multiples(table.values)).bits > _CODE_BITS:
            continue
        words = f"{table.name} = {table.name}_code / 2**{-found.exponent}, {_shape(table.values)}"
        yield _Table(f"{table.name}_code", words, _narrowest(found.integers))
        yield _shift(table.name, np.asarray(-found.exponent))


def _shift(name: str, shifts: np.ndarray) -> _Table:
    return _Table(f"{name}_shift", f"bits after the point, {_shape(shifts)}", _narrowest(shifts))


def _weight(weight: Weight, shifts: bool) -> Iterator[_Table]:
    """The values, or the integers behind them, their scale, and with ``shifts`` the shift that this
    is where it is a power of two."""
    if weight.grid is None:
        table = _plain(weight.name, weight.effective, ())
        yield table._replace(words="; ".join((table.words, *weight.steps)))
        return
    codes = weight.grid.integers(weight.effective)
    yield _Table(
        weight.name,
        "; ".join((f"{_number_format(weight.grid)}, {_shape(codes)}", *weight.steps)),
        _narrowest(codes),
    )
    scale = np.asarray(weight.grid.scale)
    yield _plain(f"{weight.name}_scale", scale, ())
    mantissas, exponents = np.frexp(scale.astype(np.float64))
    if shifts and (mantissas == 0.5).all():  # powers of two
        yield _shift(weight.name, 1 - exponents)
    if np.any(weight.grid.zero_point):
        yield _plain(f"{weight.name}_zero_point", np.asarray(weight.grid.zero_point, np.int32), ())


def _number_format(grid: Grid) -> str:
    """Such as "signed 4-bit integers, value = integer * 0.125 (3 fraction bits)"."""
    scales, zeros = np.unique(grid.scale), np.unique(grid.zero_point)
    if not zeros.any():
        integer = "integer"
    elif zeros.size == 1:
        integer = f"(integer - {int(zeros[0])})"
    else:
        integer = "(integer - zero point)"
    kind = f"{'' if grid.signed else 'un'}signed {grid.bits}-bit integers"
    if grid.signed and grid.bits == 1:
        kind = "signs of 1 bit (-1 or 1)"
    if scales.size > 1:
        return f"{kind}, value = {integer} * scale, by channel"
    fraction = float(-np.log2(scales[0]))
    return f"{kind}, value = {integer} * {scales[0]:g}" + (
        f" ({fraction:.0f} fraction bits)" if fraction.is_integer() else ""
    )


def _narrowest(codes: np.ndarray) -> np.ndarray:
    for name in ("int8", "uint8", "int16", "uint16", "int32"):
        limits = np.iinfo(name)
        if not codes.size or (codes.min() >= limits.min and codes.max() <= limits.max):
            return codes.astype(name)
    return codes


def _plain(name: str, values: np.ndarray, axes: tuple[str, ...]) -> _Table:
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    elif values.dtype == bool:
        values = values.astype(np.uint8)
    return _Table(
        name,
        f"{values.dtype}, {_shape(values)}"
        + (f": {', '.join(axes)}" if len(axes) == values.ndim > 0 else ""),
        values,
    )


def _shape(values: np.ndarray) -> str:
    return "shape (" + ", ".join(map(str, values.shape)) + ")"


def _c_array(name: str, values: np.ndarray) -> Iterator[str]:
    kind = {"float32": "float", "float64": "double"}.get(str(values.dtype), f"{values.dtype}_t")
    suffix = "f" if values.dtype == np.float32 else ""
    words = {"nan": "NAN", "inf": "INFINITY", "-inf": "-INFINITY"}
    flat = [words.get(text, text + suffix) for text in map(_digits, values.ravel())] or ["0"]
    yield f"static const {kind} {name}[{len(flat)}] = {{"
    for start in range(0, len(flat), 12):
        yield f"  {', '.join(flat[start : start + 12])},"
    yield "};"


def _digits(value: np.generic) -> str:
    """Digits that give the same bits back, with a point where it is a float."""
    if value.dtype.kind == "f":
        return repr(float(str(value)))
    return str(value)
