"""How often runs of given integers stand in a line of integers."""

from dataclasses import dataclass, replace

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Evaluated, Graph, Op

__all__ = ["CountNgrams"]

_INT64 = 7
"""TensorProto.INT64."""


@dataclass(frozen=True, eq=False)
class CountNgrams(Op):
    """For each of ``grams`` how often it stands in a line, its members next to each other or up to
    ``skips`` places apart.

    The count goes to the place in ``places``. In mode "IDF" it is the weight where there is any, in
    mode "TFIDF" times the weight.
    """

    grams: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]
    shortest: int
    longest: int
    skips: int
    mode: str = "TF"
    weights: tuple[float, ...] = ()

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x = np.atleast_2d(inputs[0])
        counts = np.zeros((len(x), max(self.places) + 1))
        for gram, place in zip(self.grams, self.places, strict=True):
            if not self.shortest <= len(gram) <= self.longest:
                continue
            # further apart than the line is long there is nothing
            skips = min(self.skips, x.shape[1]) if len(gram) > 1 else 0
            for step in range(1, skips + 2):
                starts = np.arange(max(0, x.shape[1] - step * (len(gram) - 1)))
                windows = x[:, starts[:, None] + step * np.arange(len(gram))]
                counts[:, place] += (windows == np.array(gram)).all(axis=-1).sum(axis=-1)
        if self.mode != "TF":
            factor = np.ones(counts.shape[1])
            if self.weights:
                factor[list(self.places)] = self.weights
            if self.mode == "IDF":
                counts = (counts > 0) * factor
            else:
                counts = counts * factor
        return (counts.reshape(*inputs[0].shape[:-1], -1),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        order = sorted(range(len(self.grams)), key=lambda at: len(self.grams[at]))
        sizes = [len(self.grams[at]) for at in order]
        most = max(sizes) + 1  # no gram is as long
        longest = max(min(self.longest, most), max(sizes))
        starts = [sum(size for size in sizes if size < n) for n in range(1, longest + 1)]
        pool = [gram for at in order for gram in self.grams[at]]
        if self.weights:
            weights = {"weights": [self.weights[at] for at in order]}
        else:
            weights = {}
        attributes = {
            "mode": self.mode,
            "min_gram_length": min(self.shortest, most),
            "max_gram_length": min(self.longest, most),
            "max_skip_count": min(self.skips, graph.shape(inputs[0])[-1]),
        }
        places = [self.places[at] for at in order]
        x = graph.op("Cast", inputs[0], to=_INT64)  # beside floats alone integers come as floats
        return (
            graph.op(
                "TfIdfVectorizer",
                x,
                ngram_counts=starts,
                ngram_indexes=places,
                pool_int64s=pool,
                **attributes,
                **weights,
            ),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """ONNX Runtime adds a weight as often as it counts."""
        if of.slacks[0] is not None and (of.slacks[0] > 0).any():
            return (np.full(of.outputs[0].shape, np.inf),)
        (counts,) = replace(self, mode="TF").run(*of.inputs)
        return ((counts + 1) * precision.unit * np.abs(of.outputs[0]) * bool(self.weights),)
