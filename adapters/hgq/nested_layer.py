"""A layer inside another one of HGQ2's, as steps of the outer one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probe.description import Builder, Ref

from ..keras.describe.call import KerasCall
from ..keras.describe.describe import describe
from ..keras.describe.variables import read_variable

__all__ = ["inside"]


def inside(
    build: Builder,
    layer: Any,
    call: KerasCall,
    name: str,
    x: Ref,
    shape: Sequence[int],
    mask: tuple[Ref, Sequence[int]] | None = None,
) -> Ref:
    """What ``layer``, known as ``name`` within the layer of this call, gives for ``x`` of this
    shape (and a mask of its shape)."""
    read = call.read or read_variable(call.namespace)
    masks = () if mask is None else (np.broadcast_to(np.bool_(True), tuple(mask[1])),)
    inner = replace(
        call,
        layer=layer,
        inputs=(np.broadcast_to(np.float32(0), tuple(shape)),),
        arguments={} if mask is None else {"mask": Ref(-1, 1)},
        read=lambda key, variable, dtype: read(f"{name}/{key}", variable, dtype),
        carried=(),
        masks=masks,
    )
    (y,) = build.include(describe(layer, inner).steps, x, *(() if mask is None else (mask[0],)))
    return y
