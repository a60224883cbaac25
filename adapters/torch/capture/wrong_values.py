"""What is wrong with the values that a layer was given, in words and with the way out: numbers
where indices are looked up, indices without a row, integers where it computes in floats."""

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch

__all__ = ["wrong_values"]

_FLOATS_WANTED = re.compile(
    r"dtype|data ?type|Input type|scalar type"
    r"|not implemented for '(?:Bool|Byte|Char|Short|Int|Long)'"
)
_INDICES_WANTED = re.compile(r"used as indices must be|index tensor of type|scalar types: Long")


def wrong_values(
    error: Exception,
    module: torch.nn.Module,
    tensor: torch.Tensor,
    given: bool,
) -> str | None:
    """A sentence where the values of ``tensor``, the first that ``module`` was called on, made it
    fail; ``given``: they are the model's input."""
    kind, text = type(module).__name__, str(error)
    call = _look_up(error.__traceback__)
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    if call is not None:
        return _of_look_up(kind, call["input"], len(call["weight"]), tensor, given)
    if not whole and _INDICES_WANTED.search(text):
        return _no_indices(kind, tensor, None)
    if whole and _FLOATS_WANTED.search(text):
        floats = (part.dtype for part in module.parameters() if part.is_floating_point())
        wanted = _name(next(floats, torch.float32))
        return (
            f"{kind} computes in {wanted}; you gave {_name(tensor.dtype)}: give floats, "
            f"x.astype(np.{'float32' if wanted == 'bfloat16' else wanted})"
        )
    return None


def _look_up(trace: TracebackType | None) -> Mapping[str, Any] | None:
    """The arguments of the look-up in a table of embeddings that failed."""
    found = None
    while trace is not None:
        frame = trace.tb_frame
        if (
            frame.f_code.co_name in ("embedding", "embedding_bag")
            and frame.f_globals.get("__name__") == "torch.nn.functional"
            and all(isinstance(frame.f_locals.get(name), torch.Tensor) for name in _ARGUMENTS)
        ):
            found = frame.f_locals
        trace = trace.tb_next
    return found


_ARGUMENTS = ("input", "weight")


def _of_look_up(
    kind: str,
    indices: torch.Tensor,
    rows: int,
    tensor: torch.Tensor,
    given: bool,
) -> str | None:
    if indices.numel() == tensor.numel():
        indices = indices.reshape(tensor.shape)  # a bag's come in a row
    if indices.is_floating_point() or indices.is_complex():
        return _no_indices(kind, indices, rows)
    wrong = torch.nonzero((indices < 0) | (indices >= rows)).tolist()
    if not wrong:
        return None
    words = (
        f"{kind} looks up rows 0 to {rows - 1} of a table, and the index "
        f"{indices[tuple(wrong[0])].item()} at {wrong[0]} is none of them"
    )
    if given:
        return f"{words}: give whole numbers from 0 to {rows - 1}"
    return f"{words}; the model computes it itself, such as a position: give a shorter input"


def _no_indices(kind: str, tensor: torch.Tensor, rows: int | None) -> str:
    most = "" if rows is None else f" from 0 to {rows - 1}"
    words = (
        f"{kind} takes indices such as token ids, whole numbers{most}; you gave "
        f"{_name(tensor.dtype)}"
    )
    broken = tensor[tensor != tensor.round()]
    if not len(broken):
        return f"{words}: give integers, x.astype(np.int64)"
    words += f" values such as {broken[0].item():.4g}"
    if rows is None:
        return f"{words}: give integers"
    shape = tuple(tensor.shape[:2])  # a batch and its tokens, also where an image was given
    return f"{words}: give integers (random ones: np.random.randint(0, {rows}, {shape}))"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
