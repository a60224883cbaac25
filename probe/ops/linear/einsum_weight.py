"""Sums of products of an input and a weight by Einstein's convention."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Indices
from probe.ops.contributions import Contributions, Terms
from probe.ops.linear.einsum import Einsum
from probe.ops.weight import Weight
from probe.ops.weight_effects import sizes

__all__ = ["WeightedEinsum"]


@dataclass(frozen=True, eq=False)
class WeightedEinsum(Einsum):
    """Einsum of the input and ``weight``, such as "bnd,ndh->bnh"."""

    weight: Weight

    def _both(self, inputs: Arrays) -> list[np.ndarray]:
        if len(inputs) == 1:
            return [inputs[0], self.weight.value.astype(np.float64)]
        return list(inputs)

    def labels(self, inputs: Arrays) -> tuple[tuple[str, ...], ...]:
        return super().labels(self._both(inputs))

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return super().run(*self._both(inputs))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return super().to_onnx(graph, inputs[0], graph.weight(self.weight))

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return super().term_count(self._both(inputs), outputs)

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        return super().is_exact(self._both(inputs), precision)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        both = self._both(of.inputs)
        weight = precision.unit * np.abs(both[1]) if precision.casts else None
        return super().error_bound(
            Evaluated(both, [of.slacks[0], weight], of.outputs, of.few), precision
        )

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, terms, 1)."""
        return super().terms(self._both(inputs), where)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        here = tuple(np.array([i]) for i in at)
        taken, factors = (
            np.stack(indices, axis=-1)[0] for indices in self._places(self._both(inputs), here)
        )
        return Contributions((Terms(taken, factor=self.weight, factor_where=factors),))

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        letters, own, _ = self.labels(inputs)
        if len({*letters}) < len(letters) or len({*own}) < len(own):
            return {}
        if worth is not None and not worth.all():
            return {}
        left = [letter for letter in letters if letter in own]
        summed = [axis for axis, letter in enumerate(letters) if letter not in own]
        x = sizes(inputs[0]).max(axis=tuple(summed), initial=0.0)
        x = x.transpose(sorted(range(len(left)), key=lambda axis: own.index(left[axis])))
        lengths = dict(zip(sorted(left, key=own.index), x.shape, strict=True))
        effect = x.reshape([lengths.get(letter, 1) for letter in own])
        return {"weight": effect if worth is None else effect * worth.min(initial=np.inf)}

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return super().influence(mask, self._both(inputs))[:1]
