"""The graph of one signature, with its functions inlined and its variables' numbers in it, and how
any tensor of it is computed."""

import importlib
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from probe import printable
from probe.errors import CannotOpen, ForwardFailed, first_line

from .proto import is_moved, short

__all__ = ["SignatureGraph", "StoredVariable", "loaded"]

_SHAPES = ("Rank", "Shape", "ShapeN", "Size")
_PASSED_ON = ("Identity", "StopGradient", "PreventGradient")

_NODE = re.compile(r"\{\{node (\S+?)\}\}")
_ABOUT = ("Graph execution error", "Detected at node", "Node: ", " ", "\t")
"""How lines begin that do not say what is wrong."""


class StoredVariable(NamedTuple):
    """A variable by the name that the checkpoint has."""

    name: str
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class SignatureGraph:
    """What a signature computes."""

    tensorflow: Any
    graph: Any
    """Frozen."""
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    variables: Mapping[str, StoredVariable]
    """By the name of the constant that holds its numbers."""
    output_names: tuple[str, ...]

    @cached_property
    def _session(self) -> Any:
        """Without Grappler, which would fuse operations whose results are captured apart."""
        v1 = self.tensorflow.compat.v1
        config = v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        return v1.Session(graph=self.graph, config=config)

    @cached_property
    def _needed(self) -> frozenset[str]:
        """The names of the operations that what is returned depends on."""
        found, waiting = set[str](), [tensor.op for tensor in self.outputs]
        while waiting:
            operation = waiting.pop()
            if operation.name not in found:
                found.add(operation.name)
                waiting += [*(x.op for x in operation.inputs), *operation.control_inputs]
        return frozenset(found)

    @cached_property
    def following(self) -> frozenset[str]:
        """The names of the tensors that follow from the inputs, shapes of them left out."""
        found = {tensor.name for tensor in self.inputs}
        for operation in self.graph.get_operations():
            if operation.type not in _SHAPES and any(
                source.name in found for source in operation.inputs
            ):
                found.update(output.name for output in operation.outputs)
        return frozenset(found)

    @cached_property
    def operations(self) -> Mapping[str, Any]:
        """Those that are layers, by their short names."""
        found: dict[str, Any] = {}
        for operation in self.graph.get_operations():
            follows = any(output.name in self.following for output in operation.outputs)
            if is_moved(operation.type) or not follows or operation.name not in self._needed:
                continue
            name = short(operation.name)
            found[name if name not in found else operation.name] = operation
        return found

    def root(self, tensor: Any) -> Any:
        """The tensor whose numbers this one is given."""
        while tensor.op.type in _PASSED_ON:
            tensor = tensor.op.inputs[0]
        return tensor

    @cached_property
    def _used(self) -> frozenset[str]:
        used = {tensor.name for tensor in self.outputs}
        for operation in self.graph.get_operations():
            if operation.name in self._needed:
                used.update(source.name for source in operation.inputs)
        return frozenset(used)

    def given(self, operation: Any) -> list[Any]:
        """The outputs of an operation that another one takes, or that are returned: the others may
        be of its training alone."""
        used = [output for output in operation.outputs if output.name in self._used]
        return used or list(operation.outputs[:1])

    def taken(self, operation: Any) -> list[Any]:
        """The tensors that an operation takes and that follow from the inputs, each once."""
        roots = map(self.root, operation.inputs)
        return list({root.name: root for root in roots if root.name in self.following}.values())

    def run(
        self, fed: Mapping[str, tuple[Any, np.ndarray]], fetched: Sequence[Any]
    ) -> list[np.ndarray]:
        """What tensors of the graph are, where these have such numbers; all as TensorFlow computes
        them one by one, without its rewriting of the graph."""
        try:
            found = self._session.run(list(fetched), dict(fed.values()))
        except Exception as error:  # whatever TensorFlow makes of the numbers
            raise ForwardFailed(f"TensorFlow: {_reason(error)}") from error
        return [np.asarray(value) for value in found]


def _reason(error: Exception) -> str:
    """What TensorFlow says of which operation, without where it was defined."""
    found = _NODE.search(str(error))
    if found is None:
        return first_line(error)
    said = (line for line in str(error).splitlines() if line and not line.startswith(_ABOUT))
    return f"{printable.name(short(found[1]))}: {printable.line(next(said, first_line(error)))}"


def loaded(path: str, signature: str) -> SignatureGraph:
    """The graph of a signature; CannotOpen where TensorFlow does not load it."""
    tensorflow = importlib.import_module("tensorflow")
    try:
        model = tensorflow.saved_model.load(path, tags=["serve"])
        function = model.signatures[signature]
        _refuse_assignments(path, function)
        graph, given = _frozen(tensorflow, function)
    except CannotOpen:
        raise
    except Exception as error:  # whatever TensorFlow finds wrong
        if "Failed to find any matching files" in str(error):
            raise CannotOpen(
                f"{path} lacks its weights, the files variables/variables.*: copy the whole folder"
            ) from None
        raise CannotOpen(f"TensorFlow cannot load {path}: {first_line(error)}") from None
    inputs, outputs = (
        tuple(graph.get_tensor_by_name(tensor.name) for tensor in tensors)
        for tensors in (given, function.outputs)
    )
    for tensor, own in zip(inputs, given, strict=True):
        tensor.set_shape(own.shape)
    _refuse_tensors(path, (*inputs, *outputs))
    names = tuple(_names(function.structured_outputs))
    variables = dict(_variables(model, function))
    return SignatureGraph(tensorflow, graph, inputs, outputs, variables, names)


def _frozen(tensorflow: Any, function: Any) -> tuple[Any, list[Any]]:
    """The graph of a function with the numbers of its variables in it and the functions that it
    calls inlined, but branches and loops, and those of its inputs that are none of these variables:
    as ``convert_variables_to_constants_v2`` has it, without making a function of it, which takes
    longer than all else."""
    convert = importlib.import_module("tensorflow.python.framework.convert_to_constants")
    # those that it leaves as they are; branches by a number are no less one operation
    convert._CONTROL_FLOW_OPS.update(("Case", "StatelessCase"))
    data = convert._FunctionConverterDataInEager(
        func=function, lower_control_flow=False, aggressive_inlining=False
    )
    definition, places = convert._replace_variables_by_constants(converter_data=data)
    graph = tensorflow.Graph()
    with graph.as_default():
        tensorflow.graph_util.import_graph_def(definition, name="")
    captured = function.graph.internal_captures
    held = {id(captured[place]) for place in places}
    return graph, [tensor for tensor in function.inputs if id(tensor) not in held]


def _names(outputs: Any) -> Iterator[str]:
    if isinstance(outputs, Mapping):
        yield from sorted(outputs)


def _variables(model: Any, function: Any) -> Iterator[tuple[str, StoredVariable]]:
    """The variables that a function takes from outside, by the name of what stands for them."""
    held = {id(variable.handle): variable for variable in function.graph.variables}
    names = {key: str(variable.name).partition(":")[0] for key, variable in held.items()}
    counts, paths = Counter(names.values()), _paths(model)
    for outside, inside in function.graph.captures:
        variable = held.get(id(outside))
        if variable is not None:
            name = names[id(outside)]
            if counts[name] > 1:  # as those that were given none
                name = paths.get(id(outside), name)
            yield inside.op.name, StoredVariable(name, np.asarray(variable.numpy()))


def _paths(model: Any) -> Mapping[int, str]:
    """The attributes that lead to each variable, as the keys of the checkpoint have them, by the
    identity of its handle."""
    waiting, seen, paths = deque([("", model)]), set[int](), dict[int, str]()
    while waiting:
        path, tracked = waiting.popleft()
        if id(tracked) in seen:
            continue
        seen.add(id(tracked))
        paths.setdefault(id(getattr(tracked, "handle", None)), path)
        for name, child in getattr(tracked, "_trackable_children", dict)().items():
            waiting.append((f"{path}/{name}" if path else name, child))
    return paths


def _refuse_tensors(path: str, tensors: Iterable[Any]) -> None:
    for tensor in tensors:
        if tensor.dtype.name == "resource":
            raise CannotOpen(
                f"{path}: its signature uses a table or another resource, whose content is not read"
            )
        if tensor.dtype.name in ("string", "variant"):
            raise CannotOpen(
                f"{path}: its signature takes or gives {printable.name(tensor.op.name)} of the "
                f"type {tensor.dtype.name}, not numbers"
            )


def _refuse_assignments(path: str, function: Any) -> None:
    """CannotOpen where a run changes a variable: a second one would give something else."""
    definition = function.graph.as_graph_def()
    bodies = [definition.node, *(each.node_def for each in definition.library.function)]
    for node in chain.from_iterable(bodies):
        if node.op.startswith("Assign") and node.op.endswith("VariableOp"):
            raise CannotOpen(
                f"{path}: its signature changes a variable ({node.op} at "
                f"{printable.name(short(node.name))}), so that no two runs of it give the same"
            )
