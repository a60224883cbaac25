"""Some nodes of a file as a file of their own: how a node runs alone, and the rest of a net behind
values that were put in the place of others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from probe.errors import CannotOpen, in_words

from .engine_calls import EngineFile
from .schema import (
    DTYPES,
    OMITTED,
    Subgraph,
    TfliteFile,
    TfliteNode,
    TfliteTensor,
    bits_of,
    count_of,
)

__all__ = ["cut", "readable", "whole"]


def readable(tensor: TfliteTensor) -> bool:
    """Whether its values are numbers: a handle that is read crashes the engine."""
    return tensor.dtype in DTYPES


def whole(model: TfliteFile) -> EngineFile:
    """The file as it is; where another subgraph than its first one runs, that as a file."""
    main = model.subgraphs[0]
    if model.first:
        return cut(model, main.nodes, outputs=main.outputs)
    every = range(len(main.tensors))

    def numbers_in(at: int) -> bool:
        return readable(main.tensors[at])

    return EngineFile(
        model.content,
        {at: at for at in every},
        main.inputs,
        main.outputs,
        tuple(dict.fromkeys([*_read(main, main.nodes), *filter(numbers_in, main.outputs)])),
        tuple(at for at in every if main.tensors[at].is_variable and readable(main.tensors[at])),
        bytes_of(model),
    )


def bytes_of(model: TfliteFile) -> int:
    """Of all tensors, by the shapes of the file."""
    return sum(
        count_of(tensor.shape) * max(8, bits_of(tensor.dtype)) // 8
        for subgraph in model.subgraphs
        for tensor in subgraph.tensors
    )


def _read(main: Subgraph, nodes: Iterable[TfliteNode]) -> list[int]:
    """What nodes compute, variables among it."""
    found = dict.fromkeys(
        at
        for node in nodes
        for at in (
            *node.outputs,
            *(k for k in node.inputs if k >= 0 and main.tensors[k].is_variable),
        )
    )
    return [at for at in found if at != OMITTED and readable(main.tensors[at])]


def cut(
    model: TfliteFile,
    nodes: Sequence[TfliteNode],
    shapes: Mapping[int, tuple[int, ...]] | None = None,
    outputs: Sequence[int] | None = None,
) -> EngineFile:
    """The nodes, of the main subgraph, as a file that takes what they need and gives what they
    compute, or of that the ``outputs``. ``shapes`` are those of a run, where they are known."""
    main, shapes = model.subgraphs[0], shapes or {}
    made = [at for node in nodes for at in node.outputs if at != OMITTED]
    needed = dict.fromkeys(at for node in nodes for at in node.inputs if at != OMITTED)
    taken = [
        at
        for at in needed
        if at not in made and not main.tensors[at].is_constant and not main.tensors[at].is_variable
    ]
    used = sorted(_with_scales(main, {*needed, *made, *_intermediates(nodes)}))
    numbers = {at: number for number, at in enumerate(used)}
    file = _File(model)
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [file.tensor(main.tensors[at], numbers, shapes.get(at)) for at in used]
    graph.operators = [file.node(node, numbers) for node in nodes]
    graph.inputs = [numbers[at] for at in taken]
    given = [at for at in made if outputs is None or at in outputs]
    graph.outputs = [numbers[at] for at in given]
    file.flat.subgraphs = [graph]
    if any(node.subgraphs for node in nodes):  # by their numbers
        file.flat.subgraphs += map(file.subgraph, model.subgraphs[1:])
    variables = tuple(at for at in used if main.tensors[at].is_variable)
    size = sum(
        count_of(main.tensors[at].shape) * max(8, bits_of(main.tensors[at].dtype)) // 8
        for at in used
    )
    return EngineFile(
        file.packed(),
        numbers,
        tuple(taken),
        tuple(given),
        tuple(_read(main, nodes)),
        variables,
        size,
    )


def _with_scales(main: Subgraph, tensors: Iterable[int]) -> set[int]:
    """These tensors and those that hold the scales of their blocks."""
    found = {at for at in tensors if at != OMITTED}
    for at in tuple(found):
        quantisation = main.tensors[at].quantisation
        if quantisation is not None and quantisation.block_size:
            found.update({quantisation.block_scales, quantisation.block_zero_points} - {OMITTED})
    return found


def _intermediates(nodes: Iterable[TfliteNode]) -> set[int]:
    return {at for node in nodes for at in node.intermediates}


@dataclass
class _File:
    """A file under construction."""

    model: TfliteFile
    flat: Any = field(default_factory=schema.ModelT)
    codes: dict[tuple[str, str, int], int] = field(default_factory=dict)
    buffers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.flat.version, self.flat.description = self.model.version, ""
        self.flat.buffers, self.flat.operatorCodes = [schema.BufferT()], []

    def unpacked(self, kind: Any, of: TfliteTensor | TfliteNode) -> Any:
        """The table of a tensor or a node, with the fields that are read by nobody else."""
        try:
            return kind.InitFromBuf(self.model.content, of.place)
        except Exception as error:  # wherever an offset led
            raise CannotOpen(f"the .tflite file is damaged ({in_words(error)})") from None

    def tensor(
        self, tensor: TfliteTensor, numbers: Mapping[int, int], shape: tuple[int, ...] | None = None
    ) -> Any:
        flat = self.unpacked(schema.TensorT, tensor)
        flat.buffer = self.buffer(tensor)
        if shape is not None:
            flat.shape, flat.shapeSignature = np.asarray(shape, np.int32), None
        quantisation = tensor.quantisation
        if quantisation is not None and quantisation.block_size:
            details = flat.quantization.details
            details.scales = numbers[quantisation.block_scales]
            if quantisation.block_zero_points != OMITTED:
                details.zeroPoints = numbers[quantisation.block_zero_points]
        return flat

    def buffer(self, tensor: TfliteTensor) -> int:
        if tensor.stored is None:
            return 0
        if tensor.buffer not in self.buffers:
            buffer = schema.BufferT()
            buffer.data = tensor.stored
            self.buffers[tensor.buffer] = len(self.flat.buffers)
            self.flat.buffers.append(buffer)
        return self.buffers[tensor.buffer]

    def node(self, node: TfliteNode, numbers: Mapping[int, int]) -> Any:
        flat = self.unpacked(schema.OperatorT, node)
        flat.opcodeIndex = self.code(node)
        for field_name in ("inputs", "outputs", "intermediates"):
            tensors = [numbers.get(at, OMITTED) for at in getattr(node, field_name)]
            setattr(flat, field_name, np.asarray(tensors, np.int32))
        return flat

    def code(self, node: TfliteNode) -> int:
        key = (node.operator, node.custom_code, node.version)
        if key not in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, node.operator)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.customCode, code.version = node.custom_code or None, node.version
            self.codes[key] = len(self.flat.operatorCodes)
            self.flat.operatorCodes.append(code)
        return self.codes[key]

    def subgraph(self, subgraph: Subgraph) -> Any:
        """Another one of the model, as it is."""
        numbers = {at: at for at in range(len(subgraph.tensors))}
        graph = schema.SubGraphT()
        graph.name = subgraph.name
        graph.tensors = [self.tensor(tensor, numbers) for tensor in subgraph.tensors]
        graph.operators = [self.node(node, numbers) for node in subgraph.nodes]
        graph.inputs, graph.outputs = list(subgraph.inputs), list(subgraph.outputs)
        return graph

    def packed(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.flat.Pack(builder), b"TFL3")
        return bytes(builder.Output())
