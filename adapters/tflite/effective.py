"""The weights of a file: what its constants stand for where other tensors, or nodes that compute
from constants alone, say that."""

from collections.abc import Mapping

import numpy as np

from probe.description import Grid, Weight
from probe.errors import Undescribed

from .dataflow import Dataflow
from .schema import DTYPES, OMITTED, Node, Tensor, bits_of

__all__ = ["worked_out"]


def worked_out(flow: Dataflow, node: Node, values: Mapping[int, np.ndarray]) -> dict[int, Weight]:
    """The constants of a node that are more than codes with a scale of their own: such as nodes
    compute from constants, and such as have scales for blocks."""
    weights: dict[int, Weight] = {}
    for at in node.inputs:
        if at == OMITTED or at in flow.following:
            continue
        tensor = flow.tensors[at]
        if tensor.is_constant:
            weight = _in_blocks(flow, tensor)
        else:
            weight = _computed(flow, at, values)
        if weight is not None:
            weights[at] = weight
    return weights


def _in_blocks(flow: Dataflow, tensor: Tensor) -> Weight | None:
    """Codes of which so many on the last axis share a scale; None of other constants."""
    quantisation, codes = tensor.quantisation, tensor.constant
    if quantisation is None or not quantisation.block_size or codes is None:
        return None
    scales = flow.tensors[quantisation.block_scales].constant
    if scales is None:
        return None
    if scales.size * quantisation.block_size != codes.size:
        raise Undescribed(f"its tensor {tensor.name} has scales that do not fit its blocks")
    size = np.repeat(scales.astype(np.float64), quantisation.block_size, axis=-1)
    size = size[..., : codes.shape[-1]].reshape(codes.shape)
    words = (
        f"{tensor.dtype}, times {scales.dtype.name} scales of {quantisation.block_size} values each"
    )
    grid = Grid(size, bits_of(tensor.dtype), not tensor.dtype.startswith("u"))
    return Weight(tensor.name, codes, codes * size, (words,), grid=grid)


def _computed(flow: Dataflow, at: int, values: Mapping[int, np.ndarray]) -> Weight | None:
    """What the model computes from what it holds; of what it dequantises the constant is what is
    stored."""
    maker = flow.makers.get(at)
    if maker is not None and maker.operator in ("DEQUANTIZE", "DENSIFY"):
        tensor = flow.tensors[maker.inputs[0]]
        if tensor.constant is not None:
            return _dequantised(tensor, tensor.constant)
    if at not in values:
        return None
    name = flow.tensors[at].name
    return Weight(name, None, values[at], ("computed by the model from constants",))


def _dequantised(tensor: Tensor, stored: np.ndarray) -> Weight:
    quantisation = tensor.quantisation
    if tensor.sparsity is not None:
        return Weight(tensor.name, stored, stored, ("stored without its zeros",))
    if stored.dtype.kind == "f":
        words = f"stored as {tensor.dtype}, which DEQUANTIZE widens to float32"
        return Weight(tensor.name, stored, stored.astype(np.float32), (words,))
    if quantisation is None or not quantisation.scale.size or tensor.dtype not in DTYPES:
        return Weight(tensor.name, stored, stored)
    around = [-1 if axis == quantisation.axis else 1 for axis in range(stored.ndim)]
    if quantisation.axis is None:
        around = []
    scale = quantisation.scale.reshape(around)
    zero = quantisation.zero_point.reshape(around)
    effective = (stored.astype(np.int64) - zero).astype(np.float32) * scale
    grid = Grid(scale, bits_of(tensor.dtype), not tensor.dtype.startswith("u"), zero)
    words = f"{tensor.dtype}, times its scale, by DEQUANTIZE"
    return Weight(tensor.name, stored, effective, (words,), grid=grid)
