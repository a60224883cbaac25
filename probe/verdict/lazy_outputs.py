"""The parties' outputs of a call that was judged, of which those that cost memory are computed
again when asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from probe.errors import BadInput
from probe.model import Capture
from probe.process.interrupts import undisturbed
from probe.report import Outputs, Report
from probe.report.by_name import unknown

__all__ = ["OnDemand"]


class OnDemand(Mapping[str, Outputs]):
    """Only the framework's are kept; the first of the others asked for has ``judge`` judge the call
    again, and all are kept then.

    For calls in which all agree. Raises BadInput where they no longer do: the model has been
    changed since.
    """

    def __init__(
        self,
        capture: Capture | None,
        judge: Callable[[Capture], Report],
        parties: tuple[str, ...],
    ):
        self._capture, self._judge, self._parties = capture, judge, parties
        self._found: Mapping[str, Outputs] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process it goes without the call, which ``of`` gives back."""
        return OnDemand, (None, self._judge, self._parties)

    def of(self, capture: Capture) -> "OnDemand":
        """The same, of this call."""
        return OnDemand(capture, self._judge, self._parties)

    def __getitem__(self, party: str) -> Outputs:
        if party not in self._parties:
            raise unknown(party, self._parties)
        assert self._capture is not None
        if party == "framework":
            outputs = self._capture.outputs
            if len(outputs) == 1:
                return outputs[0]
            return outputs
        if not self._found:
            again = undisturbed(self._judge)(self._capture)
            if not again.ok:
                raise BadInput(
                    f"the outputs of {self._capture.layer!r} would be recomputed now, but the "
                    "model has changed since the sweep: run the sweep again, or copy the "
                    "outputs you need before changing the model"
                )
            self._found = again.outputs
        return self._found[party]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parties)

    def __len__(self) -> int:
        return len(self._parties)
