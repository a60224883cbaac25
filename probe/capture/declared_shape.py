"""An array held against the shape that a model declares for it, and the way out where it does not
fit: axes to add, channels to move, values to flatten."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from probe.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    from probe.model import InputSpec

__all__ = ["Shape", "fits", "refuse_shape", "refuse_shapes"]

Shape = tuple[int | None, ...]
"""With None where a size is free."""


def fits(wanted: Shape, actual: Sequence[int]) -> bool:
    """The batch may always be another."""
    return len(wanted) == len(actual) and all(
        size in (None, other) for size, other in zip(wanted[1:], actual[1:], strict=True)
    )


def refuse_shape(
    who: str, wanted: Shape, actual: tuple[int, ...], axes: tuple[str, ...] = ()
) -> None:
    """Raises BadInput where an array of that shape does not fit; ``axes`` are the names of those
    that are wanted, where they are known."""
    if not fits(wanted, actual):
        shape = ", ".join(axes or ("any" if size is None else str(size) for size in wanted))
        way_out = _way_out(axes, wanted, actual)
        raise BadInput(f"{who} expects ({shape}); you gave {actual}: {way_out}")


def refuse_shapes(specs: "Sequence[InputSpec]", arrays: "Sequence[np.ndarray]") -> None:
    """The same for all inputs of a model that takes a batch of the declared size alone. A spec
    without axes leaves their number open, a size that is not positive is free."""
    for spec, array in zip(specs, arrays, strict=False):
        wanted = tuple(size if size is None or size > 0 else None for size in spec.shape)
        if not wanted:
            continue
        who = "the model" if len(specs) == 1 else f"the input {spec.name!r}"
        refuse_shape(who, wanted, array.shape)
        if wanted[0] not in (None, array.shape[0]):
            sizes = ", ".join("any" if size is None else str(size) for size in wanted)
            raise BadInput(
                f"{who} expects ({sizes}); you gave {array.shape}: it fixes the size of the batch, "
                f"the first axis, at {wanted[0]}"
            )


def _way_out(axes: tuple[str, ...], wanted: Shape, actual: tuple[int, ...]) -> str:
    """How to bring the array to the shape: add axes, move the channels, flatten; or else which size
    is wrong."""
    rank = len(wanted)
    for places, words in _axes_to_add(axes, rank):
        sizes = list(actual)
        for place in places:
            sizes.insert(place, 1)
        if fits(wanted, sizes):
            shape = ",".join(map(str, sizes))
            return f"add {words}, x[{_index(places, rank)}] (for a random input: --shape {shape})"
    if moved := _moved(wanted, actual):
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
        text = ", ".join(map(str, (math.prod(actual) // elements, *wanted[1:])))
        return f"reshape it, x.reshape({text})"
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


def _moved(wanted: Shape, actual: tuple[int, ...]) -> str:
    """How the channels are moved, and a batch axis is added where there is none."""
    batch = len(wanted) - len(actual)
    if batch not in (0, 1) or len(actual) < 2:
        return ""
    for source, target in ((1 - batch, -1), (-1, 1 - batch)):
        sizes = list(actual)
        size = sizes.pop(source)
        sizes.insert(len(actual) if target == -1 else target, size)
        if fits(wanted, [*[1] * batch, *sizes]):
            moved = f"move the channel axis, np.moveaxis(x, {source}, {target})"
            return moved if not batch else f"add a batch axis and {moved}[None]"
    return ""


def _index(places: tuple[int, ...], rank: int) -> str:
    """What to write between the brackets to add axes there."""
    if places == (rank - 1,):
        return "..., None"
    parts = ["None" if place in places else ":" for place in range(rank)]
    return ", ".join(parts[: max(places) + 1])
