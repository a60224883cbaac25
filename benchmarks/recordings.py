"""What does a recording cost, and what does it save?

Ratios alone, each to its bar: whole processes as in startup.py (interleaved, the median of five
rounds), and a resnet50 at 224 x 224 in one process. It prints the table, writes RESULTS.md beside
this file, and exits with 1 where a ratio exceeds its bar.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from results import keep, machine

import probe

HERE = Path(__file__).parent
ROUNDS = 5
PROBE = str(Path(sys.executable).parent / "probe")
MEMORY = """
import sys, probe
kept = probe.open_model(sys.argv[1])
next(iter(probe.sweep(sys.argv[2])))
held = lambda key: next(
    int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)
)
open("/proc/self/clear_refs", "w").write("5")
before = held("VmRSS")
for _ in probe.sweep(kept):
    pass
print((held("VmHWM") - before) / 1024)
"""


def seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def processes(folder: Path) -> dict[str, float]:
    """Whole processes, beside the imports that they need and beside a small recording."""
    small, large = str(folder / "small.npz"), str(folder / "large.npz")
    np.save(folder / "mine.npy", probe.check(small, "conv2d").outputs["framework"])
    commands = {
        "imports": [sys.executable, "-c", "import numpy, onnx, onnxruntime"],
        "check": [PROBE, small, "--layer", "conv2d", "--expect", str(folder / "mine.npy")],
        "list small": [PROBE, small],
        "list large": [PROBE, large],
        "layer small": [PROBE, small, "--layer", "conv2d"],
        "layer large": [PROBE, large, "--layer", "layer1.0.conv1"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for round_ in range(ROUNDS + 1):
        for name, command in commands.items():
            spent = seconds(lambda command=command: subprocess.run(command, capture_output=True))
            if round_:
                taken[name].append(spent)

    def ratio(name: str, base: str) -> float:
        return median(a / b for a, b in zip(taken[name], taken[base], strict=True))

    return {
        "a check against the imports": ratio("check", "imports"),
        "listing against a small one": ratio("list large", "list small"),
        "one layer against one of a small one": ratio("layer large", "layer small"),
    }


def recording(folder: Path) -> dict[str, float]:
    """A resnet50: recording beside a sweep, and the file beside its arrays."""
    import torch
    import torchvision

    torch.manual_seed(0)
    model = probe.open_model(torchvision.models.resnet50(weights=None).eval())
    x = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    path = folder / "large.npz"

    def record() -> None:
        probe.record(model, x, path)

    def sweep() -> None:
        list(probe.sweep(model, x))

    sweep()
    times = [(seconds(record), seconds(sweep)) for _ in range(3)]
    with zipfile.ZipFile(path) as archive:
        arrays = json.loads(archive.read("recording.json"))["arrays"]
    return {
        "recording against a sweep": median(one / other for one, other in times),
        "the file against its arrays": path.stat().st_size / sum(one["bytes"] for one in arrays),
    }


BARS = {
    "a check against the imports": 2.0,
    "recording against a sweep": 1.3,
    "the file against its arrays": 1.02,
    "listing against a small one": 1.3,
    "one layer against one of a small one": 1.5,
    "a sweep beyond the resident size, MiB": 64.0,
}


def main() -> int:
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have theirs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        examples = HERE.parent / "examples"
        small = str(folder / "small.npz")
        asked = [PROBE, "record", str(examples / "digits_qkeras.h5"), "-o", small]
        subprocess.run([*asked, "--input", str(examples / "digits.npy")], check=True)
        found = recording(folder) | processes(folder)
        told = subprocess.run(
            [sys.executable, "-c", MEMORY, str(folder / "large.npz"), small],
            capture_output=True,
            text=True,
            check=True,
        )
        found["a sweep beyond the resident size, MiB"] = float(told.stdout)
    rows = [f"| {name} | {found[name]:.2f} | {bar:g} |" for name, bar in BARS.items()]
    table = "\n".join(["| what | measured | bar |", "|---|---|---|", *rows])
    print(table)
    packages = ("numpy", "torch", "torchvision", "onnxruntime")
    head = f"Written by `python benchmarks/recordings.py`: {machine(*packages)}."
    keep("Recordings", f"{head} A resnet50 at 224 x 224 beside a small QKeras net.\n\n{table}")
    return int(any(found[name] > bar for name, bar in BARS.items()))


if __name__ == "__main__":
    sys.exit(main())
