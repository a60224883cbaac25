"""What ``probe MODEL`` lists; without NumPy, so that listing a file starts at once."""

from dataclasses import dataclass

__all__ = ["Layer", "Listing"]


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


@dataclass(frozen=True)
class Listing:
    """The layers of a file that tells them without its framework."""

    layers: tuple[Layer, ...]
    kind: str = "class"
    """What ``Layer.kind`` is: the files of some models name tensors and no classes, and cannot say
    which layers are checked."""
    operations: bool = False
    """Whether there are operations between the layers, which only a run shows."""
    notes: tuple[str, ...] = ()
    """Sentences about the model."""
