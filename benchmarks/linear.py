"""Does the cost of a sweep grow linearly with the number of layers, and with the batch?

Stacks of 3 × 3 convolutions and activations, swept at growing depth and at growing batch; the least
of a few turns counts. The slope of log(seconds) over log(size) is fitted to the upper half, where
what a sweep costs at least no longer shows: at most 1.15 passes. Processor time on one core. Writes
linear.png (needs the extra ``bench``) and a section of RESULTS.md.
"""

import os
import sys
from pathlib import Path
from time import process_time

import numpy as np
from results import keep, machine

BAR = 1.15
TURNS = 5
LAYERS = (8, 16, 32, 64, 128, 256)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


def seconds(layers: int, batch: int) -> float:
    """Processor time, the least of a few sweeps, of ``layers`` layers, half of them convolutions,
    on (batch, 16, 32, 32)."""
    import torch

    import probe

    torch.manual_seed(0)
    parts = [
        part
        for _ in range(layers // 2)
        for part in (torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ELU())
    ]
    model = torch.nn.Sequential(*parts).eval()
    x = np.random.default_rng(0).normal(size=(batch, 16, 32, 32)).astype(np.float32)
    taken = []
    for _ in range(TURNS + 1):
        start = process_time()
        verdicts = [report.verdict for report in probe.sweep(model, x)]
        taken.append(process_time() - start)
        assert verdicts == ["agree"] * layers
    return min(taken[1:])


def slope(sizes: tuple[int, ...], taken: list[float]) -> float:
    """The exponent fitted to the upper half."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(taken[half:]), 1)[0])


def plot(sides: dict[str, tuple[tuple[int, ...], list[float]]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(sides), figsize=(8, 3.2), layout="constrained")
    for place, (name, (sizes, taken)) in zip(axes, sides.items(), strict=True):
        place.loglog(
            sizes, taken, "o-", label=f"a sweep: size to the power of {slope(sizes, taken):.2f}"
        )
        place.loglog(
            sizes,
            [taken[-1] * size / sizes[-1] for size in sizes],
            "--",
            color="gray",
            label="proportional",
        )
        place.set_xticks(sizes, [str(size) for size in sizes])
        place.set_xticks([], minor=True)
        place.set_xlabel(name)
        place.set_ylabel("seconds of processor time")
        place.legend(fontsize=8)
    figure.savefig(Path(__file__).parent / "linear.png", dpi=80)


def main() -> int:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sides = {
        "layers, batch 4": (LAYERS, [seconds(layers, 4) for layers in LAYERS]),
        "batch, 16 layers": (BATCHES, [seconds(16, batch) for batch in BATCHES]),
    }
    plot(sides)
    lines = [
        "| over | seconds of processor time | exponent of the upper half | bar |",
        "|---|---|---|---|",
    ]
    for name, (sizes, taken) in sides.items():
        told = ", ".join(f"{size}: {one:.3f}" for size, one in zip(sizes, taken, strict=True))
        lines.append(f"| {name} | {told} | {slope(sizes, taken):.2f} | {BAR} |")
    how = (
        f"Written by `python benchmarks/linear.py`: {machine('numpy', 'onnxruntime', 'torch')}.\n"
        "Sweeps of stacked 3 × 3 convolutions and ELUs on (batch, 16, 32, 32); one core, the "
        f"least of {TURNS} turns."
    )
    keep(
        "Growth",
        f"{how}\n\n" + "\n".join(lines) + "\n\n![seconds over layers and over batch](linear.png)",
    )
    print("\n".join(lines))
    return 0 if all(slope(sizes, taken) <= BAR for sizes, taken in sides.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
