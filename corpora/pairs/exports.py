"""Modules of PyTorch as ONNX files."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edits import Edit
from torch import nn


def _legacy(training: Any) -> dict[str, Any]:
    return {"dynamo": False, "opset_version": 17, "training": training}


WAYS: dict[str, dict[str, Any]] = {
    "dynamo": {"dynamo": True, "external_data": False, "verbose": False},
    # The older exporter folds batch normalisations of a model in evaluation mode.
    "folded": _legacy(torch.onnx.TrainingMode.EVAL),
    "kept": _legacy(torch.onnx.TrainingMode.PRESERVE),
}


def export(model: nn.Module, x: Any, path: Path, way: str) -> Path:
    """Write a module as ONNX."""
    args = tuple(torch.as_tensor(one) for one in (x if isinstance(x, tuple) else (x,)))
    with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(model, args, str(path), **WAYS[way])
    return path


def exported(
    build: Callable[[], tuple[nn.Module, np.ndarray]],
    way: str,
    edit: Edit | None = None,
    fold: Callable[[nn.Module, np.ndarray], Any] | None = None,
    kind: torch.dtype = torch.float32,
) -> Callable[[Path], Path]:
    """What builds the model again, edits it, folds it where `fold` does, and exports it."""

    def write(folder: Path) -> Path:
        model, x = build()
        if edit is not None:
            edit(model)
        if fold is not None:
            fold(model, x)
        return export(model.to(kind), torch.from_numpy(x).to(kind), folder / "b.onnx", way)

    return write


def convolutions_before(model: nn.Module, x: np.ndarray) -> dict[str, str]:
    """The convolution whose output each batch normalisation takes, by names."""
    makers: dict[int, str] = {}
    found: dict[str, str] = {}
    alive: list[Any] = []

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(module, nn.Conv2d):
                makers[id(output)] = name
                alive.append(output)
            elif isinstance(module, nn.BatchNorm2d) and id(args[0]) in makers:
                found[name] = makers[id(args[0])]

        return module.register_forward_hook(hook)

    hooks: Iterable[Any] = [watch(name, module) for name, module in model.named_modules()]
    with torch.no_grad():
        model(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    return found


def fold_by_hand(model: nn.Module, x: np.ndarray, mistake: str = "", layer: str = "") -> None:
    """Fold each batch normalisation into the convolution before it, one with a mistake."""
    for norm_name, conv_name in convolutions_before(model, x).items():
        norm, conv = model.get_submodule(norm_name), model.get_submodule(conv_name)
        wrong = mistake if norm_name == layer else ""
        eps = 1e-2 if wrong == "epsilon" else norm.eps
        scale = norm.weight.data / torch.sqrt(norm.running_var + eps)
        if wrong == "variance":
            scale = norm.weight.data / (norm.running_var + eps)
        mean = torch.zeros_like(norm.running_mean) if wrong == "mean" else norm.running_mean
        old = torch.zeros_like(mean) if conv.bias is None else conv.bias.data
        shift = norm.bias.data + (old - mean) * scale
        if wrong == "gain of the mean":
            shift = norm.bias.data + (old - mean) * scale / norm.weight.data
        weight = conv.weight.data * scale[:, None, None, None]
        if wrong == "rows":
            weight = conv.weight.data * scale.flip(0)[:, None, None, None]
        conv.weight.data.copy_(weight)
        conv.bias = nn.Parameter(shift)
        owner, _, name = norm_name.rpartition(".")
        model.get_submodule(owner)._modules[name] = nn.Identity()
