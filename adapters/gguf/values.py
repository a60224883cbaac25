"""The numbers of a GGUF tensor, and how far those that it was converted from may lie from them."""

from typing import NamedTuple

import ml_dtypes
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

from probe.errors import CannotOpen
from probe.files.regular_file import open_file
from probe.model_comparison.weight_files import RowValues

from ..gguf_header import GgufTensor

__all__ = ["read_rows"]

_Type = GGMLQuantizationType
_FLOATS = {
    _Type.F64: np.float64,
    _Type.F32: np.float32,
    _Type.F16: np.float16,
    _Type.BF16: ml_dtypes.bfloat16,
}
_INTEGERS = {_Type.I8: "i1", _Type.I16: "<i2", _Type.I32: "<i4", _Type.I64: "<i8"}


class _Codes(NamedTuple):
    """Which bytes of a block are codes, and how many levels they have."""

    bytes: slice
    levels: int
    least: bool = False
    """Whether codes are counted from a least value, which the block holds beside its scale."""
    parts: int = 0
    """Of blocks whose parts have scales of their own: into how many steps the largest of these is
    divided."""


_UNIFORM = {
    _Type.Q4_0: _Codes(slice(2, 18), 16),
    _Type.Q4_1: _Codes(slice(4, 20), 16, True),
    _Type.Q5_0: _Codes(slice(2, 22), 32),
    _Type.Q5_1: _Codes(slice(4, 24), 32, True),
    _Type.Q8_0: _Codes(slice(2, 34), 256),
    _Type.Q2_K: _Codes(slice(16, 80), 4, True, 15),
    _Type.Q3_K: _Codes(slice(0, 96), 8, False, 31),
    _Type.Q4_K: _Codes(slice(16, 144), 16, True, 63),
    _Type.Q5_K: _Codes(slice(16, 176), 32, True, 63),
    _Type.Q6_K: _Codes(slice(0, 192), 64, False, 127),
}
"""Types whose levels lie evenly, by the blocks' layouts in ggml-common.h."""
_TABLES = {
    _Type.IQ4_NL: slice(2, 18),
    _Type.IQ4_XS: slice(8, 136),
    _Type.MXFP4: slice(1, 17),
}
"""Types of four-bit codes into a table of levels."""


def read_rows(tensor: GgufTensor, start: int, stop: int) -> RowValues:
    """The rows from ``start`` to ``stop``, with what rounding may have done to them.

    In a block each number goes to the nearest level: half a step at most, and what the rounding of
    the block's scale and least value to float16 adds. Beyond the ends of the levels numbers are
    cut off, by a step, or more where a part of a block has a rounded scale of its own.
    """
    with open_file(tensor.file, "a GGUF file", CannotOpen) as file:
        file.seek(tensor.offset + start * tensor.row_bytes)
        data = file.read((stop - start) * tensor.row_bytes)
    packed = np.frombuffer(data, np.uint8).reshape(stop - start, tensor.row_bytes)
    kind = tensor.type
    values = _decoded(packed, kind)
    if kind in _FLOATS:
        return RowValues(values, _half_spacing(values, _FLOATS[kind]) * (1 + 2.0**-20), None)
    if kind in _UNIFORM:
        return _evenly(packed, kind, values)
    if kind in _TABLES:
        return _by_table(packed, kind, values)
    return RowValues(values, None, None)


def _decoded(packed: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    if kind in _INTEGERS or kind is _Type.F64:
        return packed.view(_INTEGERS.get(kind, "<f8")).astype(np.float64)
    with np.errstate(all="ignore"):
        return np.asarray(dequantize(packed, kind), np.float64).reshape(len(packed), -1)


def _half_spacing(values: np.ndarray, dtype: type) -> np.ndarray:
    """How far a type may round to these."""
    with np.errstate(all="ignore"):
        return np.asarray(np.spacing(np.abs(values).astype(dtype)), np.float64) / 2


def _filled(packed: np.ndarray, kind: GGMLQuantizationType, codes: slice, byte: int) -> np.ndarray:
    """The rows decoded with this in the place of every byte of codes."""
    blocks = packed.reshape(-1, GGML_QUANT_SIZES[kind][1]).copy()
    blocks[:, codes] = byte
    return _decoded(blocks.reshape(packed.shape), kind)


def _evenly(packed: np.ndarray, kind: GGMLQuantizationType, values: np.ndarray) -> RowValues:
    codes = _UNIFORM[kind]
    # The codes of Q8_0 are signed.
    bytes_of_ends = (0x80, 0x7F) if kind is _Type.Q8_0 else (0x00, 0xFF)
    ends = [_filled(packed, kind, codes.bytes, byte) for byte in bytes_of_ends]
    low, high = np.minimum(*ends), np.maximum(*ends)
    step = (high - low) / (codes.levels - 1)
    counted = values - low if codes.least else values
    with np.errstate(all="ignore"):
        code = np.where(step > 0, np.abs(counted) / step, codes.levels)
    scaling = _half_spacing(step, np.float16) * (code + 0.5)
    if codes.least:
        scaling += _half_spacing(low, np.float16)
    room = 0.5 * step + scaling + 2.0**-22 * np.abs(values)
    beyond = step
    if codes.parts:
        largest = np.maximum(np.abs(low), np.abs(high)).reshape(-1, 256).max(axis=1)
        beyond = 2 * step + np.repeat(largest / codes.parts, 256).reshape(values.shape)
    at_end = (values == low) | (values == high)
    return RowValues(values, np.where(at_end, room + beyond, room), step)


def _by_table(packed: np.ndarray, kind: GGMLQuantizationType, values: np.ndarray) -> RowValues:
    levels = [_filled(packed, kind, _TABLES[kind], code * 0x11) for code in range(16)]
    grid = np.sort(levels, axis=0)
    touches = (grid[:-1] == values) | (grid[1:] == values)
    step = np.where(touches, np.diff(grid, axis=0), 0.0).max(axis=0)
    room = 0.5 * step + 2.0**-11 * np.abs(values)
    at_end = (values == grid[0]) | (values == grid[-1])
    return RowValues(values, np.where(at_end, room + 2 * step, room), step)
