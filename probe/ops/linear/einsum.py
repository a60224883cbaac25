"""Products of several inputs of a layer: matrix products in batches, and sums of products by
Einstein's convention."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_partial_sums, of_sums
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Sum
from probe.ops.contributions import Contributions, Terms
from probe.ops.exactness import without_rounding
from probe.ops.linear.im2col_gemm import holds, powered, scale_of

__all__ = ["Einsum", "Product"]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
Labels = tuple[tuple[str, ...], ...]
"""A letter for each axis: of every input, and last of the output."""


class _Product(Sum):
    """Sums of products of one element of each input, which letters on the axes pick: those of equal
    letters go together."""

    def labels(self, inputs: Arrays) -> Labels:
        raise NotImplementedError

    def of_squares(self, inputs: Arrays) -> np.ndarray:
        """The same of the squares of the inputs."""
        return self.run(*(np.square(np.asarray(x, np.float64)) for x in inputs))[0]

    def summary(self, inputs: Arrays) -> str:
        count = self.term_count(inputs, ())
        if count > 1:
            return f"each output is a sum of {count} products"
        return "each output is a product"

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        *_, out = self.labels(inputs)
        return math.prod(size for letter, size in self._sizes(inputs).items() if letter not in out)

    def sum_of_squares(self, inputs: Arrays) -> np.ndarray:
        return self.of_squares(inputs)

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        return without_rounding([(self.term_count(inputs, ()), inputs)], (), precision)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        # One rounding for every product after the first of a term.
        own = of_sums(
            self.term_count(of.inputs, of.outputs),
            of.outputs[0],
            max(1, len(of.inputs) - 1) * self.of_squares(of.inputs),
            precision,
        )
        if of.few is not None:
            looked = of_partial_sums(self.terms(of.inputs, of.few), precision)
            own[of.few] = np.maximum(own[of.few], looked.reshape(np.shape(own[of.few])))
        moved = [
            np.zeros(np.shape(x)) if slack is None else slack
            for x, slack in zip(of.inputs, of.slacks, strict=True)
        ]
        squares = np.zeros(())
        for k, slack in enumerate(of.slacks):
            if slack is not None:
                squares = (
                    squares
                    + self.of_squares([*of.inputs[:k], slack, *of.inputs[k + 1 :]])
                    + (self.of_squares(moved) if k else 0)
                )
        return (own + np.sqrt(squares),)

    def _sizes(self, inputs: Arrays) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for labels, x in zip(self.labels(inputs), inputs, strict=False):
            for letter, size in zip(labels, x.shape, strict=True):
                if size == 1:
                    sizes.setdefault(letter, 1)
                else:
                    sizes[letter] = max(size, sizes.get(letter, 0))
        return sizes

    def _places(self, inputs: Arrays, where: Indices) -> list[Indices]:
        """For each input, where the terms of the outputs at ``where`` stand in it: (elements,
        terms) on every axis."""
        *sources, out = self.labels(inputs)
        sizes = self._sizes(inputs)
        summed = [letter for letter in sizes if letter not in out]
        grid = np.indices([sizes[letter] for letter in summed]).reshape(
            len(summed), math.prod(sizes[letter] for letter in summed)
        )
        at = {letter: np.asarray(index)[:, None] for letter, index in zip(out, where, strict=True)}
        at |= {letter: index[None, :] for letter, index in zip(summed, grid, strict=True)}
        shape = (len(where[0]) if where else 1, math.prod(sizes[letter] for letter in summed))
        return [
            tuple(
                np.broadcast_to(at[letter] if size > 1 else np.zeros((1, 1), int), shape)
                for letter, size in zip(labels, x.shape, strict=True)
            )
            for labels, x in zip(sources, inputs, strict=True)
        ]

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, terms, 1)."""
        terms: np.ndarray | float = 1.0
        for x, places in zip(inputs, self._places(inputs, where), strict=True):
            terms = terms * x[places]
        return np.asarray(terms)[:, :, None]

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        places = [
            np.stack(indices, axis=-1)[0]
            for indices in self._places(inputs, tuple(np.array([i]) for i in at))
            if indices
        ]
        if len(inputs) > 2 or len(places) != len(inputs):
            return super().contributions(inputs, outputs, at)
        if len(inputs) == 1:
            return Contributions((Terms(places[0]),))
        return Contributions((Terms(places[0], factor=1, factor_where=places[1]),))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        *given, out = self.labels(inputs)
        return tuple(
            self._influence(mask, out, labels, x.shape)
            for labels, x in zip(given, inputs, strict=True)
        )

    @staticmethod
    def _influence(
        mask: np.ndarray, out: Sequence[str], labels: Sequence[str], shape: tuple[int, ...]
    ) -> np.ndarray:
        kept = [letter for letter in out if letter in labels]
        part: np.ndarray = np.asarray(
            mask.any(axis=tuple(axis for axis, letter in enumerate(out) if letter not in labels))
        )
        at = np.indices(shape, sparse=True)
        same: np.ndarray = np.ones(shape, bool)
        for axis, letter in enumerate(labels):
            # a letter twice on one input is its diagonal
            same = same & (at[axis] == at[labels.index(letter)])
        unit_axes = tuple(
            axis for axis, letter in enumerate(kept) if shape[labels.index(letter)] == 1
        )
        part = np.asarray(part.any(axis=unit_axes, keepdims=True))
        return same & part[tuple(at[labels.index(letter)] for letter in kept)]


@dataclass(frozen=True, eq=False)
class Product(_Product):
    """x (*batch, n, k) times y (*batch, k, m), whose batch axes broadcast; an x or y of one axis is
    a vector (ONNX MatMul)."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(np.matmul(*inputs)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("MatMul", *inputs),)

    def labels(self, inputs: Arrays) -> tuple[tuple[str, ...], ...]:
        x, y = (max(0, operand.ndim - 2) for operand in inputs)
        batch = tuple(_LETTERS[: max(x, y)])
        row, column = ("N",) if inputs[0].ndim > 1 else (), ("M",) if inputs[1].ndim > 1 else ()
        return (
            (*batch[len(batch) - x :], *row, "K"),
            (*batch[len(batch) - y :], "K", *column),
            (*batch, *row, *column),
        )

    def of_squares(self, inputs: Arrays) -> np.ndarray:
        by = [scale_of(x) for x in inputs]
        if not all(map(holds, by)):
            return np.asarray(np.matmul(*(np.square(np.asarray(x, np.float64)) for x in inputs)))
        x, y = (
            powered(operand, np.dtype(np.float32), 2, scale)
            for operand, scale in zip(inputs, by, strict=True)
        )
        return (np.asarray(np.matmul(x, y), np.float64) + inputs[0].shape[-1] * 2.0**-126) * (
            by[0] * by[1]
        ) ** -2


@dataclass(frozen=True, eq=False)
class Einsum(_Product):
    """The sum over every letter that the output lacks (ONNX Einsum), such as "bij,bjk->bik" or
    "...i,ij->...j"."""

    equation: str

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        *given, out = self.labels(inputs)
        letters = {
            letter: number
            for number, letter in enumerate(
                dict.fromkeys(letter for labels in given for letter in labels)
            )
        }
        pairs = [
            part
            for x, labels in zip(inputs, given, strict=True)
            for part in (x, [letters[letter] for letter in labels])
        ]
        return (np.asarray(np.einsum(*pairs, [letters[letter] for letter in out], optimize=True)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Einsum", *inputs, equation=self.equation.replace(" ", "")),)

    def labels(self, inputs: Arrays) -> tuple[tuple[str, ...], ...]:
        before, arrow, after = self.equation.replace(" ", "").partition("->")
        terms = before.split(",")
        free = [letter for letter in _LETTERS if letter not in self.equation]
        extra = [
            x.ndim - len(term.replace("...", "")) if "..." in term else 0
            for term, x in zip(terms, inputs, strict=True)
        ]
        longest = free[: max(extra)]
        if not arrow:
            seen = "".join(terms).replace("...", "")
            after = ("..." if longest else "") + "".join(
                sorted(letter for letter in set(seen) if seen.count(letter) == 1)
            )
        found = [
            _spelled(term, longest[len(longest) - count :])
            for term, count in zip(terms, extra, strict=True)
        ]
        return (*found, _spelled(after, longest))


def _spelled(term: str, extra: Sequence[str]) -> tuple[str, ...]:
    """The letters of a term, with those that its ellipsis stands for."""
    head, dots, tail = term.partition("...")
    if dots:
        return (*head, *extra, *tail)
    return tuple(term)
