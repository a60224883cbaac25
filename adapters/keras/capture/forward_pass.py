"""What one forward pass knows while it runs, and what is known of a call of a layer before and
after it is made."""

import contextlib
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probe.capture.containers import Containers
from probe.capture.producers import Producers
from probe.description import Ref
from probe.model import OnCall, Producer

from ..describe.call import KerasCall
from ..describe.describe import computed_in
from ..describe.described_classes import ADAPTERS
from ..describe.layer_tree import Place, own_call, root_of
from ..describe.tensors import Tensors
from ..describe.variables import Reader, array_of, widened
from ..loading.import_framework import package
from . import symbolic_trace
from .assignments import State, begun_with, state_of

__all__ = ["BegunCall", "ForwardPass", "begun", "in_one_line", "keras_call"]


@dataclass(eq=False)
class ForwardPass:
    """What one forward pass knows: how often each layer was called, which calls are on, and the
    first failure."""

    tensors: Tensors
    wanted: Collection[str]
    on_call: OnCall
    counts: dict[str, int] = field(default_factory=dict)
    """How many calls of each layer have ended."""
    running: list[str] = field(default_factory=list)
    """The layers whose calls are on."""
    compiled: set[str] = field(default_factory=set)
    """The wanted layers that were called where there are no values."""
    failure: str = ""
    """The first one, in words that go on after "the model's forward pass failed"."""
    muted: bool = False
    """Whether calls are not counted for now: those that following a layer of the user's own
    makes."""
    operations: Collection[str] | None = ()
    """Which operations between the layers are wanted, by name; None is all of them."""
    operation_kinds: dict[str, str] = field(default_factory=dict)
    """The operations that were met, and their kinds."""
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

    def looks_at(self, place: Place) -> bool:
        """Whether a call that begins now is one of the pass's own; ``quantized_call`` may go
        through ``call``: that is still one call of the layer."""
        own = threading.get_ident() == self.thread and not self.muted
        return own and place.name not in self.running

    def asks_for(self, place: Place) -> bool:
        """Whether the calls of a layer or an operation are wanted for themselves."""
        if place.name in self.wanted:
            return True
        return place.name in self.operation_kinds and (
            self.operations is None or place.name in self.operations
        )

    def follows_operations(self, place: Place) -> bool:
        """Whether operations that a model of the user's own makes itself are wanted."""
        if place.role != "container" or not own_call(place.layer):
            return False
        if self.containers or place.name in self.wanted:
            return True
        return self.operations is None or any(
            name.rpartition("/")[0] == place.name for name in self.operations
        )

    def perform(self, place: Place, make: Callable[[], Any], input_tensors: Sequence[Any]) -> Any:
        """What a call of a layer gives; where it fails, the first failure is taken down."""
        self.running.append(place.name)
        try:
            return make()
        except Exception as error:
            shapes = " and ".join(str(tuple(tensor.shape)) for tensor in input_tensors)
            self.failure = self.failure or (
                f" in layer {place.name!r} ({place.kind}), called on {shapes or 'no tensors'}: "
                f"{in_one_line(error)}"
            )
            raise
        finally:
            self.running.remove(place.name)


@dataclass(frozen=True, eq=False)
class BegunCall:
    """A call that is wanted, as it begins: what it takes, copied, and what is known of that."""

    original: Callable[..., Any]
    """What says how its arguments are called."""
    input_tensors: Sequence[Any]
    masks: Sequence[Any]
    """Those among its arguments."""
    arguments: Mapping[str, Any]
    inputs: tuple[np.ndarray, ...]
    mask_arrays: tuple[np.ndarray, ...]
    """The masks among its arguments, and then those that its inputs carry."""
    carried: tuple[Ref | None, ...]
    """The mask that each input carries, where any does."""
    reader: Reader | None
    states: Mapping[int, tuple[np.ndarray, ...]]
    """What the recurrences in it held."""
    layer_state: State | None
    """What a layer of the user's own was."""
    made_by: tuple[Producer | None, ...]
    """Of its inputs and masks."""
    variables: tuple[int, ...]
    """Which of these are variables."""
    ended_before: int
    """How many calls had ended when it began."""
    asked: bool
    """Whether it was asked for itself, and not only a container that it lies in."""
    is_container: bool
    """Whether it is such a container, which its parts are gathered for."""


def begun(
    place: Place,
    original: Callable[..., Any],
    input_tensors: Sequence[Any],
    masks: Sequence[Any],
    arguments: Mapping[str, Any],
    state: ForwardPass,
) -> BegunCall | None:
    """A call that begins, None where nobody wants it."""
    tensors = state.tensors
    visible = tensors.visible(input_tensors)
    asked = state.asks_for(place)
    if asked and not visible:
        state.compiled.add(place.name)
        asked = False
    is_part = bool(state.containers) and place.role == "atomic" and visible
    if not asked and not is_part:
        return None
    is_container = asked and place.role == "container"
    inputs = tuple(tensors.array(tensor) for tensor in input_tensors)
    carried_masks = _carried_masks(place, input_tensors, tensors)
    mask_tensors = [*masks, *(mask for mask in carried_masks if mask is not None)]
    mask_arrays = tuple(tensors.array(mask) for mask in mask_tensors)
    # Before the call, which may change what the layer quantises with.
    reader, states = _reader(place.layer), _states(place.layer, tensors)
    layer_state = state_of(place.layer, tensors) if place.own else None
    taken, arrays = (*input_tensors, *mask_tensors), (*inputs, *mask_arrays)
    if is_container:
        number = state.counts.get(place.name, 0)
        state.producers.note_arguments(place.name, number, taken, arrays, ())
        state.containers.enter(place.name)
    variables = tuple(k for k, tensor in enumerate(taken) if _is_variable(tensor))
    made_by = tuple(
        None if k in variables else state.producers.of(tensor, array)
        for k, (tensor, array) in enumerate(zip(taken, arrays, strict=True))
    )
    return BegunCall(
        original=original,
        input_tensors=input_tensors,
        masks=masks,
        arguments=arguments,
        inputs=inputs,
        mask_arrays=mask_arrays,
        carried=_refs(carried_masks, len(input_tensors) + len(masks)),
        reader=reader,
        states=states,
        layer_state=layer_state,
        made_by=made_by,
        variables=variables,
        ended_before=state.producers.count,
        asked=asked,
        is_container=is_container,
    )


def _carried_masks(place: Place, input_tensors: Sequence[Any], tensors: Tensors) -> list[Any]:
    """The mask of each input, or None. Keras 3's merging layers and MultiHeadAttention read them
    from the tensors."""
    if tensors.legacy and place.kind != "MultiHeadAttention":
        return [None] * len(input_tensors)
    return [getattr(tensor, "_keras_mask", None) for tensor in input_tensors]


def _refs(carried_masks: Sequence[Any], first: int) -> tuple[Ref | None, ...]:
    """Where each of them stands among the inputs and masks, which are counted from ``first`` on;
    empty where there are none."""
    if all(mask is None for mask in carried_masks):
        return ()
    refs: list[Ref | None] = []
    for mask in carried_masks:
        refs.append(None if mask is None else Ref(-1, first))
        first += mask is not None
    return tuple(refs)


def _is_variable(tensor: Any) -> bool:
    """A variable stays the same where it is assigned to."""
    return hasattr(type(tensor), "assign")


def keras_call(
    place: Place, call: BegunCall, result: Any, watched: tuple[str, ...], tensors: Tensors
) -> KerasCall:
    """A call that has ended, as the description functions see it."""
    dtype = computed_in(place.layer) or tensors.dtype((result, call.input_tensors))
    cast = "Embedding" in place.kind or hasattr(place.layer, "cell")
    if dtype == "float64" and not cast and any(x.dtype == np.float32 for x in call.inputs):
        dtype = "float32"  # Some layers (Keras 3's normalisations) do not cast what they are given.
    return KerasCall(
        place.layer,
        tensors.keras,
        call.inputs,
        dtype,
        call.arguments,
        watched,
        call.reader,
        call.carried,
        call.mask_arrays,
        call.states,
        tuple(tensors.array(tensor) for tensor in tensors.within(result)),
        tracer=symbolic_trace,
        **begun_with(call.layer_state),
    )


def _states(layer: Any, tensors: Tensors) -> dict[int, tuple[np.ndarray, ...]]:
    """What stateful recurrences hold: the layer itself or those in it."""
    if not hasattr(layer, "_flatten_layers"):
        return {}
    arrays: dict[int, tuple[np.ndarray, ...]] = {}
    for inner in layer._flatten_layers():
        if getattr(inner, "stateful", False) and getattr(inner, "states", None) is not None:
            states = [state for state in tensors.flat(inner.states) if state is not None]
            if states:
                arrays[id(inner)] = tuple(
                    widened(array_of(state, tensors.keras)) for state in states
                )
    return arrays


def _reader(layer: Any) -> Reader | None:
    """A reader of the package's own where the layer, or one inside it, is QKeras' or of another
    package with an adapter."""
    if not hasattr(layer, "_flatten_layers"):
        return None
    roots = {root_of(cls) for inner in layer._flatten_layers() for cls in type(inner).__mro__}
    name = next((name for name in ADAPTERS if name in roots), None)
    if name is None:
        return None
    reader: Reader = package(name).reader(layer)
    return reader


def in_one_line(error: BaseException) -> str:
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
