"""A layer of the user's own, followed through the operations that its ``call`` makes.

The call is made once more on symbolic tensors, which is how a functional model is built: every
operation of keras.ops (every function of TensorFlow in Keras 2) and every layer inside leaves a
node. The nodes are then run on the values that the layer was given, and described one by one;
together they are the steps of the layer.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from probe.description import Builder, Description, Ref, Step, Weight
from probe.description.custom_layers import describe_registered, registered
from probe.errors import Undescribed
from probe.ops import Constant
from probe.ops.step import weights_of
from probe.process.interrupts import Shared, held_back, interruptible

from ..describe.call import KerasCall
from ..describe.describe import describe, described_name
from ..describe.described_classes import ROOTS
from ..describe.layer_tree import is_followed, root_of
from ..describe.tensors import Tensors
from ..describe.variables import read_variable
from .arguments import received
from .assignments import begun_with, state_of
from .same_values import MASKED, OTHERWISE, refuse_others
from .unrolled_loops import unrolled

__all__ = [
    "Failed",
    "TracedGraph",
    "drawn",
    "followed",
    "function_steps",
    "names_kept",
    "on_tensors",
    "symbolic",
]


_METHODS = ("call", "quantized_call")


class Failed(Undescribed):
    """The call itself fails on symbolic tensors, or node by node."""


def followed(layer: Any, call: KerasCall) -> Description:
    """The steps of a call; Undescribed where something in it leaves no node, or has no
    description."""
    tensors = Tensors(call.namespace)
    with held_back(), names_kept(call), interruptible():
        found = _followed(layer, call, tensors)
        if (numbers := _numbers(found)) and not _alike(
            numbers, _numbers(_followed(layer, call, tensors))
        ):
            raise Undescribed(
                _advice(layer, "it produces different values in every call, such as random numbers")
            )
    return found


def _numbers(description: Description) -> list[np.ndarray]:
    """The constants of a call that could have been drawn at random: elements that are all equal
    were not."""
    held = [step.op.value for step in description.steps if isinstance(step.op, Constant)]
    return [value for value in held if value.size == 1 or (value != value.flat[:1]).any()]


def _alike(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return len(left) == len(right) and all(
        value.tobytes() == other.tobytes() for value, other in zip(left, right, strict=True)
    )


@contextmanager
def names_kept(call: KerasCall) -> Iterator[None]:
    """Keras counts the names it gives, to nodes too: what the user builds later must not be named
    otherwise."""
    if call.legacy:
        counts = importlib.import_module("tf_keras.src.backend").get_default_graph_uid_map()
    else:
        counts = (
            importlib.import_module("keras.src.backend.common.global_state").get_global_attribute(
                "object_name_uids", {}
            )
            or {}
        )
    before = dict(counts)
    try:
        yield
    finally:
        counts.clear()
        counts.update(before)


def _followed(layer: Any, call: KerasCall, tensors: Tensors) -> Description:
    symbols, values = _inputs(call, tensors)
    try:
        try:
            with call.begun():
                result = symbolic(layer, call, tensors, symbols)
                found = _steps_between(symbols, values, result, call, tensors)
        except Undescribed as error:
            with call.begun():
                return _by_graph(partial(on_tensors, layer, call, tensors), values, call, error)
        with call.begun():
            return _with_weights(found, layer, values, call, tensors)
    except Undescribed as error:
        raise Undescribed(_advice(layer, str(error))) from None


def _by_graph(
    function: Callable[[Sequence[Any]], Any],
    values: Sequence[Any],
    call: KerasCall,
    failed: Undescribed,
) -> Description:
    """The steps of what ``function`` does with tensors through the graph that TensorFlow traces of
    it, where symbolic tensors do not get through."""
    tensors, reason = Tensors(call.namespace), str(failed)
    # Which of its functions it calls is known in a graph, once the values are.
    if not (isinstance(failed, Failed) or reason.startswith("Cond of keras.ops ")) or (
        tensors.backend != "tensorflow"
    ):
        raise failed
    graph = importlib.import_module(".graph_trace", __package__)
    try:
        found: Description = graph.graph_steps(
            function, values, call.layer, call, tensors, partial(_described, tensors=tensors)
        )
    except Undescribed as error:
        # Which of the two says more: Keras of a function that takes no symbolic tensor, or
        # TensorFlow of the operation behind it.
        masked, traced = str(error) == MASKED, str(error).startswith("TensorFlow's ")
        raise (error if masked or traced or "TensorFlow function" in reason else failed) from None
    return found


def _with_weights(
    description: Description, layer: Any, values: Sequence[Any], call: KerasCall, tensors: Tensors
) -> Description:
    """The same, or what TensorFlow's graph tells where numbers that Python has made while the call
    was on follow from variables, such as a kernel that is normalised first."""
    fixed = any(
        isinstance(step.op, Constant) and step.op.value.size > 1 for step in description.steps
    )
    own = root_of(type(layer)) not in ROOTS and getattr(layer, "weights", None)
    if tensors.backend != "tensorflow" or not fixed or not own:
        return description
    made = partial(on_tensors, layer, call, tensors)
    try:
        graph = _by_graph(made, values, call, Failed(""))
    except Undescribed:
        return description
    if weights_of(graph.steps).keys() > weights_of(description.steps).keys():
        return graph
    return description


def on_tensors(layer: Any, call: KerasCall, tensors: Tensors, input_tensors: Sequence[Any]) -> Any:
    """The call as it was made, on these tensors."""
    named = {
        name: tensors.mapped(
            lambda leaf: input_tensors[leaf.index] if isinstance(leaf, Ref) else leaf, value
        )
        for name, value in call.arguments.items()
    }
    spread = [
        name
        for name, parameter in inspect.signature(type(layer).call).parameters.items()
        if parameter.kind is parameter.VAR_POSITIONAL
    ]
    several = [leaf for name in spread for leaf in named.pop(name, ())]
    return type(layer).call(layer, *several, **named)


def function_steps(
    function: Callable[[Any], Any], x: np.ndarray, call: KerasCall
) -> tuple[Step, ...]:
    """The steps of a function of one tensor, such as an activation, called on ``x``; Undescribed
    where it cannot be followed."""
    tensors, inner = Tensors(call.namespace), replace(call, inputs=(x,), masks=(), outputs=None)
    with held_back(), names_kept(call), interruptible():
        symbols, values = _inputs(inner, tensors)
        try:
            result = _called(lambda: function(symbols[0]), call, tensors)
            return _steps_between(symbols, values, result, inner, tensors).steps
        except Undescribed as error:
            return _by_graph(lambda given: function(given[0]), values, inner, error).steps


def _steps_between(
    symbols: list[Any], values: list[Any], result: Any, call: KerasCall, tensors: Tensors
) -> Description:
    """The nodes between symbolic tensors and a result, run on the values and described one by
    one."""
    build = Builder()
    held: dict[int, tuple[Any, Ref]] = {
        id(value): (value, Ref(-1, index)) for index, value in enumerate(values)
    }

    def run(operation: Any, args: Any, kwargs: Any) -> Any:
        return _ran(operation, args, kwargs, call, tensors, build, held)

    try:
        outputs = drawn(call, symbols, result).run(values, run, tensors)
    except Undescribed:
        raise
    except Exception as error:
        raise Failed(f"running its operations one by one failed ({type(error).__name__})") from None
    if call.outputs is not None and (call.masks or call.assigned):
        refuse_others([tensors.array(output) for output in outputs], call.outputs, call, OTHERWISE)
    return Description(build.ended(*(held[id(output)][1] for output in outputs)))


def _advice(layer: Any, why: str) -> str:
    text = f"{type(layer).__name__} has no description, and its `call` cannot be traced"
    if text in why:
        return why
    return f"{text}: {why} (describe it with @probe.describes)"


def _inputs(call: KerasCall, tensors: Tensors) -> tuple[list[Any], list[Any]]:
    """A symbolic tensor and one with values for each tensor that the layer was given."""
    symbols, values = [], []
    for array in (*call.inputs, *call.masks):
        dtype = call.dtype if array.dtype.kind == "f" else array.dtype.name
        values.append(tensors.tensor(array, dtype))
        if call.legacy:
            symbols.append(
                call.namespace.Input(batch_size=array.shape[0], shape=array.shape[1:], dtype=dtype)
            )
        else:
            symbols.append(call.namespace.KerasTensor(array.shape, dtype=dtype))
    return symbols, values


def symbolic(layer: Any, call: KerasCall, tensors: Tensors, symbols: list[Any]) -> Any:
    """What ``call`` gives on symbolic tensors, all of it following from them; Undescribed with the
    reason where that is not so."""
    written_out = unrolled(layer, call, tensors)
    method = written_out or partial(type(layer).call, layer)
    if written_out is None and any(
        parameter.kind is parameter.VAR_POSITIONAL
        for parameter in inspect.signature(type(layer).call).parameters.values()
    ):
        raise Failed("its `call` takes a variable number of arguments (*args)")
    named = {
        name: tensors.mapped(
            lambda leaf: symbols[leaf.index] if isinstance(leaf, Ref) else leaf, value
        )
        for name, value in call.arguments.items()
    }
    return _called(partial(method, **named), call, tensors)


def _called(method: Callable[[], Any], call: KerasCall, tensors: Tensors) -> Any:
    """The result of a call on symbolic tensors, all of it following from them; Undescribed with the
    reason where that is not so."""
    try:
        with held_back(), nullcontext() if call.legacy else _DENSE, interruptible():
            result = method()
    except Undescribed:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).split("\n") if line.strip()]
        line = next((line for line in lines if not line.startswith("Exception encountered")), "")
        raise Failed(f"symbolic tracing failed ({type(error).__name__}: {line[:200]})") from None
    leaves = tensors.flat(result)
    if not leaves or any(not hasattr(leaf, "_keras_history") for leaf in leaves):
        raise Undescribed("it returns a tensor that does not depend on its inputs")
    return result


@contextmanager
def _dense() -> Iterator[None]:
    """Keras 3.15 takes the product of a symbolic tensor and a number for sparse (ops/numpy.py,
    Multiply), and inner layers then fail."""
    kind = importlib.import_module("keras").KerasTensor
    before = vars(kind)["sparse"]
    kind.sparse = property(lambda tensor: False)
    try:
        yield
    finally:
        kind.sparse = before


_DENSE = Shared(_dense)


@dataclass(frozen=True, eq=False)
class TracedGraph:
    """The nodes between symbolic tensors and a result, in the order that they run in."""

    drawn: Any
    """keras.Function, or the functional model of Keras 2."""
    symbols: Sequence[Any]
    nodes: Sequence[Any]

    def run(self, values: Sequence[Any], run: Callable[..., Any], tensors: Tensors) -> list[Any]:
        """Makes every call with ``run``; the result's tensors, flat."""
        if not tensors.legacy:
            used = [
                value
                for symbol, value in zip(self.symbols, values, strict=True)
                if _is_used(symbol)
            ]
            outputs = self.drawn._run_through_graph(
                used, operation_fn=lambda one: lambda *args, **kwargs: run(one, args, kwargs)
            )
            return tensors.flat(outputs)
        known = {
            str(id(symbol)): [value] for symbol, value in zip(self.symbols, values, strict=True)
        }
        for node in self.nodes:
            args, kwargs = node.map_arguments({key: list(copies) for key, copies in known.items()})
            outputs = run(node.layer, args, kwargs)
            flat = tensors.flat(outputs)
            for key, output in zip(node.flat_output_ids, flat, strict=True):
                known[str(key)] = [output] * 99
        return [known[str(id(symbol))][0] for symbol in self.drawn.outputs]


def drawn(call: KerasCall, symbols: Sequence[Any], result: Any) -> TracedGraph:
    """Before anything puts back what the symbolic call has noted on the layers."""
    if not call.legacy:
        return TracedGraph(
            call.namespace.Function([symbol for symbol in symbols if _is_used(symbol)], result),
            symbols,
            (),
        )
    model = call.namespace.Model(list(symbols), result)
    depths = sorted(model._nodes_by_depth, reverse=True)
    return TracedGraph(
        model,
        symbols,
        [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input],
    )


def _is_used(symbol: Any) -> bool:
    """Whether anything was done with a symbolic tensor of Keras 3; one that a call is given and
    never looks at is no part of its graph."""
    return hasattr(symbol, "_keras_history")


def _ran(
    operation: Any,
    args: Any,
    kwargs: Any,
    call: KerasCall,
    tensors: Tensors,
    build: Builder,
    held: dict[int, tuple[Any, Ref]],
) -> Any:
    """One operation or layer, run and described; its steps follow those before."""
    given, masks, arguments = received(operation.call, args, kwargs, tensors)
    inputs = [tensors.array(tensor) for tensor in given]
    for tensor in (*given, *masks):
        if id(tensor) not in held:
            # A tensor that does not follow the inputs: Python made it while the call was on.
            held[id(tensor)] = (tensor, build.ref(tensors.array(tensor)))
    sources = [held[id(tensor)][1] for tensor in (*given, *masks)]
    if _has_call_to_follow(operation, call):
        state = state_of(operation, tensors)
    else:
        state = None
    result = tensors.made(lambda: operation(*args, **kwargs))
    dtype = str(getattr(operation, "compute_dtype", None) or tensors.dtype((result, given)))
    read = _named(f"{operation.name}.", call) if getattr(operation, "weights", None) else call.read
    inner = replace(
        call,
        layer=operation,
        inputs=tuple(inputs),
        dtype=dtype,
        arguments=arguments,
        watched=_METHODS,
        read=read,
        carried=(),
        masks=tuple(tensors.array(mask) for mask in masks),
        outputs=tuple(tensors.array(tensor) for tensor in tensors.within(result)),
        **begun_with(state),
    )
    described = _described(operation, inner, tensors)
    for output, ref in zip(
        tensors.within(result), build.include(described.steps, *sources), strict=True
    ):
        held[id(output)] = (output, ref)
    return result


def _described(operation: Any, call: KerasCall, tensors: Tensors) -> Description:
    if registered(operation):
        return describe_registered(operation, call)
    if _has_call_to_follow(operation, call):
        return _followed(operation, call, tensors)
    return describe(operation, call)


def _has_call_to_follow(operation: Any, call: KerasCall) -> bool:
    """Whether it has no description and is followed, or is a model, which calls others."""
    if registered(operation):
        return False
    try:
        described_name(operation, _METHODS)
    except Undescribed:
        return is_followed(type(operation)) or isinstance(operation, call.namespace.Model)
    return False


def _named(prefix: str, call: KerasCall) -> Callable[[str, Any, str | None], Weight]:
    """Reads the weights of a layer inside under its name."""
    read = call.read or read_variable(call.namespace)
    return lambda name, variable, dtype: read(f"{prefix}{name}", variable, dtype)
