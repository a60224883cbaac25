"""What is said of a command line that lacks a word, or has one too many."""

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import click

from probe.command_line import file, joined
from probe.files.regular_file import exists, missing
from probe.suggestions import did_you_mean, near

__all__ = ["in_words", "of_more_words", "of_no_command", "repeated", "valueless"]


def of_no_command(words: list[str], commands: Collection[str]) -> str:
    """What is meant where the first word is neither a file nor a command, or the second is a
    command, as a sentence; "" where all can be as it is."""
    first, *rest = words
    verb = rest[0] if rest and rest[0] in commands and not exists(rest[0]) else ""
    if verb and verb != "compare":  # whose options have other names
        return _COMES_FIRST + joined(["probe", verb, first, *rest[1:]])
    if verb or exists(first) or any(mark in first for mark in "./\\"):
        return ""
    meant = near(first, commands, 1, _ALIKE)
    if meant:
        command = joined(["probe", *meant, *rest])
        return f"there is no file or command {first!r}; did you mean {meant[0]}? {command}"
    if first in ("version", "help"):
        return f"there is no file or command {first!r}; did you mean --{first}?"
    if rest and [word for word in rest if exists(word)] == rest[:1]:
        return f"there is no file or command {first!r}; without it: {joined(['probe', *rest])}"
    return ""


_ALIKE = 0.7
_COMES_FIRST = "the command comes first: "


def of_more_words(
    command: click.Command, commands: Collection[str], given: Mapping[str, Any], extra: list[str]
) -> str:
    """What more words than a command takes may have meant, as a sentence; ``given`` are its options
    as they were typed."""
    model = str(given.get("model") or "")
    words = [word for word in (model, *extra) if word]
    if found := _parted(command, given, words):
        return found
    if (verb := "compare") in words and not exists(verb):
        return _COMES_FIRST + _comparison(given, [word for word in words if word != verb])
    if command.name in commands:
        need = " ".join(["probe", str(command.name), *map(_as_typed, _required(command))])
        return f"one word is too many, {extra[0]}: {need}"
    return _of_two(sys.argv[1:], given, words)


def _of_two(typed: list[str], given: Mapping[str, Any], words: list[str]) -> str:
    """The same of the second of two words, which no verb is before."""
    first, second = words[-2:]
    single = "one model is checked at a time"
    for array, other in ((first, second), (second, first)):
        if array.endswith(_ARRAYS) and exists(array):
            if given.get("input"):
                last = len(typed) - 1 - typed[::-1].index(array)
                line = joined(["probe", *typed[:last], *typed[last + 1 :]])
                return f"{single}, and --input is given already; without {array}: {line}"
            rest = [word for word in typed if word not in (first, second)]
            line = joined(["probe", file(other), "--input", array, *rest])
            return f"{single}; an array is given by --input: {line}"
    if exists(first) and exists(second):
        return f"{single}; two models are compared by {_comparison(given, [first, second])}"
    if "." in second and (found := missing(second)).endswith("?"):
        return f"{single}; {found}"
    if given.get("layer") is not None:
        return (
            f"{single}, and one word is too many, {second}: --layer takes one name (--to a second, "
            "for the segment up to it)"
        )
    rest = [word for word in typed if word not in words]
    line = joined(["probe", file(first), "--layer", second, *rest])
    return f"{single}; a layer is given by {joined(['--layer', second])}: {line}"


_ARRAYS = (".npy", ".txt", ".csv", ".dat", ".bin", ".png", ".jpg", ".jpeg")
"""How files of arrays end that are no outputs of layers by their names."""
_NUMBERS = re.compile(r"[\d:,\[\]()-]+")


def _parted(command: click.Command, given: Mapping[str, Any], words: list[str]) -> str:
    """The option whose numbers were typed as several words; "" where there is none."""
    rest = [word for word in words if _NUMBERS.fullmatch(word)]
    for option in command.params:
        value = given.get(str(option.name)) or ""
        last = value[-1] if isinstance(value, list) else value
        comma = "," in str(option.metavar) and rest
        if comma and isinstance(last, str) and _NUMBERS.fullmatch(last):
            parts = (part for word in (last, *rest) for part in word.strip("[]()").split(","))
            numbers = ",".join(filter(None, parts))
            return f"{option.opts[0]} is one word, without spaces: {option.opts[0]} {numbers}"
    return ""


def _comparison(given: Mapping[str, Any], models: list[str]) -> str:
    """The command that compares two models as these options open and feed one."""
    words = ["probe", "compare", *map(file, models)]
    modules = [not model.endswith((".onnx", ".keras", ".h5", ".tflite")) for model in models]
    side = "b" if modules == [False, True] else "a"
    for name in ("factory", "imports", *_OF_EITHER):
        values = given.get(name) or ()
        option = {"factory": f"{side}-factory", "imports": f"{side}-import"}.get(name, name)
        for value in (values,) if isinstance(values, str) else values:
            words += [f"--{option}", value]
    return joined(words)


def valueless(command: click.Command, args: list[str]) -> str:
    """The option that lacks its value, since another option stands in the value's place; ""
    where none does."""
    known = {name for option in command.params for name in option.opts if name[:2] == "--"}
    for option in command.params:
        if isinstance(option, click.Option) and not option.is_flag:
            for name, value in pairwise(args):
                if name in option.opts and value in known:
                    return name
    return ""


def repeated(order: Sequence[click.Parameter], args: Sequence[str]) -> str:
    """What is said of an option of one value that is given again, of those in the ``order`` of the
    words; "" where none is."""
    for option in order:
        single = isinstance(option, click.Option) and not (option.multiple or option.is_flag)
        if single and (times := order.count(option)) > 1:
            name = option.opts[0]
            values = [value for typed, value in pairwise(args) if typed in option.opts]
            values += [word.partition("=")[2] for word in args if word.startswith(f"{name}=")]
            given = f" ({', '.join(values)})" if len(values) == times else ""
            instead = _SEVERAL_VALUES.get(str(option.name), "leave out all but one")
            return f"{name} takes one value and is given {times} times{given}: {instead}"
    return ""


_SEVERAL_VALUES = {
    "layer": "--all checks every layer, --layer NAME --to NAME a segment",
    "input": (
        "leave out all but one, or give several inputs in one file by their names, "
        "np.savez('inputs.npz', NAME=array, NAME=array) and --input inputs.npz"
    ),
    "expect": (
        "leave out all but one, or give the outputs of several layers in one file by their names, "
        "np.savez('outputs.npz', NAME=array, NAME=array) and --all --expect outputs.npz"
    ),
}
"""How several values of an option that takes one are given, where they may be."""


_OF_EITHER = ("input", "text", "seed", "shape")
"""Options of an input, which a comparison takes too, one value or several."""


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
    typed = " ".join(["probe", *verb, *map(_as_typed, _required(command))])
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
    return error.format_message()


def _required(command: click.Command) -> list[click.Parameter]:
    return [parameter for parameter in command.params if parameter.required]


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
    if re.fullmatch(r"-\w", option):
        letter = [name for name in known if name.startswith(f"-{option}")][:3]
        return f"; {did_you_mean(letter)}" if letter else ""
    sides = [name for name in known if name[4:] == option[2:] and name[3:4] == "-"]
    meant = sides or near(option, known, 1)
    return f"; {did_you_mean(meant)}" if meant else ""
