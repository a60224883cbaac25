"""The whole road: run the model once, describe, recompute, cross-check, compare, report."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from probe.capture.model_inputs import bind, part_of
from probe.capture.pipeline import judged_in_order
from probe.capture.run import captured, opened
from probe.capture.user_arrays import Partial, as_array
from probe.capture.user_layer_outputs import Theirs, check_names
from probe.errors import BadInput, ProbeError, our_fault
from probe.evaluation.propagated_error import Drift, drifts
from probe.model import Capture, Model
from probe.ops import Recomputed
from probe.process.interrupts import undisturbed
from probe.report import Report
from probe.verdict.batch_chunks import judged_in_pieces
from probe.verdict.judge import judge
from probe.verdict.options import Options, Search, Yours

__all__ = ["assert_layer", "check", "sweep"]


@undisturbed
def check(
    model: Any,
    layer: str,
    x: Any = None,
    *,
    expected: Any = None,
    given: Any = None,
    call: int | None = None,
    shape: Any = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    expected_at: Any = None,
    thorough: bool = False,
    progress: Any = None,
) -> Report:
    """Checks one layer on the model's input ``x`` (drawn from ``seed`` where None), or alone on its
    own input ``given``.

    ``expected`` is the user's own output of that layer, or maps names of layers to their outputs:
    where those hold the layer's inputs it is judged on them, and not blamed for what the user's
    layers before it did. A layer that is called several times is checked in every call and the
    report is about the first that differs; ``call`` picks one. ``expected_at`` says which part of
    the output ``expected`` is, as a number or a slice for each axis (``"0,0:3,0:3,0"`` or such a
    tuple). Where parties diverge the mistake is looked for, with ``thorough`` at length;
    ``progress`` is called with the slugs as they are tried.
    """
    tolerance = _tolerance(rtol, atol)
    values: Mapping[str, Any] = {}
    if isinstance(expected, Mapping):
        if layer not in expected:
            raise BadInput(
                f"expected has values of {', '.join(map(str, expected)) or 'no layer'}, but "
                f"none for the layer {layer!r}"
            )
        values, expected = expected, expected[layer]
    if expected is not None and expected_at is not None:
        expected = Partial(as_array(expected), part_of(expected_at))
    found = captured(model, layer, x, given=given, call=call, shape=shape, seed=seed, values=values)
    model, chosen = found.model, found.calls
    drift: Mapping[tuple[str, int], Drift] = {}
    wandered = [one for one in chosen if found.own.get(one.call) is None]
    if expected is not None and given is None and wandered:
        drift = drifts(
            model,
            found.arrays,
            {(one.layer, one.call) for one in wandered},
            last=(layer, wandered[-1].call),
            seed=seed,
        )
    best: Report | None = None
    for one in chosen:
        search = (
            None
            if best is not None and best.verdict == "diverge"
            else Search(thorough=thorough, progress=progress)
        )
        moved, own = drift.get((one.layer, one.call)), found.own.get(one.call)
        yours = None if expected is None else Yours(expected, moved, own)
        report = _judged(one, yours, Options(tolerance, detail=True, search=search))
        report = replace(
            report,
            how=found.how,
            source=model.source,
            framework=model.framework,
            notes=(*model.notes, *found.notes, *report.notes),
        )
        if (
            best is None
            or (best.ok and not report.ok)
            or (best.verdict == "unchecked" and report.verdict == "diverge")
        ):
            best = report
    assert best is not None
    if call is None and len(chosen) > 1:
        best = replace(
            best, notes=(*best.notes, f"called {len(chosen)} times; this is call {best.call}")
        )
    return best


def _tolerance(rtol: float | None, atol: float | None) -> tuple[float, float] | None:
    """The tolerances that take the place of the allowance; BadInput where they are none."""
    if rtol is None and atol is None:
        return None
    if rtol is None or atol is None:
        raise BadInput("specify both rtol and atol, or neither")
    told: tuple[tuple[str, Any], ...] = (("rtol", rtol), ("atol", atol))
    for name, value in told:
        if not isinstance(value, Real) or not 0 <= float(value) < np.inf:
            raise BadInput(f"{name} must be a finite number >= 0, such as 1e-5; you gave {value!r}")
    return float(rtol), float(atol)


def sweep(
    model: Any,
    x: Any = None,
    *,
    expected: Mapping[str, Any] | None = None,
    shape: Any = None,
    seed: int = 0,
    layers: Collection[str] | None = None,
) -> Iterator[Report]:
    """Checks every call of every atomic layer in execution order, one forward pass in all, keeping
    nothing it has reported.

    ``expected`` maps layer names to the user's own outputs. A layer whose inputs the user's values
    also hold is judged on those: the first that diverges is then the first faulty one, not the
    first that inherited a fault. After the last report it raises NotCompared where some of the
    values were compared with nothing. Where all agree a report keeps the framework's output alone;
    the others' are computed again when asked for.
    """
    model = opened(model)
    arrays, how = bind(model, x, shape, seed)
    if expected is not None:
        check_names(model, expected)
    return _swept(model, arrays, how, expected, layers, seed)


_LOOKED_INTO = 5
"""In how many diverging layers of a sweep the mistake is looked for."""


def _swept(
    model: Model,
    arrays: tuple[np.ndarray, ...],
    how: str,
    expected: Mapping[str, Any] | None,
    layers: Collection[str] | None,
    seed: int,
) -> Iterator[Report]:
    drift = (
        {}
        if expected is None
        else undisturbed(drifts)(model, arrays, None, names=set(expected), seed=seed)
    )
    theirs = Theirs(arrays, expected or {})
    for name in () if layers is None or expected is None else expected.keys() - set(layers):
        theirs.refused(name, "it is not among the layers selected by layers=")
    looked: list[str] = []

    def judged(capture: Capture, yours: Yours | None, options: Options) -> Report:
        report = _judged(capture, yours, replace(options, threads=1))
        return replace(report, how=how, source=model.source, framework=model.framework)

    def prepare(capture: Capture) -> Callable[[], Report]:
        mine = theirs.of(capture)
        own = theirs.inputs_of(capture) if mine is not None else None
        theirs.remember(capture)
        moved = None if own is not None else drift.get((capture.layer, capture.call))

        def done() -> Report:
            if mine is None:
                return judged(capture, None, Options(sparing=True))
            yours = Yours(mine, moved, own)
            try:
                report = judged(capture, yours, Options())
            # the values are at fault, and the layer is judged without them
            except BadInput as error:
                theirs.refused(capture.layer, str(error))
                return judged(capture, None, Options())
            theirs.compared(report)
            if report.verdict == "diverge" and len(looked) < _LOOKED_INTO:
                looked.append(capture.layer)
                report = judged(capture, yours, Options(search=Search()))
            return report

        return done

    yield from judged_in_order(
        lambda push: model.run(arrays, layers, push), prepare, model.settings()
    )
    theirs.close(model, arrays)


def _judged(capture: Capture, yours: Yours | None, options: Options) -> Report:
    """What is said of a call. A fault of ours leaves it unchecked, and one in the search for a
    mistake without that."""
    try:
        if options.sparing:
            return judged_in_pieces(capture, options)
        return judge(capture, yours, options)
    except ProbeError:
        raise
    except Exception as error:
        if options.search is not None:
            report = _judged(capture, yours, replace(options, search=None))
            return replace(
                report,
                notes=(
                    *report.notes,
                    our_fault(error, "internal error in the search for the mistake"),
                ),
            )
        steps = () if capture.description is None else capture.description.steps
        if any(isinstance(step.op, Recomputed) for step in steps):
            raise  # of the user's own function, and theirs to see
        why = our_fault(error, "internal error in the comparison")
        return judge(replace(capture, description=None, why=why), yours, options)


def assert_layer(
    model: Any, layer: str, x: Any = None, expected: Any = None, **options: Any
) -> None:
    """For tests: AssertionError carrying the report where the layer does not agree ("unchecked"
    fails too)."""
    report = check(model, layer, x, expected=expected, **options)
    if not report.ok:
        raise AssertionError(str(report))
