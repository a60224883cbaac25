"""What do recomputing a Transformer encoder, and sweeping one for images, cost next to the tools
that one would otherwise use?

As ``speed.py``, whose rounds and peer these are: every measurement is a process of its own, the two
sides take turns, and the median of the ratios counts. The encoder is held against PyTorch's own
forward pass, both on one core.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

from speed import ONE, REST, ROUNDS, rounds, swept, torchvision_model

BARS = [
    ("encoder, one thread", "NumPy, all layers", "torch, float32", 2.2),
    ("sweep vit_b_16", "sweep", "peer", 0.35),
]
SINGLE = {"encoder, one thread"}


def encoder() -> dict[str, list[float]]:
    """Twelve layers of 512 features and 8 heads on 1,024 tokens; every layer of a sweep is
    recomputed, sums and activations too."""
    import numpy as np
    import torch

    import probe
    from probe.evaluation.numpy_reference import recompute

    torch.manual_seed(0)
    torch.set_num_threads(1)
    layer = torch.nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 12, enable_nested_tensor=False).eval()
    x = np.random.default_rng(0).normal(size=(1, 1024, 512)).astype(np.float32)
    captures: list[Any] = []
    probe.open_model(model).run((x,), None, captures.append)
    calls = [one for one in captures if one.description is not None]
    assert len(calls) == len(captures)

    def layers() -> None:
        for one in calls:
            recompute(one.description.steps, one.inputs)

    def forward() -> None:
        with torch.no_grad():
            model(torch.from_numpy(x))

    return rounds({"NumPy, all layers": layers, "torch, float32": forward})


MEASUREMENTS: dict[str, Callable[[], dict[str, list[float]]]] = {
    "encoder, one thread": encoder,
    "sweep vit_b_16": lambda: swept(torchvision_model("vit_b_16")),
}


def measured(name: str) -> dict[str, list[float]]:
    """The measurement in a process of its own."""
    env = {**os.environ, **(ONE if name in SINGLE else {})}
    done = subprocess.run(
        [sys.executable, __file__, name], env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    if len(sys.argv) > 1:
        if sys.argv[1] in SINGLE:
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps(MEASUREMENTS[sys.argv[1]]()))
        return 0
    from results import keep, machine

    lines = ["| what | seconds | next to | seconds | ratio | bar |", "|---|---|---|---|---|---|"]
    fine = True
    for name, ours, theirs, bar in BARS:
        taken = measured(name)
        mine, other = taken[ours], taken[theirs]
        ratio = median(left / right for left, right in zip(mine, other, strict=True))
        fine = fine and not math.isnan(ratio) and ratio <= bar
        lines.append(
            f"| {name}: {ours} | {median(mine):.2f} | {theirs} | {median(other):.2f} | "
            f"{ratio:.2f} | {bar:.2f} |"
        )
    how = (
        "Written by `python benchmarks/attention.py`: "
        f"{machine('numpy', 'onnx', 'onnxruntime', 'torch')}. Median of {ROUNDS} rounds, "
    )
    how += f"each turn after a rest of {REST} s."
    keep("Attention", f"{how}\n\n" + "\n".join(lines))
    print("\n".join(lines))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
