"""Which mistakes in the source would no test see? Random mutants (tools/mutants.py), each held
against the tests of its own room, and where these see nothing against those of others.

``nox -s mutation -- probe/ops probe/verdict --mutants 200 --seed 0``: a file is changed where it
lies, and a child of a process that has imported the frameworks once runs tests, those of files that
share the rarest words with the changed one first, until one fails: of the room those of the
README's command, and where none of these fails the costly and exhaustive ones, which .ci/run adds
where a change touches the room. What fails is a kill where it passes without the mutant right
after. The file is put back: run it in a clone. Files whose tests need an environment of their own
(adapters/hgq) are left out.
"""

import argparse
import contextlib
import difflib
import gc
import importlib
import math
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import changed_rooms
import pytest
from mutants import Mutant, drawn

ROOT = Path(__file__).parent.parent
FRAMEWORKS = [
    "hypothesis",
    "numpy",
    "scipy",
    "onnx",
    "onnxruntime",
    "torch",
    "torchvision",
    "tensorflow",
    "keras",
    "tf_keras",
    "qkeras",
]
WHERE = ["probe", "adapters"]
ROOM, MARKED = "killed by its room", "killed by its room's marked tests"
OTHERS, SURVIVED = "killed by others only", "survived"
_OF_CHANGE = ("-m", "(costly or exhaustive) and not slow and not gpu")
"""What .ci/run adds for a room that a change touches."""
_NEAR = 20
"""So many test files of other rooms are tried."""
_HANGS = 60
"""Seconds of a processor, beyond those that are given to tests, after which a child hangs."""
_FALSE_ALARMS = 5
"""After so many tests that fail without the mutant too it is given up."""
_OTHER_TIME = 2_000_000_000
"""Nanoseconds that a mutant's file is younger: another second, which is what bytecode is held
against."""


class _Budget:
    """Of pytest's tests those that begin within so many seconds of this process run, and no
    other."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.start = seconds, math.inf

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> bool | None:
        now = time.process_time()
        self.start = min(self.start, now)
        return True if now - self.start > self.seconds else None


def run(tests: list[str], seconds: float, *options: str) -> str | None:
    """In a child: the first test that failed, "" where it hung or died; None where all that were
    run passed."""
    if not tests:
        return None
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        child = os.fork()
        if not child:
            os.setsid()
            limit = int(seconds + _HANGS)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            quiet = "-x -q -n0 --tb=no -rfE -p no:cacheprovider -o timeout=100".split()
            # hypothesis is among what is imported already.
            quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
            os._exit(pytest.main([*quiet, *options, *tests], plugins=[_Budget(seconds)]))
        code = _exit_code(child, 20 * (seconds + _HANGS))
        printed.seek(0)
        text = printed.read()
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", text, re.MULTILINE)
    return failed[1] if failed and code > 0 else ""


def _exit_code(child: int, seconds: float) -> int:
    """Of a child, which is ended where it takes longer: one that waits for ever takes no time of
    the processor."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """The file is the mutant's, and afterwards what it was, as old as it was: so what is compiled
    of it stays valid, and is not taken for the mutant's, which may be as long and of the same
    second."""
    before, times = mutant.file.read_bytes(), mutant.file.stat()
    text = mutant.text()
    try:
        mutant.file.write_bytes(text)
        os.utime(mutant.file, ns=(times.st_atime_ns, times.st_mtime_ns + _OTHER_TIME))
        yield
    finally:
        mutant.file.write_bytes(before)
        os.utime(mutant.file, ns=(times.st_atime_ns, times.st_mtime_ns))


def killer(mutant: Mutant, tests: list[str], seconds: float, *options: str) -> str | None:
    """The test that fails with the mutant, and passes without it right after; None where there is
    none."""
    left_out: list[str] = []
    for _ in range(_FALSE_ALARMS):
        with mutated(mutant):
            failed = run(tests, seconds, *options, *left_out)
        if failed is None:
            return None
        # What hangs or dies does not say in which test.
        if run([failed] if failed else tests, seconds, *options, *left_out) is None:
            return failed or "by a process that hung or died"
        left_out += [f"--deselect={failed}"] if failed else []
    return None


@cache
def _words(file: Path) -> frozenset[str]:
    return frozenset(re.findall(r"[A-Za-z]\w{2,}", file.read_text(encoding="utf-8")))


def nearest(file: Path, tests: list[Path]) -> list[Path]:
    """Tests that share the rarest words with a file first; none that shares nothing."""
    common = Counter(word for test in tests for word in _words(test))
    words = _words(file) | {file.stem}

    def near(test: Path) -> float:
        return sum(1 / common[word] ** 2 for word in words & _words(test))

    return sorted((test for test in tests if near(test)), key=near, reverse=True)


def rooms(file: Path) -> tuple[list[str], list[str]]:
    """The test files of a file's room, and the nearest ones of others."""
    beside = [ROOT / path for path in changed_rooms.tests_of(file.as_posix())]
    own = {test for path in beside for test in [*_test_files(path), *_tests_above(path)]}
    outside = {ROOT / "tests" / name for name in changed_rooms.APART}
    others = [
        test
        for test in _test_files(ROOT / "tests")
        if test not in own and outside.isdisjoint(test.parents)
    ]
    return (
        [str(test.relative_to(ROOT)) for test in nearest(file, sorted(own))],
        [str(test.relative_to(ROOT)) for test in nearest(file, others)[:_NEAR]],
    )


def _test_files(path: Path) -> list[Path]:
    return sorted(path.rglob("test_*.py")) if path.is_dir() else [path]


def _tests_above(path: Path) -> list[Path]:
    """The test files that lie in a folder above a room itself: they are about all rooms in it
    (tests/ops/test_every_op.py), but in a mixed folder each about something else."""
    rooms, found = ROOT / "tests", list[Path]()
    for folder in path.parents:
        if folder.relative_to(rooms).as_posix() in changed_rooms.MIXED:
            break
        found += folder.glob("test_*.py")
    return found


def can_be_tested(file: Path) -> bool:
    """Whether the tests of a file's room can run where those of others can."""
    return changed_rooms.room(file.as_posix()) not in changed_rooms.APART


def outcome(mutant: Mutant, seconds: float, room_only: bool) -> tuple[str, str]:
    """What became of a mutant, and the test that killed it."""
    own, others = rooms(mutant.file)
    if test := killer(mutant, own, seconds):
        return ROOM, test
    if test := killer(mutant, own, seconds, *_OF_CHANGE):
        return MARKED, test
    if not room_only and (test := killer(mutant, others, seconds)):
        return OTHERS, test
    return SURVIVED, ""


def _difference(mutant: Mutant) -> str:
    before, after = (
        text.decode().splitlines() for text in (mutant.file.read_bytes(), mutant.text())
    )
    return "\n".join(list(difflib.unified_diff(before, after, lineterm="", n=1))[2:])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path, default=[Path(path) for path in WHERE])
    parser.add_argument("--mutants", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=float, default=40.0, help="of tests that a mutant may live through"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="after which no other mutant is begun"
    )
    parser.add_argument(
        "--room-only", action="store_true", help="try the tests of a mutant's own room alone"
    )
    parser.add_argument(
        "--at-least",
        type=float,
        default=0.0,
        metavar="PERCENT",
        help="fail where the rooms kill fewer",
    )
    return parser.parse_args()


def _import_frameworks() -> None:
    """Those that some test names, once for all children."""
    named = frozenset().union(*(_words(file) for file in (ROOT / "tests").rglob("*.py")))
    for name in FRAMEWORKS:
        if name in named:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    # pytest collects garbage, and would go through all of the frameworks each time.
    gc.freeze()


def main() -> int:
    """Prints each mutant with what became of it as it ends, and counts them at the end."""
    arguments = _arguments()
    os.chdir(ROOT)
    os.environ.update(
        CI="1",
        TF_USE_LEGACY_KERAS="1",
        TF_CPP_MIN_LOG_LEVEL="3",
        CUDA_VISIBLE_DEVICES="",
        OMP_NUM_THREADS="1",
    )
    files = [
        file
        for path in arguments.paths
        for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
        if can_be_tested(file)
    ]
    mutants = drawn(files, arguments.mutants, arguments.seed)
    _import_frameworks()
    # What is not changed is compiled once; a mutant's bytecode is never kept.
    tests = sorted({test for mutant in mutants for test in rooms(mutant.file)[0]})
    run(tests, 600, "--collect-only")
    sys.dont_write_bytecode = True
    counts, start = Counter[str](), time.monotonic()
    for mutant in mutants:
        if time.monotonic() - start > 60 * arguments.minutes:
            break
        found, test = outcome(mutant, arguments.seconds, arguments.room_only)
        counts[found] += 1
        print(f"{found}: {mutant.file}:{mutant.line} {mutant.kind} {test}".rstrip())
        print(_difference(mutant), flush=True)
    print(f"{counts.total()} mutants: {dict(counts)}")
    killed = counts[ROOM] + counts[MARKED]
    return int(100 * killed < arguments.at_least * counts.total())


if __name__ == "__main__":
    sys.exit(main())
