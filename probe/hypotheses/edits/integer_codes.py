"""Which tensors of whole numbers are codes, of a quantised layer or of samples that are stored as
integers, and not places, lengths, masks or what is added to codes."""

from enum import Enum

import numpy as np

from probe import ops
from probe.hypotheses.edits.rewriting import made_by, of_parameters, source_of
from probe.ops.base import Rearrangement
from probe.ops.step import Ref
from probe.trial.case import Case, once, users_of

__all__ = ["GROWING", "added_to_sums", "holds_codes"]

GROWING = (ops.Mul, ops.ReduceSum, ops.Product, ops.MatMul, ops.Conv, ops.BitShift)
"""What integers grow by, so that they may overflow."""
_PASSING = (
    *(ops.Cast, ops.Clip, ops.Relu, ops.Abs, ops.Neg, ops.Max, ops.Min, ops.ReduceMax),
    *(ops.ReduceMin, ops.ReduceSum, ops.Round, ops.Floor, ops.Ceil, ops.Trunc, ops.BitwiseAnd),
    *(ops.BitwiseOr, ops.BitwiseXor, ops.BitwiseNot, ops.BitShift, ops.Mod, ops.FloorDiv),
)
"""What gives codes where its first operand holds them."""
_MOVING = (ops.Cast, Rearrangement)
_INDICES = (
    *(ops.Embedding, ops.EmbeddingBag, ops.Lookup, ops.OneHot, ops.Bucketize),
    *(ops.ArgMax, ops.NonZero, ops.Unique),
)
_TRUTHS = (
    *(ops.And, ops.Or, ops.Not, ops.Xor, ops.Equal, ops.NotEqual, ops.Greater, ops.Less),
    *(ops.GreaterOrEqual, ops.LessOrEqual, ops.ReduceAll, ops.ReduceAny),
)
_ASIDE = (ops.Div, ops.Pow, ops.ScatterElements, ops.ScatterND)
"""What takes places, counts or exponents behind its first operand."""


class _Use(Enum):
    """What a step does with a tensor."""

    SCALED = "it is multiplied, or computed with as numbers in another way"
    PASSED = "what the step gives holds codes where the tensor does"
    OTHERWISE = "it is a place, a condition, a number of bits, or added to codes"


@once
def holds_codes(case: Case, ref: Ref) -> bool:
    """Whether the numbers of a tensor are scaled or multiplied: at once, or behind a zero point, a
    clip or a move of its elements. What a layer computes and gives holds codes, too.

    Of the layer's own numbers those that it adds to others, shifts by or divides by are none.
    """
    if _counts_or_hides(np.asarray(ref.of(case.inputs, case.values))):
        return False
    last = len(case.steps) - 1
    given = ref.step < 0 or ref.step in of_parameters(case)
    waiting, seen = [ref], {ref}
    while waiting:
        tensor = waiting.pop()
        if tensor.step == last and not given:
            return True
        for position in users_of(case).get(tensor, ()):
            use = _use(case, position, tensor)
            if use is _Use.SCALED:
                return True
            after = {Ref(position, k) for k in range(len(case.values[position]))} - seen
            waiting += after if use is _Use.PASSED else ()
            seen |= after
    return False


def _counts_or_hides(x: np.ndarray) -> bool:
    """Whether numbers go on by one along the last axis, as positions do, or are all 0 or 1."""
    if ((x == 0) | (x == 1)).all():
        return True
    if x.ndim == 0 or x.shape[-1] < 2:
        return False
    return bool((np.abs(np.diff(x.astype(np.float64), axis=-1)) <= 1).all())


def _use(case: Case, position: int, ref: Ref) -> _Use:
    op, sources = case.steps[position].op, case.steps[position].sources(position)
    place, own = sources.index(ref), of_parameters(case)
    if isinstance(op, (*_INDICES, *_TRUTHS)) or (place and isinstance(op, _ASIDE)):
        return _Use.OTHERWISE
    if isinstance(op, ops.Add | ops.Sub) and ref.step in own:
        passes = not place and all(source.step in own for source in sources)
    elif isinstance(op, ops.Add | ops.Sub | ops.Concat):
        passes = True
    elif isinstance(op, ops.Where):
        passes = place > 0
    elif isinstance(op, (*_PASSING, Rearrangement)):
        passes = not place
    else:
        return _Use.SCALED
    return _Use.PASSED if passes else _Use.OTHERWISE


def added_to_sums(case: Case, ref: Ref) -> bool:
    """Whether a parameter is added to sums of products, as a bias is."""
    waiting = [ref]
    while waiting:
        tensor = waiting.pop()
        for position in users_of(case).get(tensor, ()):
            op, sources = case.steps[position].op, case.steps[position].sources(position)
            if isinstance(op, _MOVING) and sources[0] == tensor:
                waiting.append(Ref(position))
            elif isinstance(op, ops.Add) and any(_is_sum(case, other) for other in sources):
                return True
    return False


def _is_sum(case: Case, ref: Ref) -> bool:
    while ref.step >= 0 and isinstance(case.steps[ref.step].op, _MOVING):
        ref = source_of(case, ref)
    return made_by(case, ref, *GROWING)
