"""Models whose file fixes the batch: more samples are compared in slices of it, one after the
other."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from probe.capture.model_inputs import Bound, bind
from probe.capture.user_arrays import InputArgument, Inputs, Shape
from probe.errors import BadInput, ForwardFailed
from probe.model import Model, recorded
from probe.model_comparison.sides import ArraysAlone, Side

__all__ = ["Batch", "batches"]

_MOST, _LOOKED_AT = 8, 256
"""So many slices are compared, and of so many the outputs are."""
_FURTHER, _LITTLE = 4.0, 1e-6
"""Outputs that lie so many times further apart than those before, and by more than that part of
their size, are looked into."""


class Batch(NamedTuple):
    """What both models are run on, the whole input or a slice of it."""

    x: Inputs | InputArgument
    x_b: Inputs | InputArgument
    shape: Shape
    how: str = ""
    """Of a slice: where the input comes from."""
    words: str = ""
    """Of a slice: whose batch is fixed, and which samples it holds."""
    some: str = ""
    """Of a slice: which part of the samples is compared, where that is not all."""
    beyond: bool = False
    """Of a slice: whether it is compared only where the outputs lie further apart than before."""

    def is_worth_it(self, apart: float, before: float) -> bool:
        """Whether it is compared, where its outputs lie so far ``apart``, and those of the slices
        ``before`` at most."""
        return not self.beyond or apart > _FURTHER * before + _LITTLE

    def notes(self, agrees: bool) -> tuple[str, ...]:
        """What is said of a slice that is the last to be compared."""
        if not self.words:
            return ()
        if agrees:
            return (f"{self.words}, and all agree",)
        return (f"{self.words}, the first that does not agree",)


def batches(
    a: Model | ArraysAlone,
    b: Model | ArraysAlone,
    x: Inputs | InputArgument,
    x_b: Inputs | InputArgument,
    shape: Shape,
    seed: int,
) -> Iterator[Batch]:
    """The slices that a fixed batch of A or B allows, or else all in one. BadInput where the number
    of samples allows none."""
    declared = {
        side: size for side, model in zip(Side, (a, b), strict=True) for size in _batch(model)
    }
    if isinstance(a, ArraysAlone) or isinstance(b, ArraysAlone) or not declared:
        yield Batch(x, x_b, shape)
        return
    bound = bind(a, x, shape, seed)
    counts = {array.shape[0] for array in bound.arrays if array.ndim}
    fixed = declared
    if not counts <= {*declared.values()} or len({*declared.values()}) > 1:
        models = {Side.A: a, Side.B: b}
        fixed = {side: size for side, size in declared.items() if _refuses(models[side], size + 1)}
    if len({*fixed.values()}) > 1:
        raise BadInput(
            f"A takes a batch of {fixed[Side.A]} and B one of {fixed[Side.B]}: no input fits both"
        )
    ((side, size), *_) = [*fixed.items()] or [(Side.A, 0)]
    if counts <= {size} or not size:
        yield Batch(x, x_b, shape)
    elif x is None and shape is None:
        drawn = [(size, *array.shape[1:]) for array in bound.arrays]
        yield Batch(x, x_b, drawn[0] if len(drawn) == 1 else drawn)
    elif len(counts) == 1 and min(counts) and not min(counts) % size:
        yield from _slices(bound, x, x_b, side, size)
    else:
        has = " and ".join(map(str, sorted(counts)))
        raise BadInput(
            f"{side.value} takes a batch of {size}, and the input has {has} samples: give as many, "
            "or a multiple"
        )


def _batch(model: Model | ArraysAlone) -> Iterator[int]:
    """The batch that a model's inputs are declared with, where all are with one."""
    if isinstance(model, ArraysAlone) or recorded(model) is not None:
        return
    sizes = {spec.shape[0] if spec.shape else None for spec in model.inputs or ()}
    size = next(iter(sizes), None)
    if len(sizes) == 1 and size:
        yield size


def _refuses(model: Model, size: int) -> bool:
    """Whether a model does not run on another batch than the declared one, which may be no more
    than what is drawn for it."""
    specs = model.inputs or ()
    if any(None in spec.shape for spec in specs):
        return True
    kinds = (spec.dtype if hasattr(np, spec.dtype) else "float32" for spec in specs)
    zeros = [
        np.zeros((size, *(length or 0 for length in spec.shape[1:])), kind)
        for spec, kind in zip(specs, kinds, strict=True)
    ]
    try:
        bound = bind(model, zeros)
        bound.model.run(bound.arrays, (), lambda _: None)
    except (BadInput, ForwardFailed):
        return True
    return False


def _slices(
    bound: Bound, x: Inputs | InputArgument, x_b: Inputs | InputArgument, side: Side, size: int
) -> Iterator[Batch]:
    count = bound.arrays[0].shape[0]
    values = x.values if isinstance(x, InputArgument) else x
    if not isinstance(values, Mapping):  # drawn, read of a picture or a text, or arrays in order
        values = [*bound.arrays]
    given = replace(x, values=values) if isinstance(x, InputArgument) else values
    compared = min(count // size, _MOST)
    some = "" if compared * size == count else f"{compared * size} of {count} samples"
    looked_at = min(count // size, _LOOKED_AT)
    others = f" (and those of up to sample {looked_at * size - 1} whose outputs lie further apart)"
    for place in range(looked_at):
        part = slice(place * size, (place + 1) * size)
        name = f"sample {part.start}" if size == 1 else f"samples {part.start}:{part.stop}"
        words = (
            f"{side.value} takes a batch of {size}: of the {count} samples of the input the first "
            f"{compared * size}{others if looked_at > compared else ''} are compared {size} at a "
            f"time; the pairs are those of {name}"
        )
        parts = _sliced(given, part, count), _sliced(x_b, part, count)
        yield Batch(*parts, None, bound.how, words, some, beyond=place >= compared)


def _sliced(x: Any, part: slice, count: int) -> Any:
    """Those samples of what has as many as the input: arrays, or tensors of a framework."""
    if isinstance(x, InputArgument):
        return replace(x, values=_sliced(x.values, part, count))
    if isinstance(x, Mapping):
        return {name: _sliced(value, part, count) for name, value in x.items()}
    if isinstance(x, list | tuple) and any(hasattr(value, "shape") for value in x):
        return [_sliced(value, part, count) for value in x]
    if getattr(x, "shape", None) and x.shape[0] == count:
        return x[part]
    return x
