"""One change in the steps of a layer.

A change is not yet an edit: it names only the steps that differ, so that several are merged into
one, and what it gives is computed from those steps on. ``Case.edit_of`` makes an edit of the few
that give what was observed.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step
from probe.trial.edit import Steps

__all__ = ["Change"]


@dataclass(frozen=True, eq=False)
class Change:
    """One thing done otherwise: steps that stand in place of a layer's, and new ones."""

    what: str
    """What was done, with its verb."""
    where: str
    """At which step; "" where ``what`` says it."""
    steps: Mapping[int, Step]
    """Steps by their positions; those from the number of the layer's steps on are new, and run as
    soon as what they take is there."""
    out: Ref | None = None
    """What the layer gives, where that is no longer what its last step gives."""
    key: Hashable = None
    """Equal for the same change at other steps."""
    part: Hashable = None
    """What is changed: of several values that give what was observed the first is taken."""
    inputs: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Inputs of the call that are others."""
    of: int = -1
    """Which step it is about, where that is not the first of those that change."""
    members: tuple["Change", ...] = ()
    """The changes at single steps that it is made of."""
    slug: str = ""
    """The cause that it is, where that is not the one that tries it."""

    @property
    def claim(self) -> str:
        if self.where:
            return f"{self.what} in {self.where}"
        return self.what

    @property
    def places(self) -> tuple[int, ...]:
        """The steps that are done otherwise: of a step that is left out or moved that one, not
        those that take what it gave."""
        if self.members:
            return tuple(at for member in self.members for at in member.places)
        return (self.of,) if self.of >= 0 else tuple(sorted(self.steps))

    @property
    def identity(self) -> Hashable:
        """Equal for the same change that another mistake makes, too."""
        return self.claim, tuple(sorted(self.steps)), self.out

    def applied(self, steps: Steps) -> Steps:
        """All steps, in an order in which they can run."""
        count = len(steps)
        new = self.new_steps(count)
        order = sorted([*range(count), *new], key=lambda at: (new.get(at, at), at))
        place = {old: at for at, old in enumerate(order)}

        def moved(ref: Ref) -> Ref:
            if ref.step >= 0:
                return replace(ref, step=place[ref.step])
            return ref

        made = []
        for old in order:
            step = self.steps.get(old) or steps[old]
            sources = step.sources(old)
            same = not new and old not in self.steps
            made.append(step if same else Step(step.op, tuple(map(moved, sources))))
        if self.out is not None:
            made.append(Step(Outputs(), (moved(self.out),)))
        return tuple(made)

    def new_steps(self, count: int) -> dict[int, int]:
        """Behind which of a layer's ``count`` steps each new one runs, in their order."""
        found: dict[int, int] = {}
        for at in sorted(at for at in self.steps if at >= count):
            taken = (ref.step for ref in self.steps[at].sources(at))
            found[at] = max((found.get(step, step) for step in taken), default=-1)
        return dict(sorted(found.items(), key=lambda item: item[::-1]))

    def inputs_of(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """The inputs of a call with those that are others."""
        if not self.inputs:
            return inputs
        return tuple(self.inputs.get(k, x) for k, x in enumerate(inputs))
