"""Names of layers for a shell, and the list of them, as far as the model's file tells them without
its framework."""

import gc
import os
import shlex
from importlib import import_module
from typing import TYPE_CHECKING

import click

from probe import printable
from probe.errors import ProbeError
from probe.listing import Listing

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["complete_layer", "listed"]


def listed(path: str) -> Listing | None:
    """The layers of a file that tells them, or None. Nothing that the file holds is run."""
    gc.disable()  # as in ``opened``: what is imported stays
    try:
        found: Listing | None = import_module("probe.adapters").list_file(path)
    except ProbeError:
        return None
    finally:
        gc.freeze()
        gc.enable()
    return found


def complete_layer(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> "list[CompletionItem]":
    """The layers of the model named before on the line; nothing where it cannot be listed."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - in a shell alone

    # an option that still lacks its value leaves the arguments before it unparsed
    path = context.params.get("model") or next(iter(context.args), None)
    found = listed(path) if path else None
    return [
        CompletionItem(word, help=printable.name(layer.kind))
        for layer in (found.layers if found else ())
        if layer.name.startswith(incomplete) and (word := _word(layer.name))
    ]


def _word(name: str) -> str:
    """The name as a shell takes it for a word; "" where it takes none, or another."""
    if not name.isprintable():
        return ""
    if not os.environ.get("_PROBE_COMPLETE", "").startswith("bash"):
        return name  # zsh and fish quote it
    quoted = shlex.quote(name)
    if quoted == name:
        return name
    # bash leaves a quote standing that was typed before, and backslashes out
    words = os.environ.get("COMP_WORDS", "").split("\n")
    typed = "".join(words[int(os.environ.get("COMP_CWORD", "0")) :])
    if "\\" in name or set(typed) & set("\\'\""):
        return ""
    return quoted
