"""The tensors of a .tflite file: shapes, constants, what their codes stand for."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from probe import printable

from .flatbuffer import Cursor
from .schema import DTYPES, OMITTED, Quantisation, Sparsity, TfliteTensor, bits_of, count_of

__all__ = ["read_buffer", "read_tensor"]

_TYPES = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)
}


def read_buffer(cursor: Cursor, table: Any) -> np.ndarray:
    """Its bytes: in the flatbuffer, or behind it in the same file."""
    offset, size = table.Offset(), table.Size()
    if offset <= 1:  # 1 stands for a place that is still to be filled in
        found = table.DataAsNumpy()
        if isinstance(found, int):
            return np.zeros(0, np.uint8)
        data: np.ndarray = found
        return data
    if offset + size > len(cursor.content):
        raise cursor.damaged(
            f"a buffer of {size:,} bytes starts at byte {offset:,} of {len(cursor.content):,}"
        )
    return np.frombuffer(cursor.content, np.uint8, size, offset)


def read_tensor(
    cursor: Cursor, index: int, table: Any, buffers: Sequence[np.ndarray], computed: bool
) -> TfliteTensor:
    """``computed`` says that a run gives it its values."""
    name = cursor.text(table.Name())
    shape = cursor.integers(table, "Shape")
    dtype = _TYPES.get(table.Type(), f"type_{table.Type()}")
    if min(shape, default=0) < 0:
        raise cursor.damaged(f"the tensor {printable.name(name)} has the shape {shape}")
    if table.Buffer() >= len(buffers):
        raise cursor.damaged(
            f"the tensor {printable.name(name)} refers to buffer {table.Buffer():,} "
            f"of {len(buffers):,}"
        )
    data = buffers[table.Buffer()]
    signature = cursor.integers(table, "ShapeSignature")
    sparsity = _sparsity(cursor, table, shape)
    stored = data if len(data) or (0 in shape and not computed) else None
    if stored is not None and bits_of(dtype) and sparsity is None:
        _check_data(cursor, name, shape, dtype, len(stored))
    return TfliteTensor(
        index,
        name,
        shape,
        signature if len(signature) == len(shape) else shape,
        dtype,
        _quantisation(cursor, name, table.Quantization(), shape, dtype),
        table.Buffer(),
        stored,
        bool(table.IsVariable()),
        sparsity,
        table._tab.Pos,
    )


def _check_data(cursor: Cursor, name: str, shape: tuple[int, ...], dtype: str, held: int) -> None:
    needed = math.ceil(count_of(shape) * bits_of(dtype) / 8)
    if held != needed:
        raise cursor.damaged(
            f"the tensor {printable.name(name)} of {dtype} {shape} needs {needed:,} bytes, "
            f"and its buffer has {held:,}"
        )


def _quantisation(
    cursor: Cursor, name: str, table: Any, shape: tuple[int, ...], dtype: str
) -> Quantisation | None:
    if table is None:
        return None
    cursor.count(table, 8)
    scale = cursor.vector(table, "Scale").astype(np.float32)
    zeros = cursor.vector(table, "ZeroPoint").astype(np.int64)
    details = table.DetailsType()
    if details == schema.QuantizationDetails.BlockwiseQuantization:
        blocks = schema.BlockwiseQuantizationT.InitFromBuf(cursor.content, table.Details().Pos)
        if blocks.blockSize < 1:
            raise cursor.damaged(
                f"the tensor {printable.name(name)} has blocks of {blocks.blockSize} values"
            )
        return Quantisation(
            scale, zeros, None, blocks.blockSize, blocks.scales, blocks.zeroPoints or OMITTED
        )
    if details:
        return Quantisation(
            scale,
            zeros,
            unsupported="it has scales of another form than one, or one of each channel",
        )
    if not scale.size:
        return None
    if zeros.size not in (0, 1, scale.size):
        raise cursor.damaged(
            f"the tensor {printable.name(name)} has {scale.size:,} scales and "
            f"{zeros.size:,} zero points"
        )
    points = np.broadcast_to(zeros if zeros.size else np.zeros(1, np.int64), scale.shape)
    why = _unsupported(scale, points, dtype)
    if why or scale.size == 1:
        return Quantisation(scale, points, unsupported=why)
    axis = table.QuantizedDimension()
    if not 0 <= axis < len(shape) or shape[axis] != scale.size:
        fitting = [at for at, size in enumerate(shape) if size == scale.size]
        if len(fitting) != 1:
            return Quantisation(
                scale, points, unsupported="it has scales for an axis that it has not"
            )
        axis = fitting[0]  # biases of files before 2020 name an axis of the kernel
    return Quantisation(scale, points, axis)


def _unsupported(scale: np.ndarray, points: np.ndarray, dtype: str) -> str:
    """Why codes stand for nothing that an engine's arithmetic is known for."""
    if dtype not in DTYPES or DTYPES[dtype].kind not in "iu":
        return ""
    if not (np.isfinite(scale) & (scale > 0)).all():
        return "it has a scale that is no positive number"
    bits, signed = bits_of(dtype), not dtype.startswith("u")
    low = -(1 << (bits - 1)) if signed else 0
    if ((points < low) | (points >= low + (1 << bits))).any():
        return "it has a zero point that its type does not hold"
    return ""


def _sparsity(cursor: Cursor, table: Any, shape: tuple[int, ...]) -> Sparsity | None:
    found = table.Sparsity()
    if found is None:
        return None
    cursor.count(found, 8)
    order, blocks = cursor.integers(found, "TraversalOrder"), cursor.integers(found, "BlockMap")
    sizes: list[int] = []
    segments: list[np.ndarray | None] = []
    indices: list[np.ndarray | None] = []
    for level in cursor.tables(found, "DimMetadata"):
        metadata = schema.DimensionMetadataT.InitFromObj(level)
        sizes.append(metadata.denseSize)
        for vectors, part in (
            (segments, metadata.arraySegments),
            (indices, metadata.arrayIndices),
        ):
            values = None if part is None else np.asarray(part.values)
            cursor.spend(0 if values is None else values.nbytes)
            vectors.append(values if metadata.format else None)
    levels = len(shape) + len(blocks)
    if (
        sorted(order) != list(range(levels))
        or len(sizes) != levels
        or not set(blocks) <= set(range(len(shape)))
        or min(sizes, default=0) < 0
    ):
        raise cursor.damaged("the levels of a sparse tensor do not fit its shape")
    return Sparsity(order, blocks, tuple(sizes), tuple(segments), tuple(indices))
