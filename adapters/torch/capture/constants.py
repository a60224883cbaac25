"""How a pass makes the tensors that do not follow from its input: the calls behind each, as steps
from parameters and numbers alone.

Such calls are no layers. They are noted as they are made and described only where somebody asks,
while what they took is still as it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import torch

from probe import description
from probe.capture.producers import Producers
from probe.description import Description, Ref, Site, Weight
from probe.model import CallOutput, WorkedOut

from .tensors import copied, writes_to

__all__ = ["Constants", "DescribedCall"]

_LARGE = 1 << 22
"""Bytes of a result from which on it is not kept for this."""
_LONG = 64
"""So many calls are followed back."""


class DescribedCall(NamedTuple):
    """A call in steps, and what stands for each tensor that it takes, by the tensor's id."""

    description: Description | None
    places: Mapping[int, Ref | Weight]


class ConstantCall(NamedTuple):
    """A call that took nothing that follows from the model's input."""

    number: int
    """How many were noted before it."""
    taken: Sequence[torch.Tensor]
    results: Sequence[torch.Tensor]
    written: Sequence[int]
    """How often each of these had been written to at its end."""
    describe: Callable[[], DescribedCall]
    site: Site
    """Where the model's own source makes it."""

    @property
    def lasts(self) -> bool:
        """Whether what it took and gave holds the same numbers still."""
        return list(map(writes_to, (*self.taken, *self.results))) == list(self.written)


class Constants:
    """The calls of a pass that took nothing that follows from its input."""

    def __init__(self) -> None:
        self._made: dict[int, ConstantCall] = {}
        self.producers = Producers()

    def note(
        self,
        taken: Sequence[torch.Tensor],
        results: Sequence[torch.Tensor],
        describe: Callable[[], DescribedCall],
        site: Site,
    ) -> None:
        """Notes a call that has ended, unless it gave what it took."""
        known = set(map(id, taken))
        if any(id(result) in known or result.nbytes > _LARGE for result in results):
            return
        written = list(map(writes_to, (*taken, *results)))
        number = len(self._made)
        site = site._replace(call=f"{site.call}#{number}")
        call = ConstantCall(number, taken, results, written, cache(describe), site)
        self._made |= {id(result): call for result in results}

    def asked(
        self, tensors: Mapping[int, torch.Tensor]
    ) -> Callable[[], Mapping[int | str, WorkedOut]] | None:
        """What gives the steps of each of these tensors that was seen to be made."""
        made = {number: tensor for number, tensor in tensors.items() if id(tensor) in self._made}
        if not made:
            return None
        return lambda: {number: found for number, found in self._described(made)}

    def _described(self, tensors: Mapping[int, torch.Tensor]) -> Iterator[tuple[int, WorkedOut]]:
        for number, tensor in tensors.items():
            found = self._steps(tensor)
            if found is not None:
                yield number, found

    def _steps(self, tensor: torch.Tensor) -> WorkedOut | None:
        calls = self._behind(tensor)
        if calls is None:
            return None
        build, sites = description.Builder(), list[Site]()
        made: dict[int, Ref] = {}
        makers: dict[CallOutput, None] = {}
        for call in calls:
            found = call.describe()
            if found.description is None:
                continue  # numbers to what follows
            inputs: dict[int, Ref] = {}
            for taken in call.taken:
                place = found.places[id(taken)]
                if not isinstance(place, Ref):
                    continue
                if id(taken) not in made:  # that no known function has made
                    numbers = copied(taken)
                    maker = self.producers.of(taken, numbers)
                    makers |= {maker: None} if isinstance(maker, CallOutput) else {}
                    made[id(taken)] = build.ref(numbers)
                inputs[place.index] = made[id(taken)]
            given = [inputs[number] for number in sorted(inputs)]
            outputs = build.include(found.description.steps, *given)
            sites += [call.site] * (len(build.steps) - len(sites))
            made |= {id(result): y for result, y in zip(call.results, outputs, strict=True)}
        if id(tensor) not in made:
            return None
        steps = build.ended(made[id(tensor)])
        return WorkedOut(Description(steps, sites=tuple(sites[: len(steps)])), tuple(makers))

    def _behind(self, tensor: torch.Tensor) -> list[ConstantCall] | None:
        """The calls that a tensor was made by, in the order in which they were; None where some
        were overwritten since, or are too many."""
        behind: dict[int, ConstantCall] = {}
        waiting = [tensor]
        while waiting:
            call = self._made.get(id(waiting.pop()))
            if call is None or call.number in behind:
                continue
            if not call.lasts or len(behind) == _LONG:
                return None
            behind[call.number] = call
            waiting += call.taken
        return sorted(behind.values(), key=lambda call: call.number)
