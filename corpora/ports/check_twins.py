"""Hold that every right port agrees with its framework, and that every mistake shows.

Run as `python -m corpora.ports.check_twins [part of a case's name ...]`.
"""

import os
import sys
import traceback
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import torch

from corpora.ports import FAMILIES, cases_of
from corpora.ports.case import Case

ROUNDING = 1e-4
VISIBLE = 1e-3
# `what` says this where a mistake changes less than that.
SMALL = "inherently small"


def first_tensor(output: Any) -> Any:
    """The first tensor of what a layer returned."""
    if isinstance(output, dict):
        output = tuple(output.values())
    while isinstance(output, (tuple, list)):
        output = output[0]
    return output


def framework_output(model: Any, x: Any, layer: str) -> np.ndarray:
    """What the layer puts out in its framework."""
    if isinstance(model, keras.Model):
        if layer:
            ins = model.inputs[0] if len(model.inputs) == 1 else model.inputs
            model = keras.Model(ins, model.get_layer(layer).output)
        x = list(x) if isinstance(x, tuple) else x
        return keras.ops.convert_to_numpy(first_tensor(model(x, training=False)))
    seen: list[Any] = []
    module = model.get_submodule(layer)
    hook = module.register_forward_hook(lambda _m, _x, output: seen.append(first_tensor(output)))
    with torch.no_grad():
        if isinstance(x, dict):
            model(**{name: torch.tensor(value) for name, value in x.items()})
        else:
            model(*(torch.tensor(value) for value in (x if isinstance(x, tuple) else (x,))))
    hook.remove()
    return seen[0].numpy()


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The greatest difference over the greatest magnitude of what is right."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return float("inf")
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    return float(difference.max() / np.abs(theirs).max())


def complaints(case: Case) -> list[str]:
    """What does not hold of a case."""
    model, x = case.build()
    theirs = framework_output(model, x, case.layer)
    found = []
    far = distance(case.right(model, x), theirs)
    if not far <= ROUNDING:
        found.append(f"right: {far:.3g} away")
    for name, mistake in case.wrong.items():
        far = distance(mistake.port(model, x), theirs)
        small = SMALL in mistake.what
        if not (far > 0 if small else far > VISIBLE):
            found.append(f"{name}: only {far:.3g} away")
        elif small and far > VISIBLE:
            found.append(f"{name}: is said to be small, and is {far:.3g} away")
        elif "-v" in sys.argv:
            print(f"  {case.name} {name}: {far:.3g}")
    return found


def main(wanted: list[str]) -> int:
    """Check the cases, and print how many there are."""
    failed, names = 0, set()
    total = {"cases": 0, "mistakes": 0, "several causes": 0}
    for family in FAMILIES:
        cases = cases_of(family)
        for case in cases:
            assert case.name not in names, case.name
            names.add(case.name)
            if wanted and not any(part in f"{family}.{case.name}" for part in wanted):
                continue
            try:
                found = complaints(case)
            except Exception:
                found = [traceback.format_exc()]
            failed += bool(found)
            for line in found:
                print(f"{family}.{case.name}: {line}")
        total["cases"] += len(cases)
        mistakes = [mistake for case in cases for mistake in case.wrong.values()]
        total["mistakes"] += len(mistakes)
        total["several causes"] += sum(mistake.causes > 1 for mistake in mistakes)
        print(f"{family}: {len(cases)} cases, {len(mistakes)} mistakes", flush=True)
    print(", ".join(f"{count} {what}" for what, count in total.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main([argument for argument in sys.argv[1:] if not argument.startswith("-")]))
