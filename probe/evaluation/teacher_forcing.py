"""Recurrences judged step by step, each from the state that the party itself had before it,
wherever its sequence is seen.

A layer shows a recurrence's sequence where nothing but moves of elements stands between the two:
transposed, flipped, two directions side by side. NumPy then answers for every party anew: what it
gives from that party's own states.
"""

from collections.abc import Sequence

import numpy as np

from probe.evaluation.allowance import Values, carry, rounded
from probe.numerics.precision import Precision
from probe.ops import Outputs, Pad, Rearrangement, Recurrence
from probe.ops.step import Step

__all__ = ["follow"]

Arrays = tuple[np.ndarray, ...]


def follow(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    theirs: Sequence[np.ndarray | None],
) -> tuple[Arrays, Arrays]:
    """What NumPy gives from the states that a party's outputs show, and how far the party may lie
    from that.

    ``values`` are NumPy's own, of every step; of recurrences whose sequence is not seen they stay.
    """
    shown = _shown(steps, inputs, values, theirs)
    arrived = [rounded(x, precision) for x in inputs]
    path: list[Arrays] = []
    slacks: list[tuple[np.ndarray | None, ...]] = []
    grids = any(step.op.on_power_of_two_grid or step.op.jumps for step in steps)

    slack: tuple[np.ndarray | None, ...]
    for position, step in enumerate(steps):
        refs = step.sources(position)
        operands = [ref.of(inputs, path) for ref in refs]
        offs = [ref.of(arrived, slacks) for ref in refs]
        with np.errstate(all="ignore"):
            if position in shown and isinstance(step.op, Recurrence):
                now, slack = step.op.followed(operands, offs, shown[position], precision)
            else:
                same = all(
                    x is ref.of(inputs, values) for x, ref in zip(operands, refs, strict=True)
                )
                now = tuple(values[position]) if same else step.op.run(*operands)
                slack = carry(step.op, operands, offs, now, precision, grids)
        path.append(now)
        slacks.append(slack)
    return path[-1], tuple(
        np.zeros(y.shape) if off is None else off
        for y, off in zip(path[-1], slacks[-1], strict=True)
    )


def _shown(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    theirs: Sequence[np.ndarray | None],
) -> dict[int, np.ndarray]:
    """For each recurrence whose whole sequence stands in a party's outputs: that sequence."""
    places: list[tuple[np.ndarray | None, ...]] = []
    starts: dict[int, int] = {}
    unseen = [None] * len(inputs)
    end = 1
    for position, step in enumerate(steps):
        taken = [ref.of(unseen, places) for ref in step.sources(position)]
        if isinstance(step.op, Recurrence):
            sequence, *last = values[position]
            starts[position] = end
            places.append(
                (np.arange(end, end + sequence.size).reshape(sequence.shape), *(None for _ in last))
            )
            end += sequence.size
        elif isinstance(step.op, Outputs):
            places.append(tuple(taken))
        elif (
            isinstance(step.op, Rearrangement)
            and not isinstance(step.op, Pad)
            and all(output is not None for output in taken)
        ):
            places.append(step.op.run(*(output for output in taken if output is not None)))
        else:
            places.append(tuple(None for _ in values[position]))
    found, covered = np.zeros(end), np.zeros(end, bool)
    for place, output in zip(places[-1], theirs, strict=False):
        if place is not None and output is not None and output.shape == place.shape:
            found[place], covered[place] = output, True
    shown = {}
    for position, start in starts.items():
        sequence = values[position][0]
        part = slice(start, start + sequence.size)
        seen, op = covered[part].reshape(sequence.shape), steps[position].op
        if isinstance(op, Recurrence) and op.has_mask:  # What is skipped need not be seen.
            mask = steps[position].sources(position)[1]
            seen = seen[mask.of(inputs, values) != 0]
        if seen.all():
            shown[position] = found[part].reshape(sequence.shape)
    return shown
