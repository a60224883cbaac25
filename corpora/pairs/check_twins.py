"""Hold that each healthy second model gives the first's output, and that each fault shows.

Run as `python corpora/pairs/check_twins.py [part of a pair's name ...] [-v]`.
"""

import importlib
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Threads would wait for each other longer than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import numpy as np
from pair import Fault, Pair
from running import Outputs, outputs

HELPERS = {
    "application_ports",
    "check_twins",
    "edits",
    "exports",
    "keras_ports",
    "pair",
    "running",
    "seeded",
    "transformer_ports",
}
VISIBLE = 3e-5


def families() -> list[str]:
    """The modules of pairs."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem for file in files if file.stem not in HELPERS]


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The greatest difference over the greatest magnitude of what is right."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return float("inf")
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    return float(difference.max() / np.abs(theirs).max())


def _final(pair: Pair, found: Outputs) -> np.ndarray:
    return pair.from_b(found if "" not in found else found[""])


def misplaced(fault: Fault, layers: Outputs, right: Outputs, wrong: Outputs) -> list[str]:
    """The first layer that differs, unless it is a source, or holds one, or is held by one."""
    differ = [
        layer
        for layer in layers
        if layer and layer in wrong and distance(wrong[layer], right[layer]) > 1e-6
    ]
    named = [one for names in fault.sources for one in names]
    for layer in differ[:1]:
        nested = [(f"{one}.", f"{layer}.") for one in named]
        if any(one.startswith(other) or other.startswith(one) for one, other in nested):
            return []
    return differ[:1]


def complaints(pair: Pair, verbose: bool) -> list[str]:
    """What does not hold of a pair."""
    model, x = pair.build()
    layers = outputs(model, x)
    theirs = layers.get("", layers)
    found, given = [], pair.to_b(x)
    with tempfile.TemporaryDirectory() as folder:
        right = outputs(pair.right(Path(folder)), given)
    honest = distance(_final(pair, right), theirs)
    if verbose:
        print(f"  {pair.name}: {honest:.2g}, magnitude {np.abs(theirs).max():.3g}")
    if not honest <= pair.rounding:
        found.append(f"right: {honest:.3g} away")
    if theirs.std() < 1e-3 * max(1.0, np.abs(theirs).max()):
        found.append("the output hardly varies")
    known = {name for name, _ in getattr(model, "named_modules", lambda: [])()}
    known |= {layer.name for layer in getattr(model, "layers", []) if hasattr(layer, "name")}
    for name, fault in pair.wrong.items():
        unknown = {one for names in fault.sources for one in names} - known
        if unknown:
            found.append(f"{name}: no layers {sorted(unknown)}")
        with tempfile.TemporaryDirectory() as folder:
            other = fault.build(Path(folder))
            wrong = outputs(other, given)
        bar = max(VISIBLE, 3 * honest)
        far = distance(_final(pair, wrong), theirs)
        shared = [one for one in right if one in wrong and one]
        inside = max((distance(wrong[one], right[one]) for one in shared), default=0.0)
        if not (far > bar or inside > bar):
            found.append(f"{name}: only {far:.3g} away, {inside:.3g} in a layer")
        elif not np.isfinite(far):
            found.append(f"{name}: shapes differ or not finite")
        elif type(other) is type(model) or getattr(other, "suffix", "") == ".npz":
            first = misplaced(fault, layers, right, wrong)
            found += [f"{name}: {layer} is the first that differs" for layer in first]
        if verbose:
            print(f"    {name}: {far:.3g} at the end, {inside:.3g} in a layer")
    return found


def main(arguments: list[str]) -> int:
    """Check the pairs, and print how many there are."""
    wanted = [one for one in arguments if not one.startswith("-")]
    failed, names = 0, set()
    total = {"pairs": 0, "faults": 0, "with several sources": 0}
    for family in families():
        pairs: list[Pair] = importlib.import_module(family).PAIRS
        for pair in pairs:
            assert pair.name not in names, pair.name
            names.add(pair.name)
            if wanted and not any(part in f"{family}.{pair.name}" for part in wanted):
                continue
            start = time.perf_counter()
            try:
                found = complaints(pair, "-v" in arguments)
            except Exception:
                found = [traceback.format_exc()]
            failed += bool(found)
            for line in found:
                print(f"{family}.{pair.name}: {line}")
            if "-v" in arguments:
                print(f"  {pair.name}: {time.perf_counter() - start:.1f} s", flush=True)
        faults = [fault for pair in pairs for fault in pair.wrong.values()]
        total["pairs"] += len(pairs)
        total["faults"] += len(faults)
        total["with several sources"] += sum(len(fault.sources) > 1 for fault in faults)
        print(f"{family}: {len(pairs)} pairs, {len(faults)} faults", flush=True)
    print(", ".join(f"{count} {what}" for what, count in total.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
