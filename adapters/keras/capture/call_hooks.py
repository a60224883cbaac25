"""One forward pass with each call of the wanted layers pushed to a callback, whatever kind of model
makes the call.

Functional, sequential and subclassed models all end in ``layer.call`` (``quantized_call`` where
Keras 3 has quantised the layer), looked up on the instance: so that is what is replaced there, and
put back. Outputs that the callback returns flow on.
"""

import contextlib
import functools
import importlib
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from probe.capture.containers import Containers
from probe.capture.producers import Producers
from probe.description import Description, Ref
from probe.description.custom_layers import describe_registered, registered
from probe.errors import ForwardFailed, NotReached, Undescribed, describing
from probe.model import Capture, OnCall, Producer
from probe.process.interrupts import held_back, interruptible, stop_here

from ..describe.call import Call
from ..describe.describe import computed_in, describe, is_own
from ..describe.described_classes import ADAPTERS
from ..describe.layer_tree import Place, own_call, root_of
from ..describe.tensors import Tensors
from ..describe.variables import Reader, array_of, widened
from ..loading.import_framework import package
from . import symbolic_trace
from .arguments import received
from .assignments import begun_with, state_of
from .operation_calls import WHOLE, traced

__all__ = ["watch"]

_METHODS = ("call", "quantized_call")


class _Stopped(BaseException):
    """Carries what the callback raised past Keras, which rewrites the exceptions of a call."""


@dataclass(eq=False)
class _Pass:
    """What one forward pass knows: how often each layer was called, which calls are on, and the
    first failure."""

    tensors: Tensors
    wanted: Collection[str]
    on_call: OnCall
    calls: dict[str, int] = field(default_factory=dict)
    on: list[str] = field(default_factory=list)
    compiled: set[str] = field(default_factory=set)
    failure: str = ""
    muted: bool = False
    """Whether calls are not counted for now: those that following a layer of the user's own
    makes."""
    operations: Collection[str] | None = ()
    """Which operations between the layers are wanted, by name; None is all of them."""
    met: dict[str, str] = field(default_factory=dict)
    """Those that were met, and their kinds."""
    placed: frozenset[int] = frozenset()
    """The ids of the layers that are watched where they stand."""
    thread: int = field(default_factory=threading.get_ident)
    """The one that makes the pass: calls of others are not its."""
    producers: Producers = field(default_factory=Producers)
    containers: Containers = field(default_factory=lambda: Containers("/"))

    @contextlib.contextmanager
    def mute(self) -> Iterator[None]:
        before, self.muted = self.muted, True
        try:
            yield
        finally:
            self.muted = before

    def follows_operations(self, place: Place) -> bool:
        """Whether operations that a model of the user's own makes itself are wanted."""
        if place.role != "container" or not own_call(place.layer):
            return False
        if self.containers or place.name in self.wanted:
            return True
        return self.operations is None or any(
            name.rpartition("/")[0] == place.name for name in self.operations
        )


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
    state = _Pass(
        tensors,
        wanted,
        on_call,
        operations=operations,
        met={} if met is None else met,
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
            failed = f"the model's forward pass failed{state.failure or ': ' + _sentence(error)}"
        else:
            failed = ""
    if failed:
        hint = _only_eagerly(forward) if watched and tensors.backend == "tensorflow" else ""
        raise ForwardFailed(f"{failed}{hint}")
    for name in state.compiled - state.calls.keys():
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
def _replaced(place: Place, state: _Pass) -> Iterator[None]:
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
    place: Place, original: Callable[..., Any], watched: tuple[str, ...], state: _Pass
) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != state.thread or state.muted or place.name in state.on:
            # `quantized_call` may go through `call`: that is still one call of the layer.
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


def _made(place: Place, original: Callable[..., Any], args: Any, kwargs: Any, state: _Pass) -> Any:
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
    state: _Pass,
) -> Any:
    """One call, made by ``perform``, and pushed where it is wanted; ``original`` says what its
    arguments are called."""
    tensors = state.tensors
    input_tensors, masks, arguments = received(original, args, kwargs, tensors)
    asked = place.name in state.wanted or (
        place.name in state.met and (state.operations is None or place.name in state.operations)
    )
    if asked and not tensors.visible(input_tensors):
        state.compiled.add(place.name)
        asked = False
    opens = asked and place.role == "container"
    within = bool(state.containers) and place.role == "atomic" and tensors.visible(input_tensors)
    wanted = asked or within
    inputs = tuple(tensors.array(tensor) for tensor in input_tensors) if wanted else ()
    # Keras 3's merging layers and MultiHeadAttention read the masks from the tensors.
    reads = not tensors.legacy or place.kind == "MultiHeadAttention"
    if wanted:
        own = [getattr(tensor, "_keras_mask", None) if reads else None for tensor in input_tensors]
    else:
        own = []
    places = {
        index: Ref(-1, len(input_tensors) + len(masks) + count)
        for count, index in enumerate(i for i, m in enumerate(own) if m is not None)
    }
    if wanted:
        masked = tuple(tensors.array(mask) for mask in (*masks, *own) if mask is not None)
    else:
        masked = ()
    # Before the call, which may change what the layer quantises with.
    reader = _reader(place.layer) if wanted else None
    held = _states(place.layer, tensors) if wanted else {}
    begun = state_of(place.layer, tensors) if wanted and place.own else None
    taken = (*input_tensors, *masks, *(mask for mask in own if mask is not None)) if wanted else ()
    number = state.calls.get(place.name, 0)
    if opens:
        state.producers.note_arguments(place.name, number, taken, (*inputs, *masked), ())
        state.containers.enter(place.name)
    made_by = tuple(
        None if hasattr(type(tensor), "assign") else state.producers.of(tensor, array)
        for tensor, array in zip(taken, (*inputs, *masked), strict=True)
    )  # a variable stays the same where it is assigned to
    fixed = tuple(k for k, one in enumerate(taken) if hasattr(type(one), "assign"))
    since = state.producers.count
    state.on.append(place.name)
    try:
        result = perform()
    except Exception as error:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in input_tensors) or "no tensors"
        state.failure = state.failure or (
            f" in layer {place.name!r} ({place.kind}), called on {shapes}: {_sentence(error)}"
        )
        raise
    finally:
        state.on.remove(place.name)
    if not wanted:
        return result
    dtype = computed_in(place.layer) or tensors.dtype((result, input_tensors))
    cast = "Embedding" in place.kind or hasattr(place.layer, "cell")
    if dtype == "float64" and not cast and any(array.dtype == np.float32 for array in inputs):
        dtype = "float32"  # Some layers (Keras 3's normalisations) do not cast what they are given.
    carried = tuple(places.get(index) for index in range(len(input_tensors))) if places else ()
    seen = Call(
        place.layer,
        tensors.keras,
        inputs,
        dtype,
        arguments,
        watched,
        reader,
        carried,
        masked,
        held,
        tuple(tensors.array(tensor) for tensor in tensors.within(result)),
        tracer=symbolic_trace,
        **begun_with(begun),
    )
    if isinstance(place.layer, tensors.keras.Model):
        lone = None
    else:
        lone = (place.layer, original, arguments, tensors, (*input_tensors, *masks))
    return _pushed(place, seen, result, state, lone, _Flow(made_by, fixed, since, asked, opens))


class _Flow(NamedTuple):
    """What is known of a call beside what it computes."""

    made_by: tuple[Producer | None, ...]
    """Of its inputs and masks."""
    fixed: tuple[int, ...]
    """Which of these are variables."""
    since: int
    """How many calls had ended when it began."""
    asked: bool
    """Whether it was asked for itself, and not only a container that it lies in."""
    opens: bool
    """Whether it is such a container."""


def _through(
    place: Place, original: Callable[..., Any], args: Any, kwargs: Any, state: _Pass
) -> Any:
    """The call of a model of the user's own, made node by node; as it is where it cannot be
    followed, which is then pushed with why."""
    input_tensors, masks, arguments = received(original, args, kwargs, state.tensors)
    if not state.tensors.visible(input_tensors):
        return original(*args, **kwargs)
    call = Call(place.layer, state.tensors.keras, (), "", arguments, tracer=symbolic_trace)

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
            state.met[whole.name] = whole.kind
            return _called(whole, original, own, args, kwargs, (), state)
    if graph is None:
        return own()
    return graph.run(
        lambda step, operation, args, kwargs: _stepped(step, operation, args, kwargs, state)
    )


def _by_graph(
    place: Place,
    call: Call,
    input_tensors: Sequence[Any],
    own: Callable[[], Any],
    state: _Pass,
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
                call,
                input_tensors,
                made,
                own,
                state.tensors,
                lambda one: id(one) in state.placed,
            )
    except Undescribed as error:
        traced = str(error).startswith("TensorFlow's ") or "TensorFlow function" in str(failed)
        raise (error if traced else failed) from None


def _stepped(place: Place, operation: Any, args: Any, kwargs: Any, state: _Pass) -> Any:
    state.met[place.name] = place.kind
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
    place: Place,
    call: Call,
    result: Any,
    state: _Pass,
    lone: tuple[Any, ...] | None,
    flow: _Flow,
) -> Any:
    """The call handed to the callback; its result with the callback's values in place of its own,
    where it returns any.

    ``lone`` is what exports the layer alone, where it has no description.
    """
    tensors, number = state.tensors, state.calls.get(place.name, 0)
    state.calls[place.name] = number + 1
    outputs = call.outputs or ()
    try:
        description, why = _description(place, call, state)
        if flow.opens or (description is not None and _uses_masks(description, call)):
            inputs = (*call.inputs, *call.masks)
        else:
            inputs = call.inputs
        if description is not None or lone is None:
            alone = None
        else:
            alone = partial(_exported, *lone, (*call.inputs, *call.masks))
        captured = Capture(
            place.name,
            place.kind,
            number,
            inputs,
            outputs,
            call.dtype,
            description,
            why,
            call.training,
            made_by=flow.made_by[: len(inputs)],
            fixed=tuple(k for k in flow.fixed if k < len(inputs)),
            masks=tuple(range(len(call.inputs), len(inputs))),
            alone=alone,
            parts=state.containers.leave() if flow.opens else (),
            results=tuple(map(state.producers.of, tensors.within(result), outputs))
            if flow.opens
            else (),
            unseen=_seen if flow.opens else None,
        )
        if not flow.opens:
            operation = place.name in state.met
            owner = place.name.rpartition("/")[0] if operation else place.name
            state.containers.add(captured, owner)
        replacement = state.on_call(captured) if flow.asked else None
    except Exception as error:
        raise _Stopped(error) from None
    if replacement is not None:
        values = iter(replacement)
        within = {id(tensor) for tensor in tensors.within(result)}
        flat = [
            tensors.tensor(np.asarray(next(values)), leaf.dtype) if id(leaf) in within else leaf
            for leaf in tensors.flat(result)
        ]
        result = tensors.packed(result, flat)
        outputs = tuple(map(tensors.array, tensors.within(result)))
    state.producers.note_outputs(
        *(place.name, number, tensors.within(result), outputs),
        flow.since,
        description is not None,
    )
    return result


def _seen() -> str:
    """Nothing: a tensor that no call of Keras has made is known to none by its identity."""
    return ""


def _exported(*told: Any) -> tuple[np.ndarray, ...]:
    # only now: it imports onnx
    found: tuple[np.ndarray, ...] = importlib.import_module(".onnx_export", __package__).alone(
        *told
    )
    return found


def _description(place: Place, call: Call, state: _Pass) -> tuple[Description | None, str]:
    known = registered(place.layer)
    if place.role == "container" and not known:
        return None, f"{place.kind} is a container: its layers are checked individually"
    if place.why and not place.own and not known:
        return None, place.why
    try:
        if known:
            return describe_registered(place.layer, call), ""
        with describing():
            with state.mute():  # to follow code of the user's own makes calls
                if hasattr(place.layer, "described"):  # a piece of a graph, which knows it
                    return place.layer.described(call, state.tensors), ""
                return (symbolic_trace.followed if place.own else describe)(place.layer, call), ""
    except Undescribed as error:
        return None, str(error)


def _uses_masks(description: Description, call: Call) -> bool:
    sources = (
        ref for position, step in enumerate(description.steps) for ref in step.sources(position)
    )
    return any(ref.step < 0 and ref.index >= len(call.inputs) for ref in sources)


def _states(layer: Any, tensors: Tensors) -> dict[int, tuple[np.ndarray, ...]]:
    """What stateful recurrences hold: the layer itself or those in it."""
    if not hasattr(layer, "_flatten_layers"):
        return {}
    stateful = [
        one
        for one in layer._flatten_layers()
        if getattr(one, "stateful", False) and getattr(one, "states", None) is not None
    ]
    held = {
        id(one): [state for state in tensors.flat(one.states) if state is not None]
        for one in stateful
    }
    return {
        key: tuple(widened(array_of(state, tensors.keras)) for state in states)
        for key, states in held.items()
        if states
    }


def _reader(layer: Any) -> Reader | None:
    """A reader of the package's own where the layer, or one inside it, is QKeras' or of another
    package with an adapter."""
    if not hasattr(layer, "_flatten_layers"):
        return None
    roots = {root_of(cls) for one in layer._flatten_layers() for cls in type(one).__mro__}
    name = next((name for name in ADAPTERS if name in roots), None)
    return None if name is None else package(name).reader(layer)


def _sentence(error: BaseException) -> str:
    """What a framework says in one line, without the frame that Keras and TensorFlow put around
    it."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    lines = [
        line.strip()
        for line in text.split("\n")
        if line.strip() and not line.startswith("Exception encountered when calling")
    ]
    text = re.sub(r"^\{\{[^}]*\}\} | \[Op:\w+\].*$", "", lines[0] if lines else "")
    if isinstance(error, NameError) and error.name:  # of a Lambda that was read from a file
        text += f"; name the module that defines {error.name}: --import MODULE (imports=)"
    if text:
        return f"{type(error).__name__}: {text}"
    return type(error).__name__
