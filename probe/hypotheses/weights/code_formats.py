"""Codes of few bits that are read as numbers of another format: without their sign, in offset
binary, as integers for floats of 4 bits, by another table."""

from collections.abc import Iterator
from functools import cache, partial

import ml_dtypes
import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.integer_codes import holds_codes
from probe.hypotheses.edits.mapped_tensors import mapped, tensors_of
from probe.hypotheses.edits.tensor_maps import Map
from probe.hypotheses.registry import hypothesis
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_BITS = (2, 3, 4, 8)
_STORED = (np.int8, np.uint8, np.int16, np.uint16)
_FEWEST = 8
"""How many codes tell a format."""
_TAKEN_APART = (ops.BitwiseAnd, ops.BitShift, ops.Mod)
"""What takes codes out of the bytes that hold several."""


@hypothesis("code-format")
def code_format(case: Case) -> Iterator[Changes]:
    """The codes of quantised numbers, such as weights of 4 bits, are decoded as another number
    format than they are stored in.

    Such as 0 to 15 in place of -8 to 7, two's complement in place of a sign bit and a magnitude,
    or integers in place of floats of 4 bits. A code that stands for another number then does so
    wherever it occurs.
    """
    yield Changes(_read_otherwise, "code-format", PARTS)


def _read_otherwise(case: Case) -> Iterator[Change]:
    refs = list(tensors_of(case))
    tables = [ref for ref in refs if _looked_up(case, ref)]
    for ref in tables:
        yield from _other_tables(case, ref)
    for ref in refs if not tables else ():
        if _holds_codes(case, ref):
            yield from _other_integers(case, ref)
    yield from _other_bias(case)


def _other_bias(case: Case) -> Iterator[Change]:
    """What is taken off the exponent of a power of two."""
    for position, _ in case.having(ops.Pow):
        exponent = case.steps[position].sources(position)[1]
        while exponent.step >= 0 and isinstance(case.steps[exponent.step].op, ops.Cast):
            (exponent,) = case.steps[exponent.step].sources(exponent.step)
        if exponent.step < 0 or not isinstance(case.steps[exponent.step].op, ops.Sub):
            continue
        taken = case.steps[exponent.step].sources(exponent.step)[1]
        value = taken.of(case.inputs, case.values)
        if np.size(value) == 1 and value.item() in (1, 3, 7, 15, 127, 1023):
            for by in (1, -1):
                what = f"{value.item() + by:g} is taken off the exponents, not {value.item():g}"
                constant = Step(ops.Constant(np.asarray(value + by)), ())
                yield Change(what, "", {taken.step: constant}, key=what)


# A table of what each code stands for.


def _looked_up(case: Case, ref: Ref) -> bool:
    """Whether a tensor is a table of the numbers of a format."""
    if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.Parameter | ops.Constant):
        return False
    shape = np.shape(case.values[ref.step][0])
    takers = (step for at, step in enumerate(case.steps) if ref in step.sources(at))
    sizes = [(1 << bits,) for bits in _BITS]
    return shape in sizes and any(isinstance(step.op, ops.Gather) for step in takers)


def _other_tables(case: Case, ref: Ref) -> Iterator[Change]:
    own = np.asarray(case.values[ref.step][0], np.float64)
    bits = own.size.bit_length() - 1
    signed = np.concatenate([own[: own.size // 2], -_turned(own)])
    others = {"in two's complement": signed, "without their sign": np.tile(own[: own.size // 2], 2)}
    others |= {f"as {words}": table for words, table in _formats(bits).items()}
    scale = np.abs(own).max() or 1.0
    for words, table in others.items():
        alike = table * (scale / np.abs(table).max()) if table.any() else table
        for values in (table, alike):
            way = Map(f"of codes that are read {words}", partial(_table, values=values), False)
            yield from mapped(case, ref, way)


def _turned(table: np.ndarray) -> np.ndarray:
    """The numbers of the codes without a sign, from the largest to the smallest."""
    half = table[: table.size // 2]
    return np.concatenate([half[:1], half[:0:-1]])


def _table(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values.reshape(x.shape)


# Integers.


def _holds_codes(case: Case, ref: Ref) -> bool:
    """Whether a tensor is of codes as they are stored, or as they are taken out of bytes."""
    x = np.asarray(ref.of(case.inputs, case.values))
    op = case.steps[ref.step].op if ref.step >= 0 else None
    if isinstance(op, ops.Parameter) and op.weight.name.startswith("the integers of "):
        return True
    if x.size < _FEWEST or x.dtype.kind not in "iu" or not holds_codes(case, ref):
        return False
    if op is None or isinstance(op, ops.Parameter):
        return x.dtype in _STORED or ref.step < 0
    return isinstance(op, _TAKEN_APART) and x.min() >= 0 and x.max() < 16


def _other_integers(case: Case, ref: Ref) -> Iterator[Change]:
    x = np.asarray(ref.of(case.inputs, case.values))
    low, high = float(x.min()), float(x.max())
    if max(-low, high) >= 256 and -(1 << 15) <= low and high < 1 << 16:
        swapped = partial(_bytes_exchanged, signed=low < 0)
        yield from mapped(case, ref, Map("read with the two bytes exchanged", swapped, False))
    for bits in [8 * x.dtype.itemsize] if x.dtype in _STORED else _BITS:
        half = 1 << bits - 1
        signed = low < 0 or x.dtype.kind == "i"
        if not (-half <= low and high < half if signed else high < 2 * half):
            continue
        for words, table in _formats(bits).items():
            read = partial(_decoded, table=table)
            yield from mapped(case, ref, Map(f"read as {words}", read, False))
        return


def _bytes_exchanged(x: np.ndarray, signed: bool) -> np.ndarray:
    code = np.asarray(x).astype(np.int64) & 0xFFFF
    code = (code & 0xFF) << 8 | code >> 8
    return np.where(signed & (code > 0x7FFF), code - 0x10000, code)


def _decoded(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    return np.asarray(table[np.asarray(x).astype(np.int64) % table.size])


# What codes stand for.

_FLOATS = {
    "floats of 2 exponent bits (E2M1)": (0, 0.5, 1, 1.5, 2, 3, 4, 6),
    "floats of 2 exponent bits without subnormal numbers": (0, 0.75, 1, 1.5, 2, 3, 4, 6),
    "floats of 3 exponent bits (E3M0)": (0, 0.25, 0.5, 1, 2, 4, 8, 16),
    "floats of 1 exponent bit (E1M2)": (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75),
    "FP4 of bitsandbytes": (0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4),
}
"""The numbers without a sign of the formats of 4 bits (OCP Microscaling Formats, 1.0; bitsandbytes'
csrc/kernels.cu)."""
_NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941),
    *(0.7229568362236023, 1.0),
)
"""Dettmers et al., "QLoRA", 2023, appendix E."""


@cache
def _formats(bits: int) -> dict[str, np.ndarray]:
    """The numbers that codes of so many bits stand for, from code 0 on."""
    half = 1 << bits - 1
    code = np.arange(2 * half, dtype=np.float64)
    found = {
        "integers without a sign": code,
        "integers in two's complement": np.where(code < half, code, code - 2 * half),
        f"integers in offset binary (code {half} is 0)": code - half,
        "integers of a sign bit and a magnitude": np.where(code < half, code, half - code),
        "integers in ones' complement": np.where(code < half, code, code - 2 * half + 1),
    }
    if bits == 4:
        for words, table in _FLOATS.items():
            found[words] = np.concatenate([table, np.negative(table)])
        found["NF4 (NormalFloat)"] = np.array(_NF4)
    if bits == 8:
        bytes_ = np.arange(256, dtype=np.uint8)
        for kind in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2):
            table = bytes_.view(kind).astype(np.float64)
            found[f"{np.dtype(kind).name} numbers"] = np.where(np.isfinite(table), table, 0.0)
    return found
