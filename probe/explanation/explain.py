"""One element of a layer's output explained: what it is made of, and what every party has in its
place."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probe.capture.flags import flags_checked
from probe.capture.model_inputs import index_of
from probe.capture.passes import Passes, captured
from probe.capture.question import Question, question_of
from probe.capture.run import ModelLike, Named, opened
from probe.capture.user_arrays import Expected, Inputs, Shape
from probe.errors import BadInput, Undescribed
from probe.explanation.element_report import Field, Story
from probe.explanation.matmul_column import of_column, spread_out
from probe.explanation.receptive_field import seen, seen_through
from probe.explanation.trace import origin_of
from probe.model import Capture, Unloaded
from probe.process.interrupts import undisturbed
from probe.verdict.drift import drift_before
from probe.verdict.judge import weighed
from probe.verdict.judgement import Judgement
from probe.verdict.options import Yours
from probe.verdict.sentence import verdict_on

__all__ = ["explain"]


@flags_checked
@undisturbed
def explain(
    model: ModelLike,
    layer: Named,
    x: Inputs = None,
    *,
    at: Sequence[int],
    output: int = 0,
    expected: Expected | Mapping[str, Expected] = None,
    given: Inputs = None,
    call: int = 0,
    shape: Shape = None,
    seed: int = 0,
    sees: bool = False,
) -> Story:
    """Breaks one element of a layer's output down into what it is made of.

    Args:
        model: As for ``probe.check``.
        layer: As for ``probe.check``.
        x: As for ``probe.check``.
        at: The element's index in the framework's own output, a number for each axis.
        output: Which of several outputs, from 0.
        expected: As for ``probe.check``.
        given: As for ``probe.check``.
        call: Which call of a layer that is called several times, from 0.
        shape: As for ``probe.check``.
        seed: As for ``probe.check``.
        sees: Whether to find its receptive field, too: the elements of the model's input that can
            influence it.

    Returns:
        The products and their sum, and what is done to it: in float64, named by the framework's own
        indices; ``str()`` of it is what the command prints.

    Raises:
        Undescribed: The layer has no description.
        BadInput: No element has that index. Other errors are those of ``probe.check``.
    """
    source = opened(model)
    if isinstance(source, Unloaded) and isinstance(layer, str) and not output and not call:
        shapes = [spec.output_shape for spec in source.layers if spec.name == layer]
        if shapes and shapes[0] is not None:  # before a framework is imported
            _refuse_place(at, shapes[0], layer)
    question = question_of(layer, x, expected, given=given, call=call, shape=shape, seed=seed)
    passes = captured(source, question)
    (capture,) = passes.calls
    element = _element(capture, at, output, with_yours=question.expected is not None)
    judgement = _weighed(passes, question, element)
    fields = _fields(passes, element) if sees else ()
    return _story(passes, element, judgement, fields)


@dataclass(frozen=True, eq=False)
class _Element:
    """One element of a call's output."""

    capture: Capture
    output: int
    place: tuple[int, ...]
    column: Capture | None
    """The column that it stands in, of a product so large that this is judged in its place."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.capture.outputs[self.output].shape

    @property
    def inside(self) -> tuple[int, ...]:
        """Its place in what is judged."""
        if self.column is None:
            return self.place
        return (*self.place[:-1], 0)


def _element(capture: Capture, at: Sequence[int], output: int, with_yours: bool) -> _Element:
    """The element at that index; BadInput where there is none, Undescribed where nothing is known
    of how it is computed."""
    if capture.description is None:
        raise Undescribed(f"the output of {capture.layer!r} cannot be broken down: {capture.why}")
    if not 0 <= output < len(capture.outputs):
        raise BadInput(
            f"{capture.layer!r} has {len(capture.outputs)} outputs; output {output} does not exist "
            "(outputs are numbered from 0)"
        )
    place = _place(at, capture.outputs[output].shape, capture.layer)
    return _Element(capture, output, place, None if with_yours else of_column(capture, place))


def _weighed(passes: Passes, question: Question, element: _Element) -> Judgement:
    """Every party's output, compared."""
    capture, yours = element.capture, None
    if question.expected is not None:
        key = capture.key
        own, drift = passes.own.get(key), None
        if question.given is None and own is None:
            drift = drift_before(passes, [capture], question.seed).get(key)
        yours = Yours(question.expected, drift, own)
    judgement = weighed(capture if element.column is None else element.column, yours)
    if judgement.layer is None:
        raise Undescribed(
            f"the output of {capture.layer!r} cannot be broken down: {judgement.missing['numpy']}"
        )
    return judgement


def _story(
    passes: Passes, element: _Element, judgement: Judgement, fields: tuple[Field, ...]
) -> Story:
    capture, place, output = element.capture, element.place, element.output
    described, layer = capture.description, judgement.layer
    assert described is not None and layer is not None
    verdict, axes = verdict_on(judgement), described.output_axes
    values, scope = layer.values, "the whole layer"
    if element.column is not None:
        values = spread_out(layer.values, element.shape[-1])
        scope = f"this column of {element.shape[-1]}"
    calls = [site.call for site in described.sites]
    return Story(
        layer=capture.layer,
        kind=capture.kind,
        call=capture.call,
        at=place,
        value=float(values[-1][output][place]),
        origin=origin_of(described.steps, layer.raw_inputs, values, place, output, calls),
        parties=_parties(element, judgement),
        allowance=float(judgement.results["framework"].allowance[output][element.inside]),
        scope=scope,
        verdict=verdict.word,
        sentence=verdict.sentence,
        output=output,
        sees=fields,
        axes=axes if len(axes) == len(place) else (),
        missing=judgement.missing,
        source=passes.model.source,
        framework=passes.model.framework,
        how=passes.how,
        notes=(*passes.model.notes, *passes.notes, *judgement.notes, *verdict.notes),
    )


def _parties(element: _Element, judgement: Judgement) -> dict[str, float]:
    """What each party has there, where its output has NumPy's shape."""
    assert judgement.layer is not None
    shape = judgement.layer.values[-1][element.output].shape
    numbers = {}
    for party, outputs in judgement.outputs.items():
        array = outputs[element.output]
        if array is not None and array.shape == shape:
            numbers[party] = float(array[element.inside])
    return numbers


def _fields(passes: Passes, element: _Element) -> tuple[Field, ...]:
    """Its receptive field in each input of the model."""
    capture, output = element.capture, element.output
    if passes.alone:
        raise BadInput(
            "the receptive field of an element needs a run of the whole model, not of the "
            "layer alone"
        )
    mask = np.zeros(element.shape, bool)
    mask[element.place] = True
    specs = passes.model.inputs
    if specs is None:
        names = [f"input {k}" for k in range(len(passes.arrays))]
    else:
        names = [spec.name for spec in specs]
    if capture.unseen is not None:
        passed, layer = passes.whole(), passes.layer
        if isinstance(layer, tuple):
            raw = capture
        else:
            raw = passed.call(layer, capture.call)
        masks = seen_through(passed.whole, raw, mask, output)
    else:
        masks = seen(passes.model, passes.arrays, capture.layer, capture.call, mask, output)
    return tuple(Field(name, mask) for name, mask in zip(names, masks, strict=True))


def _refuse_place(at: Sequence[int], shape: Sequence[int | None], layer: str) -> None:
    """Raises BadInput where an output of that shape (None: any size) has no such element."""
    if not isinstance(at, Iterable):
        raise BadInput(f"at is an index for each axis, such as (0, 3, 5, 2); you gave {at!r}")
    at = tuple(map(index_of, at))
    if len(at) != len(shape) or any(
        size is not None and not -size <= i < size for i, size in zip(at, shape, strict=True)
    ):
        if len(at) != len(shape):
            text = f"give {len(shape)} indices"
        else:
            text = "index out of range"
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise BadInput(
            f"the output of {layer!r} is ({sizes}), so it has no element "
            f"[{', '.join(map(str, at))}]: {text}"
        )


def _place(at: Sequence[int], shape: tuple[int, ...], layer: str) -> tuple[int, ...]:
    """``at`` with negative indices counted from the end."""
    _refuse_place(at, shape, layer)
    return tuple(index_of(i) % size for i, size in zip(at, shape, strict=True))
