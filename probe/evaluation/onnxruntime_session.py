"""A session of ONNX Runtime run so that Ctrl-C ends it: a Loop of the user's may be endless."""

import math
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probe.evaluation.import_onnxruntime import onnxruntime
from probe.process.interrupts import MOMENT, apart, await_end

__all__ = ["ran", "reason"]

_MOST = 200
"""Characters of a reason."""
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"/\S+\.(?:cc|h|cpp):\d+ \S.*?\)(?: const)? ")
"""A file of ONNX Runtime's, the line, and the C++ function."""
_NODE = re.compile(r"^Non-zero status code returned while running (\w+) node\. Name:'(.*?)' ")
"""The node that failed; behind it stands why."""


def ran(
    session: onnxruntime.InferenceSession,
    outputs: Sequence[str] | None,
    feeds: Mapping[str, np.ndarray],
    seconds: float = math.inf,
) -> list[Any]:
    """What the session gives. An interrupt makes it end before its next node, and so does the time:
    TimeoutError.

    So many ``seconds`` must have passed on the clock and on the processors: a machine may be busy
    with others.
    """
    options = onnxruntime.RunOptions()
    done, late = threading.Event(), threading.Event()
    clock, used = time.monotonic(), time.process_time()

    def end() -> None:
        options.terminate = True

    def wait() -> None:
        while not done.wait(MOMENT):
            if min(time.monotonic() - clock, time.process_time() - used) > seconds:
                late.set()
                end()
                return

    watch = threading.Thread(target=wait, name="probe-clock", daemon=True)
    if seconds < math.inf:
        watch.start()
    try:
        found: list[Any] = apart(lambda: session.run(outputs, dict(feeds), options), end)
    except Exception:
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        done.set()
        await_end([watch])
    return found


def reason(error: BaseException) -> str:
    """What ONNX Runtime says went wrong: its last sentences, as many as are 200 characters
    together; of a longer one the end."""
    text = _PLACE.sub("", _CODE.sub("", " ".join(str(error).split())))
    text = _NODE.sub(r"in node '\2' (\1): ", text).replace(": Status Message: ", ": ", 1)
    if text:
        parts = re.split(r"(?<=[.!?]) (?=[A-Z])", text)
    else:
        parts = [type(error).__name__]
    said = parts.pop()
    while parts and len(said) + 1 + len(parts[-1]) <= _MOST:
        said = f"{parts.pop()} {said}"
    if len(said) <= _MOST:
        return said
    return "… " + said[2 - _MOST :].partition(" ")[2]
