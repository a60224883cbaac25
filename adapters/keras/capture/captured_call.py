"""A call that was watched as what the callback is given: with its description, or with what exports
the layer alone."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from probe.capture.input_names import input_names
from probe.description import Description
from probe.description.custom_layers import describe_registered, registered
from probe.errors import Undescribed, describing
from probe.model import Capture

from ..describe.call import KerasCall
from ..describe.describe import describe
from ..describe.layer_tree import Place
from . import symbolic_trace
from .forward_pass import BegunCall, ForwardPass

__all__ = ["capture_of"]


def capture_of(
    place: Place, number: int, wanted: BegunCall, call: KerasCall, result: Any, state: ForwardPass
) -> Capture:
    """The call with its description; of a container with the calls that were made in it."""
    description, why = _description(place, call, state)
    inputs = call.inputs
    if wanted.is_container or (description is not None and _uses_masks(description, call)):
        inputs = (*inputs, *call.masks)
    names = input_names(call.arguments, len(inputs), partial(_inputs_of, place.layer))
    capture = Capture(
        place.name,
        place.kind,
        number,
        inputs,
        call.outputs or (),
        call.dtype,
        description,
        why,
        call.training,
        made_by=wanted.made_by[: len(inputs)],
        fixed=tuple(k for k in wanted.variables if k < len(inputs)),
        masks=tuple(range(len(call.inputs), len(inputs))),
        input_names=names,
        alone=_exporter(place, wanted, call, state) if description is None else None,
    )
    if not wanted.is_container:
        operation = place.name in state.operation_kinds
        if operation:
            owner = place.name.rpartition("/")[0]
        else:
            owner = place.name
        state.containers.add(capture, owner)
        return capture
    results = state.tensors.within(result)
    return replace(
        capture,
        parts=state.containers.leave(),
        results=tuple(map(state.producers.of, results, capture.outputs)),
        unseen=_seen,
    )


def _inputs_of(layer: Any, parameter: str) -> tuple[str, ...]:
    """What a functional model calls the tensors of its one argument."""
    symbolic = getattr(layer, "inputs", None) if parameter == "inputs" else None
    if not isinstance(symbolic, list | tuple):
        return ()
    return tuple(str(getattr(tensor, "name", "")) for tensor in symbolic)


def _exporter(
    place: Place, wanted: BegunCall, call: KerasCall, state: ForwardPass
) -> Callable[[], tuple[np.ndarray, ...]] | None:
    """What exports the layer alone; None for a model."""
    if isinstance(place.layer, state.tensors.keras.Model):
        return None
    return partial(
        _exported,
        place.layer,
        wanted.original,
        wanted.arguments,
        state.tensors,
        (*wanted.input_tensors, *wanted.masks),
        (*call.inputs, *call.masks),
    )


def _seen() -> str:
    """Nothing: a tensor that no call of Keras has made is known to none by its identity."""
    return ""


def _exported(*of_call: Any) -> tuple[np.ndarray, ...]:
    # only now: it imports onnx
    export = importlib.import_module(".onnx_export", __package__)
    outputs: tuple[np.ndarray, ...] = export.alone(*of_call)
    return outputs


def _description(
    place: Place, call: KerasCall, state: ForwardPass
) -> tuple[Description | None, str]:
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


def _uses_masks(description: Description, call: KerasCall) -> bool:
    sources = (
        ref for position, step in enumerate(description.steps) for ref in step.sources(position)
    )
    return any(ref.step < 0 and ref.index >= len(call.inputs) for ref in sources)
