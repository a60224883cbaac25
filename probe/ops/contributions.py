"""How one element of an op's output came about, in the op's own layout: the terms of a sum, and
what is done to it then."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from probe.ops.weight import Weight

__all__ = ["Contributions", "Stage", "Terms", "box", "named"]


@dataclass(frozen=True, eq=False)
class Terms:
    """Elements of one input of an op, a row of ``where`` each; a place outside the input is padding
    and counts 0.

    ``factor`` is what each is multiplied by: the element ``factor_where`` of a weight or of another
    input, or nothing.
    """

    where: np.ndarray
    input: int = 0
    factor: Weight | int | None = None
    factor_where: np.ndarray | None = None
    sign: float = 1.0
    channels: np.ndarray | None = None
    """The input channel of each term, where the sum runs over channels too."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One thing done to a value: in words, and what the value is after it; ``members`` are further
    elements that it takes."""

    words: str
    value: float
    members: Terms | None = None


@dataclass(frozen=True, eq=False)
class Contributions:
    """Terms that are added up, with one element of a bias, and the stages after.

    A single term without a factor is a value that is only passed through the stages.
    """

    terms: tuple[Terms, ...]
    stages: tuple[Stage, ...] = ()
    bias: Weight | None = None
    bias_where: tuple[int, ...] = ()


def box(ranges: Sequence[Iterable[int] | int]) -> np.ndarray:
    """Every combination of one index per axis as rows, the last axis fastest."""
    axes = [
        np.atleast_1d(np.asarray(indices if isinstance(indices, int) else list(indices), int))
        for indices in ranges
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def named(weight: Weight, where: Sequence[int]) -> str:
    """Such as "gamma[3] 0.25": an element of a weight in the framework's indices, and its value."""
    index = ", ".join(str(int(at)) for at in weight.index_of(tuple(where)))
    return f"{weight.name}[{index}] {float(weight.value[tuple(where)]):.9g}"
