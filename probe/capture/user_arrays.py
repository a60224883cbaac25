"""The user's own values, in the forms that they come in: whole, without a shape, or a part of an
output."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from probe.errors import BadInput, in_words

__all__ = [
    "ArrayLike",
    "Expected",
    "InputArgument",
    "Inputs",
    "Part",
    "Partial",
    "Picture",
    "Shape",
    "Unshaped",
    "as_array",
    "as_arrays",
    "as_outputs",
    "holds_numbers",
    "part_at",
]

ArrayLike: TypeAlias = Any
"""What stands for an array: NumPy's own, a tensor of PyTorch, TensorFlow or JAX, nested lists of
numbers."""
Inputs: TypeAlias = ArrayLike | Sequence[ArrayLike] | Mapping[str, ArrayLike] | None
"""The inputs of a model: one, all in its order, or by their names; None where they are drawn. For a
PyTorch module numbers, strings, tuples of them and None are arguments as they are. A text for a
Hugging Face directory with a tokenizer."""
Expected: TypeAlias = ArrayLike | Sequence[ArrayLike | None] | None
"""A user's own output of a layer; of several outputs the first, or all in their order."""
Shape: TypeAlias = Sequence[int] | Sequence[Sequence[int]] | None
"""The shape of the one input that is drawn, or of each."""
Part: TypeAlias = str | int | slice | Sequence[int | slice]
"""A number or a slice for each axis: "0,0:3,0:3,0", or such a tuple."""


@dataclass(frozen=True, eq=False)
class Unshaped:
    """Numbers in row-major order out of a file that holds no shape (text, bytes)."""

    values: np.ndarray
    """Of a text of several lines of equal length a row for each."""
    path: str = ""
    slack: np.ndarray | float = 0.0
    """How far each may be off by the digits that a text leaves out."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image file as an input: ``layout`` is "hwc" or "chw", "" the model's own; ``scale`` is
    what the pixels are divided by."""

    path: str
    layout: str = ""
    scale: float | None = None


@dataclass(frozen=True, eq=False)
class InputArgument:
    """An input as a command line tells it: the arrays, or the file that they are read from when the
    model is known, and the arguments of the call that are no arrays."""

    values: "Inputs | Unshaped | Picture"
    literals: Mapping[str, Any] = field(default_factory=dict)


_AXES = 32
"""How many axes NumPy's broadcasting takes."""


@dataclass(frozen=True, eq=False)
class Partial:
    """Values of a part of an output: ``at`` has a number or a slice for each axis."""

    values: np.ndarray
    at: tuple[int | slice, ...]
    slack: np.ndarray | float = 0.0
    """How far they may be off by the digits that were left out."""

    def spread(self, shape: tuple[int, ...]) -> "Spread":
        """As a whole output of this shape."""
        whole, known = np.full(shape, np.nan), np.zeros(shape, bool)
        text = ",".join(
            str(end) if isinstance(end, int) else f"{_end(end.start)}:{_end(end.stop)}"
            for end in self.at
        )
        try:
            part = whole[self.at]
        except IndexError:
            raise BadInput(
                f"the output has the shape {shape}, so it has no element {text}"
            ) from None
        if not part.size and whole.size:
            raise BadInput(f"{text} selects no element of the output of shape {shape}")
        own_shape, read = self.values.shape, ""
        if [n for n in part.shape if n != 1] != [n for n in own_shape if n != 1]:
            count = self.values.size
            if count != part.size or len(own_shape) > 1:
                way = f"transpose or reshape them to {part.shape}"
                if count != part.size:
                    way = f"give {part.size} values, in that shape or flat"
                raise BadInput(
                    f"{text} selects an array of shape {part.shape} from the output of shape "
                    f"{shape}; you gave values of shape {own_shape}: {way}"
                )
            read = f"your {count} values are read in row-major (C) order as {part.shape}"
        whole[self.at], known[self.at] = self.values.reshape(part.shape), True
        slack = np.zeros(shape)
        slack[self.at] = np.broadcast_to(self.slack, own_shape).reshape(part.shape)
        return Spread(whole, known, slack, read)


@dataclass(frozen=True, eq=False)
class Spread:
    """A part in its place."""

    values: np.ndarray
    """NaN where none was given."""
    known: np.ndarray
    """Where one was given."""
    slack: np.ndarray
    read: str
    """How flat values are read."""


def _end(value: int | None) -> str:
    if value is None:
        return ""
    return str(value)


def part_at(values: "Expected | Unshaped", at: tuple[int | slice, ...]) -> Partial:
    """A user's values as those of a part of the output."""
    if isinstance(values, Unshaped):
        return Partial(values.values, at, values.slack)
    return Partial(as_array(values), at)


def as_outputs(expected: Expected, count: int) -> tuple[np.ndarray | None, ...]:
    """The user's values per output: an array stands for the first, a sequence (None to skip) for
    all."""
    if isinstance(expected, Unshaped):
        expected = expected.values
    if isinstance(expected, (list, tuple)) and any(
        array is None or isinstance(array, np.ndarray) for array in expected
    ):
        if len(expected) != count:
            raise BadInput(
                f"the layer has {count} output{'s' * (count != 1)}; you gave {len(expected)} (use "
                "None to skip one)"
            )
        if all(array is None for array in expected):
            raise BadInput("expected is None for every output: there is nothing to compare")
        return tuple(None if array is None else _numbers(array) for array in expected)
    return (_numbers(expected), *[None] * (count - 1))


def as_arrays(x: Any) -> list[np.ndarray]:
    """One array, or a list or tuple of several."""
    if isinstance(x, list | tuple):
        return list(map(as_array, x))
    return [as_array(x)]


def as_array(values: ArrayLike, what: str = "an input") -> np.ndarray:
    """A user's values as NumPy has them: tensors of parameters and in bfloat16 too, and numbers
    longer than float64 in that."""
    # a tensor of PyTorch: gradients, conjugation and a sign may wait to be applied
    if hasattr(values, "resolve_conj"):
        values = values.detach().resolve_conj().resolve_neg()
    if str(getattr(values, "dtype", "")) == "torch.bfloat16":  # NumPy takes no such tensor
        array: np.ndarray = values.float().cpu().numpy()
        return array.astype(import_module("ml_dtypes").bfloat16)
    ma: Any = sys.modules.get("numpy.ma")  # no array is masked before that is imported
    if ma and isinstance(values, ma.MaskedArray) and (masked := int(ma.getmaskarray(values).sum())):
        raise BadInput(
            f"{what} must not be a masked array with masked values ({masked} of {values.size} "
            "are masked); call .filled(0) or select a part first"
        )
    try:
        array = np.asarray(values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise BadInput(f"{what} cannot be converted to an array: {in_words(error)}") from None
    if array.dtype == np.longdouble:
        return array.astype(np.float64)
    return array


def holds_numbers(array: np.ndarray) -> bool:
    """Whether an array holds real numbers or truth values."""
    return array.dtype.kind in "fiub" or array.dtype.name == "bfloat16"


def _numbers(values: ArrayLike) -> np.ndarray:
    array = as_array(values, "expected values")
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if isinstance(values, str):
        raise BadInput(f"expected values must be numbers; load them from {values!r} first")
    if not holds_numbers(array):
        raise BadInput(f"expected values must be numbers; you gave an array of dtype {array.dtype}")
    if array.ndim > _AXES:
        raise BadInput(f"expected values have at most {_AXES} axes; you gave {array.ndim}")
    return array
