"""The processor time of a thread, for limits that work of a known price never comes near."""

import time

__all__ = ["thread_seconds"]


def thread_seconds() -> float:
    """The seconds that this thread has run, whatever else the machine did meanwhile."""
    return time.thread_time()
