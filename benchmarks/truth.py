"""How often is a right layer called different, and a wrong one passed: by probe, and by the
tolerances that people set by hand?

Right layers: random ones of every family of ops, of PyTorch and of Keras on TensorFlow, each held
against NumPy and ONNX Runtime as well, and trained networks. Wrong ones: faults planted in the
framework's own layer. The hand-set tolerances are asked about the framework's output and NumPy's.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import reduce
from multiprocessing import get_context
from pathlib import Path

os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests" / "support")]

import numpy as np

import probe
from probe.errors import ForwardFailed
from probe.model import Capture
from probe.report import Report
from probe.verdict.judge import judge
from probe.verdict.options import Options, Yours

CASES = 1000
HALF_CASES = 200


def cosine(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether the two, as vectors, point the same way."""
    size = float(np.linalg.norm(left) * np.linalg.norm(right))
    return bool(np.vdot(left, right) > 0.99 * size) if size else not (left.any() or right.any())


RIVALS: dict[str, Callable[[np.ndarray, np.ndarray], bool]] = {
    "allclose": lambda left, right: np.allclose(left, right),
    "1e-3": lambda left, right: np.allclose(left, right, rtol=1e-3, atol=1e-3),
    "cosine": cosine,
}


@dataclass
class Tally:
    """What was said of some layers."""

    cases: int = 0
    said: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("agree", "diverge", "unchecked"), 0)
    )
    passed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RIVALS, 0))
    ratios: list[float] = field(default_factory=list)
    """For each layer the largest error in units of the allowance."""
    sentences: list[str] = field(default_factory=list)
    """What was said of those that diverge."""

    def add(self, report: Report, party: str = "framework") -> None:
        """Counts what is said of a party that is right or wrong."""
        self.cases += 1
        self.said[report.verdict] += 1
        self.ratios.append(max((one.ratio for one in report.comparisons.values()), default=0.0))
        if report.verdict == "diverge":
            self.sentences.append(f"{report.kind}: {report.sentence}")
        left, right = (np.asarray(report.outputs[party], np.float64) for party in (party, "numpy"))
        for name, passes in RIVALS.items():
            self.passed[name] += passes(left, right)

    def joined(self, other: "Tally") -> "Tally":
        return Tally(
            self.cases + other.cases,
            {name: count + other.said[name] for name, count in self.said.items()},
            {name: count + other.passed[name] for name, count in self.passed.items()},
            self.ratios + other.ratios,
            self.sentences + other.sentences,
        )


def healthy(family: str, framework: int, cases: int, dtype: str = "float32") -> Tally:
    """Random layers of a family: of PyTorch (0) or of Keras (1)."""
    from healthy import FAMILIES, computed_in

    tally = Tally()
    with computed_in(dtype):
        for capture in captured(FAMILIES[family][framework], cases, dtype):
            tally.add(judge(capture, options=Options(threads=1)))
    return tally


def captured(
    draw: Callable[[np.random.Generator], list[Capture]], cases: int, dtype: str
) -> Iterator[Capture]:
    """The calls of random layers; in half precision without those that the framework has no kernel
    for."""
    for seed in range(cases):
        try:
            yield from draw(np.random.default_rng(seed))
        except ForwardFailed:
            if dtype == "float32":
                raise


def senseless(family: str, framework: int, cases: int, dtype: str) -> Tally:
    """What is no output of such layers, of those that are checked, as the user's own: passed where
    it agrees."""
    from healthy import FAMILIES, computed_in, nonsense

    tally = Tally()
    with computed_in(dtype):
        for capture in captured(FAMILIES[family][framework], cases, dtype):
            report = judge(capture, options=Options(threads=1))
            if report.ok and capture.outputs[0].dtype.kind == "f":
                for wrong in nonsense(capture.outputs[0], np.asarray(report.outputs["numpy"])):
                    tally.add(judge(capture, Yours(wrong), Options(threads=1)), "expected")
    return tally


def trained() -> dict[str, Tally]:
    """Every layer of the trained networks."""
    from named import named

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model, x in named(Path(folder)):
            found[name] = Tally()
            for report in probe.sweep(model, x):
                found[name].add(report)
    return found


def planted() -> dict[str, Tally]:
    """The planted faults; each layer is also judged without its fault."""
    from planted import faults

    found: dict[str, Tally] = {}
    last = None
    for fault, layer, capture, wrong in faults():
        if capture is not last:
            healthy, last = judge(capture, options=Options(threads=1)), capture
            assert healthy.verdict == "agree", f"{layer}: {healthy.sentence}"
        report = judge(replace(capture, outputs=(np.asarray(wrong),)), options=Options(threads=1))
        found.setdefault(fault, Tally()).add(report)
        if report.verdict != "diverge":
            print(f"{fault} passed in {layer}: {report.sentence}")
    return found


def share(count: int, of: int) -> str:
    return "0" if not count else f"{count / of:.1%}"


def table_of_healthy(rows: Iterable[tuple[str, Tally]]) -> str:
    lines = [
        "| right layers | layers | probe: diverge | unchecked | error / allowance, median and "
        "largest "
        "| `allclose` | rtol=atol=1e-3 | cosine > 0.99 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, tally in rows:
        rivals = " | ".join(
            share(tally.cases - passed, tally.cases) for passed in tally.passed.values()
        )
        ratio = f"{np.median(tally.ratios):.2f}, {max(tally.ratios):.2f}"
        lines.append(
            f"| {name} | {tally.cases} | {tally.said['diverge']} | "
            f"{tally.said['unchecked']} | {ratio} | {rivals} |"
        )
    return "\n".join(lines)


def table_of_faults(rows: Iterable[tuple[str, Tally]]) -> str:
    lines = [
        "| planted fault | layers | probe: passed | error / allowance, smallest | `allclose` | "
        "rtol=atol=1e-3 | cosine > 0.99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, tally in rows:
        rivals = " | ".join(share(passed, tally.cases) for passed in tally.passed.values())
        missed = tally.said["agree"]
        lines.append(f"| {name} | {tally.cases} | {missed} | {min(tally.ratios):.3g} | {rivals} |")
    return "\n".join(lines)


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def main() -> int:
    from healthy import FAMILIES
    from results import keep, machine

    with ProcessPoolExecutor(2, get_context("spawn"), one_thread) as pool:
        faulty, real = pool.submit(planted), pool.submit(trained)
        parts = {
            name: [pool.submit(healthy, name, framework, CASES) for framework in (0, 1)]
            for name in FAMILIES
        }
        halves = {
            f"{name} in {dtype}": [
                pool.submit(healthy, name, framework, HALF_CASES, dtype) for framework in (0, 1)
            ]
            for dtype in ("bfloat16", "float16")
            for name in FAMILIES
        }
        wrong = {
            f"zeros, or the output negated, halved, doubled, reversed, shifted, in {dtype}": [
                pool.submit(senseless, name, framework, HALF_CASES // 5, dtype)
                for framework in (0, 1)
                for name in FAMILIES
            ]
            for dtype in ("float32", "bfloat16", "float16")
        }
        rows = {
            name: torch.result().joined(tensorflow.result())
            for name, (torch, tensorflow) in (parts | halves).items()
        } | real.result()
        faults = faulty.result() | {
            name: reduce(Tally.joined, [part.result() for part in tallies])
            for name, tallies in wrong.items()
        }
    alarms = [sentence for tally in rows.values() for sentence in tally.sentences]
    missed = sum(tally.said["agree"] for tally in faults.values())
    print(*alarms, sep="\n")
    packages = machine("numpy", "onnxruntime", "torch", "tensorflow", "keras", "tf_keras")
    keep(
        "Truth",
        "Written by `python benchmarks/truth.py`: "
        f"{packages}.\n{__doc__.partition(chr(10) * 2)[2].strip()}\n\n"
        "False alarms: layers called different though they are right, in numbers by probe and in "
        "shares by the others.\n\n"
        f"{table_of_healthy(rows.items())}\n\n"
        "Missed faults: layers passed though they are wrong.\n\n"
        f"{table_of_faults(faults.items())}",
    )
    print(table_of_healthy(rows.items()), table_of_faults(faults.items()), sep="\n\n")
    return 1 if alarms or missed else 0


if __name__ == "__main__":
    sys.exit(main())
