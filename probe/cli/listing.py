"""``probe FILE``: the layers of a model, one line each."""

from probe import printable
from probe.cli.arguments import Arguments
from probe.cli.completion import listed
from probe.cli.opening import opened, quiet
from probe.cli.output import say
from probe.listing import Layer, Listing

__all__ = ["show"]

_PARTIES = {"numpy": "NumPy", "onnx": "ONNX Runtime"}


def show(arguments: Arguments) -> int:
    """Prints the table."""
    with quiet():
        found = listed(arguments.model) if arguments.factory is None else None
        if found is None or not found.layers:
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


def _shape(layer: Layer) -> str:
    if layer.output_shape is None:
        return ""
    return "(" + ", ".join("?" if n is None else str(n) for n in layer.output_shape) + ")"
