"""What a user asks of a model, as one value: read and refused once, whoever asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from numbers import Real

from probe.capture.input_values import is_whole
from probe.capture.model_inputs import part_of
from probe.capture.replacing import Replace
from probe.capture.run import Named
from probe.capture.user_arrays import Expected, InputArgument, Inputs, Part, Shape, part_at
from probe.capture.user_layer_outputs import of_layer
from probe.errors import BadInput

__all__ = ["Question", "question_of", "tolerance_of"]


@dataclass(frozen=True, eq=False)
class Question:
    """A layer, what it is run on, and what its output is held against."""

    layer: Named
    x: Inputs | InputArgument = None
    """The model's input."""
    given: Inputs | InputArgument = None
    """The layer's own input; only the layer is run then."""
    call: int | None = None
    """Which call of the layer; None: all."""
    shape: Shape = None
    seed: int = 0
    expected: Expected = None
    """The user's own output of the layer, or ``Partial``."""
    values: Mapping[str, Expected] = field(default_factory=dict)
    """The user's outputs by names of layers, where those of several are given."""
    tolerance: tuple[float, float] | None = None
    """rtol and atol, in place of the allowance."""
    replace: Replace | None = None
    """The user's outputs that the layers behind run on, by names of layers."""


def question_of(
    layer: Named,
    x: Inputs | InputArgument = None,
    expected: Expected | Mapping[str, Expected] = None,
    *,
    given: Inputs | InputArgument = None,
    call: int | None = None,
    shape: Shape = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    expected_at: Part | None = None,
    replace: Replace | None = None,
) -> Question:
    """The question, from the arguments of ``probe.check``; BadInput where they do not fit each
    other."""
    tolerance = tolerance_of(rtol, atol)
    ends: object = layer
    if isinstance(ends, list):
        raise BadInput(f"a segment is a tuple of two names, {tuple(ends)!r}; you gave {ends!r}")
    if not (call is None or is_whole(call)):
        raise BadInput(f"call is the number of a call, from 0 (None: all); you gave {call!r}")
    number = None if call is None else int(call)
    own, values = of_layer(layer, expected)
    if expected_at is not None:
        if own is None:
            raise BadInput("expected_at says which part of the output expected is: give expected")
        own = part_at(own, part_of(expected_at))
    if replace is not None and given is not None:
        raise BadInput(
            "replace (--replace) needs a run of the whole model; given (--expect-input) runs the "
            "layer alone"
        )
    return Question(layer, x, given, number, shape, seed, own, values, tolerance, replace)


def tolerance_of(rtol: float | None, atol: float | None) -> tuple[float, float] | None:
    """The tolerances that take the place of the allowance; BadInput where they are none."""
    if rtol is None and atol is None:
        return None
    if rtol is None or atol is None:
        raise BadInput("specify both rtol and atol, or neither")
    tolerances: dict[str, object] = {"rtol": rtol, "atol": atol}
    for name, value in tolerances.items():
        if not isinstance(value, Real) or not 0 <= float(value) < inf:
            raise BadInput(f"{name} must be a finite number >= 0, such as 1e-5; you gave {value!r}")
    return float(rtol), float(atol)
