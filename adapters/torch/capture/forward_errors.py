"""What is said where a forward pass cannot be made, or fails."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from probe.capture.declared_shape import by_name
from probe.capture.input_values import uneven
from probe.errors import BadInput, ForwardFailed, first_line

from .input_checks import mismatch, needed, without_batch
from .restore_state import held
from .tensors import tensors_in
from .wrong_values import wrong_values

__all__ = ["check_arguments", "failure"]


def check_arguments(
    root: torch.nn.Module,
    modules: Sequence[torch.nn.Module],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    if any(map(is_lazy, held(modules))):
        raise BadInput(
            f"{type(root).__name__} contains uninitialised lazy modules: call it once on an "
            "input first"
        )
    forward, count = inspect.signature(root.forward), len(args) + len(kwargs)
    try:
        forward.bind(*args, **kwargs)
    except TypeError as error:
        names = ", ".join(forward.parameters)
        raise BadInput(
            f"{type(root).__name__} takes ({names}); you gave {count} input{'s' * (count != 1)} "
            f"({error}): {_as_it_takes(root, len(forward.parameters), count)}"
        ) from None


def _as_it_takes(root: torch.nn.Module, most: int, count: int) -> str:
    """How inputs are given to a forward of so many parameters."""
    if count > most:
        return "a list or tuple is an input each, and one array is np.array(x)"
    return f"give all by name, {by_name(needed(root))}"


def failure(
    error: Exception,
    root: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    names: Mapping[int, str],
) -> Exception:
    """One sentence that names the innermost module that raised and what it was given."""
    module, tensors = root, list(inputs)
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == "_call_impl" and isinstance(
            frame.f_locals.get("self"), torch.nn.Module
        ):
            module = frame.f_locals["self"]
            tensors = tensors_in((frame.f_locals.get("args"), frame.f_locals.get("kwargs")))
        trace = trace.tb_next
    shapes = ", ".join(map(_shape, tensors)) or "no tensors"
    inner = not inputs or not tensors or tensors[0].shape != inputs[0].shape
    if tensors:
        wrong = mismatch(module, tuple(tensors[0].shape), of_model=not inner)
    else:
        wrong = None
    name, kind = names.get(id(module), ""), type(module).__name__
    place = f"layer {name!r} ({kind})" if name else f"the module itself ({kind})"
    empty = [
        f"{name}.{key}".lstrip(".")
        for key, tensor in module.named_parameters(recurse=False)
        if tensor.is_meta
    ]
    if empty:
        return ForwardFailed(
            f"the forward pass failed in {place}: {', '.join(empty)} is on the meta device, which "
            "holds no numbers; load the weights first"
        )
    whole = bool(inputs) and bool(tensors) and tensors[0].data_ptr() == inputs[0].data_ptr()
    if tensors and wrong is None:
        wrong = wrong_values(error, module, tensors[0], whole)
    if wrong and not inner and (module is root or whole):
        return BadInput(wrong if module is root else f"{wrong} (first seen in {place})")
    if len(inputs) == 1 and (alone := without_batch(root, tuple(inputs[0].shape), module)):
        wrong = alone
    if not inputs:
        wrong = (
            f"it raised {type(error).__name__}, and the input holds no array (numbers, texts and "
            "None are passed on as they are): give an array, np.array(x)"
        )
    return ForwardFailed(
        f"the forward pass failed in {place}, called on {shapes}: "
        f"{wrong or f'{type(error).__name__}: {first_line(error)}'}"
        + uneven([tensor.shape for tensor in inputs])
    )


def _shape(tensor: torch.Tensor) -> str:
    """With what its integers range over, which may be what is wrong."""
    if tensor.is_floating_point() or tensor.is_complex() or not tensor.numel() or tensor.is_meta:
        return f"{tuple(tensor.shape)}"
    low, high = int(tensor.min()), int(tensor.max())
    return f"{tuple(tensor.shape)} of integers from {low} to {high}"
