"""Which elements of the model's input can influence one element of a layer's output at all.

The calls of one forward pass are followed from that element back: through each by the structure of
its ops, whatever the weights are, and from one to those that made its inputs
(``probe.explanation.dataflow``).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probe.composition.compose import composed
from probe.errors import BadInput
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.reference import inputs_of, values_of
from probe.explanation.dataflow import Watched
from probe.model import Capture, Model, ModelInput
from probe.ops import Outputs
from probe.ops.step import Ref, Step

__all__ = ["influence_of", "seen", "seen_through"]


def influence_of(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    mask: np.ndarray,
    output: int = 0,
    values: Sequence[tuple[np.ndarray, ...]] | None = None,
) -> list[np.ndarray]:
    """Which elements of a call's inputs can influence the masked ones of an output; ``values`` are
    the outputs of every step, where they are known."""
    if values is None:
        values = recompute(steps, inputs)
    influences = [np.zeros(x.shape, bool) for x in inputs]
    wanted: dict[Ref, np.ndarray] = {Ref(len(steps) - 1, output): mask}
    for position in range(len(steps) - 1, -1, -1):
        masks = [
            (index, wanted.pop(Ref(position, index), None))
            for index in range(len(values[position]))
        ]
        sources = steps[position].sources(position)
        step_inputs = [ref.of(inputs, values) for ref in sources]
        for index, of_output in masks:
            if of_output is None:
                continue
            if isinstance(steps[position].op, Outputs):
                reached = tuple(
                    of_output if k == index else np.zeros(x.shape, bool)
                    for k, x in enumerate(step_inputs)
                )
            elif index:
                reached = tuple(np.full(x.shape, of_output.any()) for x in step_inputs)
            else:
                reached = steps[position].op.influence(of_output, step_inputs)
            for ref, part in zip(sources, reached, strict=True):
                if ref.step < 0:
                    influences[ref.index] = influences[ref.index] | part
                else:
                    wanted[ref] = part | wanted.get(ref, False)
    return influences


def seen(
    model: Model,
    arrays: Sequence[np.ndarray],
    layer: str,
    call: int,
    mask: np.ndarray,
    output: int = 0,
) -> tuple[np.ndarray, ...]:
    """For each input of the model: which of its elements can influence the masked ones of that
    call's output.

    What is computed between the layers is followed too (``probe.explanation.dataflow``); where it
    cannot be told element by element, all of an array, or of its samples, counts. Raises BadInput
    where the values that a layer takes follow nothing before it.
    """
    pass_ = _watched(model, arrays, layer)
    calls = pass_.calls
    last = next(position for position, capture in enumerate(calls) if capture.key == (layer, call))
    influences = [np.zeros(array.shape, bool) for array in arrays]
    wanted: dict[tuple[int, int], np.ndarray] = {(last, output): mask}
    for position in range(last, -1, -1):
        for index in range(len(calls[position].outputs)):
            target = wanted.pop((position, index), None)
            if target is None or not target.any():
                continue
            for k, (taken, part) in enumerate(
                zip(calls[position].inputs, _through(calls[position], target, index), strict=True)
            ):
                if not part.any() or k in calls[position].fixed:
                    continue
                sources = pass_.sources(position, taken, part, k)
                if not sources:
                    raise BadInput(
                        f"the receptive field of {layer!r} cannot be found: "
                        f"{calls[position].layer!r} takes values that come from no preceding "
                        "call"
                    )
                for source, shaped in sources:
                    if source.call < 0:
                        influences[source.index] |= shaped
                    else:
                        key = (source.call, source.index)
                        wanted[key] = shaped | wanted.get(key, False)
    return tuple(influences)


def seen_through(
    whole: Capture, container: Capture, mask: np.ndarray, output: int = 0
) -> tuple[np.ndarray, ...]:
    """The same for an output of a container, by the calls of the whole model in that pass."""
    road = composed(
        replace(
            whole,
            outputs=container.outputs,
            results=container.results,
            fixed_results=container.fixed_results,
            unseen=None,
        )
    )
    if road.description is None:
        raise BadInput(f"the receptive field of {container.layer!r} cannot be found: {road.why}")
    masks = [np.zeros(x.shape, bool) for x in whole.inputs]
    reached = _influence_of(road, mask, output)
    reasons = {entry.input: entry.why for entry in road.description.taken}
    for index, (maker, part) in enumerate(zip(road.made_by, reached, strict=True)):
        if isinstance(maker, ModelInput):
            masks[maker.position] |= part
        elif part.any() and index in reasons:
            why = reasons[index] or "whole numbers that a call within it makes"
            raise BadInput(f"the receptive field of {container.layer!r} cannot be found: {why}")
    return tuple(masks)


def _watched(model: Model, arrays: Sequence[np.ndarray], layer: str) -> Watched:
    """A pass with all calls that are listed or described, and those of the layer."""
    calls: list[Capture] = []

    def keep(capture: Capture) -> None:
        if capture.outputs:
            calls.append(capture)

    model.run(arrays, None, keep)
    listed = {layer, *(spec.name for spec in model.layers)}
    wanted = listed | {call.layer for call in calls if call.description is not None}
    if wanted == {call.layer for call in calls}:
        return Watched(model, arrays, calls, None)
    calls.clear()
    model.run(arrays, wanted, keep)
    return Watched(model, arrays, calls, wanted)


def _through(capture: Capture, mask: np.ndarray, output: int) -> list[np.ndarray]:
    """A call's inputs that reach the masked outputs; all of them where it has no description."""
    if capture.description is None:
        return [np.ones(x.shape, bool) for x in capture.inputs]
    return _influence_of(capture, mask, output)


def _influence_of(capture: Capture, mask: np.ndarray, output: int) -> list[np.ndarray]:
    assert capture.description is not None
    steps = capture.description.steps
    return influence_of(steps, inputs_of(capture), mask, output, values_of(capture))
