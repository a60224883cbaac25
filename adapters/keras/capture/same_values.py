"""Whether what a call is followed as gives the values that the call itself gave."""

from collections.abc import Sequence

import numpy as np

from probe.errors import Undescribed
from probe.numerics.precision import precision_of

from ..describe.call import KerasCall

__all__ = ["MASKED", "OTHERWISE", "refuse_others"]

_FEW = 0.02
"""Rounding may move a threshold here and there, and an element by so much of the largest one."""
_ROUNDINGS = 1 << 10
"""Where inputs have masks, or variables are assigned to, by so many roundings of the largest
one."""
MASKED = "layers inside take the mask that Keras carries on its input, which is not followed"
OTHERWISE = "its operations, run one by one, give other values than the call itself"


def refuse_others(
    values: Sequence[np.ndarray], others: Sequence[np.ndarray], call: KerasCall, why: str
) -> None:
    """Undescribed for that reason where the call gave other values than these, or because of the
    masks that inputs have: Keras carries them past the code of the layer, to the layers inside."""
    share = _FEW
    if call.masks or call.assigned:
        share = min(share, _ROUNDINGS * precision_of(call.dtype).unit)
    if call.masks:
        why = MASKED
    elif call.assigned:
        why = f"it assigns to {call.assigned}, and {why}"
    if len(values) != len(others) or any(
        value.shape != other.shape or value.dtype != other.dtype or _apart(value, other, share)
        for value, other in zip(values, others, strict=True)
    ):
        raise Undescribed(why)


def _apart(left: np.ndarray, right: np.ndarray, share: float) -> bool:
    if left.dtype.kind != "f":
        if left.size:
            return bool((left != right).mean() > _FEW)
        return False
    fine = np.isfinite(left) & np.isfinite(right)
    same = fine | (left == right) | ((left != left) & (right != right))
    largest = np.abs(right[fine]).max(initial=0.0)
    far = np.abs(left[fine].astype(np.float64) - right[fine]).max(initial=0.0)
    return not same.all() or bool(far > share * largest)
