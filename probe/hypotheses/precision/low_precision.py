"""Floats as narrower formats hold them: TF32, bfloat16, float16."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probe.ops.base import Elementwise, Sum
from probe.trial.case import Case
from probe.trial.edit import Steps
from probe.trial.gathered import Gathered

__all__ = ["SWITCHES", "WAYS", "StoredAs", "narrow_weights", "narrowed", "summing"]

SWITCHES = {
    "TF32": "; torch.backends.cuda.matmul.allow_tf32 = False",
    "bfloat16": '; torch.set_float32_matmul_precision("highest"), '
    'torch.backends.mkldnn.conv.fp32_precision = "ieee", and for TensorFlow '
    "no TF_SET_ONEDNN_FPMATH_MODE nor ONEDNN_DEFAULT_FPMATH_MODE in the environment",
}
"""What keeps the frameworks from computing so."""

_BITS = {"TF32": 13, "bfloat16": 16}
"""How many bits of a float32 are dropped."""
WAYS = {
    "TF32": ("ties away", "ties to even", "cut off"),
    "bfloat16": ("ties to even", "cut off"),
    "float16": ("ties to even",),
}
"""NVIDIA's conversion to TF32 rounds ties away from zero (PTX, cvt.rna.tf32.f32); cheap conversions
cut the bits off."""


def narrowed(
    x: np.ndarray, name: str, way: str = "ties to even", dtype: type = np.float64
) -> np.ndarray:
    """x as a narrower format holds it, in ``dtype``, float32 or float64."""
    with np.errstate(all="ignore"):
        if name == "float16":
            return np.asarray(x, np.float16).astype(dtype)
        kept = np.array(x, np.float32, order="C")
        bits = kept.reshape(-1).view(np.uint32)
        drop = np.uint32(_BITS[name])
        half = np.uint32(1 << (_BITS[name] - 1))
        if way == "ties away":
            bits += half
        elif way == "ties to even":
            bits += (bits >> drop) & np.uint32(1)
            bits += half - np.uint32(1)
        bits &= np.uint32(0xFFFFFFFF ^ ((1 << _BITS[name]) - 1))
        return kept.astype(dtype, copy=False)


@dataclass(frozen=True, eq=False)
class StoredAs(Elementwise):
    """Each value as a narrower format holds it."""

    roundings = 0
    format: str
    way: str = "ties to even"

    def f(self, x: np.ndarray) -> np.ndarray:
        return narrowed(x, self.format, self.way)


def summing(case: Case) -> list[tuple[int, Sum]]:
    return [
        (position, op)
        for position, op in case.having(Sum)
        if getattr(op, "weight", None) is not None
    ]


def _sums(steps: Steps) -> Iterator[Sum]:
    """The sums of products with weights, those within whole calls too."""
    for step in steps:
        if isinstance(step.op, Gathered):
            yield from _sums(step.op.body)
        elif isinstance(step.op, Sum) and getattr(step.op, "weight", None) is not None:
            yield step.op


def narrow_weights(case: Case, name: str, way: str) -> tuple[Steps, Steps]:
    """The steps with the weights of sums as a narrower format holds them: the kernels alone, and
    the biases too."""
    sums = list(_sums(case.steps))
    parts = ([getattr(op, part, None) for op in sums] for part in ("weight", "bias"))
    kernels, biases = (
        {
            weight.name: narrowed(weight.effective, name, way, np.float32)
            for weight in weights
            if weight is not None
        }
        for weights in parts
    )
    return case.with_weights(kernels), case.with_weights({**kernels, **biases})
