"""Where engines are known to differ although none is at fault: each line was seen in ONNX Runtime,
and a test sees it again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from probe.evaluation.allowance import Values
from probe.numerics.blocks import blocks
from probe.ops import Softplus
from probe.ops.step import Step, weights_of

__all__ = ["KNOWN", "Known", "known_differences", "reach", "touched"]


@dataclass(frozen=True)
class Known:
    """A difference that an op shows where its first input holds a value."""

    ops: tuple[str, ...]
    holds: Callable[[np.ndarray], Any]
    """Finds such values."""
    says: str
    """What ONNX Runtime does, as a sentence about it."""
    undefined: str = ""
    """What is to be said where others are apart as well; empty where they are not known to be."""
    touches: Callable[[Any, np.ndarray], np.ndarray] | None = None
    """Which elements of the op's output it changes to other numbers; None where it only moves NaN
    and inf."""
    has: Callable[[Any], bool] = lambda op: True
    """Whether an op of these is one that may show it."""


def _odd(x: np.ndarray) -> np.ndarray:
    return ~np.isfinite(x)


def _makes_nan(x: np.ndarray) -> np.ndarray:
    """Where products with the input are NaN, or may be: of two infinities the difference is."""
    return np.isnan(x).any(axis=-1) | (np.isinf(x).sum(axis=-1) > 1)


def _lines(op: Any, x: np.ndarray) -> np.ndarray:
    """The lines along the op's axis that hold NaN."""
    return np.isnan(x).any(axis=op.axis, keepdims=op.keepdims)


def _beyond(op: Any, x: np.ndarray) -> np.ndarray:
    """What no integer of the type stands for."""
    if np.dtype(op.to if op.to != "bfloat16" else "float32").kind not in "iu":
        return np.zeros(x.shape, bool)
    limits = np.iinfo(op.to)
    with np.errstate(invalid="ignore"):
        return ~((x > float(limits.min) - 1) & (x < float(limits.max) + 1))


def _all(*given: Any) -> np.ndarray:
    return np.asarray(True)


_MAXIMA = (
    "AdaptiveMaxPool",
    "AdaptiveMaxPoolIndices",
    "FractionalMaxPool",
    "GlobalMaxPool",
    "MaxPool",
    "MaxPoolIndices",
)

KNOWN = (
    Known(
        (*_MAXIMA, "ReduceMax", "ReduceMin"),
        np.isnan,
        "ONNX Runtime keeps or drops a NaN among the elements of a maximum or minimum by its place",
        "NaN among the elements of a maximum or minimum is undefined between engines: NumPy and "
        "PyTorch keep it, TensorFlow and ONNX "
        "Runtime may drop it",
    ),
    Known(
        ("ArgMax", "ArgMin"),
        np.isnan,
        "ONNX Runtime names a NaN only where it stands first",
        "the place of the largest or smallest element is undefined between engines where NaN is "
        "among them: NumPy and PyTorch name the "
        "NaN, TensorFlow and ONNX Runtime another element",
        _lines,
    ),
    Known(
        ("AdaptiveAveragePool", "LRN", "Resize"),
        _odd,
        "the shares of the elements are a matrix there, and 0 times NaN or inf is NaN",
        "NaN and inf beside a weighted sum are undefined between engines: some multiply them by a "
        "weight of 0, which gives NaN, and some "
        "leave them out",
    ),
    Known(
        ("Gelu",),
        np.isinf,
        "ONNX Runtime gives inf for inf, which in other kernels is NaN",
        "GELU of inf is undefined between engines: PyTorch's kernels multiply inf by 0 and give "
        "NaN, NumPy and ONNX Runtime do not",
    ),
    Known(
        ("Sign",),
        np.isnan,
        "ONNX Runtime keeps NaN",
        "the sign of NaN is undefined between engines: PyTorch gives 0, NumPy, TensorFlow and "
        "ONNX Runtime NaN",
    ),
    Known(
        ("Cast",),
        lambda x: ~(np.abs(x) < 2.0**7),
        "ONNX Runtime gives the lowest integer for NaN and what lies beyond the range",
        "the integer of NaN, of inf and of what lies beyond the range is undefined between engines",
        _beyond,
    ),
    Known(
        (
            "GroupNormalization",
            "LRN",
            "LayerNormalization",
            "LpNormalization",
            "LpPool",
            "RMSNormalization",
            "ReduceL2",
            "ReduceStd",
        ),
        lambda x: np.isfinite(x) & (np.abs(x) > 2.0**60),
        "ONNX Runtime takes squares or powers in float32, where those of such large numbers "
        "overflow",
        "squares and powers of such large numbers lie beyond float32, and overflow in engines "
        "that compute in it",
        _all,
    ),
    Known(
        ("ReduceMean",),
        lambda x: np.asarray(not x.size),
        "ONNX Runtime gives 0 for the mean of no elements",
        "the mean of no elements is undefined between engines: NumPy, PyTorch and TensorFlow give "
        "NaN, ONNX Runtime 0",
    ),
    Known(
        ("GRU", "PeepholeLSTM", "RNN"),
        _all,
        "softplus in its own recurrences is log(1 + exp(x)), which overflows from 89 on",
        "softplus of 89 and more is inf in ONNX Runtime's own recurrences, which take log(1 + "
        "exp(x)) in float32",
        has=lambda op: any(isinstance(getattr(op, part.name), Softplus) for part in fields(op)),
    ),
    Known(
        ("GRU", "LSTM"),
        _makes_nan,
        "ONNX Runtime's own sigmoid and tanh in recurrences make a number of NaN",
    ),
)


def _first_input(
    steps: Sequence[Step], position: int, inputs: Sequence[np.ndarray], values: Values
) -> np.ndarray | None:
    refs = steps[position].sources(position)
    if not refs:
        return None
    return inputs[refs[0].index] if refs[0].step < 0 else values[refs[0].step][refs[0].index]


def _shown(
    steps: Sequence[Step], position: int, inputs: Sequence[np.ndarray], values: Values
) -> list[Known]:
    """Those that one step may show."""
    op = steps[position].op
    possible = [one for one in KNOWN if type(op).__name__ in one.ops and one.has(op)]
    x = _first_input(steps, position, inputs, values) if possible else None
    return (
        []
        if x is None or x.dtype.kind != "f"
        else [one for one in possible if np.any(one.holds(x))]
    )


def known_differences(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> tuple[Known, ...]:
    """Those that this call may show."""
    found = [
        one for position in range(len(steps)) for one in _shown(steps, position, inputs, values)
    ]
    return tuple(dict.fromkeys(found))


def touched(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> np.ndarray | None:
    """Which elements of the only output may be other numbers by what some step shows; None where
    there is nothing of the kind.

    Those of the last step are known one by one; one before it may change all.
    """
    last, found = len(steps) - 1, None
    for position in range(len(steps)):
        for one in _shown(steps, position, inputs, values):
            x = _first_input(steps, position, inputs, values)
            if one.touches is not None and x is not None and len(values[-1]) == 1:
                mask = one.touches(steps[position].op, x) if position == last else np.asarray(True)
                found = mask if found is None else found | mask
    return found


def reach(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> tuple[float, float]:
    """The largest finite number among inputs, weights and what the steps give, and the sum of the
    squares of all.

    No sum of products of two of these numbers exceeds the latter (Cauchy and Schwarz), nor any sum
    of such numbers that are large.
    """
    weights = [weight.value for weight in weights_of(tuple(steps)).values()]
    largest, squares = 0.0, 0.0
    for x in (*inputs, *weights, *(value for step in values for value in step)):
        for (part,), _ in blocks(x) if x.dtype.kind in "fiu" and x.size else ():
            sizes = np.abs(part[np.isfinite(part)], dtype=np.float64)
            with np.errstate(over="ignore"):
                largest, squares = (
                    max(largest, float(sizes.max(initial=0.0))),
                    squares + float(sizes @ sizes),
                )
    return largest, squares
