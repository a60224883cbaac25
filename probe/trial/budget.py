"""How much may still be computed.

Work is counted and not timed: the same layer and values give the same candidates, tried in the same
order up to the same one, whatever else the machine does. A limit in the thread's own seconds stands
behind that for what the prices do not know, and one in seconds of the day for what is not ours to
price; where one of them ends a search, the budget says so.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from probe.ops.base import Arrays, Op
from probe.process.thread_clock import thread_seconds, wall_seconds
from probe.trial.prices import STEP, price

__all__ = ["Budget"]

_BACKSTOP, _LEAST = 1e-8, 1e9
"""Seconds of the thread for each operation, of so many at least, after which work was priced
wrongly: ten times what they take."""
_LISTING = 0.5
"""The share of what follows a part that listing what is to be tried in it may take."""


class Budget:
    """Operations that may be spent, and what of them was; parts of it may be set apart, one within
    the other."""

    def __init__(self, work: float = math.inf) -> None:
        self.work, self.used = work, 0.0
        self.wall = math.inf
        """After how many seconds of the day nothing more is spent."""
        self.stopped: Literal["", "work", "clock", "wall"] = ""
        """What ended the budget or a part of it, where something did: the work that was spent, the
        thread's own seconds or those of the day."""
        self._beside = 0.0
        """How much may be spent that is of no part, in all."""
        self._end, self._most = work, work
        """Where the part ends that is spent from now, and the one around it."""
        self._started, self._began = thread_seconds(), wall_seconds()

    @property
    def left(self) -> float:
        """What is left of the part that is spent from now."""
        return max(0.0, self._end - self.used)

    @property
    def seconds(self) -> float:
        """After how many seconds of the thread's own nothing more is spent."""
        return _BACKSTOP * max(self.work + self._beside, _LEAST)

    def charge(self, work: float) -> None:
        """Counts work that was done."""
        self.used += work

    def ran(self, op: Op, inputs: Arrays, outputs: Arrays) -> None:
        """Counts a step that was run."""
        self.used += STEP + price(op, inputs, outputs)

    def spend(self, work: float = 0.0) -> bool:
        """Counts work, and says whether there may be more: False once the part is used up."""
        self.used += work
        if self.used >= self._end:
            self.stopped = self.stopped or "work"
            return False
        if thread_seconds() - self._started > self.seconds:
            self.stopped = "clock"
        elif self.wall < math.inf and wall_seconds() - self._began > self.wall:
            self.stopped = "wall"
        return self.stopped not in ("clock", "wall")

    @contextmanager
    def part(self, share: float, leaving: float = 0.0) -> Iterator[None]:
        """Within it this share of what is left may be spent, so that so much is left at least."""
        around = self._end, self._most
        most = min(share * self.left, self.left - leaving)
        self._end, self._most = self.used + max(0.0, most), self._end
        try:
            yield
        finally:
            self._end, self._most = around

    def within(self, work: float) -> None:
        """No more than this is spent from now in this part, nor aside of it."""
        self._end = self._most = min(self._end, self.used + work)

    @contextmanager
    def beside(self, work: float) -> Iterator[None]:
        """Within it so much may be spent that is of no part: what follows has as much as before."""
        start, around = self.used, (self._end, self._most)
        self._end = self._most = start + work
        self._beside += work
        try:
            yield
        finally:
            self.used = start
            self._end, self._most = around

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is spent within it is taken from what follows this part and not from the part, as
        far as half of that goes."""
        end, start = self._end, self.used
        self._end = start + _LISTING * max(0.0, self._most - start)
        try:
            yield
        finally:
            self._end = min(self._most, end + self.used - start)
