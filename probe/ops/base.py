"""What an op is: one arithmetic operation with its weights, described once and read three ways.

``run`` is the NumPy reading and ``to_onnx`` the ONNX one. They are two opinions of the same
description: they may share fields, never helpers. ``error_bound`` says what rounding may do to the
output. What else is asked of an op is a hook of ``Op``: docs/adding-an-op.md lists them. No file of
this package imports onnx: the graph is handed in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from probe.numerics.blocks import blocks, rows_of
from probe.numerics.dtypes import float_of
from probe.numerics.precision import UNBOUNDED, Precision
from probe.numerics.sum_error import of_partial_sums, of_sums
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.engine_differences import EngineDifference
from probe.ops.exactness import given_exactly
from probe.ops.weight import Weight

__all__ = [
    "Arrays",
    "Elementwise",
    "Errors",
    "Evaluated",
    "Graph",
    "Indices",
    "Op",
    "Rearrangement",
    "Sum",
    "spread",
]

_CACHED = 1 << 15
"""Of so many elements caches hold a function's temporaries as well."""

Indices = tuple[np.ndarray, ...]
"""Elements of an array as ``np.nonzero`` names them."""
Arrays = Sequence[np.ndarray]
Errors = Sequence[np.ndarray | None]
"""How far each input of an op may already be off; None where it is exact."""


class Evaluated(NamedTuple):
    """What an op was given, how far each input may be off, and what it gave."""

    inputs: Arrays
    slacks: Errors
    outputs: Arrays
    few: Indices | None = None
    """Elements whose sums are looked at term by term."""


class Graph(Protocol):
    """What ``to_onnx`` writes to."""

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output, whose name is returned."""

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> tuple[str, ...]:
        """Adds a node with several outputs."""

    def scan(
        self,
        body: Callable[..., tuple[Sequence[str], ...]],
        states: Sequence[str],
        sequences: Sequence[str],
        rank: int,
        reverse: bool = False,
    ) -> tuple[str, ...]:
        """ONNX's Scan along the first axis; ``body(graph, states, parts)`` gives (states after,
        outputs of the step).

        States and outputs have ``rank`` axes each. The last states come first among the names
        returned, then the outputs of all steps, stacked. What the body uses besides must have been
        made before.
        """

    def const(self, value: Any) -> str:
        """A constant: floats become float32, integers int64."""

    def weight(self, weight: Weight) -> str:
        """A weight in the op's layout, in float32."""

    def turned(self, weight: Weight) -> str | None:
        """A weight of two axes with these exchanged, where it lies in memory that way and so need
        not be moved; else None."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an input of the step being emitted."""

    def boolean(self, name: str) -> bool:
        """Whether an input of the step being emitted holds truth values."""


@dataclass(frozen=True, eq=False)
class Op:
    """The base of all ops. A subclass gives ``run``, ``to_onnx`` and ``error_bound``; the other
    hooks have defaults that are right for every op (docs/adding-an-op.md)."""

    # What it computes

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """The outputs in NumPy, in the dtype of the inputs."""
        raise NotImplementedError

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """Adds ONNX nodes; returns the names of the outputs.

        They may depend on the fields, on the ranks and dtypes of the inputs, on shapes asked of
        ``graph``, and of a weight on its shape and dtype, never on its values: the graph is used
        again for an op that differs in those alone.
        """
        raise NotImplementedError

    @property
    def takes_any_float(self) -> bool:
        """Whether ``run_float64`` and ``error_bound`` take floats of any width."""
        return False

    def run_float64(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """``run`` in float64 on floats of any width, which are widened a piece at a time; ``run``
        itself where that does so."""
        return self.run(*inputs)

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        """The shape of the first output for inputs of these shapes; None where it takes a run to
        know."""
        return None

    @property
    def output_count(self) -> int | None:
        """How many outputs there are; None where it takes a run to know."""
        return 1

    @property
    def samplewise(self) -> bool:
        """Whether a sample of the outputs, an entry of their first axis, depends on that entry of
        every input alone."""
        return False

    @property
    def computes_elements(self) -> bool:
        """Whether ``at`` gives single elements of the output, which depend on nothing but what
        stands at their place in the inputs."""
        return False

    def at(self, elements: Arrays, where: Indices, shape: tuple[int, ...]) -> np.ndarray:
        """The elements ``where`` of an output of that shape, from those of each input; asked only
        where the op ``computes_elements``."""
        raise NotImplementedError

    # What rounding may do

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """How far each output may be off by rounding here, and by the slack that the inputs arrive
        with."""
        raise NotImplementedError

    elementwise_error: ClassVar[bool] = False
    """Whether ``error_bound`` takes each element's slack as it comes, in float32 too, and never
    squares it."""

    refinable: ClassVar[bool] = False
    """Whether ``error_bound`` takes sums over whole axes, with a second look where the precision
    says ``refine``."""

    @property
    def stores(self) -> bool:
        """Whether outputs are new numbers, rounded to the layer's dtype, and not elements of the
        inputs."""
        return True

    def intermediates(self, inputs: Arrays, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Numbers that some engines store, too, before they are added up to an output: a sum before
        its bias."""
        return ()

    @property
    def on_power_of_two_grid(self) -> bool:
        """Whether outputs are multiples of powers of two, of which what follows may be exact."""
        return False

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        """Whether nothing is rounded here, whatever the order: asked only where inputs are on a
        grid and exact."""
        return False

    def exact_elements(self, of: Evaluated, precision: Precision) -> np.ndarray | None:
        """Which elements are not rounded though others may be, asked where some step jumps or gives
        numbers on a grid; None where nothing is known of single elements."""
        return None

    lossy_algorithm: ClassVar[str] = ""
    """A way of computing this that loses more digits and is in use, as what a party does ("takes
    …"); ``error_bound`` holds it where the precision is ``lossy``. An op's field
    ``may_use_lossy_algorithm`` says that the framework may take it."""

    # Sums of products

    terms: ClassVar[Callable[..., np.ndarray] | None] = None
    """For sums: ``terms(inputs, where)`` gives the terms of those outputs as (elements, channels,
    taps)."""

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        """For sums: how many terms one output has."""
        raise NotImplementedError

    # What is no fault, and what stays unseen

    engine_differences: ClassVar[tuple[EngineDifference, ...]] = ()
    """Where engines are known to differ in this op although none is at fault."""

    narrows: ClassVar[bool] = False
    """Whether ``run`` computes in float32 where its input is that: over many weights, which are
    held so, in much less time."""
    quantizes: ClassVar[bool] = False
    """Whether outputs are levels: an input that moves by less than anything may move one by a whole
    step."""

    @property
    def jumps(self) -> bool:
        """Whether an output may move by a finite step where an input moves by less than
        anything."""
        return self.quantizes

    def equally_right(
        self, inputs: Arrays, outputs: Arrays, output: int, theirs: np.ndarray
    ) -> np.ndarray | None:
        """Where a party's values of an output are as right as ``outputs`` though they are others;
        None where there is one right answer."""
        return None

    def undetected(self, inputs: Arrays) -> list[str]:
        """Mistakes that would leave the outputs as they are on these inputs, which hold numbers,
        and with these weights: a sentence each."""
        return []

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        """For fields that hold weights: how far at least a change of each element, of 1, moves some
        element of the first output, in units in which those are ``worth`` so much (None: 1 each).

        An array that broadcasts to the weight; 0 exactly where the element meets only zeros, or
        only outputs that are worth nothing. Of ops without ``terms`` nothing but that counts.
        Fields of which it is not known are left out.
        """
        return {}

    unmet_weights: ClassVar[str] = "meets only zeros"
    """What is said of elements of a weight whose effect is 0."""

    def hides_same_padding(self, shape: Sequence[int]) -> bool:
        """Whether an input of this shape is padded alike on both sides by SAME padding, which adds
        an odd cell at the end of inputs of other sizes."""
        return False

    # Where an element comes from

    def summary(self, inputs: Arrays) -> str:
        """What one output is made of, in words for the report; empty where the op's name says
        it."""
        return ""

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        """How one element of the first output came about; without terms where that is not said."""
        return Contributions((), (Stage(self.title(inputs), float(outputs[0][at])),))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        """Which elements of each input can influence the masked ones of the first output at all;
        all of them where that is not said."""
        return tuple(np.full(x.shape, mask.any()) for x in inputs)

    def followed_input(self, output: int) -> int | None:
        """Which input an output's elements come from one by one, as far as ``input_index`` can
        follow them."""
        if output:
            return None
        return 0

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        """Which elements of that input the output's came from, where each came from one."""
        return None

    def title(self, inputs: Arrays) -> str:
        """The op's name and what it computes, in one line."""
        words = " ".join((type(self).__doc__ or "").partition("\n\n")[0].split())
        formula = self.summary(inputs) or words.rstrip(".")
        numbers = ", ".join(
            f"{part.name} {getattr(self, part.name):g}"
            for part in fields(self)
            if part.name in formula and type(getattr(self, part.name)) in (int, float)
        )
        return f"{type(self).__name__}: {formula}" + (
            f" with {numbers}" if numbers and not self.summary(inputs) else ""
        )


def spread(
    f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray, slack: np.ndarray
) -> np.ndarray:
    """How far f may move from y where x moves by slack; for monotone f exact, whatever its jumps.
    UNBOUNDED where f then has no value."""
    with np.errstate(all="ignore"):
        sides = [np.asarray(f(x + slack) - y), np.asarray(f(x - slack) - y)]
        for side in sides:
            np.abs(side, out=side)
            if not np.isfinite(side.max(initial=0.0)):
                side[~np.isfinite(side)] = UNBOUNDED
                side[~np.isfinite(y)] = 0.0
    np.maximum(sides[0], sides[1], out=sides[0])
    return sides[0]


class Elementwise(Op):
    """One function of each element. ``roundings`` times u times ``scale`` is what its evaluation
    may be off by.

    Libraries do not round functions correctly: ``roundings`` counts the operations and adds what
    the vectorised kernels of PyTorch, TensorFlow and ONNX Runtime were measured to lose (tests/ops
    hold the figures).
    """

    roundings: ClassVar[float] = 4
    """Half units of the last place that evaluating ``f`` may be off by; 0 where it is exact."""
    gives_integers: ClassVar[bool] = False
    """Whether it gives whole numbers."""
    elementwise_error = True

    @property
    def pointwise(self) -> bool:
        """Whether ``f`` may be given any piece of x; not where a weight must line up with it."""
        return True

    @property
    def takes_any_float(self) -> bool:
        return (
            self.pointwise
            and type(self).run is Elementwise.run
            and type(self).error_bound is Elementwise.error_bound
        )

    @property
    def samplewise(self) -> bool:
        return self.pointwise

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        return shapes[0]

    @property
    def computes_elements(self) -> bool:
        held = (getattr(self, part.name) for part in fields(self))
        return not any(
            isinstance(value, Weight) or (isinstance(value, np.ndarray) and value.size > 1)
            for value in held
        )

    def at(self, elements: Arrays, where: Indices, shape: tuple[int, ...]) -> np.ndarray:
        return self.f(elements[0]).reshape(elements[0].shape)

    def f(self, x: np.ndarray) -> np.ndarray:
        """The function, in the dtype of x."""
        raise NotImplementedError

    @property
    def stores(self) -> bool:
        return bool(self.roundings)

    def put(self, x: np.ndarray, out: np.ndarray) -> None:
        """Writes f of x, taken in the dtype of ``out``, there."""
        out[...] = self.f(x.astype(out.dtype, copy=False))

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The largest intermediate value, where that is more than the result."""
        return np.asarray(np.abs(y))

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._evaluated(inputs[0], inputs[0].dtype),)

    def run_float64(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._evaluated(inputs[0], float_of(inputs[0])),)

    def _evaluated(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        with np.errstate(all="ignore"):
            if not self.pointwise or dtype != np.float64 or not x.ndim:
                return self.f(x.astype(dtype, copy=False))
            out = np.empty_like(x, dtype)
            for (part, target), _ in blocks(x, out, size=_CACHED):
                self.put(part, target)
        return out

    def exact_elements(self, of: Evaluated, precision: Precision) -> np.ndarray | None:
        if self.roundings:
            return None
        return given_exactly(of.inputs, of.outputs[0], precision)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        if slack is None and not (self.roundings and precision.unit):
            # TensorFlow takes subnormal numbers for zero.
            return (np.broadcast_to(self._vanishing(precision), y.shape),)
        own = np.float32 if precision.narrow else np.float64
        out = np.empty_like(y, own if slack is None else slack.dtype)
        arrays = (out, x, y) if slack is None else (out, x, y, slack)
        for (target, *parts), _ in (
            blocks(*arrays, size=_CACHED) if self.pointwise else [(arrays, None)]
        ):
            part, value, *off = (array.astype(np.float64, copy=False) for array in parts)
            self._rounding(part, value, precision, target)
            if slack is not None:
                target += self._moved(part, value, *off)
        return (out,)

    def _vanishing(self, precision: Precision) -> float:
        """How large a result may be that is taken for zero."""
        if self.gives_integers:
            return 0.0
        return precision.tiny

    def _rounding(
        self, x: np.ndarray, y: np.ndarray, precision: Precision, out: np.ndarray
    ) -> None:
        """Writes what evaluating f may be off by."""
        if not (self.roundings and precision.unit):
            out[...] = self._vanishing(precision)
            return
        np.multiply(self.scale(x, y), self.roundings * precision.unit, out=out, casting="same_kind")
        out += precision.tiny
        if not np.isfinite(out.max(initial=0.0)):
            out[~np.isfinite(out)] = 0.0

    def _moved(self, x: np.ndarray, y: np.ndarray, slack: np.ndarray) -> np.ndarray:
        """How far f may move from y where x moves by slack."""
        return spread(self.f, x, y, slack)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return Contributions(
            (Terms(np.array([at], int)),), (Stage(self.title(inputs), float(outputs[0][at])),)
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (mask,)


class Rearrangement(Op):
    """Elements are moved or repeated, never changed: slack moves with them."""

    elementwise_error = True
    stores = False

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        return self.run(*(np.broadcast_to(0.0, shape) for shape in shapes))[0].shape

    def follow(self, where: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
        """Where the output's elements (a row each) stand in the inputs: which input, -1 for none,
        and the element there."""
        back = self.input_index(tuple(where.T), inputs)
        assert back is not None
        return np.zeros(len(where), int), rows_of(back, len(where))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        reached = tuple(np.zeros(x.shape, bool) for x in inputs)
        which, back = self.follow(np.argwhere(mask), inputs)
        for k, flags in enumerate(reached):
            flags[tuple(back[which == k].T)] = True
        return reached

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if all(slack is None for slack in of.slacks):
            return tuple(np.broadcast_to(0.0, y.shape) for y in of.outputs)
        return self.run(
            *(
                np.zeros(x.shape) if slack is None else slack
                for x, slack in zip(of.inputs, of.slacks, strict=True)
            )
        )


class Sum(Op):
    """A sum of products with unspecified summation order."""

    narrows = True

    def sum_of_squares(self, inputs: Arrays) -> np.ndarray:
        """The op run on squares: the sum of the squared terms, the bias among them."""
        raise NotImplementedError

    def partial_squares_pay(self, inputs: Arrays, outputs: Arrays) -> bool:
        """Whether ``partial_squares`` saves more work than a look at single elements costs."""
        return False

    def partial_squares(self, inputs: Arrays) -> np.ndarray:
        """Some of ``sum_of_squares``; asked for only where ``partial_squares_pay``."""
        raise NotImplementedError

    def propagate(self, slack: np.ndarray) -> np.ndarray:
        """What slack of the first input does to the output, as independent errors."""
        raise NotImplementedError

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if precision.partial:
            squares = self.partial_squares(of.inputs)
        else:
            squares = self.sum_of_squares(of.inputs)
        own = of_sums(
            self.term_count(of.inputs, of.outputs), of.outputs[0], squares, precision, owned=True
        )
        if of.few is not None:
            assert self.terms is not None
            terms = self.terms(of.inputs, of.few)
            for order in (terms, self.in_other_order(of.inputs, terms)):
                if order is not None:
                    own[of.few] = np.maximum(own[of.few], of_partial_sums(order, precision))
        if of.slacks[0] is not None:
            own += self.propagate(of.slacks[0])
        return (own,)

    def in_other_order(self, inputs: Arrays, terms: np.ndarray) -> np.ndarray | None:
        """The ``terms`` in another order that kernels sum them in; None where there is none."""
        return None
