"""A layer in NumPy on one set of inputs."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from probe.description import Description
from probe.errors import CannotOpen, in_words, our_fault
from probe.evaluation.allowance import Values
from probe.evaluation.numpy_reference import recompute
from probe.files.size_limits import allowed
from probe.model import Capture, Held
from probe.numerics.dtypes import in_floats, overflown, widened
from probe.numerics.memory_limit import limited
from probe.ops import Outputs, Recurrence
from probe.ops.base import Sum
from probe.ops.step import Step

__all__ = [
    "Reference",
    "bounded",
    "failure",
    "inputs_of",
    "recomputed",
    "recomputed_call",
    "values_of",
]

_TOO_BIG = "array is too big"
"""What NumPy says of a size that does not even fit into a number."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A layer in NumPy on one set of inputs."""

    steps: Sequence[Step]
    raw_inputs: Sequence[np.ndarray]
    """The inputs as they came."""
    values: Values
    """The outputs of every step."""
    dtypes: tuple[str, ...] = ()
    """Of a layer that is composed of several calls: what each step computes in."""
    unknown: tuple[int, ...] = ()
    """Of such a layer: the inputs that a call within it gave which is not computed here."""

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


def inputs_of(capture: Capture) -> tuple[np.ndarray, ...]:
    """What a call was given, as its steps take it."""
    if capture.description is not None and capture.description.sites:
        return capture.inputs
    return in_floats(capture.inputs, capture.outputs)


def values_of(
    capture: Capture, inputs: Sequence[np.ndarray] | None = None
) -> list[tuple[np.ndarray, ...]]:
    """The outputs of every step of a call in NumPy, on its own inputs or on others, ``bounded``."""
    if inputs is None:
        inputs = inputs_of(capture)
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


def recomputed(
    description: Description, inputs: Sequence[np.ndarray], dtype: str = ""
) -> Reference:
    """A layer's steps in NumPy; outputs beyond the range of a layer of that dtype are infinite."""
    dtypes = tuple(site.dtype for site in description.sites)
    unknown = tuple(call.input for call in description.taken if call.why)
    values = recompute(description.steps, inputs)
    if dtype:
        values[-1] = _in_range(description.steps, values[-1], dtypes, dtype)
    return Reference(description.steps, inputs, values, dtypes, unknown)


def _in_range(
    steps: Sequence[Step], outputs: tuple[np.ndarray, ...], dtypes: Sequence[str], dtype: str
) -> tuple[np.ndarray, ...]:
    """The outputs with infinities beyond the range of the layer's dtype; of one that is composed,
    beyond that of the call which gave each."""
    if not dtypes:
        return overflown(outputs, dtype)
    kinds = [dtypes[-1]] * len(outputs)
    if isinstance(steps[-1].op, Outputs):
        sources = steps[-1].sources(len(steps) - 1)
        kinds = [dtypes[ref.step] if ref.step >= 0 else "" for ref in sources]
    return tuple(overflown([output], kind)[0] for output, kind in zip(outputs, kinds, strict=True))


def recomputed_call(capture: Capture, inputs: Sequence[np.ndarray] | None = None) -> Reference:
    """A call's steps in NumPy, on its own inputs or on others, ``bounded``."""
    with bounded(capture):
        if inputs is None:
            inputs = inputs_of(capture)
        return recomputed(_described(capture), inputs, capture.dtype)


def _described(capture: Capture) -> Description:
    assert capture.description is not None
    return capture.description
