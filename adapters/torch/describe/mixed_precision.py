"""Calls whose tensors have several floating types: which of them are described, and how.

PyTorch itself computes such a call in the widest type, or refuses it. Under ``torch.autocast`` what
is named in its list of lower precision rounds its arguments first (aten/src/ATen/autocast_mode.h).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref, Weight
from probe.errors import Undescribed

__all__ = ["AutocastRounding", "as_given", "refuse_mixture", "rounding"]

_WIDTHS = {"float16": 1, "bfloat16": 1, "float32": 2, "float64": 3}
_ROUNDED = frozenset(
    "linear matmul __matmul__ __rmatmul__ mm bmm mv addmm baddbmm addbmm einsum "
    "scaled_dot_product_attention conv1d conv2d conv3d "
    "conv_transpose1d conv_transpose2d conv_transpose3d "
    "Linear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d "
    "prelu PReLU MultiheadAttention LSTM GRU RNN LSTMCell GRUCell RNNCell".split()
)
"""Functions and modules of products of matrices, and PReLU: what autocast computes in half
precision from the first argument to the result."""
_STATES = frozenset("LSTM GRU RNN LSTMCell GRUCell RNNCell".split())
"""Modules that go on with what their products of matrices give."""
_NORMS = frozenset(
    f"{kind}Norm{axes}"
    for kind, ranks in (
        ("Layer", ("",)),
        ("RMS", ("",)),
        ("Group", ("",)),
        ("Batch", ("1d", "2d", "3d")),
        ("Instance", ("1d", "2d", "3d")),
    )
    for axes in ranks
)
"""Modules that take parameters of float32 beside half precision, and compute in float32."""


@dataclass(frozen=True)
class AutocastRounding:
    """What autocast does to the arguments of a call: they are rounded ``to`` a narrower type."""

    to: str

    def array(self, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind != "f":
            return x
        return np.asarray(ops.Cast(to=self.to).run(x)[0], x.dtype)

    def weight(self, weight: Weight | None) -> Weight | None:
        if weight is None or weight.effective.dtype.kind != "f":
            return weight
        effective = self.array(weight.effective)
        effective.flags.writeable = False
        told = f"rounded to {self.to} by torch.autocast"
        return replace(weight, effective=effective, steps=(*weight.steps, told), grid=None)

    def weights_in(self, tree: Any) -> Any:
        """Arguments with their weights rounded."""
        if isinstance(tree, Weight):
            return self.weight(tree)
        if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
            return type(tree)([self.weights_in(part) for part in tree])
        if isinstance(tree, Mapping):
            return {key: self.weights_in(part) for key, part in tree.items()}
        return tree

    def before(self, description: Description, inputs: Sequence[np.ndarray]) -> Description:
        """The description behind the rounding of each of the inputs."""
        build = Builder()
        rounded = [Ref(-1, place) for place in range(len(inputs))]
        for place, x in enumerate(inputs):
            if x.dtype.kind == "f":
                rounded[place] = build.add(ops.Cast(to=self.to), Ref(-1, place))
        outputs = build.include(description.steps, *rounded)
        return replace(description, steps=build.ended(*outputs))


def rounding(
    name: str, input_types: Collection[str], output_types: Collection[str], autocast: str | None
) -> AutocastRounding | None:
    """What autocast does to a call with arguments and results of these floating types; ``autocast``
    is the type that it is on in, None where it is off.

    Raises Undescribed where it rounds inside alone.
    """
    kinds = {*input_types, *output_types}
    if autocast is not None and name in _STATES and "float32" in output_types:
        raise Undescribed(
            f"torch.autocast rounds its products to {autocast} and leaves its states in float32, "
            "which is not supported"
        )
    if autocast is None or name not in _ROUNDED or kinds != {"float32", autocast}:
        return None
    if set(output_types) == {autocast}:
        return AutocastRounding(autocast)
    return None


def as_given(name: str, input_types: Collection[str], output_types: Collection[str]) -> bool:
    """Whether a call computes in one type that holds all that it is given, and so is described as
    if all were of that type."""
    if len(set(output_types)) != 1:
        return False
    (kind,) = set(output_types)
    if name in _NORMS:
        return {*input_types} <= {kind, "float32"}
    if "norm" in name.lower() or name == "view" or name in _ROUNDED:
        return False
    return all(_WIDTHS.get(other, 9) < _WIDTHS.get(kind, 0) for other in {*input_types} - {kind})


def refuse_mixture(
    name: str, input_types: Collection[str], output_types: Collection[str], out: bool = False
) -> None:
    """Raises Undescribed where a call of several floating types computes in another than the one
    of its results, as into an ``out`` of another type, or rounds on the way."""
    if out or not as_given(name, input_types, output_types):
        raise Undescribed(
            f"it mixes {' and '.join(sorted({*input_types, *output_types}))} (as under "
            "torch.autocast), which is not supported"
        )
