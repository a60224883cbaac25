"""The processor time of a thread, for limits that work of a known price never comes near, and the
seconds of the day, for what has no price."""

import time

__all__ = ["thread_seconds", "wall_seconds"]


def thread_seconds() -> float:
    """The seconds that this thread has run, whatever else the machine did meanwhile."""
    return time.thread_time()


def wall_seconds() -> float:
    """The seconds that go by, whoever runs, from some time on."""
    return time.monotonic()
