"""Numbers that two models apply the same operation to, where they are others: what they are called
and made of in either model."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from probe import printable
from probe.model_comparison.causes.position_tables import (
    apart_in_words,
    position_table,
    turned_in_words,
)
from probe.model_comparison.causes.weight_differences import Difference, close, relation_in_steps
from probe.model_comparison.causes.weight_relations import RoundingBetween, relation
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.normalization import constant_values
from probe.model_comparison.graphs.normalize import is_constant, values_in
from probe.model_comparison.graphs.origins import ConstantOrigin
from probe.model_comparison.graphs.steps_of_numbers import step_between
from probe.numerics.dtypes import widened
from probe.ops import Constant, Outputs, Parameter
from probe.ops.step import Step, weights_of
from probe.ops.weight import Weight

__all__ = [
    "constant_name",
    "differing_constants",
    "marked_kinds",
    "own_numbers",
    "with_its_numbers",
]

_LONG = 40
"""Letters of an expression."""
_NUMBERED = re.compile(r"^(.*::|/|_|val_)|Constant", re.IGNORECASE)
"""Names that an exporter has made up."""
_SAME = 1e-6
_MOST = 1 << 12
_MADE = 8
"""So many steps behind the numbers that they are made of are looked back from a constant."""
_MASKED = -50.0
"""What a mask subtracts, or more."""


def own_numbers(tensor: Tensor) -> Weight | np.ndarray | None:
    """What a model has from itself: a weight, numbers, or an array that it made."""
    constant = is_constant(tensor)
    if constant is None and _is_own(tensor.root, _MADE):
        return tensor.value
    return constant


def _is_own(tensor: Tensor, most: int) -> bool:
    """Whether a tensor is made of what a model has from itself, in so many steps at most."""
    if constant_values(tensor) is not None:
        return True
    if tensor.node is None or not most:
        return False
    return all(_is_own(x.root, most - 1) for x in tensor.node.inputs)


def differing_constants(a: GraphNode, b: GraphNode, unit: float) -> Iterator[Difference]:
    """The numbers that two ops of one kind are applied to, where they are others by more than
    rounding to a type of this roundoff."""
    held_a, held_b = (
        [(x, y) for x in node.inputs if (y := own_numbers(x)) is not None] for node in (a, b)
    )
    for (left, mine), (right, theirs) in zip(held_a, held_b, strict=False):
        values, other = widened(values_in(mine)), widened(values_in(theirs))
        if values.size != other.size or values.dtype.kind not in "fiu":
            continue
        other = other.reshape(values.shape)
        same = close(values, other) | _rounded(left, right, values, other, unit)
        if not same.all():
            yield _difference(a, left, right, (values, other, same), isinstance(mine, Weight))


def with_its_numbers(node: GraphNode) -> str:
    """A step with what it is applied to besides the data: "Add of attn_mask"; "" where that is
    nothing, or a single number."""
    for x in node.inputs:
        constant = own_numbers(x)
        if constant is None or len(node.inputs) < 2:
            continue
        values = np.asarray(values_in(constant))
        if values.size > 1 and values.dtype.kind in "fb":
            shape = " x ".join(map(str, values.shape))
            name = constant_name(x) or _as_mask(values) or f"numbers of its own ({shape})"
            return f"{node.kind} of {name}"
    return ""


def _as_mask(values: np.ndarray) -> str:
    """What a mask holds, as words; "" of other numbers."""
    levels = np.unique(values[:1].ravel())
    if values.dtype.kind == "b":
        return "a mask"
    if len(levels) == 2 and levels[1] == 0 and levels[0] <= _MASKED:
        return f"a mask of 0 and {levels[0]:.3g}"
    return ""


def marked_kinds(
    a: Sequence[GraphNode], b: Sequence[GraphNode]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The kinds of nodes, with a number for those whose constant a node of the other side has."""
    known: list[np.ndarray] = []
    first, second = ([(node.kind, _mark(node, known)) for node in nodes] for nodes in (a, b))
    both = {mark for _, mark in first} & {mark for _, mark in second}
    return _of_both(first, both), _of_both(second, both)


def _of_both(marks: Sequence[tuple[str, int]], both: set[int]) -> list[tuple[str, int]]:
    return [(kind, mark if mark in both else -1) for kind, mark in marks]


def _mark(node: GraphNode, known: list[np.ndarray]) -> int:
    """Which of the constants known so far a node is applied to; -1 where to none of several
    elements."""
    held = [constant for x in node.inputs if (constant := own_numbers(x)) is not None]
    values = [np.asarray(values_in(constant)).squeeze() for constant in held]
    if len(values) != 1 or values[0].size < 2 or values[0].dtype.kind != "f":
        return -1
    wide = widened(values[0])
    for number, other in enumerate(known):
        if other.shape == wide.shape and close(other, wide).all():
            return number
    known.append(wide)
    return len(known) - 1


def _rounded(left: Tensor, right: Tensor, a: np.ndarray, b: np.ndarray, unit: float) -> np.ndarray:
    """Which numbers differ by no more than what working them out may round."""
    room = sum(
        (
            tensor.rounding.reshape(a.shape)
            for tensor in (left, right)
            if tensor.rounding is not None
        ),
        np.zeros(a.shape),
    )
    with np.errstate(invalid="ignore"):
        return np.asarray(
            (np.abs(a - b) <= room) | RoundingBetween(unit).between(a, b, _SAME, 1.01)
        )


def _difference(
    a: GraphNode,
    left: Tensor,
    right: Tensor,
    numbers: tuple[np.ndarray, np.ndarray, np.ndarray],
    in_weight: bool,
) -> Difference:
    """Two constants of one shape, told by the element that differs most."""
    mine, theirs, same = numbers
    apart = np.nan_to_num(np.abs(mine - theirs), nan=np.inf)
    at = np.unravel_index(int(np.argmax(np.where(same, 0.0, apart))), mine.shape)
    name = f"constant of {a.kind}"
    if mine.size > 1:
        name += f" at [{', '.join(map(str, at))}]"
    if known := constant_name(left) or constant_name(right):
        name += f", {known}"
    field: str = "value"
    value: Weight | np.ndarray = theirs
    if in_weight:
        field, value = "weight", Weight("", None, theirs)
    note = (
        _tables(mine, theirs)
        or _parameters(left.root.origin, right.root.origin)
        or _of_sizes(a, mine, theirs)
        or relation(mine, theirs, ~same)
        or _in_steps(mine, theirs)
    )
    return Difference(
        *(name, float(mine[at]), float(theirs[at]), left.node, field, value, note), tensor=left
    )


def _in_steps(a: np.ndarray, b: np.ndarray) -> str:
    step = step_between(b)
    return "" if step is None else relation_in_steps(a, b, step)


def _parameters(a: ConstantOrigin | None, b: ConstantOrigin | None) -> str:
    """How the parameters follow from one another that two constants are worked out of."""
    if a is None or b is None:
        return ""
    mine, theirs = (weights_of(origin.description.steps) for origin in (a, b))
    for name in mine.keys() & theirs.keys():
        left, right = widened(mine[name].value), widened(theirs[name].value)
        if left.shape == right.shape and not (same := close(left, right)).all():
            told = relation(left, right, ~same)
            return f"{name}: {told}" if told else ""
    return ""


def _tables(a: np.ndarray, b: np.ndarray) -> str:
    """What two tables of positions differ in; "" where they are none."""
    mine = position_table(a)
    theirs = None if mine is None else position_table(b)
    if mine is None or theirs is None:
        return ""
    return apart_in_words(mine, theirs) or turned_in_words(mine, theirs)


def _of_sizes(node: GraphNode, a: np.ndarray, b: np.ndarray) -> str:
    """What two numbers are made of, where A's is one of the sizes that its step meets."""
    if a.size != 1 or a.dtype.kind != "f":
        return ""
    line: list[GraphNode] = [node, *(x.root.node for x in node.inputs if x.root.node is not None)]
    shapes = [x.value.shape for near in line for x in near.inputs]
    sizes = sorted({size for shape in shapes for size in shape if size > 2})
    for words, size in _roots(float(a.item())):
        if size in sizes:
            of_b = dict((whole, words) for words, whole in reversed([*_roots(float(b.item()))]))
            other = of_b.get(size) or next(iter(of_b.values()), "")
            return f"{words} in A, {other} in B" if other else ""
    return ""


def _roots(number: float) -> Iterator[tuple[str, int]]:
    """A number as a whole one, its root, or the inverse of these."""
    if not number > 0:
        return
    for words, size in (
        ("1 / sqrt({})", number**-2),
        ("1 / {}", 1 / number),
        ("sqrt({})", number**2),
        ("{}", number),
    ):
        whole = round(size)
        if 1 < whole <= _MOST and abs(size - whole) <= 1e-5 * whole:
            yield words.format(whole), whole


def constant_name(tensor: Tensor) -> str:
    """What a constant is called in its model, or is worked out of; "" where it has no name."""
    constant = is_constant(tensor)
    if isinstance(constant, Weight) and not _NUMBERED.search(constant.name):
        return constant.name
    if tensor.root.origin is not None:
        return _made_of(tensor.root.origin)
    return ""


def _made_of(origin: ConstantOrigin) -> str:
    """The expression of parameters that gives a constant, or else these."""
    steps = origin.description.steps
    names = [name for name in weights_of(steps) if not _NUMBERED.search(name)]
    if not names:
        makers = dict.fromkeys(printable.name(maker.layer) for maker in origin.made_by)
        return f"made by {' and '.join(makers)}" if makers else ""
    words = _expression(steps, len(steps) - 1)
    if len(words) <= _LONG:
        return words
    return f"made of {', '.join(names)}"


def _expression(steps: Sequence[Step], position: int) -> str:
    step = steps[position]
    if isinstance(step.op, Parameter):
        return step.op.weight.name
    if isinstance(step.op, Constant):
        value = np.asarray(step.op.value)
        return f"{value.item():.6g}" if value.size == 1 else "..."
    inner = [_expression(steps, ref.step) for ref in step.sources(position) if ref.step >= 0]
    if isinstance(step.op, Outputs) or type(step.op).__name__ in _SAME_NUMBERS:
        return inner[0]
    return f"{type(step.op).__name__.lower()}({', '.join(inner)})"


_SAME_NUMBERS = frozenset(
    "Identity Cast Expand Reshape Slice Squeeze Stored Transpose Unsqueeze".split()
)
