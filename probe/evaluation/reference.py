"""A layer in NumPy on one set of inputs, with its allowances."""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from probe.description import Description
from probe.errors import CannotOpen, in_words, our_fault
from probe.evaluation.allowance import SumBounds, allowances
from probe.evaluation.monte_carlo import (
    Noise,
    noise_of,
    pooled,
    runs_of,
    usual_runs,
    wandering,
)
from probe.evaluation.numpy_reference import recompute
from probe.files.size_limits import allowed
from probe.model import Capture, Held
from probe.numerics.dtypes import in_floats, overflown, widened
from probe.numerics.memory_limit import limited
from probe.numerics.precision import Precision, precision_of, stored_in
from probe.ops import Outputs, Recurrence
from probe.ops.base import Sum
from probe.ops.step import Step

__all__ = [
    "Reference",
    "bounded",
    "failure",
    "inputs_of",
    "precisions_of",
    "recomputed",
    "recomputed_call",
    "values_of",
]

_TOO_BIG = "array is too big"
"""What NumPy says of a size that does not even fit into a number."""
_HALVES = ("bfloat16", "float16")
_LONG = 12
"""From so many steps on slack that is pushed may have grown past all use."""
_USELESS, _UNITS = 0.01, 50
"""It has where it is more than this share of what the output varies by, and so many roundings."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A layer in NumPy on one set of inputs."""

    steps: Sequence[Step]
    raw_inputs: Sequence[np.ndarray]
    """The inputs as they came."""
    values: list[tuple[np.ndarray, ...]]
    """The outputs of every step."""
    dtypes: tuple[str, ...] = ()
    """Of a layer that is composed of several calls: what each step computes in."""
    unknown: tuple[int, ...] = ()
    """Of such a layer: the inputs that a call within it gave which is not computed here."""
    _known: dict[tuple[Precision, int], tuple[np.ndarray, ...]] = field(
        default_factory=dict, init=False, repr=False
    )
    _sums: SumBounds = field(default_factory=dict, init=False, repr=False)
    _grown: dict[Precision, bool] = field(default_factory=dict, init=False, repr=False)
    _noise: dict[tuple[Hashable, ...], Noise] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def inputs(self) -> list[np.ndarray]:
        """The inputs in float64, where they are needed so."""
        return [widened(x) for x in self.raw_inputs]

    @property
    def composed(self) -> bool:
        """Whether it is made of several calls, which each store what they give."""
        return bool(self.dtypes)

    @cached_property
    def sketchy(self) -> bool:
        """Whether a step is a recurrence, whose activations an engine may approximate."""
        return any(isinstance(step.op, Recurrence) for step in self.steps)

    @cached_property
    def jumps(self) -> bool:
        """Whether a step is a quantiser or another function that jumps."""
        return any(step.op.jumps for step in self.steps)

    @property
    def recurrent(self) -> bool:
        """Whether it is a recurrence, whose states are its outputs."""
        return self.sketchy and not self.composed

    def first_look(self, dtype: str) -> Precision:
        """The arithmetic that a layer of that dtype is held against first. Kernels of recurrences
        round each operation to it."""
        if self.recurrent:
            return precision_of(dtype)
        return stored_in(dtype)

    @property
    def used(self) -> list[np.ndarray]:
        """The inputs that a step is applied to."""
        places = {
            ref.index
            for position, step in enumerate(self.steps)
            for ref in step.sources(position)
            if ref.step < 0
        }
        return [self.raw_inputs[place] for place in sorted(places)]

    @property
    def empty(self) -> bool:
        """Whether one of those, or an output, has no elements."""
        return any(0 in np.shape(value) for value in (*self.used, *self.values[-1]))

    def taken(self, position: int) -> list[np.ndarray]:
        """What a step is applied to, the call's inputs as they came."""
        sources = self.steps[position].sources(position)
        return [ref.of(self.raw_inputs, self.values) for ref in sources]

    def pays(self, position: int) -> bool:
        """Whether a step is a sum of which a part of the squares is much less work than all."""
        op = self.steps[position].op
        if not isinstance(op, Sum):
            return False
        return op.partial_squares_pay(self.taken(position), self.values[position])

    def bound(self, dtype: str) -> None:
        """Makes infinite what lies beyond the range of the layer's dtype."""
        if not self.composed:
            self.values[-1] = overflown(self.values[-1], dtype)
            return
        kinds = [self.dtypes[-1]] * len(self.values[-1])
        if isinstance(self.steps[-1].op, Outputs):
            sources = self.steps[-1].sources(len(self.steps) - 1)
            kinds = [self.dtypes[ref.step] if ref.step >= 0 else "" for ref in sources]
        self.values[-1] = tuple(
            overflown([value], kind)[0] for value, kind in zip(self.values[-1], kinds, strict=True)
        )

    def drawn(self, precision: Precision) -> bool:
        """Whether it is runs with noise that tell its allowance: that of several calls, and of many
        steps in one, where slack that is pushed through them says nothing any more."""
        if self.composed or len(self.steps) < _LONG or self.sketchy:
            return self.composed
        if precision not in self._grown:
            pushed = self._known[precision, -1] = self._pushed(precision)
            pairs = zip(pushed, self.values[-1], strict=True)
            share = max(_USELESS, _UNITS * precision.unit)
            self._grown[precision] = any(_useless(slack, value, share) for slack, value in pairs)
        return self._grown[precision]

    def _pushed(self, precision: Precision) -> tuple[np.ndarray, ...]:
        """What rounding may do, carried from step to step."""
        if (precision, -1) in self._known:
            return self._known[precision, -1]
        as_given = all(step.op.takes_any_float for step in self.steps) and not precision.lossy
        given = self.raw_inputs if as_given else self.inputs
        return allowances(self.steps, given, self.values, precision, sums=self._sums)

    def allowances(self, precision: Precision, look: int = -1) -> tuple[np.ndarray, ...]:
        """What rounding in that arithmetic may do to each output; of a composed layer as a ``look``
        tells it, of which each takes more runs than the one before."""
        if not self.drawn(precision):
            return self._pushed(precision)
        runs = runs_of(self.values[-1])
        number = min(look, len(runs) - 1) if look >= 0 else max(0, len(runs) - 2)
        if (precision, number) not in self._known:
            self._known[precision, number] = self.wandered(precision, runs[number])
        return self._known[precision, number]

    def wandered(
        self,
        precision: Precision,
        runs: int | None = None,
        exact: Collection[int] = (),
        off: Mapping[int, np.ndarray] = MappingProxyType({}),
    ) -> tuple[np.ndarray, ...]:
        """Six of the scale at which the outputs of a composed layer wander in that arithmetic, of
        which the steps at the places ``exact`` have none and inputs are ``off``."""
        key = (precision, *exact, *map(id, off.values()))
        if key not in self._noise:
            self._noise[key] = noise_of(
                self.steps,
                self.inputs,
                self.values,
                precisions_of(
                    self.steps, self.dtypes or [precision.name] * len(self.steps), precision
                ),
                {k: _of_unknown(self.inputs[k], precision) for k in self.unknown} | dict(off),
                exact,
            )
        first, *more = runs_of(self.values[-1])
        count = usual_runs(self.values[-1]) if runs is None else runs
        noise, together = self._noise[key], len(more) > 1 and count == first
        found = wandering(self.steps, self.inputs, self.values, noise, count)
        return tuple(
            pooled(variance, value, together) + stored
            for variance, value, stored in zip(found, self.values[-1], noise.stored, strict=True)
        )


def _useless(slack: np.ndarray, value: np.ndarray, share: float) -> bool:
    """Whether slack is more than that share of what the output varies by."""
    finite = np.isfinite(value) if value.dtype.kind == "f" else np.zeros(value.shape, bool)
    if not finite.any():
        return False
    with np.errstate(all="ignore"):
        return not np.median(slack[finite]) <= share * np.std(value[finite])


def _of_unknown(x: np.ndarray, precision: Precision) -> np.ndarray:
    """The scale of what a call may err by of which nothing is known but what it gave."""
    sizes = np.where(np.isfinite(x), np.abs(x), 0.0)
    typical = np.median(sizes) if x.size else 0.0
    return np.asarray((precision.stored or precision.unit) * np.maximum(sizes, typical))


def precisions_of(
    steps: Sequence[Step], dtypes: Sequence[str], precision: Precision
) -> list[Precision]:
    """The arithmetic of each step for a party in half precision, of which some may be computed in
    another dtype; any other party computes all in its own."""
    precisions = []
    for step, dtype in zip(steps, dtypes, strict=True):
        own = precision
        if precision.name in _HALVES and dtype != precision.name:
            half = stored_in if precision.stored else precision_of
            wider = "float32" if dtype.startswith("float") else dtype
            own = half(dtype) if dtype in _HALVES else precision_of(wider)
            own = replace(
                own,
                lossy=precision.lossy,
                sketches=precision.sketches,
                partial=precision.partial,
            )
        if isinstance(step.op, Recurrence) and own.stored:
            own = replace(precision_of(own.name), lossy=own.lossy, sketches=own.sketches)
        precisions.append(own)
    return precisions


def inputs_of(capture: Capture) -> tuple[np.ndarray, ...]:
    """What a call was given, as its steps take it."""
    if capture.description is not None and capture.description.sites:
        return capture.inputs
    return in_floats(capture.inputs, capture.outputs)


def values_of(
    capture: Capture, inputs: Sequence[np.ndarray] | None = None
) -> list[tuple[np.ndarray, ...]]:
    """The outputs of every step of a call in NumPy, on its own inputs or on others, ``bounded``."""
    inputs = inputs_of(capture) if inputs is None else inputs
    with bounded(capture):
        return recompute(_described(capture).steps, inputs)


def bounded(capture: Capture) -> AbstractContextManager[None]:
    """Raises CannotOpen where a file describes a call that takes far more memory than what it has
    of it."""
    if capture.held is None:
        return nullcontext()
    return _bounded(capture.layer, capture.held)


def failure(capture: Capture, error: Exception, what: str) -> str:
    """The sentence where computing a call failed: it is our fault, but not where a file describes
    the call, as it likes."""
    if capture.held is None:
        return our_fault(error, what)
    return f"what {capture.held.path} describes cannot be computed ({in_words(error)})"


@contextmanager
def _bounded(layer: str, held: Held) -> Iterator[None]:
    try:
        with limited(allowed(held.bytes)):
            yield
    except (MemoryError, ValueError) as error:
        if not isinstance(error, MemoryError) and _TOO_BIG not in str(error):
            raise
        raise CannotOpen(
            f"{held.path}: computing {layer!r} could exhaust memory, while its recorded arrays "
            f"have {held.bytes:,} bytes; NumPy: {error}"
        ) from None


def recomputed(description: Description, inputs: Sequence[np.ndarray]) -> Reference:
    """A layer's steps in NumPy."""
    dtypes = tuple(site.dtype for site in description.sites)
    unknown = tuple(one.input for one in description.taken if one.why)
    values = recompute(description.steps, inputs)
    return Reference(description.steps, inputs, values, dtypes, unknown)


def recomputed_call(capture: Capture, inputs: Sequence[np.ndarray] | None = None) -> Reference:
    """A call's steps in NumPy, on its own inputs or on others, ``bounded``."""
    with bounded(capture):
        return recomputed(_described(capture), inputs_of(capture) if inputs is None else inputs)


def _described(capture: Capture) -> Description:
    assert capture.description is not None
    return capture.description
