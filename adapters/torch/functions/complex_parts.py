"""Complex numbers: what is done to their real parts and to their imaginary parts alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from .complex_numbers import joined
from .describe import CallBuilder, describe_function, function

__all__: list[str] = []

_NUMBERS: dict[str, tuple[tuple[int, str], ...]] = {
    **dict.fromkeys(
        (
            *("add", "add_", "__add__", "__iadd__", "__radd__"),
            *("sub", "sub_", "subtract", "__sub__", "__isub__", "__rsub__", "rsub"),
        ),
        ((0, "input"), (1, "other")),
    ),
    "where": ((1, "input"), (2, "other")),
    **dict.fromkeys(("masked_fill", "masked_fill_", "__setitem__"), ((2, "value"),)),
    **dict.fromkeys(("index_fill", "index_fill_"), ((3, "value"),)),
    **dict.fromkeys(("fill", "fill_"), ((1, "value"),)),
    "pad": ((3, "value"),),
}
"""The arguments of functions, by place and name, that are numbers of which parts are taken."""


def _part_of_numbers(name: str, part: int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The arguments with the real or imaginary parts of Python's numbers among them."""
    positional, named = list(args), dict(kwargs)
    for place, word in _NUMBERS.get(name, ()):
        owner: Any = positional if place < len(positional) else named
        key: Any = place if place < len(positional) else word
        number = owner[key] if owner is positional else named.get(word)
        if isinstance(number, int | float | complex):
            owner[key] = (number.real, number.imag)[part]
    return positional, named


def _with_inputs(tree: Any, weights: list[Weight], count: int) -> Any:
    """Arguments in which inputs behind ``count`` others stand for weights, which are gathered."""
    if isinstance(tree, Weight):
        weights.append(tree)
        return Ref(-1, count + len(weights) - 1)
    if isinstance(tree, list | tuple):
        return type(tree)(_with_inputs(item, weights, count) for item in tree)
    return tree


def _register_by_parts(name: str) -> None:
    @function(f"complex.{name}", onnx=name.strip("_"))
    def by_parts(build: CallBuilder, *args: Any, **kwargs: Any) -> list[Ref]:
        """What is done to the real parts and to the imaginary parts alike; what is real has
        imaginary parts of 0, but for whole numbers, which are places, and masks."""
        weights: list[Weight] = []
        args = _with_inputs(args, weights, len(build.inputs))
        if any(isinstance(value, Weight) for value in kwargs.values()):
            raise Undescribed("a parameter by its name beside complex numbers is not supported")
        refs = [(Ref(-1, k), k in build.whole) for k in range(len(build.inputs))]
        whole_weights = [(weight, id(weight) in build.complexes) for weight in weights]
        given: list[tuple[Ref | Weight, bool]] = [*refs, *whole_weights]
        found: list[list[Ref]] = []
        for part in (0, 1):
            sides = [_side(build, value, whole, part, name) for value, whole in given]
            inner = CallBuilder(
                [array for array, _ in sides],
                [out[..., part] for out in build.outputs],
                build.kinds,
                build.training,
            )
            positional, named = _part_of_numbers(name, part, args, kwargs)
            steps = describe_function(name, name, inner, positional, named).steps
            found.append(list(build.include(steps, *(ref for _, ref in sides))))
        return [
            joined(build, pair, out.ndim - 1)
            for *pair, out in zip(*found, build.outputs, strict=True)
        ]


def _side(
    build: CallBuilder, value: Ref | Weight, whole: bool, part: int, name: str
) -> tuple[np.ndarray, Ref]:
    """The real or imaginary parts of an operand, and where they come from."""
    array = build.array(value)
    if not whole:
        operand = array.dtype.kind == "f" or (name in _NUMBERS and name.strip("_") in _SUMS)
        if part and operand:
            return np.zeros_like(array), build.ref(np.zeros(array.shape))
        return array, build.ref(value)
    rank = array.ndim - 1
    ref = build.add(ops.Squeeze(axes=(rank,)), build.add(ops.Take(rank, (part,)), value))
    return array[..., part], ref


_SUMS = frozenset("add iadd radd sub isub rsub subtract".split())
_ALIKE = (
    *("add add_ __add__ __iadd__ __radd__ sub sub_ subtract".split()),
    *("__sub__ __isub__ __rsub__ rsub".split()),
    *("neg neg_ negative __neg__ positive sum mean cumsum diff".split()),
    *("cat concat concatenate stack split chunk split_with_sizes tensor_split unbind".split()),
    *("__getitem__ __setitem__ index_select gather take_along_dim select narrow".split()),
    *("where masked_fill masked_fill_ masked_select index_fill fill fill_ copy_ pad".split()),
    *("clone contiguous detach data alias expand expand_as repeat tile".split()),
    *("repeat_interleave flip fliplr flipud roll movedim moveaxis permute".split()),
    *("transpose swapaxes swapdims t T mT flatten unflatten reshape reshape_as ravel".split()),
    *("squeeze unsqueeze view view_as unfold tril triu fft_fftshift fft_ifftshift".split()),
)
for _name in _ALIKE:
    _register_by_parts(_name)
