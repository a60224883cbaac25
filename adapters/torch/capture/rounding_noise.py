"""Passes in which each result in half precision is rounded otherwise, as another implementation
might.

A result that storing has rounded lies off by an error that is spread evenly over one unit in the
last place, whose variance is a twelfth of that unit squared. A number of the same precision can
only be moved by whole units: one up or down, each with a probability of 1/24, has the same
variance.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .tensors import tensors_in

__all__ = ["RoundingNoise", "half_precision"]

_LARGEST: Mapping[torch.dtype, int] = {torch.bfloat16: 0x7F7F, torch.float16: 0x7BFF}
"""The bits of the largest number of each type in half precision."""
_MAGNITUDE = 0x7FFF
_ONE_IN = 24
_DRAWN = 1 << 20
_EXACT = frozenset(
    f"aten::{name}"
    for name in (
        "_unsafe_view alias clone contiguous copy_ cat stack embedding index index_select gather "
        "masked_fill masked_fill_ where neg abs relu relu_ maximum minimum max min amax amin clamp "
        "clamp_ constant_pad_nd pad repeat roll flip zeros ones full empty empty_like zeros_like "
        "ones_like full_like new_empty new_zeros new_full empty_strided sort topk tril triu zero_ "
        "fill_ scatter scatter_ index_put index_put_ max_pool2d_with_indices unfold_copy arange"
    ).split()
)
"""What gives numbers that it is given, unrounded."""
_CASTS = frozenset({"aten::_to_copy", "aten::to"})


def half_precision(module: torch.nn.Module) -> bool:
    """Whether a module has parameters in half precision."""
    return any(parameter.dtype in _LARGEST for parameter in module.parameters())


class RoundingNoise(TorchDispatchMode):
    """Enter it around a forward pass; the same ``seed`` rounds the same way."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(0, _ONE_IN, (_DRAWN,), generator=self._generator, dtype=torch.int16)
        self._places = (drawn < 2).nonzero().view(-1)
        self._units = 2 * drawn[self._places] - 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        schema = func._schema
        exact = schema.name in _EXACT or any(
            result.alias_info is not None and not result.alias_info.is_write
            for result in schema.returns
        )
        narrow = schema.name in _CASTS and args[0].dtype in _LARGEST
        for tensor in () if exact or narrow else tensors_in(output):
            if tensor.dtype in _LARGEST and not tensor.is_meta:
                self._move(tensor)
        return output

    def _move(self, tensor: torch.Tensor) -> None:
        """Moves some numbers by a unit in the last place, in place; zeros, and what has none
        further out, stay."""
        bits = tensor.view(torch.int16)
        flat = bits.reshape(-1)
        places, units = self._drawn(flat.numel())
        old = flat[places := places.to(flat.device)]
        magnitude = old & _MAGNITUDE
        moves = (magnitude != 0) & (magnitude < _LARGEST[tensor.dtype])
        flat[places] = old + units.to(flat.device) * moves
        if flat.data_ptr() != bits.data_ptr() or not bits.is_contiguous():
            bits.copy_(flat.view(bits.shape))

    def _drawn(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which of so many numbers are moved, and where to: those of a draw, begun anywhere."""
        start = int(torch.randint(0, _DRAWN, (1,), generator=self._generator))
        ends = torch.tensor([start, start + count])
        rounds = -(-(start + count) // _DRAWN)
        places, units = self._places, self._units
        if rounds > 1:
            places = torch.cat([places + _DRAWN * number for number in range(rounds)])
            units = units.repeat(rounds)
        first, last = torch.searchsorted(places, ends).tolist()
        return places[first:last] - start, units[first:last]
