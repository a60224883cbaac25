"""What ``probe MODEL`` lists; without NumPy, so that listing a file starts at once."""

from dataclasses import dataclass
from typing import Literal, Protocol

from probe import printable

__all__ = ["Layer", "Listing", "Party", "Shown"]

Party = Literal["numpy", "onnx"]


@dataclass(frozen=True)
class Layer:
    """One line of ``probe MODEL``: a layer and whether it can be checked."""

    name: str
    kind: str
    checkable: tuple[Party, ...] = ()
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


class _Listed(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def layers(self) -> tuple[Layer, ...]: ...


class Shown:
    """How a model shows itself: in one line, and in a notebook as the table of its layers. A file
    that lists them without its framework is not loaded for that."""

    def __repr__(self: _Listed) -> str:
        count = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        return printable.name(f"<Model {self.source}: {count}>")

    def _repr_html_(self: _Listed) -> str:
        from html import escape  # noqa: PLC0415 - a listing does without

        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(printable.name(cell))}</td>" for cell in cells) + "</tr>"
            for cells in (
                (
                    layer.name or "(root)",
                    layer.kind,
                    f"{layer.parameters:,}",
                    layer.why or "checked",
                )
                for layer in self.layers
            )
        )
        head = "".join(f"<th>{name}</th>" for name in ("layer", "class", "parameters", ""))
        caption = escape(printable.line(self.source))
        return f"<table><caption>{caption}</caption><tr>{head}</tr>{rows}</table>"
