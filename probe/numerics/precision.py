"""The arithmetic of a party: unit roundoff, what may vanish, and what is rounded when a result is
stored.

Engines compute layers of half precision in float32 and round what they store: a product of matrices
is accumulated in float32 on CPUs with AMX or AVX-512, in tensor cores and in the reference kernels
of PyTorch, TensorFlow and ONNX Runtime. So ``stored_in`` is what such a layer is held against
first, and ``precision_of`` of the half itself, where every operation and every partial sum is
rounded to it, is a second look that has to be named.
"""

from dataclasses import dataclass, replace
from functools import cache

import ml_dtypes
import numpy as np

__all__ = [
    "SIGMAS",
    "UNBOUNDED",
    "VANISHING",
    "Precision",
    "of_storing",
    "precision_of",
    "stored_in",
]

SIGMAS = 6.0
UNBOUNDED = 1e150
"""What is allowed where slack leaves a function's domain or range: more than any difference, and
finite, so that 0 times it is 0."""


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a party: unit roundoff, what may vanish, and whether it first rounds its
    operands.

    ``tiny`` is four times the smallest normal number: subnormals may be flushed, and TensorFlow's
    exp is 0 from 2.35e-38 down. The subnormal numbers of float16 are kept by the engines, which
    widen it: there it is the smallest of these.
    """

    name: str
    unit: float
    tiny: float
    casts: bool = False
    certain: bool = False
    """Whether a second look asks what no order of summation can exceed, instead of what is
    probable."""
    lossy: bool = False
    """Whether the party may take the shortcuts that lose digits (``Op.lossy_algorithm``)."""

    refine_steps: bool = False
    """Whether recurrences look at the true partial sums of every step."""
    refine: bool = False
    """Whether sums over whole axes look at the true partial sums of every line."""
    partial: bool = False
    """Whether sums may be given less than their allowance, found from a part of their terms
    (``Sum.partial_squares``), and several calls less noise than they make."""
    sketches: bool = False
    """Whether the party's recurrences have a sigmoid and tanh of their own, good to a few units of
    1: ONNX Runtime's."""

    stored: float = 0.0
    """The unit roundoff of the dtype that each step's result is stored in, where that is less than
    what it is computed in."""

    @property
    def normal(self) -> float:
        """The smallest normal number."""
        if self.name == "float16":
            return 2.0**-14
        return self.tiny / 4

    @property
    def narrow(self) -> bool:
        """Whether float32 is enough for an allowance: it holds what is added for tiny numbers."""
        return self.tiny >= 2.0**-126


_UNITS = {
    "float16": (2.0**-11, 2.0**-24),
    "bfloat16": (2.0**-8, 2.0**-124),
    "float32": (2.0**-24, 2.0**-124),
    "float64": (2.0**-52, 2.0**-1020),
}
"""Of float64 twice the unit roundoff: NumPy errs as much as the framework does."""


@cache
def precision_of(dtype: str, casts: bool = False) -> Precision:
    """The precision of a floating dtype; integers and booleans are exact (unit 0)."""
    unit, tiny = _UNITS.get(dtype, (0.0, 0.0))
    return Precision(dtype, unit, tiny, casts)


VANISHING = 2.0**20 * precision_of("float32").tiny
"""What may be allowed because small numbers vanish, and not because anything is rounded."""


@cache
def stored_in(dtype: str) -> Precision:
    """The precision of a layer of that dtype: float16 and bfloat16 are computed in float32, and
    rounded where a step's result is stored."""
    own = precision_of(dtype)
    if own.unit <= precision_of("float32").unit:
        return own
    return replace(precision_of("float32"), name=dtype, stored=own.unit)


def of_storing(y: np.ndarray, precision: Precision) -> np.ndarray:
    """What rounding to the dtype that ``y`` is stored in may do to it; nothing where that holds
    it."""
    if precision.name == "float16":
        dtype = np.dtype(np.float16)
    else:
        dtype = np.dtype(ml_dtypes.bfloat16)
    least = float(ml_dtypes.finfo(dtype).smallest_subnormal) / 2  # type: ignore[no-untyped-call]
    with np.errstate(all="ignore"):
        sizes = np.abs(y, dtype=np.float64)
        held = y.astype(dtype).astype(np.float64) == y
    return np.where(held | ~np.isfinite(sizes), 0.0, precision.stored * sizes + least)
