"""Which ONNX models are not run: those whose loops never end, whose functions unfold without end,
whose tensors fill the memory.

ONNX Runtime starts with all of them. What is judged is what the file says; it is read before any
tensor outside of it. What only the run tells, sizes and rounds that the model computes, has a limit
of memory and of time, which ONNX Runtime keeps.
"""

import math
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from probe import printable
from probe.errors import CannotOpen
from probe.files.regular_file import open_file
from probe.files.size_limits import most, too_much
from probe.process.limited_child import limited

from .schema import numbers

__all__ = [
    *("files_beside", "memory_limit", "refuse_endless", "refuse_large", "refuse_undecoded"),
    "time_limit",
]

_NODES = 300_000
_KNOWN = 1024
"""Of tensors with more elements than these the shape alone says what shapes follow from them."""

_ROUNDS = 1 << 24
"""How many rounds loops may make, those inside of others counted for each."""

_MEMORY, _INFERRING = 1 << 30, 20.0
"""Bytes and seconds of processor time in which the shapes of a model have to be inferred."""

_SECONDS = 8.0
"""How long a pass may take whose loops go round as often as the model computes."""

_DOMAINS = (
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
)
"""Whose operators ONNX Runtime knows."""


def files_beside(path: Path, proto: onnx.ModelProto) -> tuple[str, ...]:
    """The files beside the model that hold tensors; CannotOpen where one is no regular file in its
    folder, or mostly a hole."""
    folder, files = path.parent, set[str]()
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
            raise CannotOpen(
                f"{path} stores {tensor.name!r} in {told.get('location', '')!r}, which is not "
                "a file in the model's folder"
            )
        open_file(place, "a file of weights", CannotOpen).close()
        files.add(str(place))
    return tuple(sorted(files))


def refuse_undecoded(path: Path, proto: onnx.ModelProto) -> None:
    """Raises CannotOpen where a name is no UTF-8, which protobuf gives as bytes."""
    graph = proto.graph
    names: list[Any] = [value.name for value in (*graph.input, *graph.output, *graph.initializer)]
    for node in _nodes(graph):
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
    if undecoded := [name for name in names if isinstance(name, bytes)]:
        raise CannotOpen(f"{path} has a name that is no UTF-8 text: {undecoded[0][:100]!r}")


def refuse_endless(path: Path, proto: onnx.ModelProto) -> None:
    """Raises CannotOpen where a node takes what ONNX Runtime has not, or running the model would
    not come to an end."""
    functions = {(function.domain, function.name): function for function in proto.functions}
    known = {*_DOMAINS, *(domain for domain, _ in functions)}
    unknown = sorted({node.domain for node in _nodes(proto.graph)} - known)
    if unknown:
        raise CannotOpen(
            f"ONNX Runtime cannot run {path}: it has no operators of the domain "
            f"{printable.several(map(repr, unknown))}"
        )
    sizes: dict[tuple[str, str], int] = {}
    nodes = _size(proto.graph.node, functions, sizes)
    if nodes > _NODES:
        raise CannotOpen(f"{path} has more than {_NODES:,} nodes after its functions are inlined")
    rounds = sum(_rounds(graph, {}) for graph in (proto.graph, *proto.functions))
    if rounds > _ROUNDS:
        much = "endlessly" if rounds == math.inf else f"{rounds:,.0f} times"
        raise CannotOpen(f"{path} has loops that run {much}: it would not finish")


def refuse_large(path: Path, proto: onnx.ModelProto) -> None:
    """Raises CannotOpen where a tensor on the way, or all of them, are larger than what the model
    and its inputs could be meant to make."""
    # The size of the whole model would be found by writing it.
    holds = sum(map(_held, _tensors(proto.graph)))
    holds += sum(max(0, _bytes(value)) for value in proto.graph.input)
    texts = _longest_texts(proto.graph)
    # onnx itself makes a list of each vector that it propagates data through: only where none is
    # large
    for propagating in (False, True):
        sizes = _sizes(path, proto, propagating)
        if sizes is None:  # ONNX Runtime, which infers them too, will say what is wrong
            return
        total = 0
        for name, size in sizes:
            asked = max(size, texts.get(name, 0) * max(1, size // 4))
            total += max(0, asked)
            if too_much(asked, holds):
                raise CannotOpen(
                    f"{path} computes {name!r} with {asked:,} bytes, while file and inputs "
                    f"have {holds:,}, which could exhaust memory"
                )
        if total > most(holds):
            raise CannotOpen(
                f"{path} computes tensors of {total:,} bytes together, while file and inputs "
                f"have {holds:,}, which could exhaust memory"
            )


def _sizes(path: Path, proto: onnx.ModelProto, propagating: bool) -> list[tuple[str, int]] | None:
    """The names and bytes of what the nodes give, as far as ``_inferred`` knows them. Numbers are
    propagated in a child with limits: onnx makes vectors of them, as long as the model computes."""

    def sizes() -> list[tuple[str, int]] | None:
        inferred = _inferred(proto, {}, propagating)
        if inferred is None:
            return None
        return [(info.name, _bytes(info)) for info in (*inferred.value_info, *inferred.output)]

    if not propagating:
        return sizes()
    what = f"inferring the shapes of {path}"
    return limited(sizes, what, memory=_MEMORY, seconds=_INFERRING)


def _longest_texts(graph: Any) -> dict[str, int]:
    """How long the longest text is in what follows from the texts that the graph holds."""
    lengths = {
        proto.name: max(map(len, proto.string_data), default=0)
        for proto in graph.initializer
        if proto.data_type == onnx.TensorProto.STRING
    }
    for node in graph.node:
        held = [
            text
            for attribute in node.attribute
            for text in (
                *attribute.t.string_data,
                *attribute.strings,
                *([attribute.s] if attribute.name == "value_string" else ()),
            )
        ]
        taken = [lengths.get(name, 0) for name in node.input]
        if node.op_type == "StringConcat":
            longest = sum(taken)
        else:
            longest = max(
                [*taken, *(map(len, held) if node.op_type == "Constant" else ())], default=0
            )
        lengths.update(dict.fromkeys(node.output, longest) if longest else {})
    return lengths


def memory_limit(proto: onnx.ModelProto, fed: Mapping[str, np.ndarray]) -> int | None:
    """How many bytes a run on these inputs may take; None where the sizes of all tensors follow
    from the shapes that the model says."""
    inferred = _inferred(proto, {name: array.shape for name, array in fed.items()})
    if inferred is None:
        infos = {}
    else:
        infos = {info.name: info for info in (*inferred.value_info, *inferred.output)}
    plain = all(node.domain in ("", "ai.onnx") and not _graphs(node) for node in proto.graph.node)
    names = [
        name
        for node in proto.graph.node
        if node.op_type != "Constant"
        for name in node.output
        if name
    ]
    if plain and all(name in infos and _is_known(infos[name]) for name in names):
        return None
    holds = sum(map(_held, proto.graph.initializer)) + sum(array.nbytes for array in fed.values())
    return most(holds) + 2 * sum(max(0, _bytes(info)) for info in infos.values())


def _held(tensor: onnx.TensorProto) -> int:
    """How many bytes of a file a tensor is."""
    return len(tensor.raw_data) or tensor.ByteSize()


def time_limit(proto: onnx.ModelProto) -> float:
    """How many seconds a run may take: as many as it likes where no loop goes round as often as the
    model computes."""
    graphs = [proto.graph, *proto.functions]
    nodes = [node for graph in graphs for node in _nodes(graph)]
    constant = {node.output[0] for node in nodes if node.op_type == "Constant"} | {
        tensor.name for tensor in _tensors(proto.graph)
    }
    computed = any(
        node.op_type == "Scan" or (node.op_type == "Loop" and node.input[0] not in constant)
        for node in nodes
    )
    if computed:
        return _SECONDS
    return math.inf


def _inferred(
    proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], propagating: bool = True
) -> Any:
    """The graph with the shapes that follow from those of its inputs, and ``propagating`` from
    numbers computed in it; None where they contradict each other."""
    bare = onnx.ModelProto(
        ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions
    )
    bare.graph.CopyFrom(
        onnx.GraphProto(
            name="g", node=proto.graph.node, input=proto.graph.input, output=proto.graph.output
        )
    )
    for value in bare.graph.input:
        for size, dim in zip(
            shapes.get(value.name, ()), value.type.tensor_type.shape.dim, strict=False
        ):
            dim.dim_value = size
    for tensor in proto.graph.initializer:
        if math.prod(tensor.dims) > _KNOWN:
            bare.graph.initializer.add(
                name=tensor.name, dims=tensor.dims, data_type=tensor.data_type
            )
        else:
            bare.graph.initializer.add().CopyFrom(tensor)
    try:
        return onnx.shape_inference.infer_shapes(bare, data_prop=propagating).graph
    except MemoryError:
        raise
    # of classes that onnx does not make public; ONNX Runtime infers them too, and says what is
    # wrong
    except Exception:
        return None


def _is_known(value: Any) -> bool:
    kind = value.type.tensor_type
    return kind.HasField("shape") and all(size.HasField("dim_value") for size in kind.shape.dim)


def _bytes(value: Any) -> int:
    """How large a value is whose shape is known; else 0."""
    kind = value.type.tensor_type
    sizes = [size.dim_value if size.HasField("dim_value") else 0 for size in kind.shape.dim]
    if kind.HasField("shape"):
        return 4 * math.prod(sizes)
    return 0


def _graphs(node: onnx.NodeProto) -> list[Any]:
    return [
        graph
        for attribute in node.attribute
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
    ]


def _nodes(graph: Any) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in _graphs(node):
            yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in _nodes(graph):
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
        for inner in _graphs(node):
            yield from inner.initializer


def _size(
    nodes: Any, functions: Mapping[tuple[str, str], Any], sizes: dict[tuple[str, str], int]
) -> int:
    """How many nodes these are once functions take the place of their calls; beyond the bound where
    one calls itself."""
    total = 0
    for node in nodes:
        key = (node.domain, node.op_type)
        if key in functions and key not in sizes:
            sizes[key] = _NODES + 1  # until it is known: it is being counted
            sizes[key] = _size(functions[key].node, functions, sizes)
        total += sizes.get(key, 1) + sum(
            _size(graph.node, functions, sizes) for graph in _graphs(node)
        )
    return total


def _rounds(graph: Any, constants: Mapping[str, np.ndarray]) -> float:
    """How many rounds the loops of a graph make that no condition can end."""
    constants = {
        **constants,
        **{
            proto.name: numbers(proto)
            for proto in getattr(graph, "initializer", ())
            if math.prod(proto.dims) == 1
        },
    }
    for node in graph.node:
        value = next(
            (attribute.t for attribute in node.attribute if attribute.name == "value"), None
        )
        if node.op_type == "Constant" and value is not None and math.prod(value.dims) == 1:
            constants[node.output[0]] = numbers(value)
    total = 0.0
    for node in graph.node:
        inner = sum(_rounds(body, constants) for body in _graphs(node))
        if node.op_type == "Loop" and node.domain in ("", "ai.onnx") and _graphs(node):
            count, go = (*node.input[:2], "", "")[:2]
            if not count:
                limit = math.inf
            elif count in constants:
                limit = float(constants[count].ravel()[0])
            else:
                limit = 1.0
            begins = not go or (go in constants and bool(constants[go].ravel()[0]))
            if begins and _goes_on(_graphs(node)[0], constants):
                total += max(limit, 0.0) * (1 + inner)
            else:
                total += inner
        else:
            total += inner
    return total


def _goes_on(body: Any, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether the condition that a loop's body gives is the one it was given, or always true."""
    given, told = (
        body.input[1].name if len(body.input) > 1 else "",
        body.output[0].name if body.output else "",
    )
    makers = {output: node for node in body.node for output in node.output}
    while told in makers and makers[told].op_type == "Identity" and makers[told].input:
        told = makers[told].input[0]
    held_inside = {
        proto.name: numbers(proto) for proto in body.initializer if math.prod(proto.dims) == 1
    }
    if told in makers and makers[told].op_type == "Constant":
        value = next(
            (attribute.t for attribute in makers[told].attribute if attribute.name == "value"), None
        )
        return value is not None and bool(np.all(numbers(value)))
    return told == given or bool(np.all({**constants, **held_inside}.get(told, np.array(False))))
