"""Which ONNX models are not run: those whose loops never end, whose functions unfold without end, whose tensors fill the memory.

ONNX Runtime starts with all of them. What is judged is what the file says; it is read before any tensor outside of it.
"""

import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from probe import shown
from probe.bounds import held, too_much
from probe.errors import CannotOpen

__all__ = ["files_beside", "refuse_endless", "refuse_large"]

_NODES = 300_000
_KNOWN = 1024
"""Of tensors with more elements than these the shape alone says what shapes follow from them."""

_ROUNDS = 1 << 24
"""How many rounds loops may make, those inside of others counted for each."""

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
"""Whose operators ONNX Runtime knows."""


def files_beside(path: Path, proto: onnx.ModelProto) -> tuple[str, ...]:
    """The files beside the model that hold tensors; CannotOpen where one is no regular file in its folder, or mostly a hole."""
    folder, found = path.parent, set[str]()
    for tensor in _tensors(proto.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        told = {entry.key: entry.value for entry in tensor.external_data}
        place = folder / told.get("location", "")
        try:
            inside = place.resolve().is_relative_to(folder.resolve())
            regular = stat.S_ISREG(place.stat().st_mode)
        except (OSError, ValueError):
            continue  # onnx itself says so
        if not inside or not regular:
            raise CannotOpen(f"{path} keeps {tensor.name!r} in {told.get('location', '')!r}, which is no file in the folder of the model")
        with place.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if too_much(size, held(file)):
                raise CannotOpen(f"{place} has {size:,} bytes, most of them a hole: it holds no weights")
        found.add(str(place))
    return tuple(sorted(found))


def refuse_endless(path: Path, proto: onnx.ModelProto) -> None:
    """Raises CannotOpen where a node takes what ONNX Runtime has not, or running the model would not come to an end."""
    functions = {(function.domain, function.name): function for function in proto.functions}
    known = {*_DOMAINS, *(domain for domain, _ in functions)}
    unknown = sorted({node.domain for node in _nodes(proto.graph)} - known)
    if unknown:
        raise CannotOpen(f"ONNX Runtime does not take {path}: it has no operators of {shown.several(map(repr, unknown))}")
    sizes: dict[tuple[str, str], int] = {}
    nodes = _size(proto.graph.node, functions, sizes)
    if nodes > _NODES:
        raise CannotOpen(f"{path} has more than {_NODES:,} nodes once its functions are unfolded")
    rounds = sum(_rounds(one, {}) for one in (proto.graph, *proto.functions))
    if rounds > _ROUNDS:
        much = "without end" if rounds == math.inf else f"{rounds:,.0f} times"
        raise CannotOpen(f"{path} has loops that go round {much}: it would not come to an end")


def refuse_large(path: Path, proto: onnx.ModelProto) -> None:
    """Raises CannotOpen where a tensor on the way is larger than what the model and its inputs could be meant to make."""
    bare = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions)
    bare.graph.CopyFrom(onnx.GraphProto(name="g", node=proto.graph.node, input=proto.graph.input, output=proto.graph.output))
    for tensor in proto.graph.initializer:
        if math.prod(tensor.dims) > _KNOWN:
            bare.graph.initializer.add(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        else:
            bare.graph.initializer.add().CopyFrom(tensor)
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception:  # ONNX Runtime, which infers them too, will say what is wrong
        return
    holds = proto.ByteSize() + sum(max(0, _bytes(one)) for one in proto.graph.input)
    for one in (*inferred.value_info, *inferred.output):
        if too_much(_bytes(one), holds):
            raise CannotOpen(f"{path} makes {one.name!r} of {_bytes(one):,} bytes, and it holds and takes {holds:,}: that fills the memory")


def _bytes(value: Any) -> int:
    """How large a value is whose shape is known; else 0."""
    kind = value.type.tensor_type
    sizes = [size.dim_value if size.HasField("dim_value") else 0 for size in kind.shape.dim]
    return 4 * math.prod(sizes) if kind.HasField("shape") else 0


def _graphs(node: onnx.NodeProto) -> list[Any]:
    return [graph for one in node.attribute for graph in (*([one.g] if one.HasField("g") else []), *one.graphs)]


def _nodes(graph: Any) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in _graphs(node):
            yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in _nodes(graph):
        for one in node.attribute:
            yield from (*([one.t] if one.HasField("t") else []), *one.tensors)
        for inner in _graphs(node):
            yield from inner.initializer


def _size(nodes: Any, functions: Mapping[tuple[str, str], Any], sizes: dict[tuple[str, str], int]) -> int:
    """How many nodes these are once functions take the place of their calls; beyond the bound where one calls itself."""
    total = 0
    for node in nodes:
        key = (node.domain, node.op_type)
        if key in functions and key not in sizes:
            sizes[key] = _NODES + 1  # until it is known: it is being counted
            sizes[key] = _size(functions[key].node, functions, sizes)
        total += sizes.get(key, 1) + sum(_size(graph.node, functions, sizes) for graph in _graphs(node))
    return total


def _rounds(graph: Any, constants: Mapping[str, np.ndarray]) -> float:
    """How many rounds the loops of a graph make that no condition can end."""
    constants = {
        **constants,
        **{one.name: numpy_helper.to_array(one) for one in getattr(graph, "initializer", ()) if math.prod(one.dims) == 1},
    }
    for node in graph.node:
        value = next((one.t for one in node.attribute if one.name == "value"), None)
        if node.op_type == "Constant" and value is not None and math.prod(value.dims) == 1:
            constants[node.output[0]] = numpy_helper.to_array(value)
    total = 0.0
    for node in graph.node:
        inner = sum(_rounds(one, constants) for one in _graphs(node))
        if node.op_type == "Loop" and node.domain in ("", "ai.onnx") and _graphs(node):
            count, go = (*node.input[:2], "", "")[:2]
            limit = math.inf if not count else float(constants[count].ravel()[0]) if count in constants else 1.0
            begins = not go or (go in constants and bool(constants[go].ravel()[0]))
            total += max(limit, 0.0) * (1 + inner) if begins and _goes_on(_graphs(node)[0], constants) else inner
        else:
            total += inner
    return total


def _goes_on(body: Any, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether the condition that a loop's body gives is the one it was given, or always true."""
    given, told = body.input[1].name if len(body.input) > 1 else "", body.output[0].name if body.output else ""
    makers = {output: node for node in body.node for output in node.output}
    while told in makers and makers[told].op_type == "Identity" and makers[told].input:
        told = makers[told].input[0]
    held_inside = {one.name: numpy_helper.to_array(one) for one in body.initializer if math.prod(one.dims) == 1}
    if told in makers and makers[told].op_type == "Constant":
        value = next((one.t for one in makers[told].attribute if one.name == "value"), None)
        return value is not None and bool(np.all(numpy_helper.to_array(value)))
    return told == given or bool(np.all({**constants, **held_inside}.get(told, np.array(False))))
