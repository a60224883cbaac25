"""Outputs that no layer of a model makes, as a table that it holds: they are in no pair, and are
compared as they are."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from probe.model_comparison.graphs.array_names import tell_apart
from probe.model_comparison.matching.level import rounding_of
from probe.model_comparison.passes import ComparedPasses, ModelPass

__all__ = ["unmade_outputs"]

_NEAR = (1e-4, 1e-8)
"""What rounding may do to such an output, relative and absolute."""
_LONGEST = 5
"""Outputs of more axes are not read in every order of them."""


def unmade_outputs(
    passes: ComparedPasses, tolerance: tuple[float, float] | None = None
) -> Iterator[str]:
    """What is to be said of those that hold other values in B than in A."""
    a, b = passes.of_a, passes.walked
    if passes.alone is not None or len(a.outputs) != len(b.outputs):
        return
    replaced = a.replacing is not None or b.replacing is not None
    for place, other in enumerate(_counterparts(a, b)):
        makes = {"A": place in a.graph.places, "B": other in b.graph.places}
        sides = [side for side, made in makes.items() if not made]
        if not sides or (replaced and len(sides) == 1):
            continue
        output, candidates = a.outputs[place], [b.outputs[other]]
        if _is_input(output, a) and _is_input(candidates[0], b):
            continue
        if output.size != candidates[0].size:  # outputs may be paired by what they hold
            candidates = [*b.outputs]
        ways = (way for array in candidates for way in _ways(array, output, passes.same_layout))
        if not any(_same(output, way, tolerance or _NEAR) for way in ways):
            yield (
                f"output {place}, which no layer makes in {' and '.join(sides)}, has other values "
                "in B than in A"
            )


def _counterparts(a: ModelPass, b: ModelPass) -> Sequence[int]:
    """For each output of A the place of B's: by name, or else the same."""
    mine, theirs = a.graph.output_names, b.graph.output_names
    if {*mine} == {*theirs} and tell_apart(mine) and tell_apart(theirs):
        return [theirs.index(name) for name in mine]
    return range(len(a.outputs))


def _is_input(output: np.ndarray, passed: ModelPass) -> bool:
    """Whether a model only hands on what it was given."""
    return any(np.array_equal(output, array) for array in passed.arrays)


def _ways(b: np.ndarray, a: np.ndarray, same_layout: bool) -> Iterator[np.ndarray]:
    """An array of B in the shape of A's: as it lies, or in another layout."""
    if a.size != b.size:
        return
    yield b.reshape(a.shape)
    if not same_layout and a.ndim == b.ndim <= _LONGEST:
        turned = (b.transpose(axes) for axes in permutations(range(b.ndim)))
        yield from (way for way in turned if way.shape == a.shape)


def _same(a: np.ndarray, b: np.ndarray, tolerance: tuple[float, float]) -> bool:
    """Whether two arrays hold the same numbers, but for rounding, to a narrower type too."""
    if not a.size or rounding_of(a, b) or rounding_of(b, a):
        return True
    rtol, atol = tolerance
    return bool(np.allclose(b, a, rtol, atol, equal_nan=a.dtype.kind == "f"))
