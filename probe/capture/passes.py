"""The forward passes of a model that a question takes: the first keeps the calls of one layer, each
other is made when it is first asked for."""

from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from probe import printable
from probe.capture.model_inputs import Bound, bind, bind_alone
from probe.capture.question import Question
from probe.capture.replacing import replacing
from probe.capture.run import ModelLike, Named, opened
from probe.capture.user_arrays import (
    Expected,
    InputArgument,
    Picture,
    Unshaped,
    as_arrays,
)
from probe.capture.user_layer_outputs import Theirs, check_names
from probe.capture.watching import Known, known_of, out_of_a_file, watching, watching_once
from probe.composition.compose import composed
from probe.composition.segment import segment
from probe.errors import BadInput, NotReached, ProbeError
from probe.model import (
    Capture,
    Model,
    RecordedPass,
    SeesCalls,
    SharesMemory,
    StopForward,
    Unloaded,
    is_large,
    parameters_of,
    recorded,
)
from probe.ops import Embedding
from probe.ops.step import weights_of

__all__ = ["Passes", "WholePass", "captured", "in_pass"]

Key = tuple[str, int]
"""A layer, and the number of its call."""

_PASSED_AGAIN = 10_000_000
"""So many parameters make a pass for those of all layers too dear to look at them in passing."""


class WholePass(NamedTuple):
    """A forward pass with all its calls: the model as a whole, and the calls of some layers."""

    outputs: tuple[np.ndarray, ...]
    whole: Capture
    calls: list[Capture]

    def call(self, layer: str, number: int) -> Capture:
        """One call of a layer; NotReached where there is none."""
        for capture in self.calls:
            if capture.goes_by(layer) and capture.call == number:
                return capture
        raise NotReached(f"the forward pass makes no call {number} of {layer!r}")


@dataclass(frozen=True, eq=False)
class Passes:
    """The passes of a model on one input, as one layer needs them."""

    model: Model
    layer: Named
    arrays: tuple[np.ndarray, ...]
    calls: list[Capture]
    """The calls of the layer in the first pass, containers composed."""
    how: str = ""
    """How the model was fed, in words."""
    notes: tuple[str, ...] = ()
    alone: bool = False
    """Whether the layer alone was run, on ``arrays``."""
    own: Mapping[Key, tuple[np.ndarray, ...] | None] = field(default_factory=dict)
    """The inputs of each call in the user's own run, where the values of other layers hold them."""

    @property
    def names(self) -> tuple[str, ...]:
        """The layer, or both ends of a segment."""
        if isinstance(self.layer, tuple):
            return self.layer
        return (self.layer,)

    def whole(self) -> WholePass:
        """One more pass, in which the calls of the whole model are kept: all their arrays, so it is
        not kept itself."""
        return _whole_pass(self.model, self.arrays, self.names)

    def weights_of_others(self, thorough: bool = False) -> Mapping[str, np.ndarray]:
        """The parameters of the model's other layers, in words; another pass, of no large model and
        of no layer that was run alone."""
        dear = is_large(self.model) or parameters_of(self.model) > _PASSED_AGAIN
        if self.alone or (dear and not thorough):
            return {}
        return self._weights_of_others

    def tensors(self) -> Mapping[str, np.ndarray]:
        """What all tensors hold, of a model whose engine gives them the memory of others; another
        pass, not of a layer that was run alone."""
        if self.alone or not isinstance(self.model, SharesMemory):
            return {}
        try:
            return self.model.tensors(self.arrays)
        except ProbeError:
            return {}

    @cached_property
    def _weights_of_others(self) -> Mapping[str, np.ndarray]:
        weights: dict[str, np.ndarray] = {}

        def push(capture: Capture) -> None:
            own = isinstance(self.layer, str) and capture.goes_by(self.layer)
            steps = () if own else capture.steps
            tables = {step.op.table.name for step in steps if isinstance(step.op, Embedding)}
            for name, weight in weights_of(steps).items():
                if name in tables:
                    words = f"the embedding {capture.layer}"
                else:
                    words = capture.layer
                weights.setdefault(f"{words}'s {name}", weight.effective)

        with suppress(ProbeError):
            self.model.run(self.arrays, None, push)
        return weights


def captured(model: ModelLike, question: Question) -> Passes:
    """Runs the model (or, with ``given``, the layer alone) and keeps the calls of the layer, or the
    one that is asked for; of two layers the segment from one to the other."""
    model = opened(model)
    if isinstance(question.layer, tuple):
        return _segment(model, question, question.layer)
    _refuse_no_name(question.layer)
    if isinstance(model, Unloaded):  # before a framework is imported
        _refuse_unloaded(model, question, question.layer)
    check_names(model, {question.layer: None, **question.values})
    if question.given is not None:
        return _alone(model, question, question.layer)
    return _of_layer(model, question, question.layer)


def _refuse_no_name(layer: Any) -> None:
    if isinstance(layer, str):
        return
    hint = ""
    if hasattr(layer, "shape") or isinstance(layer, Mapping | list):
        hint = "; the input comes behind the layer's name, or as x="
    raise BadInput(
        f'the names of layers must be text ("" for a single layer); you gave '
        f"{type(layer).__name__}{hint}"
    )


def _refuse_unloaded(model: Unloaded, question: Question, layer: str) -> None:
    x = question.x.values if isinstance(question.x, InputArgument) else question.x
    arrays: list[np.ndarray] = []
    if question.given is None and not isinstance(x, Mapping | Unshaped | Picture | None):
        arrays = as_arrays(x)
    model.refuse(layer, arrays)


def _of_layer(model: Model, question: Question, layer: str) -> Passes:
    """The calls of a layer in a pass of the model; whether watching it changes the result is found
    out beside it."""
    bound, call = _bound(model, question), question.call
    known = known_of(model, bound) if question.replace is None else Known()
    enough = known.calls.get(layer)
    if call is not None and known.passed is not None:
        enough = call + 1
    passes, outputs = in_pass(bound.model, bound.arrays, layer, call, question.values, enough)
    if outputs is not None:
        notes = watching_once(bound, outputs, known)
        if call is None and out_of_a_file(model):
            known.passed, known.calls[layer] = notes, len(passes.calls)
    else:
        notes = _ended(bound.model, layer) if known.passed is None else known.passed
    if isinstance(bound.model, SeesCalls):
        notes = (*notes, *filter(None, [bound.model.unseen_input(layer, bound.arrays)]))
    return replace(passes, how=bound.how, notes=(*notes, *passes.notes))


def _bound(model: Model, question: Question) -> Bound:
    """The model's inputs, and the model with the user's values in the place of layers' outputs."""
    bound = bind(model, question.x, question.shape, question.seed)
    return bound._replace(model=replacing(bound.model, bound.arrays, question.replace))


def _alone(model: Model, question: Question, layer: str) -> Passes:
    """The calls of a layer that runs alone, on its own input."""
    model, arrays, how = bind_alone(model, layer, question.given, question.shape)
    unused = question.values.keys() - {layer}
    if (recording := recorded(model)) is not None:
        return _beside(model, recording, layer, question.call, arrays, how, unused)
    calls: list[Capture] = []
    model.run_alone(layer, arrays, calls.append)
    notes = _unused(unused, "the layer ran alone, on its own input")
    chosen = _chosen(calls, layer, question.call)
    return Passes(model, layer, arrays, chosen, how, notes, alone=True)


def _beside(
    model: Model,
    recording: RecordedPass,
    layer: str,
    call: int | None,
    inputs: tuple[np.ndarray, ...],
    how: str,
    unused: Set[str],
) -> Passes:
    """The recorded calls of a layer, and the layer's own input that the user's values were computed
    from: these are held against NumPy on that."""
    passes, _ = in_pass(model, recording.arrays, layer, call, {})
    own = {capture.key: inputs for capture in passes.calls}
    notes = (
        f"{layer!r} did not run on the input that you gave: the framework's values are those of "
        "the recorded input, and yours are compared with NumPy's on your own",
        *_unused(unused, "the layer's own input was given"),
    )
    return replace(passes, how=f"{recording.how}; yours: {how}", notes=notes, own=own)


def in_pass(
    model: Model,
    arrays: tuple[np.ndarray, ...],
    layer: str,
    call: int | None,
    values: Mapping[str, Expected],
    enough: int | None = None,
) -> tuple[Passes, tuple[np.ndarray, ...] | None]:
    """The calls of one layer in a forward pass on these arrays, and what the pass gives: None where
    it ended behind so many that are ``enough``, or that of a large model behind the first."""
    own: dict[tuple[str, int], tuple[np.ndarray, ...] | None] = {}
    calls: list[Capture] = []
    theirs = Theirs(arrays, values)
    others = values.keys() - {spec.name for spec in model.inputs or ()}

    def push(capture: Capture) -> None:
        if capture.goes_by(layer):
            calls.append(capture)
            own[capture.key] = theirs.inputs_of(capture) if values else None
        theirs.remember(capture)
        if enough is not None and len(calls) >= enough:
            raise StopForward

    if enough is None and is_large(model):
        enough = (call or 0) + 1
    outputs = None
    with suppress(StopForward):
        outputs = model.run(arrays, {layer, *others}, push)
    chosen = _chosen(calls, layer, call)
    for capture in chosen:
        key = capture.key
        if (mine := own.get(key)) is not None:  # what it takes besides is the model's own
            own[key] = (*mine, *capture.inputs[len(mine) :])
    unused = values.keys() - theirs.used - {layer}
    notes = _unused(unused, "they are not all of its inputs")
    return Passes(model, layer, arrays, chosen, notes=notes, own=own), outputs


def _chosen(calls: Sequence[Capture], layer: str, call: int | None) -> list[Capture]:
    """The calls of the layer, or the one that is asked for, containers composed."""
    calls = [capture for capture in calls if capture.goes_by(layer)]
    if not calls:
        raise NotReached(f"the forward pass did not call {layer!r}, so there is nothing to check")
    if call is not None and not 0 <= call < len(calls):
        times = "once" if len(calls) == 1 else f"{len(calls)} times"
        raise BadInput(
            f"{layer!r} is called {times}; call {call} does not exist (calls are numbered from 0)"
        )
    if call is not None:
        calls = [calls[call]]
    return [capture if capture.unseen is None else composed(capture) for capture in calls]


def _segment(model: Model, question: Question, layers: tuple[str, ...]) -> Passes:
    if len(layers) != 2:
        raise BadInput(f"a segment has two ends, the first and the last layer; you gave {layers!r}")
    if question.given is not None:
        raise BadInput("a segment cannot run alone: give the model's input")
    check_names(model, dict.fromkeys(layers))
    model, arrays, how = _bound(model, question)
    passed = _whole_pass(model, arrays, layers)
    notes = watching(model, arrays, passed.outputs)
    first, last = (passed.call(name, question.call or 0) for name in layers)
    call = segment(passed.whole, first, last)
    return Passes(model, (layers[0], layers[1]), arrays, [call], how, notes)


def _whole_pass(model: Model, arrays: tuple[np.ndarray, ...], layers: Collection[str]) -> WholePass:
    calls: list[Capture] = []
    outputs = model.run(arrays, {"", *layers}, calls.append)
    whole = next((call for call in calls if not call.layer and call.unseen is not None), None)
    if whole is None:
        raise BadInput(
            f"{layers!r}: segments need a model that calls layers, and this one is a single layer"
        )
    return WholePass(outputs, whole, calls)


def _unused(names: Set[str], why: str) -> tuple[str, ...]:
    """A note on values of other layers that the layer was not judged on."""
    if not names:
        return ()
    listed = printable.several(sorted(map(repr, names)), 4)
    return (f"your values of other layers were not used ({why}): {listed}",)


def _ended(model: Model, layer: str) -> tuple[str, ...]:
    """A note on a pass of a large model that ended where the layer was done."""
    return (
        f"the model has {parameters_of(model):,} parameters, so one forward pass ran, up to this "
        f"call of {printable.name(repr(layer))}; probe did not test whether capturing changes its "
        "result; --call N (call=) checks later calls",
    )
