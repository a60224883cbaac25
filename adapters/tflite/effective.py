"""The weights of a file that nodes compute from constants alone."""

from collections.abc import Iterator, Mapping

import numpy as np

from probe.description import Grid, Weight

from .dataflow import Dataflow, short
from .schema import DTYPES, OMITTED, TfliteNode, TfliteTensor, bits_of

__all__ = ["dequantised", "otherwise_dequantised", "worked_out"]

_NEAR = 1e-5


def worked_out(
    flow: Dataflow, node: TfliteNode, values: Mapping[int, np.ndarray]
) -> dict[int, Weight]:
    """Of what a node takes: what other nodes compute from constants."""
    weights: dict[int, Weight] = {}
    for at in node.inputs:
        if at == OMITTED or at in flow.following:
            continue
        weight = None if flow.tensors[at].is_constant else _computed(flow, at, values)
        if weight is not None:
            weights[at] = weight
    return weights


def _computed(flow: Dataflow, at: int, values: Mapping[int, np.ndarray]) -> Weight | None:
    """What the model computes from what it holds; of what it dequantises the constant is what is
    stored."""
    maker = flow.makers.get(at)
    if maker is not None and maker.operator in ("DEQUANTIZE", "DENSIFY"):
        tensor = flow.tensors[maker.inputs[0]]
        if tensor.constant is not None:
            return dequantised(tensor, tensor.constant)
    if at not in values:
        return None
    name = short(flow.tensors[at].name)
    return Weight(name, None, values[at], ("computed by the model from constants",))


def otherwise_dequantised(
    flow: Dataflow, node: TfliteNode, values: Mapping[int, np.ndarray]
) -> Iterator[str]:
    """Says of which weights the engine has made other numbers than they stand for."""
    for at in node.inputs:
        maker, given = flow.makers.get(at), values.get(at)
        if maker is None or maker.operator != "DEQUANTIZE" or given is None:
            continue
        tensor = flow.tensors[maker.inputs[0]]
        if tensor.constant is None:
            continue
        right = dequantised(tensor, tensor.constant).effective
        if right.shape != given.shape:
            continue
        off = float(np.abs(given - right).max(initial=0.0))
        if off > _NEAR * float(np.abs(right).max(initial=0.0)):
            yield (
                f"its weight {short(tensor.name)} is not what the engine computes with: its "
                f"DEQUANTIZE gives other numbers, by up to {off:.3g}"
            )


def dequantised(tensor: TfliteTensor, stored: np.ndarray) -> Weight:
    """A constant as the numbers that it stands for."""
    quantisation = tensor.quantisation
    if tensor.sparsity is not None:
        return Weight(short(tensor.name), stored, stored, ("stored without its zeros",))
    if stored.dtype.kind == "f":
        words = f"stored as {tensor.dtype}, which DEQUANTIZE widens to float32"
        return Weight(short(tensor.name), stored, stored.astype(np.float32), (words,))
    if quantisation is None or not quantisation.scale.size or tensor.dtype not in DTYPES:
        return Weight(short(tensor.name), stored, stored)
    around = [] if quantisation.axis is None else [1] * stored.ndim
    if quantisation.axis is not None:
        around[quantisation.axis] = -1
    scale = quantisation.scale.reshape(around)
    zero = quantisation.zero_point.reshape(around)
    effective = (stored.astype(np.int64) - zero).astype(np.float32) * scale
    grid = Grid(scale, bits_of(tensor.dtype), not tensor.dtype.startswith("u"), zero)
    words = f"{tensor.dtype}, times its scale, by DEQUANTIZE"
    return Weight(short(tensor.name), stored, effective, (words,), grid=grid)
