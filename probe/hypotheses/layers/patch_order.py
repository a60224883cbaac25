"""Patches whose pixels are in another order than the weights behind them expect."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from probe import ops
from probe.hypotheses.edits.rewriting import source_of, with_sources
from probe.hypotheses.registry import hypothesis
from probe.ops.step import Ref
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__ = ["is_of_patches"]


@hypothesis("patch-order")
def patch_order(case: Case) -> Iterator[Edit]:
    """The pixels of a patch are in another order: channels first instead of last, columns for rows,
    or the parts of a merged patch exchanged.

    A patch embedding written as a matrix product flattens patch and kernel alike: PyTorch's kernel
    has (channels, height, width), Keras' (height, width, channels). Swin merges 2 x 2 patches as
    (0, 0), (1, 0), (0, 1), (1, 1).
    """
    for position, op in case.having(ops.Conv):
        if is_of_patches(op):
            yield from _flattened_otherwise(case, position, op)
    for position, _ in case.having(ops.Concat):
        sources = case.steps[position].sources(position)
        if 2 < len(sources) <= 4 and all(_is_every_other(case, ref) for ref in sources):
            for order in permutations(range(len(sources))):
                if order != tuple(range(len(sources))):
                    what = f"the parts of the merged patches are in the order {order}"
                    other = with_sources(case, position, [sources[k] for k in order], what)
                    steps = other.applied(case.steps)
                    yield case.edit(what, steps, do="put them together as the layer does")


def _is_every_other(case: Case, ref: Ref) -> bool:
    """Whether a tensor holds each second element, or each third, of another one."""
    while ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Reshape):
        ref = source_of(case, ref)
    op = case.steps[ref.step].op if ref.step >= 0 else None
    return isinstance(op, ops.Slice) and max(op.steps, default=1) > 1


def is_of_patches(op: ops.Conv) -> bool:
    """Whether a convolution takes patches that do not overlap."""
    kernel = () if op.weight is None else op.weight.value.shape[2:]
    return op.groups == 1 and max(kernel, default=1) > 1 and tuple(op.strides) == tuple(kernel)


def _flattened_otherwise(case: Case, position: int, op: ops.Conv) -> Iterator[Edit]:
    """The kernel as it meets pixels that are flattened in another order, or is flattened so and
    meets them in its own."""
    weight = op.weight
    assert weight is not None
    rows = weight.value.shape[1:]
    names = ("channels", *_SPATIAL[-len(rows) + 1 :])
    axes = weight.axes or range(1 + len(rows))
    own = tuple(axis - 1 for axis in sorted(range(1, 1 + len(rows)), key=lambda k: axes[k]))
    met = {tuple(range(int(np.prod(rows))))}
    for other in permutations(own):
        told, mine = (f"({', '.join(names[axis] for axis in order)})" for order in (other, own))
        for pixels, kernel, words in (
            (other, own, f"each patch is flattened as {told}, the kernel as {mine}"),
            (own, other, f"the kernel is flattened as {told}, each patch as {mine}"),
        ):
            order = _order(rows, pixels, kernel)
            if (key := tuple(order.ravel().tolist())) not in met:
                met.add(key)
                value = weight.value.reshape(len(weight.value), -1)[:, order]
                changed = case.changed(position, weight=Weight(weight.name, None, value))
                yield case.edit(words, changed, do=f"flatten both as {mine}")


_SPATIAL = ("depth", "height", "width")


def _order(shape: Sequence[int], pixels: tuple[int, ...], kernel: tuple[int, ...]) -> np.ndarray:
    """Which entry of a filter meets each pixel, both flattened in an order of their axes."""
    flat = np.arange(int(np.prod(shape))).reshape(shape).transpose(kernel).ravel()
    turned = flat.reshape([shape[axis] for axis in pixels])
    return turned.transpose(np.argsort(pixels))
