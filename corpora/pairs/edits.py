"""Faults that are put into a live module of PyTorch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Edit = Callable[[nn.Module], Any]


def _parent(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    owner, _, name = path.rpartition(".")
    return model.get_submodule(owner), name


def _tensor(model: nn.Module, path: str) -> torch.Tensor:
    owner, name = _parent(model, path)
    return getattr(owner, name).data


def tensor(path: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Edit:
    """The tensor becomes what `change` makes of it."""

    def edit(model: nn.Module) -> None:
        old = _tensor(model, path)
        old.copy_(change(old.clone()))

    return edit


def entry(path: str, index: tuple[int, ...], by: float) -> Edit:
    """One entry, or one row, is greater by `by`."""

    def change(old: torch.Tensor) -> torch.Tensor:
        old[index] += by
        return old

    return tensor(path, change)


def scaled(path: str, row: int, factor: float) -> Edit:
    """One row is multiplied."""

    def change(old: torch.Tensor) -> torch.Tensor:
        old[row] *= factor
        return old

    return tensor(path, change)


def rows_exchanged(path: str, one: int, two: int) -> Edit:
    """Two rows are exchanged."""

    def change(old: torch.Tensor) -> torch.Tensor:
        old[[one, two]] = old[[two, one]]
        return old

    return tensor(path, change)


def exchanged(one: str, two: str) -> Edit:
    """Two tensors of one shape are exchanged."""

    def edit(model: nn.Module) -> None:
        first, second = _tensor(model, one), _tensor(model, two)
        kept = first.clone()
        first.copy_(second)
        second.copy_(kept)

    return edit


def put(path: str, make: Callable[[nn.Module], nn.Module]) -> Edit:
    """Another module takes the place of the old one, from which it is made."""

    def edit(model: nn.Module) -> None:
        owner, name = _parent(model, path)
        owner._modules[name] = make(owner._modules[name]).eval()

    return edit


def option(path: str, **values: Any) -> Edit:
    """Attributes of a module have other values."""

    def edit(model: nn.Module) -> None:
        for name, value in values.items():
            module = model.get_submodule(path)
            assert getattr(module, name) != value, (path, name, value)
            setattr(module, name, value)

    return edit


def removed(path: str) -> Edit:
    """What goes in comes out."""
    return put(path, lambda _old: nn.Identity())


def forward(path: str, function: Callable[..., Any], method: str = "forward") -> Edit:
    """A module computes otherwise."""

    def edit(model: nn.Module) -> None:
        module = model.get_submodule(path)
        kind = type(module)
        module.__class__ = type(kind.__name__, (kind,), {method: function})

    return edit


def both(*edits: Edit) -> Edit:
    """Several edits."""

    def edit(model: nn.Module) -> None:
        for one in edits:
            one(model)

    return edit
