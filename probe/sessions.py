"""A session of ONNX Runtime run so that Ctrl-C ends it: a Loop of the user's may be endless."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from probe.interrupts import apart

__all__ = ["ran"]


def ran(session: onnxruntime.InferenceSession, outputs: Sequence[str] | None, feeds: Mapping[str, np.ndarray]) -> list[Any]:
    """What the session gives. An interrupt makes it end before its next node."""
    options = onnxruntime.RunOptions()

    def end() -> None:
        options.terminate = True

    found: list[Any] = apart(lambda: session.run(outputs, dict(feeds), options), end)
    return found
