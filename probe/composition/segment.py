"""A segment of a model, from one layer to another, as a container of the calls between."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from probe.command_line import joined
from probe.composition.compose import composed
from probe.errors import BadInput
from probe.model import CallOutput, Capture, Part, Producer

__all__ = ["results_of", "segment"]


def segment(whole: Capture, first: Capture, last: Capture) -> Capture:
    """What the first call begins and the last ends, both included, composed from the calls of the
    whole model that lie between.

    Its inputs are the first one's; what else the calls take comes after them. Raises BadInput where
    the last does not follow from the first.
    """
    places = {part.capture.key: at for at, part in enumerate(whole.parts)}
    reached, results = _reached(whole, first, places), results_of(last)
    if not reached.intersection(_made(results, places)):
        hint = ""
        if _reached(whole, last, places).intersection(_made(results_of(first), places)):
            hint = f": {joined(['--layer', last.layer, '--to', first.layer])}"
        raise BadInput(
            f"{last.layer!r} does not follow from {first.layer!r} in the forward pass: a segment "
            f"leads from a layer to one that is computed from it{hint}"
        )
    between = replace(
        whole,
        layer=f"{first.layer} to {last.layer}",
        kind="segment",
        inputs=first.inputs,
        outputs=last.outputs,
        dtype=last.dtype,
        training=last.training,
        notes=(),
        made_by=first.made_by,
        input_names=first.input_names,
        input_grids=first.input_grids,
        output_grids=last.output_grids,
        line=None,
        results=results,
        fixed_results=last.fixed_results,
    )
    return composed(between, reached)


def _reached(whole: Capture, first: Capture, places: Mapping[tuple[str, int], int]) -> set[int]:
    """The calls of the first one, and those that follow from it."""
    own = [part.capture.key for part in first.parts]
    reached = {places[key] for key in own or [first.key] if key in places}
    for place, part in enumerate(whole.parts):
        if reached.intersection(_takes(part, places)):
            reached.add(place)
    return reached


def results_of(last: Capture) -> tuple[Producer | None, ...]:
    """What made each output of a call."""
    if last.unseen is not None:
        return last.results
    return tuple(CallOutput(last.layer, last.call, k) for k in range(len(last.outputs)))


def _takes(part: Part, places: Mapping[tuple[str, int], int]) -> set[int]:
    """The calls that a call takes something from."""
    return _made(part.capture.made_by, places)


def _made(makers: Sequence[Producer | None], places: Mapping[tuple[str, int], int]) -> set[int]:
    return {
        places[maker.layer, maker.call]
        for maker in makers
        if isinstance(maker, CallOutput) and (maker.layer, maker.call) in places
    }
