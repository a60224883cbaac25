"""``probe FILE``: the layers of a model, one line each."""

from typing import TYPE_CHECKING

from probe import printable
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
        found = listed(arguments.model) if asked else None
        if arguments.parts:
            found = Listing(_containers(opened(arguments)))
        elif found is None or not found.layers:
            model = opened(arguments)
            found = Listing(model.layers, operations=model.may_be_operation("/add"))
    rows = [
        (
            printable.name(layer.name) or "(root)",
            printable.name(layer.kind),
            _shape(layer),
            str(layer.parameters),
            ", ".join(_PARTIES[party] for party in layer.checkable) or f"not checked: {layer.why}",
        )
        for layer in found.layers
    ]
    head = ("layer", found.kind, "output shape", "parameters", "checked by")
    name, kind = (max(len(row[column]) for row in [head, *rows]) for column in (0, 1))
    for row in (head, *rows):
        text = f"{row[0]:<{name}}  {row[1]:<{kind}}  {row[2]:<24}  {row[3]:>10}  {row[4]}"
        if found.kind != "class":
            text = f"{row[0]:<{name}}  {row[1]:<{kind}}  {row[3]:>12}"
        say(printable.line(text))
    if found.notes:
        say(printable.page(["", *(f"note: {note}" for note in found.notes)]))
    if found.operations:
        say("\n--all also checks the operations between these layers, which only a run shows")
    return 0


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
