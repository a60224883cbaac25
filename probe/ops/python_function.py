"""What only a NumPy function of the user's own tells."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.errors import Undescribed
from probe.numerics.precision import SIGMAS, Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.exactness import or_zero

__all__ = ["Recomputed"]

_RUNS = 4


@dataclass(frozen=True, eq=False)
class Recomputed(Op):
    """What the user's own function gives for the layer and its inputs."""

    function: Callable[..., Any]
    layer: Any
    output_count = None

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        found = self.function(self.layer, *inputs)
        if isinstance(found, tuple | list):
            return tuple(map(np.asarray, found))
        return (np.asarray(found),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        raise Undescribed(
            "the layer is recomputed by a registered NumPy function, which has no ONNX form"
        )

    def summary(self, inputs: Arrays) -> str:
        return f"your NumPy function {getattr(self.function, '__name__', '(unnamed)')}"

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """An estimate: how far the outputs move where the inputs move by rounding or their slack,
        and where they are narrowed first."""
        rng = np.random.default_rng(0)
        runs = [
            self.run(
                *(
                    self._moved(x, slack, precision, rng)
                    for x, slack in zip(of.inputs, of.slacks, strict=True)
                )
            )
            for _ in range(_RUNS)
        ]
        if precision.name in ("float32", "float16"):
            with np.errstate(all="ignore"):
                narrow = self.run(
                    *(x.astype(precision.name) if x.dtype.kind == "f" else x for x in of.inputs)
                )
            # The user's function may sum in a better order than the layer does.
            runs.append(
                tuple(
                    y + 4.0 * (np.asarray(rounded, np.float64) - y)
                    for rounded, y in zip(narrow, of.outputs, strict=True)
                )
            )
        allowed = []
        for index, y in enumerate(of.outputs):
            if y.dtype.kind != "f":
                allowed.append(np.zeros(y.shape))
                continue
            with np.errstate(all="ignore"):
                square = (
                    sum(
                        np.square(np.nan_to_num(run[index] - y, posinf=0.0, neginf=0.0))
                        for run in runs
                    )
                    / _RUNS
                )
            wander = np.sqrt(np.maximum(square, square.mean() if square.size else 0.0))
            own = 4 * precision.unit * np.where(np.isfinite(y), np.abs(y), 0.0)
            allowed.append(SIGMAS * wander + own + precision.tiny)
        return tuple(allowed)

    @staticmethod
    def _moved(
        x: np.ndarray, slack: np.ndarray | None, precision: Precision, rng: "np.random.Generator"
    ) -> np.ndarray:
        if x.dtype.kind != "f":
            return x
        tolerance = precision.unit * np.abs(x) + or_zero(slack)
        return x + rng.uniform(-1, 1, x.shape) * tolerance
