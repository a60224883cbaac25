"""The graph of one signature, with its functions inlined and its variables' numbers in it, and how
any tensor of it is computed."""

import importlib
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from probe import printable
from probe.errors import CannotOpen, ForwardFailed, first_line
from probe.process.interrupts import Shared

from .proto import is_moved, short

__all__ = ["SignatureGraph", "StoredVariable", "loaded"]

_SHAPES = ("Rank", "Shape", "ShapeN", "Size")
_PASSED_ON = ("Identity", "StopGradient", "PreventGradient")

_NODE = re.compile(r"Detected at node (\S+) defined at .*")
_SAID = re.compile(r"[^\s<]")
"""How a line begins that is none of a stack."""


class StoredVariable(NamedTuple):
    """A variable by the name that the checkpoint has."""

    name: str
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class SignatureGraph:
    """What a signature computes."""

    tensorflow: Any
    function: Any
    """Frozen: a WrappedFunction."""
    variables: Mapping[str, StoredVariable]
    """By the name of the constant that holds its numbers."""
    output_names: tuple[str, ...]
    _pruned: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def graph(self) -> Any:
        return self.function.graph

    @cached_property
    def inputs(self) -> tuple[Any, ...]:
        return tuple(self.function.inputs)

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
            if is_moved(operation.type) or not follows:
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
        used = {tensor.name for tensor in self.function.outputs}
        for operation in self.graph.get_operations():
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
        feeds = [tensor for tensor, _ in fed.values()]
        key = (tuple(fed), tuple(tensor.name for tensor in fetched))
        with _UNCHANGED:
            try:
                if key not in self._pruned:
                    self._pruned[key] = self.function.prune(feeds, list(fetched))
                values = [
                    self.tensorflow.constant(array, tensor.dtype) for tensor, array in fed.values()
                ]
                found = self._pruned[key](*values)
            except Exception as error:  # whatever TensorFlow makes of the numbers
                raise ForwardFailed(f"TensorFlow: {_reason(error)}") from error
        return [np.asarray(value.numpy()) for value in found]


def _reason(error: Exception) -> str:
    """What TensorFlow says, without the stack that it puts before the reason."""
    node = _NODE.search(str(error))
    if node is None:
        return first_line(error)
    said = (line for line in str(error)[node.end() :].splitlines() if _SAID.match(line))
    return f"{printable.name(short(node[1]))}: {printable.line(next(said, first_line(error)))}"


@contextmanager
def _unchanged() -> Iterator[None]:
    """Without Grappler, which would fuse operations whose results are captured apart."""
    options = importlib.import_module("tensorflow").config.optimizer
    before = options.get_experimental_options()
    options.set_experimental_options({**before, "disable_meta_optimizer": True})
    try:
        yield
    finally:
        options.set_experimental_options({"disable_meta_optimizer": False, **before})


_UNCHANGED = Shared(_unchanged)


def loaded(path: str, signature: str) -> SignatureGraph:
    """The graph of a signature; CannotOpen where TensorFlow does not load it."""
    tensorflow = importlib.import_module("tensorflow")
    freeze = importlib.import_module("tensorflow.python.framework.convert_to_constants")
    try:
        model = tensorflow.saved_model.load(path, tags=["serve"])
        function = model.signatures[signature]
        frozen = freeze.convert_variables_to_constants_v2(function, lower_control_flow=False)
    except Exception as error:  # whatever TensorFlow finds wrong
        raise CannotOpen(f"TensorFlow cannot load {path}: {first_line(error)}") from None
    _refuse_tensors(path, frozen)
    names = tuple(_names(function.structured_outputs))
    return SignatureGraph(tensorflow, frozen, dict(_variables(model, function)), names)


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


def _refuse_tensors(path: str, function: Any) -> None:
    for tensor in (*function.inputs, *function.outputs):
        if tensor.dtype.name in ("string", "resource", "variant"):
            raise CannotOpen(
                f"{path}: its signature takes or gives {printable.name(tensor.op.name)} of the "
                f"type {tensor.dtype.name}, not numbers"
            )
