"""A call that goes through TensorFlow's own functions, followed through the graph that TensorFlow
traces of it.

Each operation of the graph is described one by one; together they are the steps of the call. What
follows from no input and no variable is computed by TensorFlow itself, such as the arithmetic of
shapes. Loops and branches are taken as they go on the values that the layer was given.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from probe.description import Description, Ref, Step
from probe.errors import Undescribed
from probe.ops import Cast

from ..describe.call import KerasCall
from ..describe.describe import described_name
from ..describe.layer_tree import is_followed
from ..describe.op_builder import OpBuilder
from ..describe.tensors import Tensors
from ..describe.variables import read_variable
from ..tf_graph.node import GraphTensor, Later, TidyBuilder
from ..tf_graph.walk import GraphWalk, Inside
from .graph_of_call import METHODS, CalledLayer, TracedCall, captured, left, traced_call, weight_of
from .same_values import refuse_others

__all__ = ["ended", "graph_steps", "taken"]


class _NotRun(Undescribed):
    """A graph that TensorFlow has traced, and does not run."""


Describe = Callable[[Any, KerasCall], Description]
"""What describes a layer inside."""


def graph_steps(
    function: Callable[[Sequence[Any]], Any],
    values: Sequence[Any],
    layer: Any,
    call: KerasCall,
    tensors: Tensors,
    describe: Describe,
) -> Description:
    """The steps of what ``function`` does with tensors; Undescribed where something in it cannot be
    followed, or where it does something else in a graph than on ``values``.

    ``layer`` holds the variables, and the layers inside, which are described as layers.
    """
    tf = importlib.import_module("tensorflow")
    noted = partial(_noted, tensors)

    def run() -> tuple[TracedCall, list[Any]]:
        traced = left(layer, lambda: traced_call(function, values, layer, tensors, tf, noted))
        return traced, left(layer, lambda: _run(lambda: traced.function(*values)))

    try:
        traced, run_outputs = run()
    except _NotRun:  # which some of what Keras compiles does
        with tensors.compiled():
            traced, run_outputs = run()
    graph, count = traced.function.graph, len(traced.outputs)
    build, rest = (
        TidyBuilder(replace(call, inputs=(*call.inputs, *call.masks))),
        iter(run_outputs[count:]),
    )
    walk = GraphWalk(build, tf, call.dtype, weight_of(layer, call))
    refs_by_name = captured(graph, walk)
    for k, (tensor, value) in enumerate(zip(graph.inputs, values, strict=False)):
        refs_by_name[tensor.name] = taken(build, Ref(-1, k), tensor, value)
    layers = {}
    for note in traced.called:
        arrays = [tensors.array(next(rest)) for _ in note.inputs]
        results = [next(rest) for _ in note.outputs]
        inside = Inside(
            note.inputs,
            note.outputs,
            partial(_inner, note, arrays, results, call, tensors, describe),
        )
        layers.update({output.name: inside for output in note.outputs})
    steps = ended(walk, walk.outputs(graph, refs_by_name, graph.outputs[:count], layers))
    theirs = call.outputs
    if theirs is None:
        eager = left(layer, lambda: _again(lambda: tensors.made(lambda: function(values))))
        theirs = tuple(tensors.array(tensor) for tensor in tensors.within(eager))
    # Code may ask whether it is in a graph; rounding is not the same in one.
    why = "its graph, as TensorFlow traces it, gives other values than the call"
    refuse_others([tensors.array(output) for output in run_outputs[:count]], theirs, call, why)
    return Description(steps)


def _noted(tensors: Tensors, layer: Any) -> str | None:
    """Layers of the user's own are followed too, and models only call others."""
    try:
        described_name(layer, METHODS)
    except Undescribed as error:
        own = is_followed(type(layer)) or isinstance(layer, tensors.keras.Model)
        if own:
            return None
        return str(error)
    return ""


def ended(walk: GraphWalk, outputs: Sequence[GraphTensor]) -> tuple[Step, ...]:
    """The steps that lead to tensors of a graph; Undescribed where they cannot be followed, or
    follow from no input."""
    if why := next((output.why for output in outputs if output.why), ""):
        raise Undescribed(why)
    refs = [walk.ref(output) for output in outputs]
    del walk.build.steps[1 + max(ref.step for ref in refs) :]
    steps = _needed_steps(walk.build.ended(*refs))
    fixed = any(output.ref is None or output.known is not None for output in outputs)
    if fixed or not any(ref.step < 0 for k, step in enumerate(steps) for ref in step.sources(k)):
        raise Undescribed("it returns a tensor that does not depend on its inputs")
    return steps


def _inner(
    note: CalledLayer,
    arrays: Sequence[np.ndarray],
    results: Sequence[Any],
    call: KerasCall,
    tensors: Tensors,
    describe: Describe,
    walk: GraphWalk,
    held: Sequence[GraphTensor],
) -> Sequence[GraphTensor]:
    """What a layer inside gives: its own steps, on what it was given."""
    dtypes = [tensors.dtype([output]) for output in results]
    why = next((tensor.why for tensor in held if tensor.why), note.why)
    refs: Sequence[Ref] = ()
    if not why:
        cut = len(arrays) - note.masks
        name = f"{note.layer.name}."
        read = call.read or read_variable(call.namespace)
        inner = replace(
            call,
            layer=note.layer,
            inputs=tuple(arrays[:cut]),
            dtype=str(getattr(note.layer, "compute_dtype", None) or tensors.dtype(results)),
            arguments=note.arguments,
            watched=METHODS,
            read=lambda key, variable, dtype: read(f"{name}{key}", variable, dtype),
            carried=(),
            masks=tuple(arrays[cut:]),
            outputs=tuple(tensors.array(output) for output in results),
        )
        try:
            steps = describe(note.layer, inner).steps
            refs = walk.build.include(steps, *(walk.ref(tensor) for tensor in held))
        except Undescribed as error:
            why = str(error)
    found = []
    for k, (dtype, result) in enumerate(zip(dtypes, results, strict=True)):
        later = Later(partial(_same, result))
        if why:
            found.append(GraphTensor(dtype, later, why=why))
            continue
        found.append(GraphTensor(dtype, later, ref=walk.build.told(refs[k], result.shape)))
    return found


def _same(value: Any) -> Any:
    return value


def taken(build: OpBuilder, ref: Ref, tensor: Any, value: Any) -> GraphTensor:
    """An input of the call, which is this tensor of the graph; integers in their own type, in which
    they wrap around."""
    dtype = str(tensor.dtype.name)
    if tensor.dtype.is_integer or tensor.dtype.is_bool:
        ref = build.add(Cast(to=dtype), ref, shape=tuple(int(size) for size in value.shape))
    return GraphTensor(dtype, Later(partial(_same, value)), ref=ref)


def _run(run: Callable[[], Any]) -> list[Any]:
    try:
        return list(run())
    except Exception as error:
        raise _NotRun(f"running its graph failed ({type(error).__name__})") from None


def _again(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except Exception as error:
        raise Undescribed(f"calling it once more failed ({type(error).__name__})") from None


def _needed_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that the last one depends on."""
    used = {len(steps) - 1}
    for position in range(len(steps) - 1, -1, -1):
        if position in used:
            used.update(ref.step for ref in steps[position].sources(position) if ref.step >= 0)
    place = {position: k for k, position in enumerate(sorted(used))}
    return tuple(
        Step(
            steps[position].op,
            tuple(
                ref if ref.step < 0 else Ref(place[ref.step], ref.index)
                for ref in steps[position].sources(position)
            ),
        )
        for position in sorted(used)
    )
