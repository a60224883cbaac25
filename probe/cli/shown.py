"""Reports printed as what sees them takes it: in colour, or on one line of its width."""

from probe.cli import terminal
from probe.cli.arguments import Arguments
from probe.cli.output import say

__all__ = ["of_one_line", "show"]


def of_one_line(arguments: Arguments) -> int | None:
    """How many columns the only line may take; None where no terminal shows it."""
    if terminal.on_terminal(arguments.color or ""):
        return terminal.columns()
    return None


def show(text: str, arguments: Arguments) -> None:
    """Prints, with verdicts in colour where a terminal sees them."""
    color = arguments.color or "auto"
    if terminal.on_terminal(color):
        say(terminal.coloured(text, color), color=True)
    else:
        say(text)
