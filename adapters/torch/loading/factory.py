"""The module that a factory builds: "pkg.mod:name", "path/net.py:Net(10, wide=True)", or a
callable."""

import ast
import copy
from collections.abc import Callable
from typing import Any

import torch

from probe import printable
from probe.errors import BadInput
from probe.suggestions import did_you_mean, near

from ...user_modules import factories, import_named
from .new_module import alive, own

__all__ = ["Factory", "build"]

Factory = str | Callable[[], torch.nn.Module]


def build(factory: Factory) -> torch.nn.Module:
    """Runs the factory; the random state is as it was, since the parameters drawn here are
    overwritten, and nothing of the module was there before."""
    if isinstance(factory, torch.nn.Module):
        raise BadInput(
            f"factory= is a live {type(factory).__name__}, whose weights would be overwritten: "
            "give what makes a new module, such as its class or lambda: copy.deepcopy(module)"
        )
    if isinstance(factory, str):
        label = repr(factory)
    else:
        label = getattr(factory, "__qualname__", repr(factory))
    before = alive()
    with torch.random.fork_rng(devices=[]):
        if isinstance(factory, str):
            make, args, kwargs = _parsed(factory)
        else:
            make, args, kwargs = factory, [], {}
        if isinstance(make, torch.nn.Module):  # in a file, where whoever imports it has it too
            make, args, kwargs = copy.deepcopy, [make], {}
        if not callable(make):
            raise BadInput(f"the factory {label} is {printable.kind(make)}, which cannot be called")
        try:
            made = make(*args, **kwargs)
        except (Exception, SystemExit) as error:
            raise BadInput(f"the factory {label} raised {type(error).__name__}: {error}") from error
    if not isinstance(made, torch.nn.Module):
        raise BadInput(
            f"the factory {label} returned {printable.kind(made)}, not a torch.nn.Module"
        )
    return own(made, before, label)


def _parsed(factory: str) -> tuple[Any, list[Any], dict[str, Any]]:
    """The object that the text names and the literal arguments to call it with."""
    at = factory.find(".py:") + 3 if ".py:" in factory else factory.find(":")
    place, text = factory[:at], factory[at + 1 :]
    if at <= 0 or not text:
        meant = factories(factory.rstrip(":"))
        hint = f"; {did_you_mean(meant)}" if meant else ""
        raise BadInput(
            "a factory is written as 'package.module:Net' or 'path/net.py:Net(10, "
            f"wide=True)'; you gave {factory!r}{hint}"
        )
    try:
        node = ast.parse(text.strip(), mode="eval").body
        args, kwargs = [], {}
        if isinstance(node, ast.Call):
            args = [ast.literal_eval(arg) for arg in node.args]
            kwargs = {
                keyword.arg or "**": ast.literal_eval(keyword.value) for keyword in node.keywords
            }
            node = node.func
        names = _dotted(node)
        if "**" in kwargs:
            raise ValueError
    except (SyntaxError, ValueError):
        raise BadInput(
            f"in the factory {factory!r}, {text!r} is not a name with optional literal arguments"
        ) from None
    found: Any = import_named(place)
    for name in names:
        if not hasattr(found, name):
            hint = did_you_mean(near(name, dir(found)))
            raise BadInput(
                f"the factory {factory!r}: {place} has no attribute {name!r}"
                + f"; {hint}" * bool(hint)
            )
        found = getattr(found, name)
    return found, args, kwargs


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    raise ValueError
