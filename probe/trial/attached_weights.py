"""Parameters that reach a convolution as its second input, as its weight."""

from dataclasses import replace

from probe import ops
from probe.evaluation.allowance import Values
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight

__all__ = ["with_weights_attached"]


def with_weights_attached(steps: tuple[Step, ...], values: Values) -> tuple[Step, ...]:
    """The same steps, in which a convolution whose kernel is a parameter that is only reshaped or
    transposed on its way has it as its weight: what is known of weights is then tried on it.

    No step is left out, so that each keeps its place.
    """
    attached = list(steps)
    for position, step in enumerate(steps):
        if isinstance(step.op, ops.Conv | ops.ConvTranspose) and step.op.weight is None:
            x, kernel, *rest = step.sources(position)
            weight = _parameter(steps, values, kernel)
            if weight is not None:
                attached[position] = Step(replace(step.op, weight=weight), (x, *rest))
    return tuple(attached)


def _parameter(steps: tuple[Step, ...], values: Values, ref: Ref) -> Weight | None:
    """The parameter behind a tensor, in the layout of the tensor."""
    shape = None if ref.step < 0 else values[ref.step][ref.index].shape
    axes: tuple[int, ...] | None = None
    reshaped = False
    while ref.step >= 0:
        op = steps[ref.step].op
        if isinstance(op, ops.Parameter):
            weight = op.weight
            plain = weight.axes is None and weight.shape is None
            if plain:
                return replace(weight, axes=axes, shape=shape if reshaped else None)
            return None
        if isinstance(op, ops.Transpose) and axes is None:
            axes = op.perm
        elif isinstance(op, ops.Reshape) and axes is None:
            reshaped = True
        elif not isinstance(op, ops.Identity):
            return None
        (ref,) = steps[ref.step].sources(ref.step)
    return None
