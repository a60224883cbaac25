"""Where engines are known to differ although none is at fault: each line was seen in ONNX Runtime, and a test sees it again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from probe.layer import Step
from probe.rounding import Values

__all__ = ["KNOWN", "Known", "known_differences"]


@dataclass(frozen=True)
class Known:
    """A difference that an op shows where its first input holds a value."""

    ops: tuple[str, ...]
    holds: Callable[[np.ndarray], np.ndarray]
    """Finds such values."""
    says: str
    """What ONNX Runtime does, as a sentence about it."""
    undefined: str = ""
    """What is to be said where others are apart as well; empty where they are not known to be."""


_DROPS = "ONNX Runtime keeps or drops a NaN among the elements of a maximum by its place"
_UNDEFINED = (
    "NaN among the elements of a maximum is undefined between engines: NumPy and PyTorch keep it, TensorFlow and ONNX Runtime may drop it"
)

_NUMBERS = "ONNX Runtime's own sigmoid and tanh in recurrences make a number of NaN"

KNOWN = (
    Known(("AdaptiveMaxPool", "GlobalMaxPool", "MaxPool"), np.isnan, _DROPS, _UNDEFINED),
    Known(("GRU", "LSTM"), np.isnan, _NUMBERS),
)


def known_differences(steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values) -> tuple[Known, ...]:
    """Those that this call may show."""
    found = []
    for position, step in enumerate(steps):
        refs = step.sources(position)
        if refs and any(type(step.op).__name__ in one.ops for one in KNOWN):
            x = inputs[refs[0].index] if refs[0].step < 0 else values[refs[0].step][refs[0].index]
            found += [one for one in KNOWN if type(step.op).__name__ in one.ops and x.dtype.kind == "f" and one.holds(x).any()]
    return tuple(dict.fromkeys(found))
