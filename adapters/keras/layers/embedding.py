"""Keras' embeddings, which also run backwards."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref, Step
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes

__all__: list[str] = []


@describes("Embedding")
def _embedding(layer: Any, call: KerasCall) -> Description:
    """The row of each index; ``mask_zero`` makes a mask and changes no number."""
    if getattr(layer, "sparse", False):
        raise Undescribed("sparse outputs are not supported")
    return Description((Step(ops.Embedding(table=call.weight("embeddings", layer.embeddings))),))


@describes("ReversibleEmbedding", arguments=("reverse",))
def _reversible(layer: Any, call: KerasCall) -> Description:
    if not call.arguments.get("reverse"):
        return _embedding(layer, call)
    if layer.reverse_dtype not in (None, call.dtype):
        raise Undescribed(
            f"its reverse_dtype {layer.reverse_dtype} differs from its compute dtype {call.dtype}"
        )
    tied = layer.tie_weights
    if tied:
        name, variable = ("embeddings", layer.embeddings)
    else:
        name, variable = ("reverse_embeddings", layer.reverse_embeddings)
    build = Builder()
    logits = build.add(
        ops.MatMul(weight=call.weight(name, variable, axes=(1, 0) if tied else None), bias=None),
        Ref(-1),
    )
    if layer.logit_soft_cap is not None:
        cap = build.ref(np.asarray(float(layer.logit_soft_cap)))
        build.add(ops.Mul(), build.add(ops.Tanh(), build.add(ops.Div(), logits, cap)), cap)
    return Description(build.ended())
