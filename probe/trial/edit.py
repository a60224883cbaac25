"""What a hypothesis yields: the layer as a mistake would make it.

A hypothesis predicts and never judges: the engine (``probe.diagnosis.diagnose``) runs the edited
steps and compares. Its docstring is what ``probe causes SLUG`` prints; the first line stands in
the README.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from probe.ops.step import Step

__all__ = ["Edit", "Steps"]

Steps = tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class Edit:
    """The layer with one mistake in it."""

    claim: str
    """What was done instead, with the values that were fitted."""
    steps: Steps
    inputs: tuple[np.ndarray, ...]
    do: str = ""
    """What to do about it."""
    fitted: int = 0
    """How many numbers were fitted to the observation."""
    also: tuple[str, ...] = ()
    """Other mistakes, by their slugs, that this edit contains."""
    main: str = ""
    """The slug to name first where that is not the hypothesis' own."""
    short: bool = True
    """Whether it is one thing that was done; if not, two mistakes with names come first."""
    as_healthy: bool = False
    """Whether it is allowed what the healthy layer is, in the measure of how large it makes the
    values: its steps do not say what rounding may do to them."""
    calls: tuple[str, ...] = ()
    """The calls that do something else, where they are known: () is for its steps to tell."""
    predicted: np.ndarray | None = None
    """What the layer gives with it, where that is known not to be what was observed: it may be one
    of two mistakes."""
    recovered: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Weights that were solved for, by name, in the framework's layout."""
