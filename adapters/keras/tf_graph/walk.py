"""A graph of TensorFlow, operation by operation, with the functions that it calls, its branches and
its loops: what each tensor is in steps."""

import importlib
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe.op_builder import OpBuilder
from . import arithmetic, products, shape, windows  # noqa: F401 - their import registers what they describe
from .control_flow import CONTROL_FLOW
from .node import (
    DESCRIBED,
    FLOATS,
    GraphOperation,
    GraphTensor,
    Laid,
    Later,
    dtype_of,
    numbers_of,
    unread,
)
from .tensor_lists import TENSOR_LISTS

__all__ = ["KNOWN", "GraphWalk", "Inside"]

_PASSED_ON = frozenset(
    "CheckNumerics CheckNumericsV2 EnsureShape Identity IdentityN PlaceholderWithDefault "
    "PreventGradient Snapshot StopGradient".split()
)
"""Operations that give what they are given."""

_ASSIGNS = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "ResourceScatter")

_LAYOUT = ("ExpandDims", "Reshape", "Squeeze", "Transpose")


@dataclass(frozen=True, eq=False)
class Inside:
    """A layer that is called in a graph: what it is given and gives there, and how it is
    described."""

    inputs: Sequence[Any]
    outputs: Sequence[Any]
    described: Callable[["GraphWalk", Sequence[GraphTensor]], Sequence[GraphTensor]]


@dataclass(frozen=True, eq=False)
class GraphWalk:
    """What is the same all over a graph and the functions that it calls."""

    build: OpBuilder
    tensorflow: Any
    computed_in: str
    """The type that the layer computes in."""
    weight: Callable[[Any, bool], Weight]
    """A variable as a weight; cast to that type, or as it is stored."""

    def outputs(
        self,
        graph: Any,
        values: Mapping[str, GraphTensor],
        wanted: Sequence[Any],
        layers: Mapping[str, Inside] | None = None,
    ) -> list[GraphTensor]:
        """What tensors of a graph are, where it is given these, by name; ``layers`` are those that
        give tensors in it, by the tensors' names."""
        layers = layers or {}
        needed, seen = _needed(wanted, layers, values)
        held = dict(values)
        changed = self._changed(graph, held)
        for operation in graph.get_operations():
            for tensor in operation.outputs:
                if tensor.name in layers and tensor.name in seen and tensor.name not in held:
                    inside = layers[tensor.name]
                    found = inside.described(self, [held[source.name] for source in inside.inputs])
                    for output, result in zip(inside.outputs, found, strict=True):
                        held.setdefault(output.name, result)
            if operation.name not in needed or all(
                output.name in held for output in operation.outputs
            ):
                continue
            inputs = [held[source.name] for source in operation.inputs]
            made = self._made(operation, inputs, graph, changed)
            for tensor, result in zip(operation.outputs, made, strict=True):
                held.setdefault(tensor.name, result)
        return [held[output.name] for output in wanted]

    def _changed(self, graph: Any, values: Mapping[str, GraphTensor]) -> set[int]:
        """The ids of the variables that a graph assigns to, or hands to a function that assigns to
        any; what was read before is not what they hold now."""
        found = set[int]()
        for operation in graph.get_operations():
            handles = [source for source in operation.inputs if source.dtype.name == "resource"]
            if handles and (
                operation.type.startswith(_ASSIGNS) or any(self._assigning(graph, operation))
            ):
                held = [values.get(handle.name) for handle in handles]
                found.update(id(None if tensor is None else tensor.variable) for tensor in held)
        return found

    def _assigning(self, graph: Any, operation: Any) -> Iterator[bool]:
        """Of each function that an operation calls, and those that these call, whether it assigns
        to a variable."""
        for name in _called_by(operation):
            function = self._function(graph, name)
            for inner in function.get_operations():
                yield inner.type.startswith(_ASSIGNS)
                yield from self._assigning(function, inner)

    def _made(
        self, operation: Any, inputs: Sequence[GraphTensor], graph: Any, changed: set[int]
    ) -> Sequence[GraphTensor]:
        """What an operation gives; what cannot be followed says why."""
        reason = next((source.why for source in inputs if source.why), "")
        try:
            if operation.type in ("Shape", "ShapeN", "Size", "Rank"):
                return self._sizes(operation, inputs)
            if reason:
                return self._lost(operation, inputs, reason)
            if operation.type in _PASSED_ON:
                return inputs
            if operation.type == "Const":
                return [self._constant(operation)]
            if operation.type in _SPECIAL:
                return _SPECIAL[operation.type](self, operation, inputs, graph)
            if operation.type in ("ReadVariableOp", "ResourceGather"):
                inputs = [self._read(inputs[0], changed), *inputs[1:]]
                if operation.type == "ReadVariableOp":
                    return inputs
            return self._described(operation, inputs)
        except Undescribed as error:
            return self._lost(operation, inputs, self._said(operation, str(error)))
        except Exception as error:  # whatever TensorFlow or NumPy says of numbers that do not fit
            why = f"describing it failed ({type(error).__name__})"
            return self._lost(operation, inputs, self._said(operation, why))

    def _said(self, operation: Any, why: str) -> str:
        if why.startswith("TensorFlow's "):
            return why
        name = f"TensorFlow's {operation.type}{_place(operation)}"
        if why.startswith("has no "):
            return f"{name} {why}"
        return f"{name}: {why}"

    def _lost(
        self, operation: Any, inputs: Sequence[GraphTensor], why: str
    ) -> Sequence[GraphTensor]:
        later = self._later(operation, inputs)
        return [
            GraphTensor(dtype_of(output), later(k), why=why)
            for k, output in enumerate(operation.outputs)
        ]

    def _later(self, operation: Any, inputs: Sequence[GraphTensor]) -> Callable[[int], Later]:
        """Each output as TensorFlow gives it."""
        whole = Later(
            lambda *values: self._run(operation, values), *(source.later for source in inputs)
        )
        return lambda k: Later(lambda outputs: outputs[k], whole)

    def _run(self, operation: Any, values: Sequence[Any]) -> list[Any]:
        """An operation on values, on which TensorFlow runs it at once."""
        definition = _definition(operation)
        if definition.is_stateful:
            raise Undescribed(self._said(operation, "has no value outside of its graph"))
        attributes = {
            attribute.name: _attr(operation, attribute.name) for attribute in definition.attr
        }
        rest = iter(values)
        # Integers may stand in for floats; behind several types none has an input of another.
        for argument in definition.input_arg:
            taken = [*islice(rest, attributes.get(argument.number_attr, 1))]
            if argument.type_attr and taken:
                attributes[argument.type_attr] = taken[0].dtype
        flat = [part for name, value in attributes.items() for part in (name, _plain(value))]
        run = importlib.import_module("tensorflow.python.eager.execute").quick_execute
        context = importlib.import_module("tensorflow.python.eager.context").context()
        context.ensure_initialized()
        outputs = len(operation.outputs)
        return list(run(operation.type, outputs, list(values), tuple(flat), context))

    def _constant(self, operation: Any) -> GraphTensor:
        value = self.tensorflow.make_ndarray(_attr(operation, "value"))
        return self.constant(self.tensorflow.constant(value, operation.outputs[0].dtype))

    def constant(self, tensor: Any) -> GraphTensor:
        """A tensor with values, which follows from nothing."""
        return GraphTensor(
            dtype_of(tensor), Later(lambda: tensor), known=numbers_of(tensor.numpy())
        )

    def _sizes(self, operation: Any, inputs: Sequence[GraphTensor]) -> Sequence[GraphTensor]:
        """Shapes, which are known though the elements are not."""
        found = []
        for tensor, held, out in zip(operation.inputs, inputs, operation.outputs, strict=False):
            known = _sizes(tensor)
            if known is None or None in known:
                if held.why:
                    raise Undescribed(held.why)
                known = list(held.shape(self.build))
            sizes = [size for size in known if size is not None]
            value = {"Size": int(np.prod(sizes)), "Rank": len(sizes)}.get(operation.type, sizes)
            found.append(self.constant(self.tensorflow.constant(value, out.dtype)))
        return found

    def _read(self, handle: GraphTensor, changed: set[int]) -> GraphTensor:
        variable = handle.variable
        if variable is None:
            raise Undescribed("it reads a tensor that is not a variable of the layer")
        if id(variable) in changed or id(None) in changed:
            raise Undescribed("it reads a variable that the call changes")
        weight = self.weight(variable, False)
        laid = Laid(weight, tuple(range(weight.effective.ndim)))
        later = Later(lambda: self.tensorflow.convert_to_tensor(variable.read_value()))
        return GraphTensor(dtype_of(variable), later, laid=laid, variable=variable)

    def _described(self, operation: Any, inputs: Sequence[GraphTensor]) -> Sequence[GraphTensor]:
        later, definition = self._later(operation, inputs), _definition(operation)
        dtypes = [dtype_of(output) for output in operation.outputs]
        if any(dtype.startswith("complex") for dtype in dtypes):
            raise Undescribed("it gives complex numbers, for which there is no op")
        fixed = all(source.known is not None for source in inputs)
        if fixed and not definition.is_stateful and "Random" not in operation.type:
            values = self._run(operation, [source.later() for source in inputs])
            return [self.constant(value) for value in values]
        if (laid := self._laid(operation, inputs)) is not None:
            return [replace(inputs[0], dtype=dtypes[0], later=later(0), laid=laid)]
        if operation.type not in DESCRIBED:
            if "Random" in operation.type or "Multinomial" in operation.type:
                raise Undescribed("has no description: it draws random numbers")
            if definition.is_stateful:
                raise Undescribed("has no description: it keeps a state")
            raise Undescribed("has no description")
        node = GraphOperation(
            operation.type,
            inputs,
            partial(_attr, operation),
            self.build,
            dtypes,
            partial(self._on_integers, operation, inputs),
        )
        before = len(self.build.steps)
        found = DESCRIBED[operation.type](node)
        refs = [found] if isinstance(found, Ref) else list(found)
        for name in unread(definition, operation.node_def.attr, node.seen):
            value = _attr(operation, name)
            raise Undescribed(f"its attribute {name}={value!r:.40} is not supported")
        self._wide_enough(dtypes[0], before)
        outputs = []
        for k, (dtype, tensor) in enumerate(zip(dtypes, operation.outputs, strict=True)):
            if k >= len(refs):
                why = self._said(operation, f"its output {k} has no description")
                outputs.append(GraphTensor(dtype, later(k), why=why))
                continue
            sizes, ours = _sizes(tensor), self.build.shape(refs[k])
            if sizes is not None and (
                len(sizes) != len(ours)
                or any(n is not None and n != m for n, m in zip(sizes, ours, strict=True))
            ):
                raise Undescribed(f"its description gives shape {ours}, TensorFlow {tuple(sizes)}")
            outputs.append(GraphTensor(dtype, later(k), ref=refs[k]))
        return outputs

    def _laid(self, operation: Any, inputs: Sequence[GraphTensor]) -> Laid | None:
        """A variable that is cast as its layer casts it, or has only its axes moved."""
        if not inputs or (laid := inputs[0].laid) is None:
            return None
        if operation.type == "Cast" and not _attr(operation, "Truncate"):
            before, after = inputs[0].dtype, dtype_of(operation.outputs[0])
            if before in FLOATS and after == self.computed_in and before != after:
                return replace(laid, weight=self.weight(inputs[0].variable, True))
        if operation.type not in _LAYOUT:
            return None
        if operation.type == "Transpose":
            perm = inputs[1].known
            if perm is None:
                return None
            return laid.turned([int(axis) for axis in perm])
        sizes = _sizes(operation.outputs[0])
        return None if sizes is None or None in sizes else laid.reshaped(sizes)  # type: ignore[arg-type]

    def _wide_enough(self, dtype: str, before: int) -> None:
        """Undescribed where numbers are rounded to fewer digits than the layer's type has."""
        rounds = any(
            step.op.stores and not isinstance(step.op, ops.Cast | ops.Constant | ops.Parameter)
            for step in self.build.steps[before:]
        )
        if (
            rounds
            and dtype in FLOATS
            and self.computed_in in FLOATS
            and (
                FLOATS.index(dtype) > FLOATS.index(self.computed_in)
                or {dtype, self.computed_in} == {"float16", "bfloat16"}
            )
        ):
            raise Undescribed(f"it computes in {dtype}, and the layer in {self.computed_in}")

    def _on_integers(
        self, operation: Any, inputs: Sequence[GraphTensor], place: int, numbers: np.ndarray
    ) -> np.ndarray:
        tf, values = self.tensorflow, []
        for k, tensor in enumerate(inputs):
            if k == place:
                values.append(tf.constant(numbers))
            elif tensor.dtype == inputs[place].dtype:
                values.append(tf.cast(tensor.later(), numbers.dtype))
            else:
                values.append(tensor.later())
        return np.asarray(self._run(operation, values)[0].numpy())

    def _function(self, graph: Any, name: str) -> Any:
        while graph is not None:
            found = graph._get_function(name)
            if found is not None:
                return getattr(found, "graph", None) or _graph_of(found, graph)
            graph = getattr(graph, "outer_graph", None)
        raise Undescribed(f"its function {name} cannot be found")

    def called(self, graph: Any, name: str, inputs: Sequence[GraphTensor]) -> list[GraphTensor]:
        function = self._function(graph, name)
        given = {
            parameter.name: held for parameter, held in zip(function.inputs, inputs, strict=True)
        }
        return self.outputs(function, given, function.outputs)

    def value(self, held: GraphTensor) -> Any:
        """What a condition or a count is on the values that the layer was given."""
        if held.known is not None:
            return held.known
        return held.later().numpy()

    def ref(self, held: GraphTensor) -> Ref:
        """A tensor as what a step gives."""
        return GraphOperation("", [held], lambda name: None, self.build, (), _nothing).ref(0)


_SPECIAL = {**CONTROL_FLOW, **TENSOR_LISTS}
"""What is described by what the walk knows, and not by its own inputs alone."""
KNOWN = frozenset((*DESCRIBED, *_SPECIAL, *_PASSED_ON))
"""The operations that can be followed."""


def _nothing(place: int, numbers: np.ndarray) -> np.ndarray:
    return numbers


def _needed(
    wanted: Sequence[Any], layers: Mapping[str, Inside], values: Mapping[str, GraphTensor]
) -> tuple[set[str], set[str]]:
    """The names of the operations and of the tensors that tensors depend on, without those within
    the layers and before what is given."""
    found, waiting, seen = set[str](), list(wanted), set[str]()
    while waiting:
        tensor = waiting.pop()
        if tensor.name in seen:
            continue
        seen.add(tensor.name)
        if tensor.name in values:
            continue
        if tensor.name in layers:
            waiting.extend(layers[tensor.name].inputs)
        else:
            found.add(tensor.op.name)
            waiting.extend(tensor.op.inputs)
    return found, seen


def _sizes(tensor: Any) -> list[int | None] | None:
    if tensor.shape.rank is None:
        return None
    return list(tensor.shape.as_list())


def _attr(operation: Any, name: str) -> Any:
    return operation.get_attr(name)


def _plain(value: Any) -> Any:
    """An attribute as TensorFlow takes it."""
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if hasattr(value, "unknown_rank"):
        if value.unknown_rank:
            return None
        return [dim.size for dim in value.dim]
    return getattr(value, "as_datatype_enum", value)


def _graph_of(function: Any, outer: Any) -> Any:
    """The graph of a function that a graph holds by its definition alone, as a frozen one does."""
    read = importlib.import_module("tensorflow.python.framework.function_def_to_graph")
    with outer.as_default():
        return read.function_def_to_graph(function.definition)


def _called_by(operation: Any) -> list[str]:
    """The names of the functions that an operation calls."""
    found = []
    for attribute in operation.node_def.attr.values():
        found += [attribute.func.name] if attribute.func.name else []
        found += [each.name for each in attribute.list.func]
    return found


def _definition(operation: Any) -> Any:
    return operation.op_def


def _place(operation: Any) -> str:
    """The line of the user's code that made an operation, in brackets."""
    known = ("keras", "probe", "tensorflow", "tf_keras")
    files = [getattr(sys.modules.get(folder), "__file__", None) for folder in known]
    libraries = (
        *(f"{Path(file).parent}/" for file in files if file),
        f"{Path(__file__).parents[2]}/",
        f"{sysconfig.get_path('stdlib')}/",
    )
    for frame in reversed(list(operation.traceback or ())):
        if not frame.filename.startswith(libraries) and Path(frame.filename).is_file():
            return f" ({Path(frame.filename).name}:{frame.lineno})"
    return ""
