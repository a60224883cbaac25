"""How long looking for the mistake takes in each layer of resnet50: ``python
benchmarks/diagnosis.py``.

Every layer of torchvision's resnet50 (random weights) at 224 x 224 is diagnosed three times with
the common causes: on values of an activation too many, on two mistakes at once, and on noise of the
same size as the output, where nothing can be found and all is tried. Layers of equal shapes are
taken once.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import results
import torch
import torchvision

import probe
from probe.diagnosis import outputs
from probe.model import Capture
from probe.verdict.judge import judge
from probe.verdict.options import Options, Search, Yours

BAR = 2.0
SHOWN = 6


def captures(batch: int) -> list[Capture]:
    """A call of each kind and shape."""
    torch.manual_seed(0)
    net = torchvision.models.resnet50(weights=None).eval()
    x = np.random.default_rng(0).normal(size=(batch, 3, 224, 224)).astype(np.float32)
    model = probe.open_model(net)
    kept: dict[tuple, Capture] = {}

    def keep(capture: Capture) -> None:
        if capture.description is not None:
            weights = tuple(
                one.effective.shape
                for step in capture.description.steps
                for one in vars(step.op).values()
                if hasattr(one, "effective")
            )
            kept.setdefault(
                (capture.kind, tuple(one.shape for one in capture.inputs), weights), capture
            )

    model.run((x,), None, keep)
    return list(kept.values())


def noise(y: np.ndarray) -> np.ndarray:
    return (y + np.random.default_rng(1).normal(scale=y.std() or 1.0, size=y.shape)).astype(
        np.float32
    )


def one(y: np.ndarray) -> np.ndarray:
    """The activation behind the layer, or none."""
    return np.tanh(y)


def two(y: np.ndarray) -> np.ndarray:
    """The channels reversed, and an activation."""
    return np.maximum(np.flip(y, 1), 0) if y.min() < 0 else np.tanh(np.flip(y, 1))


CASES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one mistake": one,
    "two mistakes": two,
    "noise": noise,
}


def seconds(capture: Capture, expected: np.ndarray) -> tuple[float, float, str]:
    """How long looking takes: by the clock, and of the processor's time; and what was found."""
    taken = []
    find = outputs.of_parties

    def timed(*args: Any, **options: Any) -> Any:
        clock, cpu = time.perf_counter(), time.process_time()
        found = find(*args, **options)
        taken.append((time.perf_counter() - clock, time.process_time() - cpu))
        return found

    outputs.of_parties = timed
    try:
        report = judge(capture, Yours(expected), Options(search=Search(), threads=1))
    finally:
        outputs.of_parties = find
    named = [" + ".join((finding.slug, *finding.also)) for finding in report.findings]
    return (*taken[0], named[0] if named else "nothing") if taken else (0.0, 0.0, "no difference")


def main(batches: tuple[int, ...]) -> None:
    rows, counted = [], []
    for batch in batches:
        calls = captures(batch)
        for name, wrong in CASES.items():
            timed = sorted(
                ((*seconds(one, wrong(one.outputs[0])), one) for one in calls),
                key=lambda row: -row[0],
            )
            named = sum(found != "nothing" for _, _, found, _ in timed)
            counted.append(
                f"{name}, batch {batch}: something is named in {named} of {len(timed)} layers"
            )
            print(counted[-1], flush=True)
            for took, cpu, found, one in timed[:SHOWN]:
                shape = " × ".join(map(str, one.outputs[0].shape))
                rows.append(
                    f"| {batch} | {name} | {one.layer} ({one.kind}) | {shape} | "
                    f"{took:.2f} | {cpu:.2f} | {found} |"
                )
                print(rows[-1], flush=True)
    head = (
        "| batch | values | layer | output | seconds | processor | named first "
        "|\n|---|---|---|---|---|---|---|"
    )
    lead = (
        "Written by `python benchmarks/diagnosis.py`: "
        f"{results.machine('numpy', 'torch', 'torchvision')}.\n"
        f"Every layer of resnet50 at 224 × 224 of its own kind and shapes; the {SHOWN} slowest "
        "each.\n"
        "How long looking for the mistake takes with the common causes, by the clock and in "
        "processor seconds "
        f"(load {os.getloadavg()[0]:.1f} when it ended); the bar is {BAR:g} s.\n"
        f"{'; '.join(counted).capitalize()}."
    )
    results.keep("Diagnosis", "\n".join([lead, "", head, *rows]))


if __name__ == "__main__":
    main(tuple(int(batch) for batch in sys.argv[1:]) or (1, 8))
