"""The whole road: run the model once, describe, recompute, cross-check, compare, report."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from typing import Any

import numpy as np

from probe.drift import Drift, drifts
from probe.errors import BadInput, NotReached, UnknownLayer
from probe.expected import Partial, as_array
from probe.inputs import bind, part_of
from probe.judge import judge
from probe.model import Capture, Model
from probe.piecewise import judged_in_pieces
from probe.pipeline import judged_in_order
from probe.report import Report

__all__ = ["assert_layer", "check", "open_model", "sweep"]


def open_model(source: Any, *, trust: bool = False, factory: Any = None, imports: Sequence[str] = ()) -> Model:
    """Opens a saved model, or wraps a live one.

    ``source`` is a path, a ``keras.Model``, ``tf_keras.Model``, ``torch.nn.Module`` or a single layer of these. ``factory``
    builds the module that a PyTorch state_dict belongs to ("pkg.mod:Net", "net.py:Net(10)" or a callable), ``imports`` are
    modules to import first (the user's own layers), ``trust`` lets a file run the code it holds.

    Raises CannotOpen, NotTrusted or MissingExtra, each with one sentence.
    """
    return import_module("probe.adapters").open_model(source, trust=trust, factory=factory, imports=tuple(imports))


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
    """Checks one layer on the model's input ``x`` (drawn from ``seed`` where None), or alone on its own input ``given``.

    ``expected`` is the user's own output of that layer. A layer that is called several times is checked in every call and
    the report is about the first that differs; ``call`` picks one. ``expected_at`` says which part of the output ``expected``
    is, as a number or a slice for each axis (``"0,0:3,0:3,0"`` or such a tuple). Where parties diverge the mistake is looked
    for, with ``thorough`` at length; ``progress`` is called with the slugs as they are tried.
    """
    if (rtol is None) != (atol is None):
        raise BadInput("give rtol and atol both or neither: one alone means something else than it seems")
    tolerance = None if rtol is None or atol is None else (rtol, atol)
    if expected is not None and expected_at is not None:
        expected = Partial(as_array(expected), part_of(expected_at))
    found = captured(model, layer, x, given=given, call=call, shape=shape, seed=seed)
    model, chosen = found.model, found.calls
    drift: Mapping[tuple[str, int], Drift] = {}
    if expected is not None and given is None:
        drift = drifts(model, found.arrays, {(one.layer, one.call) for one in chosen}, last=(layer, chosen[-1].call), seed=seed)
    best: Report | None = None
    for one in chosen:
        search = None if best is not None and best.verdict == "diverge" else {"thorough": thorough, "progress": progress}
        about = {"how": found.how, "source": model.source, "framework": model.framework}
        report = judge(one, expected, drift.get((one.layer, one.call)), tolerance, detail=True, search=search, about=about)
        report = replace(report, notes=(*model.notes, *found.notes, *report.notes))
        if best is None or (best.ok and not report.ok) or (best.verdict == "unchecked" and report.verdict == "diverge"):
            best = report
    assert best is not None
    if call is None and len(chosen) > 1:
        best = replace(best, notes=(*best.notes, f"called {len(chosen)} times; this is call {best.call}"))
    return best


@dataclass(frozen=True, eq=False)
class Captured:
    """The calls of one layer in one forward pass, and how it was fed."""

    model: Model
    calls: list[Capture]
    arrays: tuple[np.ndarray, ...]
    how: str
    notes: tuple[str, ...]
    alone: bool = False
    """Whether the layer alone was run, on ``arrays``."""


def captured(
    model: Any, layer: str, x: Any = None, *, given: Any = None, call: int | None = None, shape: Any = None, seed: int = 0
) -> Captured:
    """Runs the model (or, with ``given``, the layer alone) and keeps the calls of one layer, or the one that ``call`` picks."""
    model = _opened(model)
    if layer not in model.names() and not getattr(model, "between", _never)(layer):
        raise UnknownLayer(layer, [one.name for one in model.layers])
    calls: list[Capture] = []
    said: tuple[str, ...]
    if given is not None:
        arrays = tuple(map(as_array, given)) if isinstance(given, (list, tuple)) else (as_array(given),)
        model.run_alone(layer, arrays, calls.append)
        how, said = "the layer's own input, given", ()
    else:
        arrays, how = bind(model, x, shape, seed)
        watched = model.run(arrays, {layer}, calls.append)
        said = _faithful(model, arrays, watched)
    calls = [one for one in calls if one.layer == layer]
    if not calls:
        raise NotReached(f"the forward pass never reached {layer!r}, so there is nothing to check")
    if call is not None and not 0 <= call < len(calls):
        raise BadInput(f"{layer!r} is called {len(calls)} times; call {call} does not exist (they count from 0)")
    return Captured(model, calls if call is None else [calls[call]], arrays, how, said, given is not None)


def _faithful(model: Model, arrays: tuple[np.ndarray, ...], watched: tuple[np.ndarray, ...]) -> tuple[str, ...]:
    """Whether the model gives the same with nobody watching, and whether it repeats itself at all."""

    def same(left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> bool:
        return len(left) == len(right) and all(
            one.shape == other.shape and one.tobytes() == other.tobytes() for one, other in zip(left, right, strict=True)
        )

    def unwatched() -> tuple[np.ndarray, ...]:
        return model.run(arrays, (), lambda _: None)

    first = unwatched()
    if same(first, watched):
        return ()
    if same(first, unwatched()):
        return ("watching changes the result: with nobody watching, the model's output differs in its bits (a fast or compiled path)",)
    return ("the model does not repeat itself: two passes on the same input differ (active dropout, random layers)",)


def sweep(
    model: Any,
    x: Any = None,
    *,
    expected: Mapping[str, Any] | None = None,
    shape: Any = None,
    seed: int = 0,
    layers: Collection[str] | None = None,
) -> Iterator[Report]:
    """Checks every call of every atomic layer in execution order, one forward pass in all, keeping nothing it has reported.

    ``expected`` maps layer names to the user's own outputs. A layer whose inputs the user's values also hold is judged on
    those: the first that diverges is then the first faulty one, not the first that inherited a fault. Where all agree a report
    keeps the framework's output alone; the others' are computed again when asked for.
    """
    model = _opened(model)
    arrays, how = bind(model, x, shape, seed)
    if expected is not None:
        names = model.names()
        for name in expected:
            if name not in names and not getattr(model, "between", _never)(name):
                raise UnknownLayer(name, [one.name for one in model.layers])
    return _swept(model, arrays, how, expected, layers, seed)


_LOOKED_INTO = 5
"""In how many diverging layers of a sweep the mistake is looked for."""


def _swept(
    model: Model, arrays: tuple[np.ndarray, ...], how: str, expected: Mapping[str, Any] | None, layers: Collection[str] | None, seed: int
) -> Iterator[Report]:
    drift = {} if expected is None else drifts(model, arrays, None, names=set(expected), seed=seed)
    theirs = _Theirs(arrays, expected or {})
    looked: list[str] = []
    about = {"how": how, "source": model.source, "framework": model.framework}

    def prepare(capture: Capture) -> Callable[[], Report]:
        mine = None if expected is None or capture.call else expected.get(capture.layer)
        own = theirs.inputs_of(capture) if mine is not None else None
        theirs.remember(capture)
        moved = None if own is not None else drift.get((capture.layer, capture.call))

        def done() -> Report:
            one = partial(judge, expected=mine, drift=moved, own_inputs=own, threads=1, about=about)
            report = one(capture) if mine is not None else judged_in_pieces(capture, one)
            if mine is not None and report.verdict == "diverge" and len(looked) < _LOOKED_INTO:
                looked.append(capture.layer)
                report = one(capture, search={})
            return report

        return done

    yield from judged_in_order(lambda push: model.run(arrays, layers, push), prepare)


class _Theirs:
    """Which of the user's own values a layer's inputs correspond to, found by the equality of the captured arrays."""

    def __init__(self, arrays: Sequence[np.ndarray], expected: Mapping[str, Any]):
        self._expected = expected
        self._known = {_key(array): np.asarray(array) for array in arrays} if expected else {}

    def inputs_of(self, capture: Capture) -> tuple[np.ndarray, ...] | None:
        found = [self._known.get(_key(array)) for array in capture.inputs]
        if any(mine is None or mine.shape != array.shape for mine, array in zip(found, capture.inputs, strict=True)):
            return None
        return tuple(mine for mine in found if mine is not None)

    def remember(self, capture: Capture) -> None:
        mine = self._expected.get(capture.layer)
        if mine is not None and len(capture.outputs) == 1 and not capture.call:
            self._known[_key(capture.outputs[0])] = np.asarray(mine)


def _key(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, sha256(np.ascontiguousarray(array).tobytes()).digest()


def assert_layer(model: Any, layer: str, x: Any = None, expected: Any = None, **options: Any) -> None:
    """For tests: AssertionError carrying the report where the layer does not agree ("unchecked" fails too)."""
    report = check(model, layer, x, expected=expected, **options)
    if not report.ok:
        raise AssertionError(str(report))


def _never(name: str) -> bool:
    return False


def _opened(model: Any) -> Model:
    return model if hasattr(model, "run_alone") and hasattr(model, "layers") else open_model(model)
