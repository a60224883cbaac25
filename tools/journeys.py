"""How a value travels through the house: which files a call enters, and how often it comes back to
one that it has left.

    python tools/journeys.py [JOURNEY…] [-v]

One layer is judged with a profile on. A *stay* is a time that a call spends in one file, *returns*
are stays beyond the first in a file. Files of ops and numerics are arithmetic and do not count, nor
does what is beneath them; reading a property of a value does not either. ``-v`` says how often each
file was entered.
"""

import sys
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType

import numpy as np
import torch

from probe import Description, Step, Weight, check, explain, ops
from probe.model import Capture
from probe.verdict.judge import judge
from probe.verdict.options import Options, Yours

PACKAGE = Path(__file__).resolve().parents[1] / "probe"
ARITHMETIC = ("ops", "numerics", "process", "errors", "printable")


def properties() -> set[CodeType]:
    """What is run when an attribute of a value of ours is read."""
    found: set[CodeType] = set()
    for name, module in [*sys.modules.items()]:
        if name.split(".")[0] != "probe":
            continue
        for kind in vars(module).values():
            for member in vars(kind).values() if isinstance(kind, type) else ():
                if isinstance(member, cached_property):
                    found |= codes(member.func.__code__)
                elif isinstance(member, property) and hasattr(member.fget, "__code__"):
                    found |= codes(member.fget.__code__)
    return found


def codes(code: CodeType) -> set[CodeType]:
    """The code of a function and of what is defined in it, comprehensions too."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return {code}.union(*map(codes, inner))


def room(frame: FrameType, skipped: set[CodeType]) -> str | None:
    """The file of ours that a frame is in, where it counts."""
    if frame.f_code in skipped:
        return None
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(PACKAGE):
        return None
    local = path.relative_to(PACKAGE)
    if local.parts[0].removesuffix(".py") in ARITHMETIC:
        return None
    return local.as_posix()


def stays(journey: Callable[[], object]) -> list[str]:
    """The files that a call is in, in order."""
    rooms: list[str] = []
    journey()  # what is made once is there
    skipped = properties()

    def enter(frame: FrameType | None) -> None:
        while frame is not None and (name := room(frame, skipped)) is None:
            frame = frame.f_back
        if frame is not None and name is not None and rooms[-1:] != [name]:
            rooms.append(name)

    def follow(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            enter(frame)
        elif event == "return":
            enter(frame.f_back)

    sys.setprofile(follow)
    try:
        journey()
    finally:
        sys.setprofile(None)
    return rooms


def dense(dtype: str = "float32") -> Capture:
    """A dense layer as PyTorch computes it."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=size).astype(np.float32) for size in ((4, 64), (64, 32), (32,)))
    y = torch.nn.functional.linear(*map(torch.from_numpy, (x, w.T.copy(), b))).numpy()
    op = ops.MatMul(weight=Weight("kernel", w, w), bias=Weight("bias", b, b))
    return Capture("fc", "Dense", 0, (x,), (y,), dtype, Description((Step(op),)))


def journeys() -> dict[str, Callable[[], object]]:
    """By name: what a user asks of one layer."""
    capture = dense()
    layer = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU()).eval()
    right = Yours(capture.outputs[0].astype(np.float64))
    wrong = Yours(capture.outputs[0] * 1.001)
    sparing = Options(threads=1, sparing=True)
    return {
        "judge: in a sweep": lambda: judge(capture, None, sparing),
        "judge: yours agree": lambda: judge(capture, right, Options(detail=True)),
        "judge: yours diverge": lambda: judge(capture, wrong, Options(detail=True)),
        "check": lambda: check(layer, "0", capture.inputs[0]),
        "explain": lambda: explain(layer, "0", capture.inputs[0], at=(0, 0)),
    }


def main(arguments: list[str]) -> None:
    asked = [name for name in arguments if name != "-v"]
    print(f"{'journey':24}{'stays':>8}{'files':>8}{'returns':>9}")
    for name, journey in journeys().items():
        if asked and name not in asked:
            continue
        rooms = stays(journey)
        visits = Counter(rooms)
        print(f"{name:24}{len(rooms):8}{len(visits):8}{len(rooms) - len(visits):9}")
        if "-v" in arguments:
            print("\n".join(f"    {count:4}  {place}" for place, count in visits.most_common()))


if __name__ == "__main__":
    main(sys.argv[1:])
