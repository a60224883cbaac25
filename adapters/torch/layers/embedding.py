"""Embeddings as steps."""

from typing import Any

from probe.description import Description, Ref, Step
from probe.errors import Undescribed
from probe.ops import Embedding, EmbeddingBag

from ..describe.describe import ModuleCall, chain, describes

__all__ = ["bag", "embedding", "limit"]


def limit(module: Any) -> dict[str, Any]:
    """What an embedding's rows are scaled to before they are taken."""
    return {
        "max_norm": None if module.max_norm is None else float(module.max_norm),
        "norm_type": float(module.norm_type),
    }


@describes("Embedding")
def embedding(module: Any, call: ModuleCall) -> Description:
    """A row of the weight for each index; ``padding_idx`` only says which row training leaves
    alone."""
    return chain(Embedding(table=call.required("weight"), **limit(module)))


@describes("EmbeddingBag", several=True)
def bag(module: Any, call: ModuleCall) -> Description:
    """Sums, means or maxima of the rows that a bag's indices take."""
    offsets, factors = call.arguments.get("offsets"), call.arguments.get("per_sample_weights")
    indices = call.arguments["input"]
    if offsets is None and call.inputs[indices.index].ndim != 2:
        raise Undescribed("one-dimensional indices without offsets are not supported")
    op = EmbeddingBag(
        table=call.required("weight"),
        **limit(module),
        mode=module.mode,
        offsets=offsets is not None,
        weighted=factors is not None,
        closed=bool(module.include_last_offset) and offsets is not None,
        padding=None if module.padding_idx is None else int(module.padding_idx),
    )
    given: tuple[Ref, ...] = tuple(ref for ref in (indices, offsets, factors) if ref is not None)
    return Description((Step(op, given),), output_axes=("bag", "features"))
