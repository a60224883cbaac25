"""A SavedModel folder as far as it is read without TensorFlow: its signatures, its operations, and
whether loading it may do anything but compute."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from probe import printable
from probe.errors import BadInput, CannotOpen, NotTrusted
from probe.files.regular_file import exists, is_file, is_folder, open_file, read_file
from probe.files.size_limits import held
from probe.listing import Layer

from .allow_list import functions_of, refuse_operations, refuse_saver_elsewhere
from .messages import saved_model

__all__ = ["GRAPH", "SavedFolder", "is_moved", "read", "short"]

GRAPH = "saved_model.pb"
_SERVE = "serve"
_INIT = ("__saved_model_init_op", "__saved_model_train_op")
_SHARD = re.compile(r"variables\.(index|data-\d{5}-of-\d{5})")
_MOVES = frozenset(
    "Const EnsureShape Enter Exit Identity IdentityN NoOp Placeholder PlaceholderWithDefault "
    "PreventGradient ReadVariableOp StopGradient VarHandleOp".split()
)
"""Operations that are no layer of their own."""
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_LARGEST = 1 << 31
"""A protocol buffer has no more bytes."""
_DEEP, _MANY, _OBJECTS = 64, 1 << 17, 1 << 16


@dataclass(frozen=True, eq=False)
class SavedFolder:
    """A folder with saved_model.pb."""

    path: Path
    graph: Any
    """The MetaGraph that is opened."""
    graphs: int
    """How many the file holds."""
    size: int
    """How many bytes the folder's files have."""

    @cached_property
    def signatures(self) -> Mapping[str, Any]:
        """By name, without those that initialise."""
        found = {entry.key: entry.value for entry in self.graph.signatures}
        return {name: value for name, value in found.items() if name not in _INIT}

    @cached_property
    def functions(self) -> Mapping[str, Any]:
        return {
            function.signature.name: function.nodes
            for function in self.graph.graph.library.functions
        }

    @cached_property
    def count(self) -> int:
        """How many operations there are, those of functions among them."""
        return len(self.graph.graph.nodes) + sum(map(len, self.functions.values()))

    @property
    def legacy(self) -> bool:
        """Whether the loader of TensorFlow 1 loads it: without an object graph, or of several."""
        return self.graphs > 1 or not self.graph.objects.nodes

    def signature(self, name: str | None) -> str:
        """The signature of a name, or the served one; BadInput with those that there are."""
        known = ", ".join(map(printable.name, self.signatures)) or "none"
        if name is None:
            for usual in ("serving_default", *self.signatures):
                if usual in self.signatures:
                    return usual
            raise CannotOpen(f"{self.path} has no signature: save it with signatures=")
        if name not in self.signatures:
            raise BadInput(f"{self.path} has no signature {name!r}; its signatures: {known}")
        return name

    def layers(self, signature: str) -> Iterator[Layer]:
        """The operations that a signature's outputs follow from, as the file has them."""
        nodes = {node.name: node for node in self.graph.graph.nodes}
        outputs = [_node(entry.value.name) for entry in self.signatures[signature].outputs]
        for name, node in _behind(nodes, outputs):
            yield from self._inside(name, node)

    def _inside(self, name: str, node: Any) -> Iterator[Layer]:
        called = [found for found in functions_of(node) if found in self.functions]
        if node.op in _CALLS and called:
            for inner in self.functions[called[0]]:
                yield from self._inside(f"{name}/{inner.name}", inner)
        elif not is_moved(node.op):
            yield Layer(short(name), node.op, ("numpy", "onnx"))


def is_moved(operation: str) -> bool:
    """Whether an operation only hands on what it is given, or holds it."""
    return operation in _MOVES


def short(name: str) -> str:
    """The name of an operation without those of the calls of the functions that it came from."""
    parts = name.split("/")
    kept = [part for part in parts if not part.startswith(_CALLS)]
    return "/".join(kept) or name


def _node(tensor: str) -> str:
    return tensor.partition(":")[0].lstrip("^")


def _behind(nodes: Mapping[str, Any], outputs: list[str]) -> Iterator[tuple[str, Any]]:
    """The nodes that some others depend on, in the order of the file."""
    waiting, seen = list(outputs), set[str]()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            waiting += map(_node, nodes[name].inputs)
    return ((name, node) for name, node in nodes.items() if name in seen)


def read(path: Path, trust: bool = False) -> SavedFolder:
    """The folder, with all that loading it would do looked at; CannotOpen where it is damaged,
    NotTrusted where it may do more than compute, and ``trust`` is not given."""
    if not exists(path / GRAPH):
        raise CannotOpen(
            f"{path} holds its graph as text (saved_model.pbtxt), which is not read: save it again"
        )
    for name in (GRAPH, "fingerprint.pb"):
        if (path / name).is_symlink():
            raise CannotOpen(
                f"{path / name} is a link, which is not followed: copy the file itself"
            )
        if exists(path / name) and not is_file(path / name):
            raise CannotOpen(f"{path / name} is no file")
    data = read_file(path / GRAPH, "the graph of a SavedModel", _LARGEST, CannotOpen)
    try:
        message = saved_model(data)
    except DecodeError:
        raise CannotOpen(f"{path / GRAPH} is damaged: it is no protocol buffer") from None
    if not message.meta_graphs:
        raise CannotOpen(f"{path / GRAPH} holds no graph")
    graphs = [graph for graph in message.meta_graphs if _SERVE in graph.meta_info.tags]
    if not graphs:
        tags = [", ".join(graph.meta_info.tags) for graph in message.meta_graphs]
        raise CannotOpen(
            f"{path} has no graph with the tag {_SERVE!r}; its tags: "
            f"{printable.name('; '.join(tags))}"
        )
    size = len(data) + _size_of_variables(path / "variables")
    folder = SavedFolder(path, graphs[0], len(message.meta_graphs), size)
    _bounded(folder)
    if not trust:
        _refuse_code(folder)
    return folder


def _size_of_variables(variables: Path) -> int:
    """Raises CannotOpen where the variables are links or pipes, or not those of the format."""
    if variables.is_symlink():
        raise CannotOpen(f"{variables} is a link, which is not followed: copy the folder itself")
    size = 0
    for place in variables.iterdir() if is_folder(variables) else ():
        if not _SHARD.fullmatch(place.name):
            raise CannotOpen(
                f"{printable.name(str(place))} is no file of a checkpoint, variables.index or "
                "variables.data-00000-of-00001"
            )
        with open_file(place, "a file of a checkpoint", CannotOpen, links=False) as file:
            size += held(file)
    return size


def _bounded(folder: SavedFolder) -> None:
    """Raises CannotOpen where there is more than TensorFlow loads in some seconds, or no end."""
    counts = {
        "operations": (folder.count, _MANY),
        "objects": (len(folder.graph.objects.nodes), _OBJECTS),
    }
    for what, (count, most) in counts.items():
        if count > most:
            raise CannotOpen(f"{folder.path} has {count:,} {what}; up to {most:,} are read")
    calls = {
        name: {
            called for node in nodes for called in functions_of(node) if called in folder.functions
        }
        for name, nodes in folder.functions.items()
    }
    try:
        order = tuple(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise CannotOpen(
            f"{folder.path} has functions that call each other in a circle "
            f"({printable.several(map(printable.name, error.args[1]))}): it would not finish"
        ) from None
    inlined, depth = dict[str, int](), dict[str, int]()
    for name in order:
        called = [
            found
            for node in folder.functions[name]
            for found in functions_of(node)
            if found in calls
        ]
        inlined[name] = len(folder.functions[name]) + sum(inlined[found] for found in called)
        depth[name] = 1 + max((depth[found] for found in called), default=0)
    nodes = folder.graph.graph.nodes
    total = sum(inlined.get(found, 0) for node in nodes for found in functions_of(node))
    if max(inlined.values(), default=0) > _MANY or total > _MANY:
        raise CannotOpen(
            f"{folder.path} has more than {_MANY:,} operations where its functions are called"
        )
    if max(depth.values(), default=0) > _DEEP:
        raise CannotOpen(
            f"{folder.path} has functions nested {max(depth.values())} deep; up to {_DEEP} are read"
        )


def _refuse_code(folder: SavedFolder) -> None:
    graph = folder.graph.graph
    refuse_operations(folder.path, graph)
    if folder.legacy:
        raise NotTrusted(
            f"{folder.path} is loaded as the SavedModels of TensorFlow 1 are, whose loader runs "
            "operations that the file names: pass --trust (trust=True) if you trust its author"
        )
    if folder.graph.assets or any(node.HasField("asset") for node in folder.graph.objects.nodes):
        raise NotTrusted(
            f"{folder.path} has assets, files that loading it may read: pass --trust (trust=True) "
            "if you trust its author"
        )
    refuse_saver_elsewhere(
        folder.path, graph, [_node(entry.value.name) for entry in _tensors(folder)]
    )
    for node in folder.graph.objects.nodes:
        if node.HasField("resource") or node.saved_by or node.saver:
            raise NotTrusted(
                f"{folder.path} has a resource such as a table, whose own functions loading it "
                "runs: pass --trust (trust=True) if you trust its author"
            )


def _tensors(folder: SavedFolder) -> Iterator[Any]:
    """What all signatures take and give, those that initialise among them."""
    for entry in folder.graph.signatures:
        yield from entry.value.outputs
        yield from entry.value.inputs
