"""What does recomputing a long LSTM by hand cost next to PyTorch's own float32?

``python benchmarks/recurrent.py`` pins itself to one core and one thread; the two sides take turns,
the ratio of each round counts, and of nine rounds the median. It writes its section of RESULTS.md;
the exit status is 1 where the ratio exceeds the bar.
"""

import os
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

ROUNDS, BAR = 9, 4.5
ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
KINDS = (("LSTM", 1), ("LSTM", 16), ("GRU", 1), ("RNN", 1))


def taken(side: Callable[[], object]) -> float:
    start = perf_counter()
    side()
    return perf_counter() - start


def measured(kind: str, batch: int) -> tuple[list[float], list[float], float]:
    """Seconds of NumPy and of PyTorch in each round, and of judging the result; 256 units over
    2,000 steps of 256 features."""
    import numpy as np
    import torch

    import probe
    from probe.evaluation.numpy_reference import recompute
    from probe.model import Capture
    from probe.verdict.judge import judge
    from probe.verdict.options import Options

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer, calls = getattr(torch.nn, kind)(256, 256).eval(), list[Capture]()
    x = np.random.default_rng(0).normal(size=(2000, batch, 256)).astype(np.float32)
    probe.open_model(layer).run((x,), {""}, calls.append)
    described = calls[0].description
    assert described is not None
    given, ours, theirs = torch.from_numpy(x), list[float](), list[float]()
    with torch.no_grad():
        for turn in range(ROUNDS + 1):
            pair = taken(lambda: recompute(described.steps, (x,))), taken(lambda: layer(given))
            if turn:
                ours.append(pair[0])
                theirs.append(pair[1])
    whole = taken(lambda: judge(calls[0], options=Options(threads=1)))
    return ours, theirs, whole


def main() -> int:
    if any(os.environ.get(name) != value for name, value in ONE.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE})
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from results import keep, machine

    lines = [
        "| what | NumPy, seconds | PyTorch, seconds | ratio | bar | judged whole, seconds |",
        "|---|---|---|---|---|---|",
    ]
    fine = True
    for kind, batch in KINDS:
        ours, theirs, whole = measured(kind, batch)
        ratio = median(left / right for left, right in zip(ours, theirs, strict=True))
        barred = (kind, batch) == KINDS[0]
        fine = fine and (not barred or ratio <= BAR)
        bar = f"{BAR}" if barred else ""
        lines.append(
            f"| {kind}, batch {batch} | {median(ours):.3f} | {median(theirs):.3f} | "
            f"{ratio:.2f} | {bar} | {whole:.2f} |"
        )
    how = (
        "Written by `python benchmarks/recurrent.py`: "
        f"{machine('numpy', 'torch', 'onnxruntime')}, of which one is used, at one thread.\n"
        "256 units over 2,000 steps of 256 features, random weights. NumPy computes in float64, "
        "PyTorch in float32; the two take turns, "
        f"and the ratio is the median of {ROUNDS} rounds. Judging holds the framework and ONNX "
        "Runtime against NumPy, step by step."
    )
    keep("Recurrences", f"{how}\n\n" + "\n".join(lines))
    print("\n".join(lines))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
