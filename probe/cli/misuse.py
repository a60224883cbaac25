"""What is said of a command line that lacks a word, or has one too many."""

import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import click

from probe.command_line import file, joined
from probe.files.regular_file import exists

__all__ = ["in_words", "of_more_words"]


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


def in_words(error: click.ClickException, commands: click.Group, without_verb: str) -> str:
    """What is wrong with a command line, in a sentence with the way out; the command of the name
    ``without_verb`` is typed without it."""
    if not isinstance(error, click.UsageError):
        return error.format_message()
    if error.ctx is None:  # of an option that lacks its value
        command = commands.commands[without_verb]
    else:
        command = error.ctx.command
    verb = [] if command.name == without_verb else [str(command.name)]
    typed = " ".join(["probe", *verb, *(_as_typed(p) for p in command.params if p.required)])
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{_as_typed(error.param)} is missing: {typed}"
    if isinstance(error, click.NoSuchOption):
        meant, listing = _meant(error.option_name, command), joined(["probe", "help", *verb])
        return f"there is no option {error.option_name}{meant} ({listing} lists all)"
    if isinstance(error, click.BadOptionUsage):
        option = next((p for p in command.params if error.option_name in p.opts), None)
        if option is not None and getattr(option, "is_flag", False):
            return f"{error.option_name} takes no value: {error.option_name}"
        if option is not None:
            return f"{error.option_name} needs a value: {_as_typed(option)}"
    if found := _EXTRA.match(error.message):
        return f"one word is too many, {found[1]}: {typed}"
    return error.format_message()


_EXTRA = re.compile(r"Got unexpected extra arguments? \(([^\s)]+)")


def _as_typed(parameter: click.Parameter) -> str:
    """Such as "MODEL" or "-o FILE"."""
    if isinstance(parameter, click.Option):
        return f"{parameter.opts[0]} {parameter.metavar}"
    return str(parameter.metavar or parameter.human_readable_name)


def _meant(option: str, command: click.Command) -> str:
    """The option that may have been meant; of a comparison those of both sides."""
    known = [name for param in command.params for name in param.opts if name.startswith("--")]
    typed = next((f"-{word}" for word in sys.argv[1:] if f"-{word.partition('=')[0]}" in known), "")
    if typed and not option.startswith("--"):  # click reads -layer as -l -a -y and so on
        return f"; did you mean {typed.partition('=')[0]}?"
    sides = [name for name in known if name[4:] == option[2:] and name[3:4] == "-"]
    near = sides or get_close_matches(option.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""
