"""Small .tflite files, written by the schema's object API in milliseconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

__all__ = ["FlatNode", "FlatTensor", "Net", "built", "one_op"]

_TYPES = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)
}
_CODES = {name: code for code, name in _TYPES.items()}
_PACKED = {"int4": 4, "uint4": 4, "int2": 2}


@dataclass
class FlatTensor:
    """A tensor to be written: with ``data`` a constant; ``scale`` (one, or one of each place on
    ``axis``) makes it a quantised one."""

    name: str
    shape: Sequence[int] = ()
    dtype: str = "float32"
    data: Any = None
    scale: Any = None
    zero_point: Any = 0
    axis: int = 0
    signature: Sequence[int] | None = None
    is_variable: bool = False
    block_scales: int | None = None
    """The number of the tensor with the scales of blocks."""
    block_size: int = 0


@dataclass
class FlatNode:
    """An operator of the schema, such as "CONV_2D", on tensors by number; ``options`` is a
    ``...OptionsT`` of the schema, or its name in BuiltinOptions and its fields."""

    operator: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: Any = None
    version: int = 1
    custom_code: str = ""
    custom_options: bytes = b""
    intermediates: Sequence[int] = ()


@dataclass
class Net:
    """A subgraph to be written."""

    tensors: Sequence[FlatTensor]
    nodes: Sequence[FlatNode]
    inputs: Sequence[int]
    outputs: Sequence[int]
    name: str = "main"
    signatures: Mapping[str, tuple[Mapping[str, int], Mapping[str, int]]] = field(
        default_factory=dict
    )


def built(*nets: Net, path: Path | None = None, change: Any = None) -> bytes:
    """The content of a file with these subgraphs, the first the main one; written to ``path`` too.

    ``change`` may edit the ``ModelT`` before it is packed.
    """
    model = schema.ModelT()
    model.version, model.description = 3, "written by a test"
    model.buffers = [schema.BufferT()]
    model.operatorCodes, model.subgraphs, model.signatureDefs = [], [], []
    for number, net in enumerate(nets):
        model.subgraphs.append(_subgraph(model, net))
        for key, (inputs, outputs) in net.signatures.items():
            definition = schema.SignatureDefT()
            definition.signatureKey, definition.subgraphIndex = key, number
            definition.inputs = [_entry(name, at) for name, at in inputs.items()]
            definition.outputs = [_entry(name, at) for name, at in outputs.items()]
            model.signatureDefs.append(definition)
    if change is not None:
        change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = bytes(builder.Output())
    if path is not None:
        path.write_bytes(content)
    return content


def one_op(
    operator: str,
    inputs: Sequence[FlatTensor],
    outputs: Sequence[FlatTensor],
    options: Any = None,
    version: int = 1,
    path: Path | None = None,
) -> bytes:
    """A file of one node; the tensors without data are the model's inputs."""
    tensors = [*inputs, *outputs]
    fed = [at for at, tensor in enumerate(inputs) if tensor.data is None]
    given = list(range(len(inputs), len(tensors)))
    node = FlatNode(operator, list(range(len(inputs))), given, options, version)
    return built(Net(tensors, [node], fed, given), path=path)


def _subgraph(model: Any, net: Net) -> Any:
    graph = schema.SubGraphT()
    graph.name = net.name
    graph.tensors = [_tensor(model, tensor) for tensor in net.tensors]
    graph.operators = [_node(model, node) for node in net.nodes]
    graph.inputs, graph.outputs = list(net.inputs), list(net.outputs)
    return graph


def _tensor(model: Any, tensor: FlatTensor) -> Any:
    flat = schema.TensorT()
    flat.name, flat.type = tensor.name, _CODES[tensor.dtype]
    data = None if tensor.data is None else np.asarray(tensor.data)
    flat.shape = list(tensor.shape if data is None else data.shape)
    flat.shapeSignature = None if tensor.signature is None else list(tensor.signature)
    flat.isVariable = tensor.is_variable
    flat.hasRank = True
    flat.buffer = 0
    if data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(_bytes(data, tensor.dtype), np.uint8)
        model.buffers.append(buffer)
        flat.buffer = len(model.buffers) - 1
    if tensor.scale is not None or tensor.block_scales is not None:
        flat.quantization = _quantization(tensor)
    return flat


def _quantization(tensor: FlatTensor) -> Any:
    quantization = schema.QuantizationParametersT()
    if tensor.block_scales is not None:
        blocks = schema.BlockwiseQuantizationT()
        blocks.scales, blocks.blockSize = tensor.block_scales, tensor.block_size
        quantization.details = blocks
        quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
        return quantization
    scale = np.atleast_1d(np.asarray(tensor.scale, np.float32))
    quantization.scale = scale.tolist()
    quantization.zeroPoint = np.broadcast_to(
        np.asarray(tensor.zero_point, np.int64), scale.shape
    ).tolist()
    quantization.quantizedDimension = tensor.axis
    return quantization


def _bytes(data: np.ndarray, dtype: str) -> bytes:
    if dtype not in _PACKED:
        return data.astype(dtype).tobytes()
    bits = _PACKED[dtype]
    each = 8 // bits
    codes = data.reshape(-1).astype(np.int64) & ((1 << bits) - 1)
    codes = np.pad(codes, (0, -len(codes) % each)).reshape(-1, each)
    shifts = bits * np.arange(each)
    return (codes << shifts).sum(axis=1).astype(np.uint8).tobytes()


def _node(model: Any, node: FlatNode) -> Any:
    number = getattr(schema.BuiltinOperator, node.operator)
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    code.customCode, code.version = node.custom_code or None, node.version
    model.operatorCodes.append(code)
    flat = schema.OperatorT()
    flat.opcodeIndex = len(model.operatorCodes) - 1
    flat.inputs, flat.outputs = list(node.inputs), list(node.outputs)
    flat.intermediates = list(node.intermediates) or None
    if node.custom_options:
        flat.customOptions = list(node.custom_options)
    options = node.options
    if isinstance(options, tuple):
        name, fields = options
        options = getattr(schema, f"{name}T")()
        for field_name, value in fields.items():
            assert hasattr(options, field_name), (name, field_name)
            setattr(options, field_name, value)
    if options is not None:
        name = type(options).__name__.removesuffix("T")
        if hasattr(schema.BuiltinOptions, name):
            flat.builtinOptions = options
            flat.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        else:
            flat.builtinOptions2 = options
            flat.builtinOptions2Type = getattr(schema.BuiltinOptions2, name)
    return flat


def _entry(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
