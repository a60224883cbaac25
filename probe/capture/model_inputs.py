"""The arrays a model is run on: the user's own, brought into the model's order, or drawn from a
seed."""

import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from probe.capture.user_arrays import Inputs, Part, Shape, as_array
from probe.errors import BadInput, ForwardFailed
from probe.model import Capture, InputSpec, Model
from probe.ops import Transpose

__all__ = ["bind", "draw", "given_words", "index_of", "part_of"]

_DRAWN, _AXES = 1 << 27, 32
"""The largest input that is drawn: a gigabyte in float64."""

_SIZES = (32, 64, 96, 128, 224, 299, 16, 8)


def bind(
    model: Model, x: Inputs, shape: Shape = None, seed: int = 0
) -> tuple[tuple[np.ndarray, ...], str]:
    """The model's inputs in its own order, and in words how they came about.

    ``x`` is an array, a sequence of arrays, a mapping from input names, or None: then they are
    drawn. Raises BadInput where names or the number of inputs do not fit.
    """
    if x is None:
        return draw(model, shape, seed)
    specs = model.inputs
    if isinstance(x, Mapping):
        names = list(model.input_order(x)) if specs is None else [spec.name for spec in specs]
        if specs is None and (not names or len(x) == len(names) == 1):
            if len(x) != 1:
                raise BadInput(
                    f"this model's inputs have no names; give the {len(x)} arrays as a list, "
                    "in the order of the model's arguments"
                )
            only = as_array(next(iter(x.values())))
            return (only,), given_words((only,))
        if set(names) != set(x):
            raise BadInput(
                f"the model's inputs are named {', '.join(names)}; you gave "
                f"{', '.join(map(str, x)) or 'none'}"
            )
        x = [x[name] for name in names]
    arrays = tuple(map(as_array, x)) if isinstance(x, (list, tuple)) else (as_array(x),)
    if specs is not None and len(arrays) != len(specs) and len(specs) == 1 and isinstance(x, list):
        arrays = (as_array(x),)
    for array in arrays:
        if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
            raise BadInput(
                f"an input must hold real numbers; you gave an array of dtype {array.dtype}"
            )
    if specs is None:
        return arrays, given_words(arrays)
    if len(arrays) != len(specs):
        raise BadInput(
            f"the model takes {len(specs)} inputs "
            f"({', '.join(spec.name for spec in specs)}); you gave {len(arrays)}"
        )
    return arrays, given_words(arrays)


def given_words(arrays: Sequence[np.ndarray], words: str = "given") -> str:
    """What is said of arrays that the user gave: NaN and inf in them hide faults."""
    floats = [
        array for array in arrays if array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    ]
    found = [sum(int(of(array).sum()) for array in floats) for of in (np.isnan, np.isinf)]
    text = " and ".join(
        f"{count} {kind}" for count, kind in zip(found, ("NaN", "infinite"), strict=True) if count
    )
    return (
        f"{words}; it contains {text} among {sum(array.size for array in arrays)} values"
        if text
        else words
    )


def draw(model: Model, shape: Shape = None, seed: int = 0) -> tuple[tuple[np.ndarray, ...], str]:
    """Signed, non-constant inputs from a seed; free sizes are tried until the model accepts them.

    Raises BadInput where neither the model nor ``shape`` says what to draw.
    """
    if seed < 0:
        raise BadInput(f"seed must be an integer >= 0; you gave {seed}")
    specs = _shaped(model, shape)
    _drawable(specs)
    free = any(None in spec.shape[1:] for spec in specs)
    rng = np.random.default_rng(seed)
    failure: Exception | None = None
    for sizes in _candidates(specs):
        if sum(map(math.prod, sizes)) > _DRAWN:
            continue
        arrays = tuple(_drawn(rng, spec, size) for spec, size in zip(specs, sizes, strict=True))
        if not free:
            return arrays, _words(seed, arrays)
        try:
            unmet = _unmet(model, arrays)
        except (ForwardFailed, BadInput) as error:
            failure = error
            continue
        larger = tuple(
            _drawn(rng, spec, size) for spec, size in zip(specs, _grown(specs, sizes), strict=True)
        )
        if unmet and _unmet(model, larger, unmet) < unmet:
            arrays = larger
        return arrays, _words(
            seed, arrays
        ) + " (sizes that the model leaves open were found by trying)"
    raise BadInput(
        "the model accepted none of the input shapes tried; give shape= (--shape). The last "
        f"error was: {failure}"
    )


def _drawable(specs: Sequence[InputSpec]) -> None:
    """Raises BadInput where an input is no array of numbers that can be drawn here."""
    for spec in specs:
        if spec.dtype != "bfloat16" and (
            not hasattr(np, spec.dtype) or np.dtype(spec.dtype).kind not in "biufc"
        ):
            raise BadInput(
                f"random values of dtype {spec.dtype} cannot be drawn for the input "
                f"{spec.name!r}: give your own (--input x.npy)"
            )
        known = [length for length in spec.shape if length is not None]
        text = f"({', '.join('?' if length is None else str(length) for length in spec.shape)})"
        if any(length < 0 for length in known):
            raise BadInput(f"no random input can be drawn for {spec.name!r}, whose shape is {text}")
        if math.prod(known) > _DRAWN or len(spec.shape) > _AXES:
            raise BadInput(
                f"the shape {text} of the input {spec.name!r} exceeds the limit for random "
                f"inputs ({_DRAWN:,} values, {_AXES} axes): give your own (--input x.npy) or "
                "a shape (--shape)"
            )


def _words(seed: int, arrays: Sequence[np.ndarray]) -> str:
    return f"random, seed {seed}, shape {' and '.join(str(array.shape) for array in arrays)}"


def _unmet(model: Model, arrays: tuple[np.ndarray, ...], otherwise: int | None = None) -> int:
    """How many convolutions and poolings see a size on which asymmetric padding does not show;
    ``otherwise`` where the model refuses it."""
    missed: list[bool] = []
    try:
        model.run(arrays, None, lambda capture: missed.append(_misses(capture)))
    except (ForwardFailed, BadInput):
        if otherwise is None:
            raise
        return otherwise
    return sum(missed)


def _misses(capture: Capture) -> bool:
    """Whether the call's first step, but for a change of layout, is such a one."""
    if capture.description is None or not capture.inputs:
        return False
    shape = capture.inputs[0].shape
    for step in capture.description.steps:
        if not isinstance(step.op, Transpose):
            return step.op.hides_same_padding(shape)
        shape = tuple(shape[axis] for axis in step.op.perm)
    return False


def _grown(specs: Sequence[InputSpec], sizes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The sizes with every free one but the batch's larger by one."""
    return [
        tuple(
            size + (free is None and axis > 0)
            for axis, (free, size) in enumerate(zip(spec.shape, one, strict=True))
        )
        for spec, one in zip(specs, sizes, strict=True)
    ]


def _shaped(model: Model, shape: Shape) -> tuple[InputSpec, ...]:
    """What to draw: the model's own inputs, or those that ``shape`` asks for."""
    specs = model.inputs
    if shape is None:
        if specs is None:
            hint = model.input_hint
            raise BadInput(
                "the model does not declare its input shape"
                + (f" ({hint})" if hint else "")
                + (
                    "; give an input (--input x.npy) or the shape of a random one (--shape "
                    "1,3,224,224)"
                )
            )
        return specs
    several = [tuple(one) for one in shape if isinstance(one, Iterable)]
    shapes = several or [tuple(one for one in shape if not isinstance(one, Iterable))]
    if specs is None:
        high = model.input_index_bound
        return tuple(
            InputSpec(
                f"input_{i}", one, "int64" if high and not i else "float32", None if i else high
            )
            for i, one in enumerate(shapes)
        )
    if len(shapes) != len(specs):
        raise BadInput(
            f"the model takes {len(specs)} inputs "
            f"({', '.join(spec.name for spec in specs)}); you gave {len(shapes)} "
            "shapes"
        )
    return tuple(
        InputSpec(spec.name, one, spec.dtype, spec.high)
        for spec, one in zip(specs, shapes, strict=True)
    )


def _candidates(specs: Sequence[InputSpec]) -> Iterator[list[tuple[int, ...]]]:
    """Shapes to try: the batch is 2, every other free size the same number."""
    for size in _SIZES:
        yield [
            tuple(
                (2 if axis == 0 else size) if length is None else length
                for axis, length in enumerate(spec.shape)
            )
            for spec in specs
        ]


def _drawn(rng: np.random.Generator, spec: InputSpec, shape: tuple[int, ...]) -> np.ndarray:
    if spec.high is not None or spec.dtype.startswith(("int", "uint")):
        dtype = spec.dtype if spec.dtype.startswith(("int", "uint", "float")) else "int64"
        return rng.integers(
            0, spec.high or (256 if spec.dtype == "uint8" else 2), size=shape
        ).astype(dtype)
    if spec.dtype == "bool":
        return rng.integers(0, 2, size=shape).astype(bool)
    x = rng.normal(size=shape)
    if x.size > 1 and (x.min() >= 0 or x.max() <= 0):
        x.flat[0] *= -1
    return x.astype("float32" if spec.dtype == "bfloat16" else spec.dtype)


def part_of(at: Part) -> tuple[int | slice, ...]:
    """ "0,0:3,0:3,0", or such a tuple, as one number or slice per axis; axes left out at the end
    are whole."""
    if not isinstance(at, str):
        return tuple(_end_of(one) for one in (at if isinstance(at, (list, tuple)) else (at,)))
    try:
        ends = [
            [int(end) if end.strip() else None for end in part.split(":")] for part in at.split(",")
        ]
        if any(len(part) > 2 or part == [None] for part in ends):
            raise ValueError
    except ValueError:
        raise BadInput(f"{at!r} is not an index or slice per axis such as 0,0:3,:,2") from None
    return tuple(
        part[0] if len(part) == 1 and part[0] is not None else slice(*part) for part in ends
    )


def _end_of(value: object) -> int | slice:
    if isinstance(value, slice):
        return slice(
            *(
                None if end is None else index_of(end)
                for end in (value.start, value.stop, value.step)
            )
        )
    return index_of(value)


def index_of(value: Any) -> int:
    """An index as the user gave it. BadInput where it is no whole number: 0.5 is none, and True
    stands for something else."""
    try:
        if not isinstance(value, bool | np.bool_):
            return operator.index(value)
    except TypeError:
        pass
    raise BadInput(f"an index must be an integer such as 0 or -1; you gave {value!r}")
