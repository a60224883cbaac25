"""A .tflite file read with bounds: every size, offset and index is checked before what it names is
read, and nothing is read twice under many names."""

import struct
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from probe import printable
from probe.errors import CannotOpen, ProbeError, in_words
from probe.files.size_limits import most, too_much

from .flatbuffer import Cursor
from .reading_tensors import read_buffer, read_tensor
from .schema import (
    OMITTED,
    Signature,
    Subgraph,
    TfliteFile,
    TfliteNode,
    TfliteTensor,
    bits_of,
    count_of,
)

__all__ = ["read_model"]

_LARGEST = np.iinfo(np.int32).max
_OPERATORS = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}
_ENUMS = {
    "padding": schema.Padding,
    "fusedActivationFunction": schema.ActivationFunctionType,
    "weightsFormat": schema.FullyConnectedOptionsWeightsFormat,
    "kernelType": schema.LSTMKernelType,
    "combiner": schema.CombinerType,
    "mode": schema.MirrorPadMode,
    "reduceFunction": schema.ReduceWindowFunction,
    **dict.fromkeys(
        (
            *("inDataType", "outDataType", "outputType", "outType", "idxOutType"),
            *("quantizedBiasType", "keyDtype", "valueDtype"),
        ),
        schema.TensorType,
    ),
}
"""Field of options -> what its numbers are called."""


def read_model(content: bytes, what: str) -> TfliteFile:
    """The content of a .tflite file; ``what`` names it. Raises CannotOpen where it is damaged."""
    try:
        return _model(Cursor(content, what))
    except ProbeError:
        raise
    except Exception as error:  # of struct, of NumPy, of decoding: wherever an offset led
        if isinstance(error, struct.error):
            why = f"its {len(content):,} bytes end before what they refer to"
        else:
            why = in_words(error)
        raise CannotOpen(
            f"{what} is a damaged .tflite file ({why}): copy or convert it once more"
        ) from None


def _model(cursor: Cursor) -> TfliteFile:
    if len(cursor.content) < 8 or cursor.content[4:8] != b"TFL3":
        raise cursor.damaged("it does not start as a .tflite file does")
    root = schema.Model.GetRootAs(cursor.content)
    cursor.count(root, 16)
    codes = [
        (
            max(code.BuiltinCode(), code.DeprecatedBuiltinCode()),
            cursor.text(code.CustomCode()),
            code.Version(),
        )
        for code in cursor.tables(root, "OperatorCodes")
    ]
    buffers = [read_buffer(cursor, table) for table in cursor.tables(root, "Buffers")]
    subgraphs = tuple(
        _subgraph(cursor, index, table, codes, buffers)
        for index, table in enumerate(cursor.tables(root, "Subgraphs"))
    )
    if not subgraphs:
        raise cursor.damaged("it has no subgraph")
    _check_subgraphs(cursor, subgraphs)
    _check_sizes(cursor, subgraphs)
    metadata = {
        cursor.text(table.Name()): _bytes_of(cursor, buffers, table.Buffer())
        for table in cursor.tables(root, "Metadata")
    }
    return TfliteFile(
        cursor.content,
        root.Version(),
        cursor.text(root.Description()),
        subgraphs,
        tuple(
            _signature(cursor, table, subgraphs) for table in cursor.tables(root, "SignatureDefs")
        ),
        metadata,
        bool(root.ExternalBuffersLength() or root.ExternalBufferGroupsLength()),
    )


def _bytes_of(cursor: Cursor, buffers: list[np.ndarray], number: int) -> bytes:
    if number >= len(buffers):
        raise cursor.damaged(f"it refers to buffer {number:,} of {len(buffers):,}")
    cursor.spend(len(buffers[number]))
    return buffers[number].tobytes()


def _subgraph(
    cursor: Cursor,
    index: int,
    table: Any,
    codes: list[tuple[int, str, int]],
    buffers: list[np.ndarray],
) -> Subgraph:
    nodes = tuple(
        _node(cursor, at, node, codes) for at, node in enumerate(cursor.tables(table, "Operators"))
    )
    inputs, outputs = cursor.integers(table, "Inputs"), cursor.integers(table, "Outputs")
    computed = {*inputs, *(at for node in nodes for at in node.outputs)}
    tensors = tuple(
        read_tensor(cursor, at, tensor, buffers, at in computed)
        for at, tensor in enumerate(cursor.tables(table, "Tensors"))
    )
    for where, indices in (
        ("the inputs", inputs),
        ("the outputs", outputs),
        ("the scales of blocks", _scales_of_blocks(tensors)),
        *((f"node {node.index} ({node.kind})", _named(node)) for node in nodes),
    ):
        if not all(OMITTED <= at < len(tensors) for at in indices):
            raise cursor.damaged(
                f"{where} of subgraph {index} refer to tensor "
                f"{next(at for at in indices if not OMITTED <= at < len(tensors)):,} of "
                f"{len(tensors):,}"
            )
    if OMITTED in (*inputs, *outputs):
        raise cursor.damaged(f"subgraph {index} leaves out an input or an output")
    _check_order(cursor, tensors, nodes, inputs)
    return Subgraph(index, cursor.text(table.Name()), tensors, nodes, inputs, outputs)


def _check_order(
    cursor: Cursor,
    tensors: tuple[TfliteTensor, ...],
    nodes: tuple[TfliteNode, ...],
    inputs: tuple[int, ...],
) -> None:
    """Raises where a node takes what only later ones compute, or computes what has its values
    already."""
    computed = {at for node in nodes for at in node.outputs}
    known = {*inputs, *(tensor.index for tensor in tensors if tensor.is_constant)}
    for node in nodes:
        for at in node.inputs:
            if at in computed and at not in known:
                raise cursor.damaged(
                    f"node {node.index} ({node.kind}) takes {printable.name(tensors[at].name)}, "
                    "which no node before it computes"
                )
        if known.intersection(node.outputs) - {OMITTED}:
            raise cursor.damaged(
                f"node {node.index} ({node.kind}) computes a tensor that has its values already"
            )
        known.update(at for at in node.outputs if at != OMITTED)


def _scales_of_blocks(tensors: tuple[TfliteTensor, ...]) -> tuple[int, ...]:
    return tuple(
        at
        for tensor in tensors
        if tensor.quantisation is not None and tensor.quantisation.block_size
        for at in (tensor.quantisation.block_scales, tensor.quantisation.block_zero_points)
    )


def _node(cursor: Cursor, index: int, table: Any, codes: list[tuple[int, str, int]]) -> TfliteNode:
    if table.OpcodeIndex() >= len(codes):
        raise cursor.damaged(
            f"node {index} refers to operator code {table.OpcodeIndex():,} of {len(codes):,}"
        )
    code, custom, version = codes[table.OpcodeIndex()]
    operator = _OPERATORS.get(code, f"OPERATOR_{code}")
    options, defaults = _options(cursor, table)
    return TfliteNode(
        index,
        operator,
        version,
        custom if operator == "CUSTOM" else "",
        options,
        cursor.integers(table, "Inputs"),
        cursor.integers(table, "Outputs"),
        cursor.integers(table, "Intermediates"),
        cursor.vector(table, "CustomOptions").tobytes(),
        defaults,
        table._tab.Pos,
    )


def _options(cursor: Cursor, table: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    for create, kind, options in (
        (
            schema.BuiltinOptionsCreator,
            table.BuiltinOptionsType(),
            table.BuiltinOptions(),
        ),
        (
            schema.BuiltinOptions2Creator,
            table.BuiltinOptions2Type(),
            table.BuiltinOptions2(),
        ),
    ):
        found = create(kind, options) if kind else None
        if found is not None:
            values = {name: _plain(name, value) for name, value in vars(found).items()}
            cursor.spend(8 * sum(map(_length, values.values())))
            return values, _defaults(found.__class__)
    return {}, {}


def _check_subgraphs(cursor: Cursor, subgraphs: tuple[Subgraph, ...]) -> None:
    for subgraph in subgraphs:
        for node in subgraph.nodes:
            if not all(0 <= at < len(subgraphs) for at in node.subgraphs):
                raise cursor.damaged(
                    f"node {node.index} ({node.kind}) runs a subgraph that it does not have"
                )


def _check_sizes(cursor: Cursor, subgraphs: tuple[Subgraph, ...]) -> None:
    """Raises where a tensor, or all of them, are larger than a file of this length could
    mean."""
    held, total = len(cursor.content), 0
    for subgraph in subgraphs:
        for tensor in subgraph.tensors:
            asked = count_of(tensor.shape) * max(8, bits_of(tensor.dtype)) // 8
            total += asked
            if too_much(asked, held) or count_of(tensor.shape) > _LARGEST:
                raise CannotOpen(
                    f"{cursor.what} computes {printable.name(tensor.name)} with {asked:,} bytes, "
                    f"while it has {held:,} itcursor: Cursor, which could exhaust memory"
                )
    if total > most(held):
        raise CannotOpen(
            f"{cursor.what} computes tensors of {total:,} bytes together, while it has "
            f"{held:,} itcursor: Cursor, which could exhaust memory"
        )


def _signature(cursor: Cursor, table: Any, subgraphs: tuple[Subgraph, ...]) -> Signature:
    key, number = cursor.text(table.SignatureKey()), table.SubgraphIndex()
    if number >= len(subgraphs):
        raise cursor.damaged(f"the signature {printable.name(key)} has no subgraph")
    known = len(subgraphs[number].tensors)
    maps = [
        {cursor.text(entry.Name()): entry.TensorIndex() for entry in cursor.tables(table, field)}
        for field in ("Inputs", "Outputs")
    ]
    if any(at >= known for names in maps for at in names.values()):
        raise cursor.damaged(f"the signature {printable.name(key)} names a tensor it has not")
    return Signature(key, number, *maps)


def _named(node: TfliteNode) -> tuple[int, ...]:
    return (*node.inputs, *node.outputs, *node.intermediates)


def _plain(name: str, value: Any) -> Any:
    """A field's value: an enum's name, a vector as a tuple, text for bytes."""
    if name in _ENUMS and isinstance(value, int):
        return _names(_ENUMS[name]).get(value, value)
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.generic):
        return value.item()
    return value


def _length(value: Any) -> int:
    if isinstance(value, tuple | str):
        return len(value)
    return 1


@cache
def _names(enum: Any) -> dict[int, str]:
    return {code: name for name, code in vars(enum).items() if isinstance(code, int)}


@cache
def _defaults(kind: Any) -> Mapping[str, Any]:
    return {name: _plain(name, value) for name, value in vars(kind()).items()}
