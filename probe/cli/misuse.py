"""What is said of a command line that lacks a word, or has one too many."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import click

from probe.command_line import file, joined
from probe.files.regular_file import exists

__all__ = ["of_missing", "of_more_words", "of_option"]


def of_more_words(given: Mapping[str, Any], extra: list[str]) -> str:
    """What more words than a model may have meant, as a sentence."""
    first, second = [str(given["model"]), *extra][-2:]
    if not (exists(first) and exists(second)):
        return f"one model is checked at a time; a layer is given by {joined(['--layer', second])}"
    words = ["probe", "compare", file(first), file(second)]
    for name in _OF_EITHER:
        values = given.get(name) or ()
        for value in (values,) if isinstance(values, str) else values:
            words += [f"--{name}", value]
    return f"one model is checked at a time; two models are compared by {joined(words)}"


_OF_EITHER = ("input", "text", "seed", "shape")
"""Options of an input, which a comparison takes too."""


def of_missing(error: click.MissingParameter, without_verb: str) -> str:
    """What is to be given, in the shortest command that has it; the command of the name
    ``without_verb`` is typed without it."""
    if error.param is None or error.ctx is None:
        return error.format_message()
    command = error.ctx.command
    verb = [] if command.name == without_verb else [str(command.name)]
    required = [_as_typed(param) for param in command.params if param.required]
    return f"{_as_typed(error.param)} is missing: {' '.join(['probe', *verb, *required])}"


def _as_typed(parameter: click.Parameter) -> str:
    """Such as "MODEL" or "-o FILE"."""
    if isinstance(parameter, click.Option):
        return f"{parameter.opts[0]} {parameter.metavar}"
    return str(parameter.metavar)


def of_option(error: click.NoSuchOption, without_verb: str) -> str:
    """The option that was meant, and where all of them are listed."""
    if error.ctx is None:
        return error.format_message()
    command = error.ctx.command
    known = [name for param in command.params for name in param.opts if name.startswith("--")]
    sides = [name for name in known if name[4:] == error.option_name[2:] and name[3:4] == "-"]
    near = sides or get_close_matches(error.option_name.lower(), known, n=1, cutoff=0.6)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    words = ["probe", "help", *([] if command.name == without_verb else [str(command.name)])]
    return f"there is no option {error.option_name}{meant} ({' '.join(words)} lists all)"
