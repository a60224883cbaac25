"""An array held against the shape that a model declares for it, and the way out where it does not
fit: axes to add, channels to move, values to flatten."""

import math
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import TYPE_CHECKING

from probe.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    from probe.model import InputSpec

__all__ = ["Shape", "by_name", "fits", "refuse_order", "refuse_shape", "refuse_shapes", "way_out"]

_ORDERED = 5
"""Inputs of which every order is tried."""
Shape = tuple[int | None, ...]
"""With None where a size is free."""


def fits(wanted: Shape, actual: Sequence[int]) -> bool:
    """The batch may always be another."""
    return len(wanted) == len(actual) and all(
        size in (None, other) for size, other in zip(wanted[1:], actual[1:], strict=True)
    )


def refuse_shape(
    who: str,
    wanted: Shape,
    actual: tuple[int, ...],
    axes: tuple[str, ...] = (),
    batch: int | None = None,
) -> None:
    """Raises BadInput where an array of that shape does not fit; ``axes`` are the names of those
    that are wanted, where they are known, and ``batch`` the one size of the batch that is taken."""
    if not fits(wanted, actual):
        shape = f"({', '.join(axes)})" if axes else _sizes(wanted)
        way_out = _way_out(axes, wanted, actual, batch or 1)
        raise BadInput(f"{who} expects {shape}; you gave {actual}: {way_out}")


def refuse_shapes(specs: "Sequence[InputSpec]", arrays: "Sequence[np.ndarray]") -> None:
    """The same for all inputs of a model that takes a batch of the declared size alone. A spec
    without axes leaves their number open, a size that is not positive is free."""
    refuse_order(specs, arrays)
    for spec, array in zip(specs, arrays, strict=False):
        wanted = tuple(size if size is None or size > 0 else None for size in spec.shape)
        if not wanted:
            continue
        who = "the model" if len(specs) == 1 else f"the input {spec.name!r}"
        refuse_shape(who, wanted, array.shape, batch=wanted[0])
        if wanted[0] not in (None, array.shape[0]):
            whole = (wanted[0], *array.shape[1:])
            raise BadInput(
                f"{who} expects {_sizes(wanted)}; you gave {array.shape}: it fixes the size of the "
                f"batch, the first axis, at {wanted[0]}: {_filling(array.shape, whole)}"
            )


def way_out(spec: "InputSpec", actual: tuple[int, ...]) -> str:
    """How an array of that shape is brought to the shape of an input that fixes the batch too."""
    wanted = tuple(spec.shape)
    if fits(wanted, actual):
        return _filling(actual, (wanted[0] or 1, *actual[1:]))
    return _way_out((), wanted, actual, wanted[0] or 1)


def refuse_order(specs: "Sequence[InputSpec]", arrays: "Sequence[np.ndarray]") -> None:
    """Raises BadInput where the arrays fit in another order alone."""
    shapes = [tuple(spec.shape) for spec in specs]
    given = [array.shape for array in arrays]
    if not 1 < len(shapes) <= _ORDERED or len(given) != len(shapes) or _all_fit(shapes, given):
        return
    if any(_all_fit(shapes, order) for order in permutations(given)):
        names = ", ".join(f"{spec.name} {_sizes(spec.shape)}" for spec in specs)
        raise BadInput(
            f"the model takes {names}; you gave {', '.join(map(str, given))}: they are in another "
            f"order, so give them by name, {by_name([spec.name for spec in specs])}"
        )


def by_name(names: Sequence[str]) -> str:
    """How several arrays are given under these names."""
    arrays = ", ".join(f"{name}={name}" for name in names)
    if all(map(str.isidentifier, names)):
        return f"np.savez('inputs.npz', {arrays}), or in Python dict({arrays})"
    arrays = ", ".join(f"{name!r}: x{place}" for place, name in enumerate(names))
    return f"np.savez('inputs.npz', **{{{arrays}}}), or in Python {{{arrays}}}"


def _all_fit(shapes: Sequence[Shape], given: Sequence[Sequence[int]]) -> bool:
    return all(
        not wanted or fits(wanted, shape) for wanted, shape in zip(shapes, given, strict=True)
    )


def _sizes(shape: Shape) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _filling(actual: tuple[int, ...], whole: tuple[int, ...]) -> str:
    """How samples are left out, or repeated, up to the size of a batch."""
    if actual[0] > whole[0]:
        return f"leave out the others, x[:{whole[0]}]"
    if math.prod(actual) == 0:
        return "give that many samples"
    return f"repeat the samples, np.resize(x, {whole}){_random(whole)}"


def _random(shape: Sequence[int]) -> str:
    return f" (for a random input: --shape {','.join(map(str, shape))})"


def _way_out(axes: tuple[str, ...], wanted: Shape, actual: tuple[int, ...], batch: int) -> str:
    """How to bring the array to the shape: add axes, move the channels, flatten, repeat the one
    sample for the batch; or else which size is wrong."""
    rank = len(wanted)
    for places, words in _axes_to_add(axes, rank):
        sizes = list(actual)
        for place in places:
            sizes.insert(place, 1)
        if fits(wanted, sizes):
            if batch > sizes[0] > 0:
                whole = (batch, *sizes[1:])
                return f"add {words} and repeat the sample, np.resize(x, {whole}){_random(whole)}"
            return f"add {words}, x[{_index(places, rank)}]{_random(sizes)}"
    if moved := _moved(wanted, actual, batch):
        return moved
    if rank == len(actual):
        axis = next(axis for axis in range(1, rank) if wanted[axis] not in (None, actual[axis]))
        return (
            f"{axes[axis] if axes else f'axis {axis}'} must be {wanted[axis]}, not {actual[axis]}"
        )
    if rank == 2 and len(actual) > 2 and wanted[1] in (None, math.prod(actual[1:])):
        return "flatten it, x.reshape(len(x), -1)"
    elements = math.prod(size or 0 for size in wanted[1:])
    if elements and math.prod(actual) and math.prod(actual) % elements == 0:
        samples = math.prod(actual) // elements
        if samples < batch:
            return f"reshape it and repeat the samples, np.resize(x, {(batch, *wanted[1:])})"
        return f"reshape it, x.reshape({', '.join(map(str, (samples, *wanted[1:])))})"
    return f"give it {rank} axes"


def _axes_to_add(axes: tuple[str, ...], rank: int) -> Iterator[tuple[tuple[int, ...], str]]:
    """Places of axes of size 1 that may have been left out, and how they are called."""
    if axes:
        channel = axes.index("channels") if "channels" in axes else rank - 1
        channels = {channel: axes[channel].rstrip("s")}
    else:
        channels = {rank - 1: "last", 1: "second"}
    for place, word in channels.items():
        yield (place,), f"a {word} axis"
    yield (0,), "a batch axis"
    for place, word in channels.items():
        yield (0, place), f"a batch and a {word} axis"


def _moved(wanted: Shape, actual: tuple[int, ...], batch: int) -> str:
    """How the channels are moved, and a batch axis is added where there is none."""
    missing = len(wanted) - len(actual)
    if missing not in (0, 1) or len(actual) < 2:
        return ""
    for source, target in ((1 - missing, -1), (-1, 1 - missing)):
        sizes = list(actual)
        size = sizes.pop(source)
        sizes.insert(len(actual) if target == -1 else target, size)
        if fits(wanted, [*[1] * missing, *sizes]):
            moved = f"np.moveaxis(x, {source}, {target})"
            if not missing:
                return f"move the channel axis, {moved}"
            if batch > 1:
                moved = f"np.resize({moved}, {(batch, *sizes)})"
                return f"move the channel axis and repeat the sample for the batch, {moved}"
            return f"add a batch axis and move the channel axis, {moved}[None]"
    return ""


def _index(places: tuple[int, ...], rank: int) -> str:
    """What to write between the brackets to add axes there."""
    if places == (rank - 1,):
        return "..., None"
    parts = ["None" if place in places else ":" for place in range(rank)]
    return ", ".join(parts[: max(places) + 1])
