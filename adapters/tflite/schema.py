"""What a .tflite file holds, as plain values: subgraphs of nodes and tensors, with the names of the
schema. ``reading`` fills them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np

from .packed_codes import dense, unpacked

__all__ = [
    *(
        "DTYPES",
        "OMITTED",
        "TfliteFile",
        "TfliteNode",
        "Quantisation",
        "Signature",
        "Sparsity",
        "Subgraph",
    ),
    *("TfliteTensor", "bits_of", "count_of"),
]

OMITTED = -1
"""The index that stands for an optional tensor which a node leaves out."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    "bool": np.dtype(np.bool_),
    **{name: np.dtype(name) for name in ("int8", "int16", "int32", "int64")},
    **{name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    **{name: np.dtype(name) for name in ("float16", "float32", "float64")},
    **{name: np.dtype(name) for name in ("complex64", "complex128")},
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    # several codes a byte; an array of them has one in each
    "int4": np.dtype(np.int8),
    "uint4": np.dtype(np.uint8),
    "int2": np.dtype(np.int8),
}
"""A tensor's type -> that of its array; string, resource and variant have none."""

_PACKED = {"int4": 4, "uint4": 4, "int2": 2}


def bits_of(dtype: str) -> int:
    """How many bits a file gives to an element; 0 for types without arrays."""
    if dtype in _PACKED:
        return _PACKED[dtype]
    if dtype in DTYPES:
        return 8 * DTYPES[dtype].itemsize
    return 0


def count_of(shape: tuple[int, ...]) -> int:
    """How many elements; no number of them overflows."""
    count = 1
    for size in shape:
        count *= size
    return count


@dataclass(frozen=True, eq=False)
class Quantisation:
    """What a tensor's codes stand for: (code - zero_point) * scale."""

    scale: np.ndarray
    """float32, as stored: one number, one of each place on ``axis``, or none with blocks."""
    zero_point: np.ndarray
    """int64, as many as scales; zeros where the file leaves them out."""
    axis: int | None = None
    """Where there is a scale for each place on an axis; None where one serves the whole tensor."""
    block_size: int = 0
    """So many codes of the last axis share a scale; 0 without blocks."""
    block_scales: int = OMITTED
    """The tensor that holds the scales of blocks, in the same subgraph."""
    block_zero_points: int = OMITTED
    unsupported: str = ""
    """Why nothing is computed with it: "it has a scale that is no positive number"."""


@dataclass(frozen=True, eq=False)
class Sparsity:
    """How the codes of a constant are stored that leaves zeros out."""

    traversal_order: tuple[int, ...]
    block_map: tuple[int, ...]
    dense_sizes: tuple[int, ...]
    segments: tuple[np.ndarray | None, ...]
    """Of each level; None where it is dense."""
    indices: tuple[np.ndarray | None, ...]


@dataclass(frozen=True, eq=False)
class TfliteTensor:
    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    """The shape with -1 where a size is not known; the shape itself where the file gives none."""
    dtype: str
    """As in ``DTYPES``: "int8", "float32", "int4"; also "string", "resource", "variant"."""
    quantisation: Quantisation | None = None
    buffer: int = 0
    """The number of the buffer: tensors with the same one share its content."""
    stored: np.ndarray | None = None
    """The bytes of a constant as the file has them; None of what is computed."""
    is_variable: bool = False
    sparsity: Sparsity | None = None
    place: int = 0
    """Where its table starts in the file."""

    @property
    def is_constant(self) -> bool:
        return self.stored is not None

    @cached_property
    def constant(self) -> np.ndarray | None:
        """The codes or numbers of a constant, unpacked and dense; None of what is computed, and of
        types without arrays."""
        if self.stored is None or self.dtype not in DTYPES:
            return None
        kind = DTYPES[self.dtype]
        if self.sparsity is not None:
            return dense(self.stored, self.sparsity, self.shape, self.dtype, kind)
        if self.dtype in _PACKED:
            return unpacked(self.stored, count_of(self.shape), self.dtype).reshape(self.shape)
        array: np.ndarray = self.stored.view(kind).reshape(self.shape)
        return array


@dataclass(frozen=True, eq=False)
class TfliteNode:
    index: int
    operator: str
    """As the schema names it: "CONV_2D", "CUSTOM"; "OPERATOR_300" where it has no name for it."""
    version: int
    custom_code: str
    """What a CUSTOM operator is called; "" of the others."""
    options: Mapping[str, Any]
    """The fields of its options by their names in the schema, enums as the names of their values:
    {"padding": "SAME", "strideW": 1, "fusedActivationFunction": "RELU6", ...}. A vector is a
    tuple."""
    inputs: tuple[int, ...]
    """Tensors of the subgraph; OMITTED where an optional one is left out."""
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...] = ()
    custom_options: bytes = b""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The same fields as the schema sets them where the file says nothing."""
    place: int = 0
    """Where its table starts in the file."""

    @property
    def kind(self) -> str:
        """What a user sees: the operator, or what a custom one is called."""
        return self.custom_code or self.operator

    @property
    def subgraphs(self) -> tuple[int, ...]:
        """The subgraphs that it runs."""
        named = (
            *("subgraph", "initSubgraphIndex", "thenSubgraphIndex", "elseSubgraphIndex"),
            *("condSubgraphIndex", "bodySubgraphIndex", "comparatorSubgraphIndex"),
            *("updateComputationSubgraphIndex", "decompositionSubgraphIndex"),
        )
        found = [self.options[name] for name in named if name in self.options]
        return (*found, *(self.options.get("branchSubgraphIndices") or ()))


@dataclass(frozen=True, eq=False)
class Subgraph:
    index: int
    name: str
    tensors: tuple[TfliteTensor, ...]
    nodes: tuple[TfliteNode, ...]
    """In the order in which they run."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Signature:
    """A named entry of the model; the names that its inputs and outputs have there."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    """Name -> tensor of the subgraph."""
    outputs: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class TfliteFile:
    content: bytes
    """The whole file."""
    version: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: Mapping[str, bytes]
    external: bool = False
    """Whether tensors are to be read from other files."""
    first: int = 0
    """Which subgraph of the file stands at the first place, and is what runs."""

    def starting_at(self, number: int) -> "TfliteFile":
        """The same with another subgraph as what runs; the others keep their numbers."""
        if number == self.first:
            return self
        subgraphs = (self.subgraphs[number], *self.subgraphs[1:])
        return replace(self, subgraphs=subgraphs, first=number)
