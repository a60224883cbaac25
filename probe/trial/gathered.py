"""The steps of one call as one step, which can be left out or moved."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from probe.evaluation.numpy_reference import recompute
from probe.ops.base import Arrays, Op
from probe.ops.step import weights_of
from probe.ops.weight import Weight
from probe.trial.edit import Steps
from probe.trial.prices import STEP, multiplied, price

__all__ = ["Gathered", "weights_in", "with_weights"]


@dataclass(frozen=True, eq=False)
class Gathered(Op):
    """The steps of one call as one step; its weights are among those of the layer."""

    body: Steps
    call: str

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return recompute(self.body, inputs)[-1]

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        held = sum(weight.effective.size for weight in weights_in(self.body).values())
        return int(held // max((1, *outputs[0].shape[-1:])))


@price.register
def _(op: Gathered, inputs: Arrays, outputs: Arrays) -> float:
    elements = sum(x.size for x in (*inputs, *outputs))
    held = sum(weight.effective.size for weight in weights_in(op.body).values())
    rows = outputs[0].size // max((1, *outputs[0].shape[-1:]))
    return len(op.body) * (STEP + elements) + multiplied(held, rows)


def weights_in(steps: Steps) -> dict[str, Weight]:
    """The weights of steps by their names, those of whole calls too."""
    found = weights_of(steps)
    for step in steps:
        if isinstance(step.op, Gathered):
            found = {**weights_in(step.op.body), **found}
    return found


def with_weights(steps: Steps, arrays: Mapping[str, np.ndarray]) -> Steps:
    changed_steps = []
    for step in steps:
        parts = {part.name: getattr(step.op, part.name) for part in fields(step.op)}
        changed: dict[str, Any] = {
            name: replace(value, effective=arrays[value.name])
            for name, value in parts.items()
            if isinstance(value, Weight) and value.name in arrays
        }
        if isinstance(step.op, Gathered) and weights_in(step.op.body).keys() & arrays.keys():
            changed = {"body": with_weights(step.op.body, arrays)}
        changed_steps.append(replace(step, op=replace(step.op, **changed)) if changed else step)
    return tuple(changed_steps)
