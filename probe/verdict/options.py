"""What is asked of a call: the user's values, and how it is judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from probe.capture.user_arrays import Expected
from probe.errors import BadInput
from probe.evaluation.propagated_error import Drift, Road

__all__ = ["NOT_SEARCHED", "Options", "Origin", "Search", "Yours", "search_of"]

NOT_SEARCHED = "causes were not searched for (search=False, --no-search)"
"""What a report says that is asked for the verdict alone."""


@dataclass(frozen=True, eq=False)
class Yours:
    """The user's own output of a layer."""

    values: Expected
    """An array, or one for each output; ``Partial`` or ``Unshaped``."""
    drift: Drift | None = None
    """What the user's own layers before may have done, by which the allowance is widened."""
    inputs: Sequence[np.ndarray] | None = None
    """The inputs that ``values`` were computed from, where those are not the model's: they are then
    held against NumPy on these."""


@dataclass(frozen=True)
class Search:
    """How the mistake behind a divergence is looked for."""

    thorough: bool = False
    progress: Callable[[str], object] | None = None
    """Called with the slugs as they are tried."""
    others: Callable[[], Mapping[str, np.ndarray]] = dict
    """Gives the parameters of the model's other layers, which takes a forward pass."""
    tensors: Callable[[], Mapping[str, np.ndarray]] = dict
    """Gives what all tensors of the model hold, which takes a forward pass."""
    road: Road | None = None
    """The way from the model's input to the layer, where the user's values came by it."""


def search_of(search: bool, thorough: bool, **options: Any) -> Search | None:
    """How the mistake is looked for; None where it is not. BadInput where both are asked for."""
    if thorough and not search:
        raise BadInput("thorough=True searches further for causes, search=False not at all")
    if search:
        return Search(thorough, **options)
    return None


class Origin(NamedTuple):
    """Where a call comes from, as its report says it."""

    source: str = ""
    framework: str = ""
    how: str = ""
    """Where the model's input comes from."""


_UNKNOWN = Origin()


@dataclass(frozen=True)
class Options:
    """How a call is judged."""

    tolerance: tuple[float, float] | None = None
    """rtol and atol, in place of the allowance."""
    detail: bool = False
    """Whether the report says what the check could and could not have seen."""
    search: Search | None = None
    """None where no mistake is looked for."""
    threads: int = 0
    """What ONNX Runtime may use (0: its own choice)."""
    sparing: bool = False
    """Whether a layer in which all agree does without squares that it can do without, and without
    keeping what others than the framework gave."""
    origin: Origin = _UNKNOWN
