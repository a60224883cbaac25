"""Which arithmetic the engines of TensorFlow Lite have: operators on codes that are drawn, and nets
of others, computed in NumPy and ONNX Runtime and held against LiteRT's three resolvers and TFLM,
value by value.

``python benchmarks/tflite.py [draws] [file.tflite ...]``: the files are swept on codes that are
drawn, an engine after another.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests" / "support")]

from results import keep, machine
from tflite_operators import OPERATORS, WITHOUT, described, drawn, gave

import probe
from probe import ops
from probe.errors import ProbeError, Undescribed
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck

ENGINES = import_module("probe.adapters.tflite.arithmetic").ENGINES
_SIZE = 24


@dataclass
class Cell:
    """What an engine's kernel of an operator does, and how many values ours has otherwise."""

    ways: set[str] = field(default_factory=set)
    values: int = 0
    differ: int = 0
    onnx: int = 0
    delegated: bool = False


def measured(name: str, draws: int) -> tuple[dict[str, Cell], int]:
    """Each engine's cell, and how many values TFLM has otherwise than XNNPACK."""
    cells, apart = {engine: Cell() for engine in ENGINES}, 0
    rng = np.random.default_rng(52)
    for number in range(draws):
        for case in drawn(name, rng, _SIZE):
            given = {}
            for engine, cell in cells.items():
                if (name, engine) in WITHOUT:
                    continue
                (y,), delegated = gave(case, engine)
                steps = described(case, engine, [y], delegated).steps
                values = recompute(steps, case.inputs)
                cell.values += y.size
                cell.differ += int((values[-1][0] != y).sum())
                cell.delegated |= delegated
                cell.ways |= {s.op.rounding for s in steps if isinstance(s.op, ops.Requantize)}
                if not number:
                    with suppress(Undescribed):  # gemmlowp's series have no form in ONNX
                        cell.onnx += int((crosscheck(steps, case.inputs, values)[0] != y).sum())
                given[engine] = y
            if "tflm" in given:
                apart += int((given["tflm"] != given["xnnpack"]).sum())
    return cells, apart


def table(draws: int) -> list[str]:
    lines = [
        f"| operator | values | {' | '.join(ENGINES)} | TFLM against XNNPACK |",
        "|---|---:|" + "---|" * len(ENGINES) + "---:|",
    ]
    for name in OPERATORS:
        cells, apart = measured(name, draws)
        shown = []
        for engine, cell in cells.items():
            if not cell.values:
                shown.append("–")
                continue
            way = ", ".join(sorted(cell.ways)) or "its own"
            own = " (not taken)" if engine == "xnnpack" and not cell.delegated else ""
            differ = f"{cell.differ:,}" + (f", ONNX Runtime {cell.onnx:,}" if cell.onnx else "")
            shown.append(f"{way} **{differ}**{own}")
        count = cells["xnnpack"].values
        share = f"{apart:,} ({apart / count:.2%})" if cells["tflm"].values else "–"
        lines.append(f"| {name} | {count:,} | {' | '.join(shown)} | {share} |")
        print(lines[-1], flush=True)
    return lines


def swept(path: Path, engine: str) -> Counter[str]:
    """What is said of the layers of a file."""
    try:
        model = probe.open_model(path, engine=engine)
        said = Counter(report.verdict for report in probe.sweep(model, search=False))
    except ProbeError as error:
        print(f"{path.stem} in {engine}: {error}", flush=True)
        return Counter({"does not run": 1})
    return said


def nets(paths: Iterable[Path]) -> list[str]:
    lines = ["| net | " + " | ".join(ENGINES) + " |", "|---|" + "---|" * len(ENGINES)]
    for path in paths:
        shown = []
        for engine in ENGINES:
            said = swept(path, engine)
            shown.append(", ".join(f"{count} {word}" for word, count in sorted(said.items())))
        lines.append(f"| {path.stem} | {' | '.join(shown)} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    numbers = [word for word in sys.argv[1:] if word.isdigit()]
    files = [Path(word) for word in sys.argv[1:] if not word.isdigit()]
    body = [
        f"Written by `python benchmarks/tflite.py`: "
        f"{machine('ai-edge-litert', 'tflite-micro', 'onnxruntime', 'numpy')}, "
        f"{os.uname().machine}. In each cell the rounding, and how many of the values differ from "
        "the engine's; – where it has no such kernel, or one that leaves its results as they are.",
        "",
        *table(int(numbers[0]) if numbers else 20),
    ]
    if files:
        body += ["", "Nets of others, every layer on the engine's own inputs:", "", *nets(files)]
    keep("TensorFlow Lite, bit for bit", "\n".join(body))


if __name__ == "__main__":
    main()
