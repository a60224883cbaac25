"""Quantised embeddings of torch.ao: rows of integers, each with a scale and a zero point of its
own.

The kernels compute scale * integer + bias, with the bias -scale * zero_point in place of the zero
point; bags are sums of such rows, whatever their ``mode`` says
(torch/ao/nn/quantized/modules/embedding_ops.py hands on 0, and ATen knows sums alone).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref, Step, Weight
from probe.errors import Undescribed

from ..describe.describe import ModuleCall, describes
from .ao_quantized import unpacked

__all__: list[str] = []

_PLACE = "torch.ao.nn.quantized"
_WORDS = "scale * integer - scale * zero point"


def _table(module: Any) -> tuple[Weight, np.ndarray, np.ndarray]:
    """The rows; and scale * integer and the bias, of which each element of them is the sum, in
    float64."""
    held = module.weight()
    weight = unpacked("weight", held)
    scale, zero = (
        part.numpy(force=True).reshape(-1, 1)
        for part in (held.q_per_channel_scales(), held.q_per_channel_zero_points())
    )
    bias = -scale.astype(np.float32) * zero.astype(np.float32)
    codes = np.asarray(weight.stored, np.float64)
    # the rows are packed with both in half precision, of which weight() knows nothing
    if str(held.dtype) == "torch.quint4x2":
        scale, bias = scale.astype(np.float16), bias.astype(np.float16)
        effective = (scale.astype(np.float64) * codes + bias).astype(np.float32)
        words = (*weight.steps, "scale and -scale * zero point rounded to float16")
        weight = replace(
            weight,
            effective=effective,
            steps=words,
            parts={"weight().dequantize()": weight.effective},
        )
    return (
        weight,
        scale.astype(np.float64) * codes,
        np.broadcast_to(bias.astype(np.float64), codes.shape),
    )


def _way(
    summed: Callable[[Weight], ops.Op], first: np.ndarray, second: np.ndarray, count: int
) -> tuple[Step, ...]:
    """Both parts for so many inputs, added up; what the bias was rounded to before it was packed
    counts too."""
    build, places = Builder(), tuple(Ref(-1, place) for place in range(count))
    parts = [
        build.add(summed(Weight(name, None, part)), *places)
        for name, part in (("scale * integer", first), ("bias", second))
    ]
    rounded = [build.add(ops.MulConstant(Weight("1", None, np.ones(()))), part) for part in parts]
    return build.ended(build.add(ops.Add(), *rounded))


@describes(f"{_PLACE}.Embedding")
def _embedding(module: Any, call: ModuleCall) -> Description:
    weight, first, second = _table(module)
    way = _way(lambda table: ops.Embedding(table=table), first, second, 1)
    return Description(
        (
            Step(ops.Embedding(table=weight), (Ref(-1),)),
            Step(ops.ByParts(way, _WORDS), (Ref(0), Ref(-1))),
        )
    )


@describes(f"{_PLACE}.EmbeddingBag", several=True)
def _bag(module: Any, call: ModuleCall) -> Description:
    indices, offsets, factors = (
        call.arguments.get(name) for name in ("indices", "offsets", "per_sample_weights")
    )
    if call.arguments.get("compressed_indices_mapping") is not None:
        raise Undescribed("pruned rows (compressed_indices_mapping) are not supported")
    assert isinstance(indices, Ref)
    if offsets is None and (module.include_last_offset or call.inputs[indices.index].ndim != 2):
        raise Undescribed(
            "without offsets, only a matrix of indices without include_last_offset is supported"
        )
    weight, first, second = _table(module)
    given = tuple(ref for ref in (indices, offsets, factors) if isinstance(ref, Ref))
    options: dict[str, Any] = {
        "offsets": offsets is not None,
        "weighted": factors is not None,
        "closed": bool(module.include_last_offset) and offsets is not None,
        "mode": "sum",
    }
    way = _way(lambda table: ops.EmbeddingBag(table=table, **options), first, second, len(given))
    bag = Step(ops.EmbeddingBag(table=weight, **options), given)
    return Description(
        (bag, Step(ops.ByParts(way, f"the sum of {_WORDS}"), (Ref(0), *given))),
        output_axes=("bag", "features"),
    )
