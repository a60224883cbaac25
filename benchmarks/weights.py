"""Which weights are read back from outputs, and whether what was done to them is said: ``python
benchmarks/weights.py [WORD ...]``.

Every kind of layer of tests/support/damaged_weights.py with every damage to its weight, computed by
the framework itself. With words only layers and damages whose names hold one of them are asked, and
nothing is kept in RESULTS.md. A mistake with a name of its own, such as weights in bfloat16, is no
other weights and gives none.
"""

import os
import sys
from collections import defaultdict
from pathlib import Path

os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

import results
from damaged_weights import asked as ask
from damaged_weights import cells

import probe


def main(words: list[str]) -> int:
    rows, built = [], {}
    for subject, damage in cells():
        if words and not any(word in f"{subject.name}; {damage.name}" for word in words):
            continue
        if subject.name not in built:
            built.clear()
            made = subject.build()
            built[subject.name] = made, probe.open_model(made.model)
        found = ask(*built[subject.name], subject, damage)
        rows.append((subject, damage, found))
        marks = ("" if found.right else "NOT NAMED ") + ("" if found.recovered else "(no weights) ")
        told = f"{marks}{found.told} | {found.seconds:.2f} s"
        print(f"{subject.name} | {damage.name} | {told}", flush=True)
    named, count = sum(one.right for *_, one in rows), len(rows)
    held = sum(one.recovered for *_, one in rows)
    print(f"named {named} of {count}, weights to 1e-4 {held}")
    if not words:
        keep(rows)
    return 0


def keep(rows: list) -> None:
    kinds, damages = defaultdict(list), defaultdict(list)
    for subject, damage, found in rows:
        kinds[subject.kind].append(found)
        damages[damage.name].append(found)
    lines = []
    for title, groups in (("layers", kinds), ("damage", damages)):
        lines.append(f"| {title} | asked | named | weights to 1e-4 | longest, s |")
        lines.append("|---|---|---|---|---|")
        for name, found in groups.items():
            lines.append(
                f"| {name} | {len(found)} | {sum(one.right for one in found) / len(found):.0%} | "
                f"{sum(one.recovered for one in found) / len(found):.0%} | "
                f"{max(one.seconds for one in found):.2f} |"
            )
        lines.append("")
    results.keep("Weights read back", "\n".join(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
