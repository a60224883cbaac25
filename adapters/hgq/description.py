"""How a layer of HGQ2 is described: as what it computes, between the quantizers of its inputs and
of its output."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from hgq.quantizer import Quantizer

from probe.description import Builder, Description, Ref
from probe.errors import Undescribed

from ..keras.describe.call import Describer, KerasCall
from ..keras.describe.describe import describes
from .quantizers import through

__all__ = ["at_inference", "between_quantizers"]


def at_inference(call: KerasCall) -> None:
    """Raises Undescribed where the layer computes in another way than the descriptions say."""
    if call.training:
        raise Undescribed("in training mode its quantizers adapt to the batch")
    if call.dtype != "float32":
        raise Undescribed(f"its compute dtype {call.dtype} is not supported")


def _quantized_at_the_ends(layer: Any, call: KerasCall, plain: Describer) -> Description:
    at_inference(call)
    if call.carried and len(call.inputs) > 1:
        raise Undescribed(
            "masks are not supported for it, and it received one"
        )  # Keras' merging layers read it from their inputs
    build, sources = Builder(), [Ref(-1, index) for index in range(len(call.inputs))]
    if layer.enable_iq:
        several = not isinstance(layer.iq, Quantizer)
        each = list(layer.iq) if several else [layer.iq]
        sources = [
            through(build, x, quantizer, "its input goes through")
            for x, quantizer in zip(sources, each, strict=True)
        ]
    described = plain(layer, call)
    masks = (Ref(-1, len(call.inputs) + index) for index in range(len(call.masks)))
    (y,) = build.include(described.steps, *sources, *masks)
    if layer.enable_oq:
        y = through(build, y, layer.oq, "its output goes through")
    return replace(described, steps=build.ended(y))


def between_quantizers(*names: str, arguments: Collection[str] = ()) -> Callable[[Describer], None]:
    """Registers, for classes of HGQ2, what they compute between the quantizers of their inputs and
    of their output."""

    def register(plain: Describer) -> None:
        describes(*(f"hgq.{name}" for name in names), arguments=arguments)(
            lambda layer, call: _quantized_at_the_ends(layer, call, plain)
        )

    return register
