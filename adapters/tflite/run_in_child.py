"""Runs of a file in a process of their own: LiteRT's kernels crash on files that are not damaged,
too.

A job is files in memory, each on tensors that it is fed or that the files before gave; what comes
back is arrays, through a file without a name.
"""

import json
import math
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import IO, Any, NamedTuple

import numpy as np

from probe.errors import ForwardFailed
from probe.process.limited_child import limited

from .engine_calls import EngineFile, EngineRefusal, run_piece

__all__ = ["Job", "Limits", "Ran", "Refused", "run"]


@dataclass(frozen=True, eq=False)
class Job:
    """Files that run one after the other."""

    engine: str
    pieces: tuple[EngineFile, ...]
    feeds: Mapping[int, np.ndarray]
    preserve: bool = True
    """Whether to keep all tensors; without it only the outputs are the engine's own."""
    each: bool = False
    """Whether what the engine refuses ends no job: ``instead`` runs it then, if there is one."""
    instead: str = ""


@dataclass(eq=False)
class Ran:
    """What a job gave; tensors by their number in the model's file."""

    arrays: dict[int, np.ndarray] = field(default_factory=dict)
    before: dict[int, np.ndarray] = field(default_factory=dict)
    """What variables held before the run."""
    delegated: frozenset[int] = frozenset()
    """Tensors that XNNPACK computed."""
    refused: dict[int, str] = field(default_factory=dict)
    """Number of a piece -> why the engine does not run it, where another one did or none."""


class Limits(NamedTuple):
    """What a child may take; inf where it may take what it likes."""

    memory: float
    seconds: float


class Refused(ForwardFailed):
    """The engine said that it does not run the file; ``stage`` is "load", "prepare" or "invoke"."""

    def __init__(self, sentence: str, stage: str) -> None:
        super().__init__(sentence)
        self.stage = stage


def run(job: Job, what: str, limits: Limits) -> Ran:
    """Runs it in a child; ``what`` names the engine and the file: "LiteRT running x.tflite".

    Raises ForwardFailed where the engine refuses, crashes, or goes beyond a limit.
    """
    with tempfile.TemporaryFile() as answer:

        def work() -> None:
            _write(answer, _ran(job))

        def elsewhere() -> None:
            _in_another_python(job, what, limits, answer)

        limited(
            work,
            what,
            memory=limits.memory,
            seconds=limits.seconds,
            meanwhile=_import_second_opinion,
            error=ForwardFailed,
            elsewhere=elsewhere,
        )
        answer.seek(0)
        return _read(answer, what)


def _import_second_opinion() -> None:
    """What computes a layer again, which takes as long to import as an engine to run."""
    with suppress(ImportError):
        import_module("probe.evaluation.onnxruntime_reference")


def _ran(job: Job) -> Ran | EngineRefusal:
    """Run in the child."""
    ran, values = Ran(), dict(job.feeds)
    delegated: set[int] = set()
    for number, piece in enumerate(job.pieces):
        if missing := [at for at in piece.inputs if at not in values]:
            ran.refused[number] = f"no engine gave the tensor {missing[0]} that it takes"
            continue
        try:
            gave = run_piece(piece, values, job.engine, job.preserve)
        except EngineRefusal as refusal:
            if not job.each:
                return refusal
            ran.refused[number] = str(refusal)
            try:
                gave = run_piece(piece, values, job.instead or job.engine, job.preserve)
            except EngineRefusal:
                continue
        else:
            delegated |= gave.delegated
        values |= gave.arrays
        ran.arrays |= gave.arrays
        ran.before |= gave.before
    ran.delegated = frozenset(delegated)
    return ran


def _write(answer: IO[bytes], ran: Ran | EngineRefusal) -> None:
    """A line of JSON, and the bytes of the arrays."""
    if isinstance(ran, EngineRefusal):
        answer.write(json.dumps({"failed": str(ran), "stage": ran.stage}).encode() + b"\n")
        answer.flush()
        return
    listed = [
        (kind, at, a) for kind in ("arrays", "before") for at, a in getattr(ran, kind).items()
    ]
    head = {
        "listed": [(kind, at, array.dtype.str, array.shape) for kind, at, array in listed],
        "delegated": sorted(ran.delegated),
        "refused": list(ran.refused.items()),
    }
    answer.write(json.dumps(head).encode() + b"\n")
    for _, _, array in listed:
        answer.write(np.ascontiguousarray(array).tobytes())
    answer.flush()


def _read(answer: IO[bytes], what: str) -> Ran:
    head = json.loads(answer.readline() or b"{}")
    if "failed" in head:
        other = "" if head["stage"] == "invoke" else "; --engine (engine=) chooses another"
        raise Refused(f"{what} fails: {head['failed'].rstrip('.')}{other}", head["stage"])
    if "listed" not in head:
        raise ForwardFailed(f"{what} ends without an answer")
    ran = Ran(delegated=frozenset(head["delegated"]), refused=dict(head["refused"]))
    for kind, at, dtype, shape in head["listed"]:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        array = np.frombuffer(bytearray(answer.read(size)), dtype).reshape(shape)
        getattr(ran, kind)[at] = array
    return ran


# Where no process can be forked: another Python.

_CODE = "from probe.adapters.tflite.run_in_child import main; main()"


def _in_another_python(job: Job, what: str, limits: Limits, answer: IO[bytes]) -> None:
    paths = os.pathsep.join(filter(None, sys.path))
    seconds = None if math.isinf(limits.seconds) else 5 * limits.seconds
    try:
        child = subprocess.run(
            [sys.executable, "-c", _CODE],
            input=pickle.dumps(job),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ForwardFailed(f"{what} does not end within {seconds:.0f} s") from None
    if child.returncode:
        raise ForwardFailed(f"{what} crashes (exit status {child.returncode})")
    answer.write(child.stdout)


def main() -> None:
    """Reads a job from standard input, and writes what it gave to standard output."""
    job: Any = pickle.loads(sys.stdin.buffer.read())
    output = os.fdopen(os.dup(1), "wb")
    with suppress(OSError):
        os.dup2(2, 1)  # what the engine prints is no answer
    _write(output, _ran(job))
