"""What is said of mistakes that others made: ``python benchmarks/independent.py [FAMILY ...]``.

Every port of tests/independent (which knows nothing of the causes that are looked for) is held
against its model: the right ones must agree, the wrong ones differ. For each mistake the cause that
is named first stands beside what was done in truth; whether it says the same is for a reader to
judge. A line of JSON each goes to --lines FILE, where it is given.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
sys.path.append(str(Path(__file__).parents[1] / "tests" / "independent"))

import numpy as np

import probe


def families() -> list[str]:
    names: list[str] = import_module("check_twins").families()
    return names


def asked(model: Any, layer: str, x: Any, values: np.ndarray) -> dict[str, Any]:
    """The verdict on the values of a port, and what is named first."""
    started = time.perf_counter()
    given = list(x) if isinstance(x, tuple) else x
    report = probe.check(model, layer, given, expected=values)
    first = report.findings[0] if report.findings else None
    return {
        "verdict": report.verdict,
        "sentence": report.sentence,
        "named": "" if first is None else " and ".join((first.slug, *first.also)),
        "claim": "" if first is None else first.claim,
        "exact": first is not None and first.left <= 1,
        "ties": sum(one.tie for one in report.findings),
        "seconds": round(time.perf_counter() - started, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*")
    parser.add_argument("--lines", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for family in options.families or families():
        for case in import_module(family).CASES:
            model, x = case.build()
            opened = probe.open_model(model)
            ports = {"": (case.right, "", 1)} | {
                name: (one.port, one.what, one.causes) for name, one in case.wrong.items()
            }
            for mistake, (port, what, causes) in ports.items():
                row = asked(opened, case.layer, x, port(model, x))
                row |= {
                    "family": family,
                    "case": case.name,
                    "mistake": mistake,
                    "what": what,
                    "causes": causes,
                }
                rows.append(row)
                if options.lines is not None:
                    with options.lines.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                if mistake:
                    print(f"| {case.name} | {what} | {row['named']}: {row['claim']} |", flush=True)
    right = Counter(row["verdict"] for row in rows if not row["mistake"])
    wrong = [row for row in rows if row["mistake"]]
    print(f"right ports: {dict(right)}")
    print(f"mistakes: {dict(Counter(row['verdict'] for row in wrong))}")
    print(f"a cause that reproduces the values: {sum(row['exact'] for row in wrong)}")
    return int(right.keys() != {"agree"})


if __name__ == "__main__":
    sys.exit(main())
