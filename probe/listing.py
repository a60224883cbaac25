"""One line of a model's listing; without NumPy, so that listing a file starts at once."""

from dataclasses import dataclass

__all__ = ["Layer"]


@dataclass(frozen=True)
class Layer:
    """One line of ``probe MODEL``: a layer and whether it can be checked."""

    name: str
    kind: str
    checkable: tuple[str, ...] = ()
    """The parties beside the framework that will answer: ``("numpy", "onnx")``, or ``()``."""
    why: str = ""
    """Why it cannot be checked, or empty."""
    output_shape: tuple[int | None, ...] | None = None
    parameters: int = 0
