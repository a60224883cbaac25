"""One forward pass with each call of the wanted layers pushed to a callback, whatever kind of model
makes the call.

Functional, sequential and subclassed models all end in ``layer.call`` (``quantized_call`` where
Keras 3 has quantised the layer), looked up on the instance: so that is what is replaced there, and
put back. Outputs that the callback returns flow on.
"""

import contextlib
import functools
import importlib
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from probe.capture.input_values import uneven
from probe.capture.producers import Producers
from probe.errors import ForwardFailed, NotReached, Undescribed
from probe.model import OnCall
from probe.process.interrupts import held_back, interruptible, stop_here

from ..describe.call import KerasCall
from ..describe.describe import is_own
from ..describe.layer_tree import Place
from ..describe.tensors import Tensors
from . import symbolic_trace
from .arguments import received
from .captured_call import capture_of
from .forward_pass import BegunCall, ForwardPass, begun, in_one_line, keras_call
from .operation_calls import WHOLE, traced

__all__ = ["watch"]

_METHODS = ("call", "quantized_call")


class _Stopped(BaseException):
    """Carries what the callback raised past Keras, which rewrites the exceptions of a call."""


def watch(
    forward: Callable[[], Any],
    input_tensors: Sequence[Any],
    places: Sequence[Place],
    wanted: Collection[str],
    on_call: OnCall,
    tensors: Tensors,
    operations: Collection[str] | None = (),
    met: dict[str, str] | None = None,
) -> tuple[np.ndarray, ...]:
    """Runs ``forward``, which calls on ``input_tensors``, once and returns its outputs; with
    nothing wanted, as it would run without us.

    ``operations`` names those between layers that are wanted, None is all of them; ``met`` takes
    down those that were met.

    ForwardFailed where the model's own code raises; what ``on_call`` raises comes through as it is.
    """
    placed = frozenset(id(place.layer) for place in places if place.role != "inner")
    state = ForwardPass(
        tensors,
        wanted,
        on_call,
        operations=operations,
        operation_kinds={} if met is None else met,
        placed=placed,
    )
    watched = bool(wanted) or operations is None or bool(operations)
    with held_back(), contextlib.ExitStack() as stack:
        if watched:
            stack.enter_context(tensors.eager())
            state.producers = Producers(tensors.writes)
            state.producers.note_inputs(
                input_tensors, [tensors.array(tensor) for tensor in input_tensors]
            )
        for place in places if watched else ():
            # Layers that are not wanted are watched too, so that a failure can be placed.
            if place.role != "inner" or place.name in wanted:
                stack.enter_context(_replaced(place, state))
        try:
            with interruptible(at_calls=True):
                result = forward()
        except _Stopped as stopped:
            raise stopped.args[0] from None
        except Exception as error:
            failed = f"the model's forward pass failed{state.failure or ': ' + in_one_line(error)}"
        else:
            failed = ""
    if failed:
        if watched and tensors.backend == "tensorflow":
            hint = _only_eagerly(forward)
        else:
            hint = ""
        shapes = [tensors.array(tensor).shape for tensor in input_tensors]
        raise ForwardFailed(f"{failed}{uneven(shapes)}{hint}")
    for name in state.compiled - state.counts.keys():
        raise NotReached(
            f"{name!r} was called only inside a compiled graph, where its values cannot be captured"
        )
    return tuple(tensors.array(tensor) for tensor in tensors.within(result))


def _only_eagerly(forward: Callable[[], Any]) -> str:
    """What is said where the pass fails watched and runs otherwise."""
    try:
        with interruptible(at_calls=True):
            forward()
    except Exception:
        return ""
    return (
        "; it succeeds without capturing: something in the model needs compiled functions, "
        "and capturing runs them eagerly"
    )


@contextlib.contextmanager
def _replaced(place: Place, state: ForwardPass) -> Iterator[None]:
    """``call`` of one layer replaced on the instance, past Keras' own ``__setattr__``, which would
    track it."""
    attributes = vars(place.layer)
    before = {method: attributes[method] for method in _METHODS if method in attributes}
    methods = [method for method in _METHODS if callable(getattr(place.layer, method, None))]
    watched = tuple(
        method
        for method in methods
        if method not in before or is_own(before[method], place.layer, method)
    )
    originals = {method: getattr(place.layer, method) for method in methods}
    for method, original in originals.items():
        attributes[method] = _watched(place, original, watched, state)
    try:
        yield
    finally:
        for method in methods:
            del attributes[method]
        attributes.update(before)


def _watched(
    place: Place, original: Callable[..., Any], watched: tuple[str, ...], state: ForwardPass
) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not state.looks_at(place):
            return original(*args, **kwargs)
        stop_here()
        made = _through if state.follows_operations(place) else _made
        return _called(
            place,
            original,
            lambda: made(place, original, args, kwargs, state),
            args,
            kwargs,
            watched,
            state,
        )

    return call


def _made(
    place: Place, original: Callable[..., Any], args: Any, kwargs: Any, state: ForwardPass
) -> Any:
    # an operation holds none
    if hasattr(place.layer, "_flatten_layers"):
        inside = place.layer._flatten_layers(include_self=False)
    else:
        inside = ()
    if place.role == "container" or (place.own and any(True for _ in inside)):
        return original(*args, **kwargs)  # made twice, it would push the calls within twice
    return state.tensors.made(lambda: original(*args, **kwargs))


def _called(
    place: Place,
    original: Callable[..., Any],
    perform: Callable[[], Any],
    args: Any,
    kwargs: Any,
    watched: tuple[str, ...],
    state: ForwardPass,
) -> Any:
    """One call, made by ``perform``, and pushed where it is wanted; ``original`` says what its
    arguments are called."""
    input_tensors, masks, arguments = received(original, args, kwargs, state.tensors)
    wanted = begun(place, original, input_tensors, masks, arguments, state)
    result = state.perform(place, perform, input_tensors)
    if wanted is None:
        return result
    call = keras_call(place, wanted, result, watched, state.tensors)
    return _pushed(place, wanted, call, result, state)


def _through(
    place: Place, original: Callable[..., Any], args: Any, kwargs: Any, state: ForwardPass
) -> Any:
    """The call of a model of the user's own, made node by node; as it is where it cannot be
    followed, which is then pushed with why."""
    input_tensors, masks, arguments = received(original, args, kwargs, state.tensors)
    if not state.tensors.visible(input_tensors):
        return original(*args, **kwargs)
    call = KerasCall(place.layer, state.tensors.keras, (), "", arguments, tracer=symbolic_trace)

    def own() -> Any:
        return original(*args, **kwargs)

    try:
        with state.mute():
            graph = traced(
                place,
                call,
                [*input_tensors, *masks],
                own,
                state.tensors,
                lambda layer: id(layer) in state.placed,
            )
    except Undescribed as error:
        try:
            graph = _by_graph(place, call, [*input_tensors, *masks], own, state, error)
        except Undescribed as reason:
            whole = Place(
                f"{place.name}/{WHOLE}",
                place.layer,
                "atomic",
                f"its operations between its inner layers cannot be traced: {reason}",
            )
            state.operation_kinds[whole.name] = whole.kind
            return _called(whole, original, own, args, kwargs, (), state)
    if graph is None:
        return own()
    return graph.run(
        lambda step, operation, args, kwargs: _stepped(step, operation, args, kwargs, state)
    )


def _by_graph(
    place: Place,
    call: KerasCall,
    input_tensors: Sequence[Any],
    own: Callable[[], Any],
    state: ForwardPass,
    failed: Undescribed,
) -> Any:
    """The call through the graph that TensorFlow traces of it, where it fails on symbolic tensors;
    Undescribed with the reason that says more."""
    if state.tensors.backend != "tensorflow" or not isinstance(failed, symbolic_trace.Failed):
        raise failed
    calls = importlib.import_module(".graph_calls", __package__)
    made = partial(symbolic_trace.on_tensors, place.layer, call, state.tensors)
    try:
        with state.mute():
            return calls.traced_by_graph(
                place,
                input_tensors,
                made,
                own,
                state.tensors,
                lambda inner: id(inner) in state.placed,
            )
    except Undescribed as error:
        traced = str(error).startswith("TensorFlow's ") or "TensorFlow function" in str(failed)
        raise (error if traced else failed) from None


def _stepped(place: Place, operation: Any, args: Any, kwargs: Any, state: ForwardPass) -> Any:
    state.operation_kinds[place.name] = place.kind
    return _called(
        place,
        operation.call,
        lambda: state.tensors.made(lambda: operation(*args, **kwargs)),
        args,
        kwargs,
        _METHODS,
        state,
    )


def _pushed(
    place: Place, wanted: BegunCall, call: KerasCall, result: Any, state: ForwardPass
) -> Any:
    """The call handed to the callback; its result with the callback's values in place of its own,
    where it returns any."""
    tensors, number = state.tensors, state.counts.get(place.name, 0)
    state.counts[place.name] = number + 1
    outputs = call.outputs or ()
    try:
        capture = capture_of(place, number, wanted, call, result, state)
        replacement = state.on_call(capture) if wanted.asked else None
    except Exception as error:
        raise _Stopped(error) from None
    if replacement is not None:
        result = _with_values(result, replacement, tensors)
        outputs = tuple(map(tensors.array, tensors.within(result)))
    state.producers.note_outputs(
        *(place.name, number, tensors.within(result), outputs),
        wanted.ended_before,
        capture.description is not None,
    )
    return result


def _with_values(result: Any, values: Sequence[np.ndarray], tensors: Tensors) -> Any:
    """A result with these values for its tensors."""
    remaining = iter(values)
    within = {id(tensor) for tensor in tensors.within(result)}
    flat = [
        tensors.tensor(np.asarray(next(remaining)), leaf.dtype) if id(leaf) in within else leaf
        for leaf in tensors.flat(result)
    ]
    return tensors.packed(result, flat)
