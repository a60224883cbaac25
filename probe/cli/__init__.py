"""The command: arguments, the way through the library, what is printed, and the exit status.

Nothing heavy is imported before it is known to be needed: ``--help`` and listings start without
NumPy. This package alone prints.
"""

from probe.cli.main import main

__all__ = ["main"]
