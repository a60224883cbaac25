"""``probe FILE``: the layers of a model, one line each."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from probe import printable
from probe.cli import settings, terminal
from probe.cli.arguments import OF_THE_INPUT, Arguments, drawn
from probe.cli.completion import listed
from probe.cli.opening import opened, quiet
from probe.cli.output import say
from probe.errors import BadInput
from probe.listing import Layer, Listing, OnlyListed, calls_of, in_order

if TYPE_CHECKING:
    from probe.model import Model

__all__ = ["show"]

# ruff: noqa: PLC0415 - NumPy waits until it is needed, so that a listing starts at once.

_PARTIES = {"numpy": "NumPy", "onnx": "ONNX Runtime"}


def show(arguments: Arguments) -> int:
    """Prints the table."""
    with quiet(arguments.device):
        listing = settings.noted(_listing(arguments))
    rows = [_HEADS[listing.kind], *(_row(layer, listing.kind) for layer in listing.layers)]
    on_terminal = terminal.on_terminal("")
    page = terminal.columns() if on_terminal else printable.WIDTH
    if on_terminal and listing.kind == "class":
        shown = _fitting(rows, page)
    else:
        shown = _aligned(rows)
    for row in rows:
        say(shown(row))
    if listing.notes:
        say(printable.page(["", *(f"note: {note}" for note in listing.notes)], page))
    if listing.operations:
        told = "--all also checks the operations between these layers, which only a run shows"
        say(printable.page(["", told], page))
    return 0


def _listing(arguments: Arguments) -> Listing:
    """What the file tells without its framework, or else the opened model; with an input, what a
    pass on it shows."""
    runs = any(map(arguments.is_given, OF_THE_INPUT))
    if not (runs or arguments.factory or arguments.signature or arguments.parts):
        listing = listed(arguments.model)
        if listing is not None and listing.layers:
            return listing
    try:
        model = opened(arguments)
    except OnlyListed as error:
        if arguments.parts:
            raise
        return error.listing
    layers = _containers(model) if arguments.parts else model.layers
    if not runs:
        operations = not arguments.parts and model.may_be_operation("/add")
        return Listing(layers, operations=operations)
    from probe.capture.calls_of_pass import calls_of_pass
    from probe.cli.given_input import input_of

    names = [layer.name for layer in layers]
    calls = calls_of_pass(
        model,
        input_of(arguments),
        names if arguments.parts else None,
        drawn(arguments.shape),
        arguments.seed or 0,
    )
    count = calls_of([call.name for call in calls])
    found = in_order(layers, calls)
    if arguments.parts:  # the outer ones first
        found = tuple(sorted(found, key=lambda layer: names.index(layer.name)))
    return Listing(found, notes=(count,) if count else ())


_HEADS = {
    "class": ("layer", "class", "output shape", "parameters", "checked by"),
    "tensors": ("layer", "tensors", "", "parameters", ""),
    "dtype": ("tensor", "dtype", "shape", "numbers", ""),
}
"""The names of the columns, by what the second one is."""


def _row(layer: Layer, kind: str) -> tuple[str, ...]:
    parties = ", ".join(_PARTIES[party] for party in layer.checkable)
    if kind != "class":
        checked = ""
    else:
        checked = parties or printable.line(f"not checked: {layer.why}")
    return (
        printable.name(layer.name) or "(root)",
        printable.name(layer.kind),
        _shape(layer),
        str(layer.parameters),
        checked,
    )


_SHAPES, _COUNTS = 24, 10
"""Columns of shapes and of numbers of parameters, where none is wider."""


def _aligned(rows: Sequence[Sequence[str]]) -> Callable[[Sequence[str]], str]:
    """What lays out a row in columns that are as wide as their widest cell; those that are empty
    are left out."""
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    if widths[2]:
        widths[2] = max(widths[2], _SHAPES)
    widths[3] = max(widths[3], _COUNTS)

    def text(row: Sequence[str]) -> str:
        cells = [f"{row[column]:<{widths[column]}}" for column in range(3) if widths[column]]
        return printable.line("  ".join([*cells, f"{row[3]:>{widths[3]}}", row[4]]).rstrip())

    return text


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
