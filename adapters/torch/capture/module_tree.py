"""The modules of a model: their names, and which of them compute something themselves."""

from collections.abc import Mapping

import torch

from ..describe.describe import opaque
from .exported_program import Program
from .torchscript import Script, is_script, unfollowed

__all__ = ["atomic", "graph_around", "is_called", "mode_of", "named", "unwrapped"]


def unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """The module that torch.compile was given: hooks on its wrapper are not those of the layer."""
    inner = module._modules["_orig_mod"] if "_orig_mod" in module._modules else None
    if inner is None:
        return module
    return inner


def mode_of(module: torch.nn.Module) -> str:
    """A note on the mode that a live module came in and keeps."""
    modes = [part.training for _, part in named(module)]
    training, total = sum(modes), len(modes)
    if not training:
        return "the module is in evaluation mode"
    if training == total:
        return "the module is in training mode, as given; call eval() on it to check inference"
    return f"{training} of its {total} modules are in training mode, as given"


def _children(module: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    return [
        (name, unwrapped(child)) for name, child in module._modules.items() if child is not None
    ]


def named(root: torch.nn.Module, shared: bool = False) -> list[tuple[str, torch.nn.Module]]:
    """Every module with its dotted name; one that has several names under its first, or ``shared``
    under all."""
    found: list[tuple[str, torch.nn.Module]] = []
    seen = set[int]()

    def down(module: torch.nn.Module, name: str) -> None:
        if id(module) in seen and not shared:
            return
        seen.add(id(module))
        found.append((name, module))
        for key, child in _children(module):
            down(child, f"{name}.{key}" if name else key)

    down(root, "")
    return found


def graph_around(name: str, modules: Mapping[str, torch.nn.Module]) -> torch.nn.Module | None:
    """The outermost module, run as a graph, that a part lies inside."""
    path = name.split(".") if name else []
    around = (modules[".".join(path[:depth])] for depth in range(len(path)))
    return next(
        (module for module in around if is_script(module) or isinstance(module, Program | Script)),
        None,
    )


def atomic(root: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """Goes down to what computes itself: PyTorch's own layers, whose inside is theirs, and
    childless modules."""
    modules: list[tuple[str, torch.nn.Module]] = []
    seen = set[int]()

    def down(module: torch.nn.Module, name: str) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        if unfollowed(module):
            modules.append((name, module))
            return
        if type(module) is torch.nn.Module and not module._modules:
            return  # holds parameters for an exported program, and computes nothing
        children = _children(module)
        if opaque(module) or not (_is_container(module) or children):
            modules.append((name, module))
            return
        for key, child in children:
            down(child, f"{name}.{key}" if name else key)

    down(root, "")
    return modules


def _is_container(module: torch.nn.Module) -> bool:
    """Sequential, ModuleList and their like, empty ones too."""
    return any(cls.__module__ == "torch.nn.modules.container" for cls in type(module).__mro__)


def is_called(module: torch.nn.Module) -> bool:
    """Whether it has a forward, which lists of modules have not."""
    return getattr(type(module), "forward", None) is not torch.nn.Module.forward or (
        "forward" in vars(module)
    )
