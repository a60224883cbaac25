"""``probe FILE``: the layers of a model, one line each."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from probe import printable
from probe.cli import terminal
from probe.cli.arguments import Arguments
from probe.cli.completion import listed
from probe.cli.opening import opened, quiet
from probe.cli.output import say
from probe.errors import BadInput
from probe.listing import Layer, Listing

if TYPE_CHECKING:
    from probe.model import Model

__all__ = ["show"]

# ruff: noqa: PLC0415 - NumPy waits until it is needed, so that a listing starts at once.

_PARTIES = {"numpy": "NumPy", "onnx": "ONNX Runtime"}


def show(arguments: Arguments) -> int:
    """Prints the table."""
    with quiet():
        asked = arguments.factory is None and not arguments.parts
        listing = listed(arguments.model) if asked else None
        if arguments.parts:
            listing = Listing(_containers(opened(arguments)))
        elif listing is None or not listing.layers:
            model = opened(arguments)
            listing = Listing(model.layers, operations=model.may_be_operation("/add"))
    rows = [
        (
            printable.name(layer.name) or "(root)",
            printable.name(layer.kind),
            _shape(layer),
            str(layer.parameters),
            ", ".join(_PARTIES[party] for party in layer.checkable)
            or printable.line(f"not checked: {layer.why}"),
        )
        for layer in listing.layers
    ]
    head = ("layer", listing.kind, "output shape", "parameters", "checked by")
    on_terminal = terminal.on_terminal("")
    page = terminal.columns() if on_terminal else printable.WIDTH
    if on_terminal and listing.kind == "class":
        shown = _fitting([head, *rows], page)
    else:
        shown = None
    name, kind = (max(len(row[column]) for row in [head, *rows]) for column in (0, 1))
    for row in (head, *rows):
        if shown is not None:
            say(shown(row))
            continue
        text = f"{row[0]:<{name}}  {row[1]:<{kind}}  {row[2]:<24}  {row[3]:>10}  {row[4]}"
        if listing.kind != "class":
            text = f"{row[0]:<{name}}  {row[1]:<{kind}}  {row[3]:>12}"
        say(printable.line(text))
    if listing.notes:
        say(printable.page(["", *(f"note: {note}" for note in listing.notes)], page))
    if listing.operations:
        told = "--all also checks the operations between these layers, which only a run shows"
        say(printable.page(["", told], page))
    return 0


_LEAST = 16
"""Columns of a name, below which others are left out for it."""
_CHECKED = 19
"""Columns of the parties."""


def _fitting(rows: Sequence[Sequence[str]], page: int) -> Callable[[Sequence[str]], str]:
    """What lays out a row within a terminal: names shortened in the middle, without the columns
    that are empty or that a narrow one has no room for."""
    name, kind, shape, count = (max(len(row[column]) for row in rows) for column in range(4))
    shape = shape if any(row[2] for row in rows[1:]) else 0
    kind = min(kind, 24)
    for kinds, shapes, counts in (
        (kind, shape, count),
        (kind, 0, count),
        (kind, 0, 0),
        (0, 0, 0),
    ):
        room = page - _CHECKED - 2 - sum(width + 2 for width in (kinds, shapes, counts) if width)
        if room >= min(name, _LEAST):
            break
    width = min(name, room)

    def text(row: Sequence[str]) -> str:
        cells = [f"{printable.middle(row[0], width):<{width}}"]
        cells += [f"{printable.middle(row[1], kinds):<{kinds}}"] if kinds else []
        cells += [f"{row[2]:<{shapes}}"] if shapes else []
        cells += [f"{row[3]:>{counts}}"] if counts else []
        head = "  ".join(cells)
        if len(head) + 2 + len(row[4]) <= page:
            return f"{head}  {row[4]}"
        return printable.page([head.rstrip(), f"  {row[4]}"], page)

    return text


def _containers(model: "Model") -> tuple[Layer, ...]:
    """What calls layers and is checked as one that is composed of them."""
    from probe.model import Containing

    found = model.containers if isinstance(model, Containing) else ()
    if not found:
        raise BadInput(f"{model.source} has no blocks: all that it calls are layers")
    return found


def _shape(layer: Layer) -> str:
    if layer.output_shape is None:
        return ""
    return "(" + ", ".join("?" if n is None else str(n) for n in layer.output_shape) + ")"
