"""What ``probe MODEL`` lists; without NumPy, so that listing a file starts at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from probe import printable
from probe.errors import CannotOpen

__all__ = ["Layer", "Listing", "OnlyListed", "Party", "Shown", "calls_of", "in_order", "shaped"]

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


class OnlyListed(CannotOpen):
    """A file that holds parameters and no model; ``listing`` is the table of them."""

    def __init__(self, sentence: str, listing: Listing):
        super().__init__(sentence)
        self.listing = listing


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


class _Called(Protocol):
    @property
    def layer(self) -> str: ...
    @property
    def outputs(self) -> Sequence[_Shaped]: ...


def shaped(layers: Iterable[Layer], calls: Iterable[_Called]) -> tuple[Layer, ...]:
    """The layers with the shapes of what their first calls gave, where none is known."""
    shapes: dict[str, tuple[int, ...]] = {}
    for call in calls:
        if call.outputs:
            shapes.setdefault(call.layer, call.outputs[0].shape)
    return tuple(
        replace(layer, output_shape=layer.output_shape or shapes.get(layer.name))
        for layer in layers
    )


def in_order(layers: Sequence[Layer], calls: Iterable[Layer]) -> tuple[Layer, ...]:
    """The layers in the order of their first calls, each with the shape of what that gave, and with
    the operations between them; those without a call come last."""
    known = {layer.name: layer for layer in layers}
    found: dict[str, Layer] = {}
    for call in calls:
        layer = known.get(call.name, call)
        found.setdefault(call.name, replace(layer, output_shape=call.output_shape))
    rest = (replace(layer, checkable=(), why=_NOT_CALLED) for layer in layers)
    return (*found.values(), *(layer for layer in rest if layer.name not in found))


_NOT_CALLED = "the pass on this input does not call it"


def calls_of(names: Sequence[str]) -> str:
    """How many calls of how many layers there are, by the names of the calls' layers; "" where each
    has one."""
    count = len(set(names))
    return f"{len(names)} calls of {count} layers" if len(names) > count else ""


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
