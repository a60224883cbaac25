"""Which mistakes in the source would no test see? Random mutants, each held against the tests that
run its line.

``nox -s mutation -- probe/ops probe/verdict --mutants 200 --seed 0``: cosmic-ray changes an
operator, a comparison or a constant in the file; a child of a process that has imported the
frameworks once runs the tests of that line, quick and near ones first, until one fails. Which tests
run which line coverage.py tells in one pass over the tests, which is kept (--map FILE). The files
are changed where they lie and put back: run it in a clone.
"""

import argparse
import ast
import contextlib
import difflib
import gc
import importlib
import json
import math
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import coverage
import pytest
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code, use_mutation
from cosmic_ray.plugins import get_operator, operator_names

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
WHERE = ["probe/ops", "probe/verdict", "probe/diagnosis", "probe/hypotheses", "adapters"]
MUTATIONS = re.compile(
    "core/(ReplaceBinaryOperator|ReplaceUnaryOperator|ReplaceComparisonOperator_(?!.*_Is(Not)?$)|ReplaceComparisonOperator_Is"
    "|NumberReplacer|ReplaceTrue|ReplaceFalse|ReplaceAnd|ReplaceOr|AddNot)"
)
"""An operator, a comparison or a constant; not `==` by `is`, which for small integers is the
same."""


@dataclass
class Map:
    """Which tests run a line, and how many seconds each takes; a parametrised test counts as
    one."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    lines: dict[str, dict[int, list[str]]] = field(default_factory=dict)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        test = item.nodeid.partition("[")[0]
        coverage.Coverage.current().switch_context(test)  # type: ignore[union-attr]
        start = time.process_time()
        result = yield
        self.seconds[test] += time.process_time() - start
        coverage.Coverage.current().switch_context("")  # type: ignore[union-attr]
        return result

    @classmethod
    def of(cls, tests: list[str]) -> "Map":
        """By running the tests."""
        self = cls()
        seen = coverage.Coverage(data_file=None, source=["probe", "adapters"], config_file=False)
        with seen.collect():
            pytest.main(["-q", "-n0", "-p", "no:cacheprovider", *tests], plugins=[self])
        data = seen.get_data()
        for path in data.measured_files():
            contexts = data.contexts_by_lineno(path).items()
            self.lines[str(Path(path).relative_to(ROOT))] = {
                line: [name for name in names if name] for line, names in contexts
            }
        return self

    @classmethod
    def read(cls, path: Path) -> "Map":
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            kept["seconds"],
            {
                file: {int(line): names for line, names in lines.items()}
                for file, lines in kept["lines"].items()
            },
        )

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"seconds": self.seconds, "lines": self.lines}), encoding="utf-8"
        )

    def tests(self, file: str, lines: range) -> list[str]:
        """Those that run one of the lines, or where none is known to, any line of the file, or any
        line: quick ones that are near first."""
        known = self.lines.get(file, {})
        names = {name for line in lines for name in known.get(line, [])}
        if not names:
            names = {name for here in known.values() for name in here} or set(self.seconds)
        folder = Path(file).parts[1 if file.startswith("probe") else 0 : -1]

        def far(name: str) -> float:
            shared = sum(
                mine == theirs for mine, theirs in zip(folder, Path(name).parts[1:], strict=False)
            )
            return self.seconds.get(name, 0.0) / 4**shared

        return sorted(names, key=far)


@dataclass(frozen=True)
class Mutant:
    """One change of one place of a file, as cosmic-ray counts them."""

    file: Path
    operator: str
    occurrence: int
    start: tuple[int, int]

    def lines(self) -> range:
        """Those of the statement around it; of a compound one its head."""
        around = [
            (_head(node), node)
            for node in ast.walk(_parsed(self.file))
            if isinstance(node, ast.stmt)
        ]
        first, inner = max(
            (
                (first, node)
                for first, node in around
                if first <= self.start <= (node.end_lineno, node.end_col_offset)
            ),
            key=lambda found: found[0],
        )
        body = getattr(inner, "body", None)
        return range(first[0], max(body[0].lineno, first[0] + 1) if body else inner.end_lineno + 1)


def _head(node: ast.stmt) -> tuple[int, int]:
    """Where a statement begins, its decorators included."""
    first = min([*getattr(node, "decorator_list", []), node], key=lambda one: one.lineno)
    return first.lineno, first.col_offset - (first is not node)


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _unseen(file: Path) -> list[ast.expr]:
    """Where a mutant would change nothing: annotations, and what only guards, zip's ``strict`` and
    a dataclass' ``frozen``."""
    found = []
    for node in ast.walk(_parsed(file)):
        found += [
            one
            for one in (getattr(node, "annotation", None), getattr(node, "returns", None))
            if one is not None
        ]
        found += (
            [node.value]
            if isinstance(node, ast.keyword) and node.arg in ("strict", "frozen")
            else []
        )
    return found


def mutants(files: list[Path], count: int, seed: int) -> list[Mutant]:
    """Random places, each with one of the changes that are possible there."""
    operators = [(name, get_operator(name)()) for name in operator_names() if MUTATIONS.match(name)]
    places: dict[tuple[Path, tuple[int, int]], list[Mutant]] = defaultdict(list)
    for file in files:
        nodes = list(ast_nodes(get_ast_from_path(file)))
        unseen = [
            ((one.lineno, one.col_offset), (one.end_lineno, one.end_col_offset))
            for one in _unseen(file)
        ]
        for name, operator in operators:
            found = (start for node in nodes for start, _ in operator.mutation_positions(node))
            for occurrence, start in enumerate(found):
                if not any(first <= start <= last for first, last in unseen):
                    places[file, start].append(Mutant(file, name, occurrence, start))
    draw, drawn = random.Random(seed), []
    for changes in draw.sample(list(places.values()), len(places)):
        mutant = draw.choice(changes)
        with contextlib.suppress(SyntaxError):  # as where the `**` is one of arguments
            ast.parse(
                mutate_code(
                    mutant.file.read_text(encoding="utf-8"),
                    get_operator(mutant.operator)(),
                    mutant.occurrence,
                )
            )
            drawn.append(mutant)
        if len(drawn) == count:
            break
    return drawn


def _run(tests: list[str], limit: float) -> tuple[str, str]:
    """In a child: ("survived" | "killed", the first test that failed or the signal), and what it
    printed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        child = os.fork()
        if not child:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 1))
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            # hypothesis is among what is imported already.
            imported = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
            os._exit(
                pytest.main(
                    [
                        "-x",
                        "-q",
                        "-n0",
                        "--tb=no",
                        "-rfE",
                        "-p",
                        "no:cacheprovider",
                        *imported,
                        *tests,
                    ]
                )
            )
        # By the clock a busy machine takes longer; one that waits for ever takes no time of the
        # processor.
        end = time.monotonic() + 20 * limit
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.1)
        if not ended[0]:
            os.killpg(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(ended[1])
        if code in (-signal.SIGKILL, -signal.SIGXCPU):
            return "killed", "timeout"
        printed.seek(0)
        text = printed.read()
    if code == 0:
        return "survived", ""
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", text, re.MULTILINE)
    return "killed", failed[1] if failed else f"exit status {code}: {text[-300:]}"


def _tried(mutant: Mutant, known: Map, seconds: float, healthy: set[str]) -> tuple[str, str]:
    """What became of a mutant, and its change; ``healthy`` gathers the tests that are known to pass
    without one."""
    tests, spent = [], 0.0
    for name in known.tests(str(mutant.file), mutant.lines()):
        if not tests or spent + known.seconds.get(name, 0.0) <= seconds:
            tests.append(name)
            spent += known.seconds.get(name, 0.0)
    limit = 30 + 5 * seconds
    while True:
        with use_mutation(mutant.file, get_operator(mutant.operator)(), mutant.occurrence) as (
            before,
            after,
        ):
            outcome, by = _run(tests, limit)
        test = by.partition("[")[0]
        if outcome == "survived" or test in healthy:
            break
        # What fails without the mutant too, in this process at least, says nothing of it.
        test = test if test in tests else tests[0]
        if _run([test], limit)[0] == "survived":
            healthy.add(test)
            break
        tests.remove(test)
        if not tests:
            outcome, by = "survived", "(no test of its lines passes without it)"
            break
    change = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
    return f"{outcome} {by}".strip(), "\n".join(list(change)[2:])


def main() -> int:
    """Prints a line a mutant as it ends, and the survivors' changes; counts them at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path, default=[Path(one) for one in WHERE])
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="of tests, by the clock of the pass, that a mutant may live through",
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="after which no other mutant is begun"
    )
    parser.add_argument(
        "--map",
        type=Path,
        default=Path(".cache/mutation/map.json"),
        help="which test runs which line; made where it lacks",
    )
    parser.add_argument("--tests", nargs="*", default=["tests"], help="what the map is made of")
    asked = parser.parse_args()
    os.chdir(ROOT)
    os.environ.update(
        CI="1",
        TF_USE_LEGACY_KERAS="1",
        TF_CPP_MIN_LOG_LEVEL="3",
        CUDA_VISIBLE_DEVICES="",
        OMP_NUM_THREADS="1",
    )
    if not asked.map.exists():
        # A process of its own: this one must not have imported what is changed.
        command = [
            sys.executable,
            __file__,
            "--map",
            str(asked.map),
            "--mutants",
            "0",
            "--tests",
            *asked.tests,
        ]
        if asked.mutants:
            subprocess.run(command, check=True)
        else:
            Map.of(asked.tests).write(asked.map)
            return 0
    known = Map.read(asked.map)
    files = [
        file
        for path in asked.paths
        for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
    ]
    chosen = mutants(files, asked.mutants, asked.seed)
    for name in FRAMEWORKS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # pytest collects garbage, and would go through all of the frameworks each time.
    gc.freeze()
    # What is not changed is compiled once; a mutant's bytecode is never kept.
    print(_run(["--collect-only", *asked.tests], 600))
    sys.dont_write_bytecode = True
    healthy: set[str] = set()
    count, start = Counter[str](), time.monotonic()
    for mutant in chosen:
        if time.monotonic() - start > 60 * asked.minutes:
            break
        outcome, change = _tried(mutant, known, asked.seconds, healthy)
        count[outcome.partition(" ")[0]] += 1
        print(f"{outcome}: {mutant.file}:{mutant.start[0]} {mutant.operator}\n{change}", flush=True)
    print(f"{sum(count.values())} mutants: {dict(count)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
