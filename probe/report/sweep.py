"""The reports of a sweep, one by one, and what a notebook shows of them."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

from probe import printable
from probe.errors import NotCompared, NotReached

if TYPE_CHECKING:
    from probe.report import Report
    from probe.report.effect import Effect
    from probe.report.html import Entry

# ruff: noqa: PLC0415 - the check of one layer needs no page.

__all__ = ["Sweep"]


class Sweep(Iterator["Report"]):
    """An iterator over reports that keeps a row of each in words, and no array.

    At the end of a notebook cell it shows the table of all calls, for which the pass goes on to its
    end.
    """

    def __init__(
        self,
        reports: "Generator[Report, None, None]",
        source: str,
        effect: "Callable[[], Effect | None]" = lambda: None,
    ) -> None:
        self._reports = reports
        self._source = source
        self._effect = effect
        self._entries: list[Entry] = []

    def __iter__(self) -> "Sweep":
        return self

    def __next__(self) -> "Report":
        from probe.report.html import brief

        report = next(self._reports)
        self._entries.append(brief(report, len(self._entries) + 1))
        return report

    @property
    def effect(self) -> "Effect | None":
        """What your values in the place of layers' outputs make of the model's output; None where
        no output was replaced."""
        return self._effect()

    def close(self) -> None:
        """Ends the pass where it is."""
        self._reports.close()

    def __repr__(self) -> str:
        count = len(self._entries)
        return printable.name(f"<Sweep of {self._source}: {count} call{'s' * (count != 1)} so far>")

    def _repr_html_(self) -> str:
        from probe.report.html import filled, verdict_of

        notes: tuple[str, ...] = ()
        try:
            for _ in self:
                pass
        except (NotCompared, NotReached) as error:  # after the last report
            notes = (str(error),)
        if (effect := self.effect) is not None:
            notes = (*notes, effect.sentence)
        counts = Counter(entry.row.verdict for entry in self._entries)
        return filled(
            "sweep_fragment.html",
            title=f"every layer of {self._source}",
            counts=", ".join(
                f"{counts[verdict]} {verdict}" for verdict in ("agree", "diverge", "unchecked")
            ),
            verdict=verdict_of(self._entries),
            entries=self._entries,
            notes=notes,
        )
