"""What does comparing resnet50 with its export cost next to other ways to ask?

Next to sweeping both, and next to the tools that compare exports: ``python benchmarks/comparing.py
[--polygraphy PYTHON] [--onnx-diagnostic PYTHON]``. PYTHON is the interpreter of an environment that
has the tool, each of which wants other versions of other packages; without one it is left out.
Polygraphy runs as it does by default, every tensor an output: one model, whose outputs it saves,
then the other. Sides take turns; the ratio of each round counts, and of five rounds the median. The
exit status is 1 where a ratio exceeds its bar.
"""

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
import torchvision
from results import keep, machine

import probe

ROUNDS = 5
PROBE = [str(Path(sys.executable).parent / "probe"), "compare"]
FOLDED = {"dynamo": False, "opset_version": 17}
PLAIN = FOLDED | {
    "training": torch.onnx.TrainingMode.PRESERVE,
    "do_constant_folding": False,
}
MARKED = ["--onnxrt", "--onnx-outputs", "mark", "all"]
SAVED = ["--save-inputs", "in.json", "--save-outputs", "out.json"]
LOADED = ["--load-inputs", "in.json", "--load-outputs", "out.json"]


def make(folder: Path) -> tuple[torch.nn.Module, torch.Tensor]:
    """resnet50 with random weights, and what the commands read of it."""
    torch.manual_seed(0)
    net, x = torchvision.models.resnet50(weights=None).eval(), torch.randn(1, 3, 224, 224)
    torch.onnx.export(net, (x,), str(folder / "folded.onnx"), **FOLDED)
    torch.onnx.export(net, (x,), str(folder / "plain.onnx"), **PLAIN)
    program = torch.export.export(net, (x,))
    torch.export.save(program, folder / "net.pt2")
    torch.onnx.export(program, verbose=False).save(str(folder / "dynamo.onnx"), external_data=False)
    torch.save({"x": x}, folder / "x.pt")
    np.save(folder / "x.npy", x.numpy())
    return net, x


def seconds(act: Callable[[], object]) -> float:
    start = perf_counter()
    act()
    return perf_counter() - start


def rounds(ours: Callable[[], object], theirs: Callable[[], object]) -> list[tuple[float, float]]:
    """Seconds of both in each of five rounds, after one that does not count."""
    return [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS + 1)][1:]


def commands(folder: Path, *lines: list[str]) -> Callable[[], None]:
    """Whole processes, one after the other; what they say of the models is theirs to judge."""

    def act() -> None:
        for line in lines:
            done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
            if done.returncode not in (0, 1) or "Traceback" in done.stderr:
                raise RuntimeError(f"{' '.join(line)}\n{done.stderr[-2000:]}")

    return act


def swept(*pairs: tuple[object, object]) -> Callable[[], None]:
    def act() -> None:
        for model, x in pairs:
            for _ in probe.sweep(model, x):
                pass

    return act


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--polygraphy")
    parser.add_argument("--onnx-diagnostic")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net, x = make(folder)
        export = str(folder / "folded.onnx")
        taken = {
            ("probe.compare, a model and its export", "two sweeps", 1.6): rounds(
                lambda: probe.compare(net, export, x), swept((net, x), (export, x))
            )
        }
        if options.polygraphy:
            run = [options.polygraphy, str(Path(options.polygraphy).parent / "polygraphy"), "run"]
            taken["`probe compare`, two exports", "Polygraphy", 0.35] = rounds(
                commands(folder, [*PROBE, "folded.onnx", "plain.onnx", "--input", "x.npy"]),
                commands(
                    folder,
                    [*run, "folded.onnx", *MARKED, *SAVED],
                    [*run, "plain.onnx", *MARKED, *LOADED],
                ),
            )
        if options.onnx_diagnostic:
            side = ["sbs", "-i", "x.pt", "-e", "net.pt2", "-m", "dynamo.onnx", "-o", "out.xlsx"]
            ours = [*PROBE, "net.pt2", "dynamo.onnx", "--trust", "--input", "x.npy"]
            taken["`probe compare`, .pt2 and its export", "onnx-diagnostic", None] = rounds(
                commands(folder, ours),
                commands(folder, [options.onnx_diagnostic, "-m", "onnx_diagnostic", *side]),
            )
    lines = ["| what | seconds | next to | seconds | ratio | bar |", "|---|---|---|---|---|---|"]
    fine = True
    for (what, other, bar), found in taken.items():
        ratio = median(ours / theirs for ours, theirs in found)
        fine = fine and (bar is None or ratio <= bar)
        mine, theirs = (median(one) for one in zip(*found, strict=True))
        lines.append(
            f"| {what} | {mine:.1f} | {other} | {theirs:.1f} | {ratio:.2f} | "
            f"{'' if bar is None else bar} |"
        )
    table = "\n".join(lines)
    how = (
        f"Written by `python benchmarks/comparing.py`: {machine('numpy', 'torch', 'onnxruntime')}."
        "\nresnet50, one image of 224 × 224, random weights; the command is a whole process, as "
        "the tool next to it is."
    )
    keep("Comparing two models", f"{how}\n\n{table}")
    print(table)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
