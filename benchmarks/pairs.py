"""Two models where the second has a fault that others planted: ``python benchmarks/pairs.py
[FAMILY ...]``.

Every pair of corpora/pairs (which knows nothing of how models are compared) is compared:
a healthy second model must have no source, a faulty one exactly those layers in which the fault
lies. A line of JSON for each goes to --lines FILE, where it is given; what is said of the reason
stands there beside what was done, for a reader to judge.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
sys.path.append(str(Path(__file__).parents[1] / "corpora" / "pairs"))

import probe


def same_place(ours: str, theirs: str) -> bool:
    """Whether one layer is the other, or holds it: `layer1.0/add` is of the block `layer1.0`."""
    one, other = (name.partition(":")[0].replace("/", ".") + "." for name in (ours, theirs))
    return one.startswith(other) or other.startswith(one)


def compared(model: Any, second: Any, x: Any, sources: tuple[tuple[str, ...], ...]) -> dict:
    """The verdict on a pair, which of the planted faults are named, and what else is."""
    started = time.perf_counter()
    given = list(x) if isinstance(x, tuple) else x
    try:
        found = probe.compare(model, second, given)
    except Exception as error:
        return {"verdict": "refused", "sentence": f"{type(error).__name__}: {error}"[:300]}
    named = [one.a for one in found.sources]
    hits = [
        any(same_place(layer, one) for layers in named for layer in layers for one in planted)
        for planted in sources
    ]
    beside = [
        layers
        for layers in named
        if not any(same_place(a, b) for a in layers for planted in sources for b in planted)
    ]
    first = found.sources[0] if found.sources else None
    return {
        "verdict": found.verdict,
        "sentence": found.sentence,
        "hits": sum(hits),
        "beside": beside,
        "layers": max(map(len, named), default=0),
        "unpaired": [list(names)[:5] for names in found.unpaired],
        "differs": [] if first is None else [str(one) for one in first.differs][:4],
        "causes": [] if first is None else [f"{one.slug}: {one.claim}" for one in first.findings],
        "seconds": round(time.perf_counter() - started, 2),
    }


def rows(families: list[str]) -> Any:
    for family in families:
        for pair in import_module(family).PAIRS:
            model, x = pair.build()
            with tempfile.TemporaryDirectory() as folder:
                yield family, pair, "", "", compared(model, pair.right(Path(folder)), x, ()), 0
            for name, fault in pair.wrong.items():
                with tempfile.TemporaryDirectory() as folder:
                    second = fault.build(Path(folder))
                    row = compared(model, second, x, fault.sources)
                yield family, pair, name, fault.what, row, len(fault.sources)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*")
    parser.add_argument("--lines", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    right, wrong = [], []
    for family, pair, name, what, row, planted in rows(
        options.families or import_module("check_twins").families()
    ):
        row |= {"family": family, "pair": pair.name, "fault": name, "what": what}
        row["planted"] = planted
        (wrong if name else right).append(row)
        if options.lines is not None:
            with options.lines.open("a") as file:
                file.write(json.dumps(row) + "\n")
        print(f"{pair.name} {name or 'healthy'}: {row['sentence']}", flush=True)
    faults = sum(row["planted"] for row in wrong)
    print(
        f"healthy pairs that agree: {sum(r['verdict'] == 'agree' for r in right)} of {len(right)}"
    )
    print(
        f"faulty pairs that diverge: {sum(r['verdict'] == 'diverge' for r in wrong)}/{len(wrong)}"
    )
    print(f"planted faults that are a source: {sum(r.get('hits', 0) for r in wrong)} of {faults}")
    print(f"sources where no fault lies: {sum(len(r.get('beside', [])) for r in [*right, *wrong])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
