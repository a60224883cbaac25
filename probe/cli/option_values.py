"""What is typed as an option's value, as what it means."""

import re
from ast import literal_eval
from typing import Any

import click

from probe.suggestions import did_you_mean

__all__ = ["device", "files_of_layers", "literals", "numbers", "shapes"]


def device(_: Any, __: Any, value: str | None) -> str | None:
    """Whether a device is there only its framework knows, which takes seconds to start."""
    if value is None or _DEVICE.fullmatch(value):
        return value
    raise click.BadParameter(f"a device is cpu, cuda, cuda:1 or mps; you gave {value!r}")


_DEVICE = re.compile(r"(cpu|cuda|mps)(:\d+)?|disk")


def numbers(_: Any, __: Any, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        meant = ",".join(re.findall(r"-?\d+", value))
        several = meant != value and _SEVERAL.fullmatch(value)
        hint = f"; {did_you_mean([meant])}" if several else _EXAMPLE
        raise click.BadParameter(
            f"{value!r} is not a list of comma-separated integers{hint}"
        ) from None


_SEVERAL = re.compile(r"[\[(\s]*-?\d+(?:[\s,x*]+-?\d+)*[\s,\])]*")
"""Integers, in whatever form."""


_EXAMPLE = " such as 1,3,224,224"


def literals(_: Any, __: Any, values: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """Names and the values of Python's literals; a word that is none is a string."""
    found: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, such as use_cache=False")
        if name in found:
            raise click.BadParameter(f"{name} is given twice")
        try:
            found[name] = literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise click.BadParameter(
                f"{value!r} is not a Python literal such as False, 0.5, 'mean' or (7, 7)"
            ) from None
    return tuple(found.items())


def files_of_layers(_: Any, __: Any, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Names of layers, and the files of their values."""
    found: dict[str, str] = {}
    for text in values:
        layer, equals, path = text.partition("=")
        if not (equals and layer and path):
            raise click.BadParameter(f"{text!r} is not LAYER=FILE, such as conv2d=mine.npy")
        if layer in found:
            raise click.BadParameter(f"{layer} is given twice")
        found[layer] = path
    return tuple(found.items())


def shapes(
    _: click.Context | None, __: click.Parameter | None, values: tuple[str, ...]
) -> tuple[tuple[int, ...], ...]:
    """Each text as a shape."""
    return tuple(numbers(None, None, value) or () for value in values)
