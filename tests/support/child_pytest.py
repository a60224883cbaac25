"""The environment of a pytest that a test starts."""

import os

__all__ = ["OF_THIS_RUN", "child_environment"]

OF_THIS_RUN = ("PYTEST_ADDOPTS", "CI")
"""Variables that are meant for the tests of this project."""


def child_environment(**more: str) -> dict[str, str]:
    """That of this process without them, and with more."""
    return {name: value for name, value in os.environ.items() if name not in OF_THIS_RUN} | more
