"""Zeros that stand around another tensor than the layer pads: before an offset is taken off, a
table is looked up or a norm is applied, in place of behind it, or the reverse."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.rewriting import of_parameters, taking_instead
from probe.hypotheses.edits.step_words import step_name
from probe.hypotheses.registry import more
from probe.ops.base import Elementwise, Op
from probe.ops.step import Ref, Step, weights_of
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []

_DEEP = 8
"""How many steps lie between the two places."""
_KEEPING = (
    *(Elementwise, ops.BatchNormalization, ops.Cast, ops.BitShift),
    *(ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Max, ops.Min),
)
_CARRYING = (ops.Transpose, ops.Stored, ops.Cast)
"""What leaves 0 as it is."""
_Pads = tuple[tuple[int, int], ...]


@more("padding-value")
def padded_elsewhere(case: Case) -> Iterator[Changes]:
    """Zeros around a tensor before the steps that make another one of it, in place of behind them,
    or the reverse."""
    yield Changes(_before, "padding-value", PARTS)
    yield Changes(_behind, "padding-value", PARTS)


def _before(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Pad, ops.Conv):
        padding = _padding(op)
        if padding is None or not any(map(any, padding)):
            continue
        pads: _Pads | None = padding
        passed: list[int] = []
        source, *rest = case.steps[position].sources(position)
        while source.step >= 0 and len(passed) < _DEEP:
            at = source.step
            main = _main(case, at)
            pads = None if main is None else _pulled(case, at, pads)
            if main is None or pads is None:
                break
            passed.insert(0, at)
            source = main
            if isinstance(case.steps[at].op, _CARRYING):
                continue
            steps, result = _again(case, [ops.Pad(pads), *passed], source)
            if isinstance(op, ops.Conv):
                bare = replace(op, pads=tuple((0, 0) for _ in op.pads))
                yield _named(case, passed, steps | {position: Step(bare, (result, *rest))})
            else:
                out = result if position == len(case.steps) - 1 else None
                steps |= _taking(case, Ref(position), result)
                yield replace(_named(case, passed, steps), out=out)


def _behind(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Pad):
        pads: _Pads | None = _padding(op)
        (source,) = case.steps[position].sources(position)
        passed: list[int] = []
        at = position
        while pads is not None and len(passed) < _DEEP:
            users = users_of(case).get(Ref(at), [])
            main = _main(case, users[0]) if len(users) == 1 else None
            if main is None or main != Ref(at):
                break
            at = users[0]
            pads = _pushed(case, at, pads)
            passed.append(at)
            if pads is not None and not isinstance(case.steps[at].op, _CARRYING):
                steps, result = _again(case, [*passed, ops.Pad(pads)], source)
                what = f"padded with zeros after {step_name(case, at)}, not before "
                what += _first_of(case, passed)
                out = result if at == len(case.steps) - 1 else None
                steps |= _taking(case, Ref(at), result)
                yield Change(what, "", steps, out, of=position)


def _padding(op: Op) -> _Pads | None:
    """The zeros that an op puts around its input."""
    if isinstance(op, ops.Conv):
        return ((0, 0), (0, 0), *op.pads)
    if isinstance(op, ops.Pad) and op.mode == "constant" and not op.value:
        return op.pads
    return None


def _main(case: Case, position: int) -> Ref | None:
    """The one tensor that a step makes another of, element by element or index by index."""
    op, constant = case.steps[position].op, of_parameters(case)
    sources = [ref for ref in case.steps[position].sources(position) if ref.step not in constant]
    if len(sources) != 1 or len(case.values[position]) != 1:
        return None
    if isinstance(op, _KEEPING):
        same = shape_of(case, sources[0]) == shape_of(case, Ref(position))
        return sources[0] if same else None
    if isinstance(op, ops.Transpose | ops.Embedding) and not isinstance(op, ops.EmbeddingBag):
        return sources[0]
    indices = case.steps[position].sources(position)[1:]
    looked_up = isinstance(op, ops.Gather) and op.axis == 0 and indices == (sources[0],)
    return sources[0] if looked_up else None


def _pulled(case: Case, position: int, pads: _Pads | None) -> _Pads | None:
    """The zeros around what a step takes that take the place of those around what it gives."""
    op, main = case.steps[position].op, _main(case, position)
    if pads is None or main is None:
        return None
    if isinstance(op, ops.Transpose):
        return tuple(pads[op.perm.index(axis)] for axis in range(len(pads)))
    if isinstance(op, ops.Embedding | ops.Gather):
        rank = len(shape_of(case, main))
        return None if any(map(any, pads[rank:])) else pads[:rank]
    return pads if _fits(case, position, pads) else None


def _pushed(case: Case, position: int, pads: _Pads) -> _Pads | None:
    """The zeros around what a step gives that take the place of those around what it takes."""
    op = case.steps[position].op
    if isinstance(op, ops.Transpose):
        return tuple(pads[axis] for axis in op.perm)
    if isinstance(op, ops.Embedding | ops.Gather):
        return (*pads, *((0, 0),) * (len(shape_of(case, Ref(position))) - len(pads)))
    return pads if _fits(case, position, pads) else None


def _fits(case: Case, position: int, pads: _Pads) -> bool:
    """Whether what a step takes besides is the same along the axes that are padded."""
    main, step = _main(case, position), case.steps[position]
    for ref in step.sources(position):
        shape = shape_of(case, ref)
        own = (1,) * (len(pads) - len(shape)) + shape
        if ref != main and any(size > 1 and any(pad) for size, pad in zip(own, pads, strict=True)):
            return False
    if isinstance(step.op, ops.BatchNormalization):
        return not any(pads[step.op.axis])
    return not weights_of((step,))


def _again(case: Case, parts: Sequence[int | Op], source: Ref) -> tuple[dict[int, Step], Ref]:
    """New steps, as those at some positions or of an op of their own, one after the other; and what
    they give."""
    steps: dict[int, Step] = {}
    for new, what in enumerate(parts, len(case.steps)):
        if isinstance(what, int):
            main, step = _main(case, what), case.steps[what]
            taken = tuple(source if ref == main else ref for ref in step.sources(what))
            steps[new] = Step(step.op, taken)
        else:
            steps[new] = Step(what, (source,))
        source = Ref(new)
    return steps, source


def _taking(case: Case, ref: Ref, result: Ref) -> dict[int, Step]:
    return {user: taking_instead(case, user, ref, result) for user in users_of(case).get(ref, ())}


def _named(case: Case, passed: Sequence[int], steps: dict[int, Step]) -> Change:
    what = f"padded with zeros before {_first_of(case, passed)}, not after "
    what += "it" if len(passed) == 1 else step_name(case, passed[-1])
    return Change(what, "", steps, of=passed[0])


def _first_of(case: Case, passed: Sequence[int]) -> str:
    """The first of some steps that makes another number of 0."""
    changing = (at for at in passed if not isinstance(case.steps[at].op, _CARRYING))
    return step_name(case, next(changing, passed[0]))
