"""The arguments of a module's call by the names of its forward's parameters."""

import ast
import functools
import inspect
import itertools
import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from probe.description import Ref

from .tensors import leaf_tensor

__all__ = ["named_arguments", "unpacked_to"]


def named_arguments(module: torch.nn.Module, args: Any, kwargs: Any) -> Mapping[str, Any]:
    """The arguments by the names of forward's parameters, each tensor as the Ref of its place among
    ``tensors_in``."""
    forward = type(module).forward
    if "forward" not in vars(module) and isinstance(forward, FunctionType):
        names = _places(forward)
    else:
        names = ()
    if (
        not kwargs
        and len(args) <= len(names)
        and all(isinstance(arg, torch.Tensor) for arg in args)
    ):
        return {name: Ref(-1, place) for place, name in enumerate(names[: len(args)])}
    number = itertools.count()

    def referred(leaf: Any) -> Any:
        if isinstance(leaf, PackedSequence):  # It refuses to hold anything but tensors.
            return _PackedArguments(*map(referred, leaf))
        if leaf_tensor(leaf):
            return Ref(-1, next(number))
        return leaf

    args, kwargs = pytree.tree_map(
        referred,
        (args, kwargs),
        is_leaf=lambda part: isinstance(part, PackedSequence) or leaf_tensor(part),
    )
    bound: Mapping[str, Any] = kwargs
    with suppress(TypeError):  # forward itself says what is wrong
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    return bound


class _PackedArguments(NamedTuple):
    """The parts of a PackedSequence."""

    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


def unpacked_to(module_class: type[torch.nn.Module], parameter: str) -> tuple[str, ...]:
    """The names that forward unpacks a parameter to, as in ``cos, sin = position_embeddings``; ()
    where its source has none, or is not there."""
    return _unpacked(module_class.forward).get(parameter, ())


@functools.lru_cache(maxsize=512)
def _unpacked(forward: Callable[..., Any]) -> Mapping[str, tuple[str, ...]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(forward))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)):
            continue
        for target in node.targets:
            parts = target.elts if isinstance(target, ast.Tuple | ast.List) else []
            names = [part.id for part in parts if isinstance(part, ast.Name)]
            if names and len(names) == len(parts):
                found.setdefault(node.value.id, tuple(names))
    return found


@functools.lru_cache(maxsize=512)
def _places(forward: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters that ``forward`` takes by position, self left out."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    return tuple(parameter.name for parameter in parameters if parameter.kind in kinds)
