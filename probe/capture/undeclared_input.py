"""What is said where a model does not declare its input: what its first layer expects, and a shape
that the model has accepted."""

from collections.abc import Sequence
from itertools import product
from typing import Protocol, runtime_checkable

import numpy as np

from probe.capture.declared_shape import by_name
from probe.errors import BadInput, ForwardFailed
from probe.model import InputSpec, Model, is_large

__all__ = ["GuessesInput", "undeclared"]

_SIZES = (32, 16, 8, 64, 28, 224, 128, 299)
_USUAL = (1, 3, 224, 224)


@runtime_checkable
class GuessesInput(Protocol):
    """What a model offers besides that does not declare its inputs, but whose code or layers say
    something of them."""

    def guessed_inputs(self) -> tuple[InputSpec, ...]:
        """What the one input may be, None where a size is to be found by trying; () where nothing
        is known."""

    def needed_inputs(self) -> tuple[str, ...]:
        """The names of the arguments that a call cannot do without."""


def undeclared(model: Model) -> str:
    """The sentence."""
    hint = f" ({model.input_hint})" if model.input_hint else ""
    words = f"the model does not declare its input shape{hint}; give"
    specs: tuple[InputSpec, ...] = ()
    if isinstance(model, GuessesInput):
        if len(names := model.needed_inputs()) > 1:
            return f"{words} its {len(names)} inputs, --input inputs.npz of {by_name(names)}"
        specs = model.guessed_inputs()
    shape = _accepted(model, specs) if specs and not is_large(model) else _USUAL
    example = f" {','.join(map(str, shape))}" if shape else ""
    return (
        f"{words} an input (--input x.npy) or the shape of a random one (shape=, --shape{example})"
    )


def _accepted(model: Model, specs: Sequence[InputSpec]) -> tuple[int, ...]:
    """The first shape that the model runs on; () where there is none."""
    for spec, size in product(specs, _SIZES):
        if None not in spec.shape:
            return tuple(filter(None, spec.shape))
        free = (2, *[size] * (len(spec.shape) - 1))
        shape = tuple(
            free[axis] if known is None else known for axis, known in enumerate(spec.shape)
        )
        try:
            model.run((np.zeros(shape, spec.dtype),), (), lambda _: None)
        except (BadInput, ForwardFailed):
            continue
        return shape
    return ()
