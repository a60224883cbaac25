"""Calls that write a part of a tensor, through a view of it: what they make of the whole tensor."""

from typing import NamedTuple

import numpy as np
import torch

from probe import ops
from probe.capture.producers import Producers
from probe.description import Description, Ref
from probe.model import Capture, Producer

from ..functions import CallBuilder
from .tensor_marks import Marks
from .tensors import copied, dtype_name

__all__ = ["WrittenBase", "base_capture", "written_base"]


class WrittenBase(NamedTuple):
    """The tensor that a view is of, as it was before a call that writes to the view, and what had
    made it."""

    tensor: torch.Tensor
    before: np.ndarray
    made_by: Producer | None
    constant: bool


def written_base(base: torch.Tensor, marks: Marks, producers: Producers) -> WrittenBase:
    before = copied(base)
    return WrittenBase(base, before, producers.of(base, before), marks.constant(base))


def base_capture(
    call: Capture, view: torch.Tensor, written: WrittenBase, producers: Producers
) -> Capture | None:
    """What a call has made of the tensor that it wrote a part of; None where that is not
    described."""
    base, before = written.tensor, written.before
    if not base.is_contiguous() or base.dtype != view.dtype or base.is_complex():
        return None
    numbers = np.arange(base.numel())
    places = np.lib.stride_tricks.as_strided(
        numbers[view.storage_offset() - base.storage_offset() :],
        tuple(view.shape),
        tuple(numbers.itemsize * step for step in view.stride()),
    )
    part, after = copied(view), before.copy()
    after.reshape(-1)[places] = part
    build = CallBuilder((before, part), (after,), [dtype_name(base)])
    flat = [build.add(ops.Reshape(shape=(-1,)), Ref(-1, number)) for number in (0, 1)]
    scattered = build.add(ops.ScatterND(), flat[0], places.reshape(-1, 1), flat[1])
    return Capture(
        layer=f"{call.layer}/whole",
        kind=f"the tensor that {call.kind} writes a part of",
        call=call.call,
        inputs=(before, part),
        outputs=(after,),
        dtype=dtype_name(base),
        description=Description(build.ended(build.reshaped(scattered))),
        made_by=(written.made_by, producers.of(view, part)),
        fixed=(0,) if written.constant else (),
    )
