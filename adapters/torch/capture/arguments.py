"""By which names, and with what beside arrays, a module's forward is called."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from probe.errors import BadInput
from probe.model import CallArguments, InputSpec, Slot

from .exported_program import Program
from .torchscript import Script, is_script

__all__ = ["bound_to", "filled", "names_of_arrays"]

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def bound_to(
    module: torch.nn.Module,
    arguments: CallArguments,
    specs: Sequence[InputSpec] | None = None,
    alone: bool = False,
) -> tuple[CallArguments | None, tuple[str, ...]]:
    """The arguments as the module's forward takes them, None where they are arrays in order; and
    the names that are none of its parameters but go on as ``**kwargs``.

    Beside named ones those without a name go to the parameters that are left. Of a layer called
    ``alone`` arrays whose names say nothing are taken in their order, as is a single array.
    """
    if isinstance(module, Program):
        return _in_order_of(arguments, specs or ())
    parameters = _parameters(module)
    names = [
        parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL
    ]
    unknown = [name for name in arguments.named if name not in names]
    arrays = all(isinstance(value, Slot) for value in arguments.named.values())
    further = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if (
        not further
        and len(unknown) == len(arguments.named)
        and arrays
        and (alone or len(unknown) == 1)
    ):
        arguments, unknown = CallArguments((*arguments.positional, *arguments.named.values())), []
    if unknown and not further:
        raise BadInput(_refusal(module, unknown, names))
    if not arguments.named:
        plain = all(isinstance(value, Slot) for value in arguments.positional)
        return (None if plain else arguments), ()
    left = [
        parameter.name
        for parameter in parameters
        if parameter.kind in _BY_PLACE and parameter.name not in arguments.named
    ]
    named = {**dict(zip(left, arguments.positional, strict=False)), **arguments.named}
    rest = arguments.positional[len(left) :]
    only = [
        parameter.name
        for parameter in parameters
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in named
    ]
    first = tuple(named.pop(name) for name in only)
    return CallArguments((*first, *rest), named), tuple(unknown)


def filled(
    arguments: CallArguments, tensors: Sequence[torch.Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with a tensor in each slot."""

    def put(value: Any) -> Any:
        if isinstance(value, Slot):
            return tensors[value.position]
        if isinstance(value, Mapping):
            return {key: put(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([put(part) for part in value])
        return value

    return tuple(map(put, arguments.positional)), {
        name: put(value) for name, value in arguments.named.items()
    }


def names_of_arrays(module: torch.nn.Module, arguments: CallArguments | None) -> tuple[str, ...]:
    """Which of forward's parameters each array goes to: "" for one within a list or a mapping. Of
    arrays in order those that it takes by place."""
    by_place = [parameter.name for parameter in _parameters(module) if parameter.kind in _BY_PLACE]
    if arguments is None:
        return tuple(by_place)
    placed = [*zip(by_place, arguments.positional, strict=False), *arguments.named.items()]
    slots = {value.position: name for name, value in placed if isinstance(value, Slot)}
    return tuple(slots.get(place, "") for place in range(max(slots, default=-1) + 1))


def _in_order_of(
    arguments: CallArguments, specs: Sequence[InputSpec]
) -> tuple[CallArguments | None, tuple[str, ...]]:
    """An exported program takes its arrays in order, and by name where all are named."""
    names = [spec.name for spec in specs]
    values = (*arguments.positional, *arguments.named.values())
    if not all(isinstance(part, Slot) for part in values):
        raise BadInput(
            "an exported program takes arrays alone: the other arguments were fixed at its export"
        )
    if arguments.named:
        if arguments.positional or set(arguments.named) != set(names):
            raise BadInput(
                f"the model's inputs are named {', '.join(names)}; you gave "
                f"{', '.join(arguments.named)}"
            )
        return CallArguments(tuple(arguments.named[name] for name in names)), ()
    if len(values) != len(names):
        raise BadInput(
            f"the model takes {len(names)} inputs ({', '.join(names)}); you gave {len(values)}"
        )
    return None, ()


def _parameters(module: torch.nn.Module) -> list[inspect.Parameter]:
    """Those of the module's forward; TorchScript has them in its schema."""
    if isinstance(module, Script) or is_script(module):
        script: Any = module._held[0] if isinstance(module, Script) else module
        schema = script._c._get_method("forward").schema
        return [
            inspect.Parameter(argument.name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for argument in schema.arguments[1:]
        ]
    return list(inspect.signature(module.forward).parameters.values())


def _refusal(module: torch.nn.Module, unknown: Sequence[str], names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(unknown[0]), names, n=1)
    if near:
        hint = f"did you mean {near[0]!r}?"
    else:
        hint = f"it takes {', '.join(names) or 'none'}"
    return (
        f"the forward of {type(module).__name__} has no parameter "
        f"{', '.join(map(repr, unknown))}; {hint}"
    )
