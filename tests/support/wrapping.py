"""Reports as they are printed, with their lines made whole again."""

__all__ = ["unwrapped"]


def unwrapped(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())
