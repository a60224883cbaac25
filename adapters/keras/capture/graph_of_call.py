"""The graph that TensorFlow traces of a call, with the calls of layers in it taken down."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from probe.description import Weight
from probe.errors import Undescribed, first_line
from probe.process.interrupts import held_back, interruptible

from ..describe.call import KerasCall
from ..describe.tensors import Tensors
from ..describe.variables import cast, read_variable, widened
from ..tf_graph.node import GraphTensor, Later
from ..tf_graph.walk import GraphWalk
from .arguments import received
from .restore_state import unchanged

__all__ = ["METHODS", "CalledLayer", "TracedCall", "captured", "left", "traced_call", "weight_of"]

T = TypeVar("T")

METHODS = ("call", "quantized_call")


@dataclass(frozen=True, eq=False)
class CalledLayer:
    """A layer that was called while a graph was traced, on tensors of the graph."""

    layer: Any
    args: Any
    kwargs: Any
    inputs: Sequence[Any]
    """The tensors among the arguments, the masks last."""
    arguments: dict[str, Any]
    outputs: Sequence[Any]
    masks: int
    """How many of the inputs are masks."""
    why: str
    """Why it has no description, or empty."""


@dataclass(frozen=True, eq=False)
class TracedCall:
    """A call as a graph."""

    function: Any
    """Its outputs are those of the call, and then what each called layer was given and gives."""
    result: Any
    """What the call gives, in tensors of the graph."""
    outputs: Sequence[Any]
    """The tensors in it."""
    called: Sequence[CalledLayer]


def left(layer: Any, run: Callable[[], T]) -> T:
    """What is run, with the layer left as it was."""
    with held_back(), unchanged(layer), interruptible():
        return run()


def traced_call(
    called_function: Callable[[Sequence[Any]], Any],
    values: Sequence[Any],
    layer: Any,
    tensors: Tensors,
    tf: Any,
    noted: Callable[[Any], str | None],
    apart: bool = False,
) -> TracedCall:
    """The graph of what ``called_function`` does with tensors such as ``values``; Undescribed where
    TensorFlow cannot trace it.

    Of each layer inside ``noted`` says whether its calls are taken down: why it has no description,
    or empty, and None where they are not. With ``apart`` what a layer gives is another tensor than
    what it was given, also where it hands that on.
    """
    specs = [tf.TensorSpec(value.shape, value.dtype) for value in values]
    traces: list[TracedCall] = []
    called: list[CalledLayer] = []

    def function(*input_tensors: Any) -> list[Any]:
        result = called_function(input_tensors)
        outputs = tensors.within(result)
        if not outputs:
            raise Undescribed("it returns no tensor")
        here = tf.compat.v1.get_default_graph()
        calls_here = [
            inner_call
            for inner_call in called
            if all(
                getattr(tensor, "graph", None) is here
                for tensor in (*inner_call.inputs, *inner_call.outputs)
            )
        ]
        if apart and len(calls_here) < len(called):
            raise Undescribed(
                "it calls a layer within a function, a branch or a loop of TensorFlow"
            )
        traces[:] = [TracedCall(None, result, outputs, calls_here)]
        return [
            *outputs,
            *(
                tensor
                for inner_call in calls_here
                for tensor in (*inner_call.inputs, *inner_call.outputs)
            ),
        ]

    failure = ""
    for autograph in (False, True):  # which takes Python's branches and loops on tensors apart
        called.clear()
        try:
            with _noted(layer, noted, tensors, called, tf.identity if apart else None):
                traced = tf.function(function, autograph=autograph).get_concrete_function(*specs)
            return replace(traces[0], function=traced)
        except Exception as error:
            said = f"{type(error).__name__}: {first_line(error)[:120]}"
            failure = failure or f"TensorFlow cannot trace it ({said})"
    raise Undescribed(failure)


@contextmanager
def _noted(
    layer: Any,
    noted: Callable[[Any], str | None],
    tensors: Tensors,
    called: list[CalledLayer],
    copied: Callable[[Any], Any] | None,
) -> Iterator[None]:
    """Takes down the calls of the layers inside."""
    if hasattr(layer, "_flatten_layers"):
        inside = layer._flatten_layers(include_self=False)
    else:
        inside = ()
    on: list[Any] = []
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for inner in inside:
            if (why := noted(inner)) is None:
                continue
            attributes = vars(inner)
            for method in METHODS:
                if callable(original := getattr(inner, method, None)):
                    replaced.append((attributes, method, attributes.get(method, inspect)))
                    attributes[method] = _noting(inner, original, why, on, tensors, called, copied)
        yield
    finally:
        for attributes, method, before in reversed(replaced):
            del attributes[method]
            if before is not inspect:
                attributes[method] = before


def _noting(
    layer: Any,
    original: Callable[..., Any],
    why: str,
    on: list[Any],
    tensors: Tensors,
    called: list[CalledLayer],
    copied: Callable[[Any], Any] | None,
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if on:  # within another layer
            return original(*args, **kwargs)
        on.append(layer)
        try:
            result = original(*args, **kwargs)
        finally:
            on.pop()
        given, masks, arguments = received(original, args, kwargs, tensors)
        known = {id(tensor) for tensor in tensors.within(result)}
        if copied is not None:
            copy = copied
            result = tensors.mapped(lambda leaf: copy(leaf) if id(leaf) in known else leaf, result)
        outputs = tensors.within(result)
        if outputs and not any(output is other for output in outputs for other in given):
            noted = (args, kwargs, [*given, *masks], arguments, outputs, len(masks), why)
            called.append(CalledLayer(layer, *noted))
        return result

    return functools.wraps(original)(call)


def captured(graph: Any, walk: GraphWalk) -> dict[str, GraphTensor]:
    """What a graph takes from outside beside its inputs, by the names of its tensors there."""
    variables = {id(variable.handle): variable for variable in graph.variables}
    tensors = {}
    for outside, inside in graph.captures:
        if outside.dtype.name == "resource":
            variable = variables.get(id(outside))
            tensors[inside.name] = GraphTensor("resource", Later(lambda: None), variable=variable)
        else:
            tensors[inside.name] = walk.constant(outside)
    return tensors


def weight_of(layer: Any, call: KerasCall) -> Callable[[Any, bool], Weight]:
    """Gives a variable of TensorFlow as a weight: cast to what the layer computes in, or as it is
    stored. ``layer`` and those inside have the names."""
    names: dict[int, tuple[str, Any]] = {}
    for inner in layer._flatten_layers() if hasattr(layer, "_flatten_layers") else ():
        for variable in inner.variables:
            own = str(getattr(variable, "path", None) or variable.name).partition(":")[0]
            name = own.rpartition("/")[2]
            key = id(variable if call.legacy else variable._value)
            # the innermost layer comes last, and is the one that has it
            names[key] = (name if inner is layer else f"{inner.name}.{name}", variable)

    def weight(variable: Any, casts: bool) -> Weight:
        name, own = names.get(id(variable), ("", None))
        dtype = call.dtype if casts else None
        if own is not None:
            return read_variable(call.namespace)(name, own, dtype)
        name = str(variable.name).partition(":")[0].rpartition("/")[2]
        stored = widened(np.array(variable.numpy()))
        return Weight(name, stored, stored if dtype is None else cast(stored, dtype))

    return weight
