"""Weights that torchao has quantised: tensors of its own classes, in place of the plain ones of an
unchanged module.

None of torchao is imported: a tensor is known by the name of its class, and says itself what it
holds. A layer whose input is quantised too has no description.
"""

from typing import Any

import numpy as np

from probe.description import Grid, Weight
from probe.errors import Undescribed

__all__ = ["packed"]

_INTEGERS = ("Int8Tensor", "IntxUnpackedToInt8Tensor")
_KNOWN = (*_INTEGERS, "Float8Tensor")


def packed(name: str, tensor: Any) -> Weight | None:
    """The weight behind a tensor of torchao; None where it is none. Undescribed where the layer
    does more than multiply by it."""
    cls = type(tensor)
    if cls.__module__.partition(".")[0] != "torchao":
        return None
    if cls.__name__ not in _KNOWN:
        raise Undescribed(
            f"its {name} is a {cls.__module__}.{cls.__name__}, which has no description"
        )
    for option in (
        "act_quant_kwargs",
        "act_quant_scale",
        "act_pre_scale",
        "activation_quantization",
    ):
        if getattr(tensor, option, None) is not None:
            raise Undescribed(f"quantised inputs ({option} of its {name}) are not supported")
    effective = tensor.dequantize().detach().float().numpy(force=True)
    stored, scale = (
        part.detach().float().numpy(force=True) for part in (tensor.qdata, tensor.scale)
    )
    around = _spread(scale, tensor.block_size, effective.shape)
    kind, grid = "float8 e4m3fn" if cls.__name__ == "Float8Tensor" else "", None
    parts = {f"{name}.scale": scale}
    words = [
        (
            f"times {name}.scale {scale.min():g} to {scale.max():g}, one for "
            f"{' x '.join(map(str, tensor.block_size))} values"
        )
    ]
    if cls.__name__ in _INTEGERS:
        bits = int(str(getattr(tensor, "target_dtype", "int8")).rpartition("int")[2])
        if tensor.zero_point is None:
            zero = np.zeros(())
        else:
            zero = tensor.zero_point.detach().float().numpy(force=True)
        stored, kind = stored.astype(np.int8), f"int{bits}"
        grid = Grid(
            around.astype(np.float64),
            bits,
            True,
            _spread(zero, tensor.block_size, effective.shape).astype(np.int64),
        )
        if zero.any():
            parts[f"{name}.zero_point"] = zero
            words.insert(0, f"less {name}.zero_point")
    return Weight(name, stored, effective, (f"{kind} (qdata)", *words), parts, grid=grid)


def _spread(values: np.ndarray, blocks: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One number for each block as one for each value; those that broadcast as they are."""
    if values.ndim != len(shape):
        return values
    for axis, size in enumerate(blocks):
        if values.shape[axis] > 1 and values.shape[axis] != shape[axis]:
            values = values.repeat(size, axis=axis)
    return values
