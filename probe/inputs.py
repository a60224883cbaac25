"""The arrays a model is run on: the user's own, brought into the model's order, or drawn from a seed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from probe.errors import BadInput, ForwardFailed
from probe.model import InputSpec, Model

__all__ = ["bind", "draw", "part_of"]

_SIZES = (32, 64, 96, 128, 224, 299, 16, 8)


def bind(model: Model, x: Any, shape: Any = None, seed: int = 0) -> tuple[tuple[np.ndarray, ...], str]:
    """The model's inputs in its own order, and in words how they came about.

    ``x`` is an array, a sequence of arrays, a mapping from input names, or None: then they are drawn. Raises BadInput
    where names or the number of inputs do not fit.
    """
    if x is None:
        return draw(model, shape, seed)
    specs = model.inputs
    if isinstance(x, Mapping):
        if specs is None:
            if len(x) != 1:
                raise BadInput(f"this model's inputs have no names; give the {len(x)} arrays as a sequence, in the order of its forward()")
            return (np.asarray(next(iter(x.values()))),), "given"
        names = [spec.name for spec in specs]
        if set(names) != set(x):
            raise BadInput(f"the model's inputs are {', '.join(names)}; you gave {', '.join(map(str, x)) or 'none'}")
        x = [x[name] for name in names]
    arrays = tuple(np.asarray(one) for one in x) if isinstance(x, (list, tuple)) else (np.asarray(x),)
    if specs is not None and len(arrays) != len(specs) and len(specs) == 1 and isinstance(x, list):
        arrays = (np.asarray(x),)
    for array in arrays:
        if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
            raise BadInput(f"an input must hold numbers; you gave an array of dtype {array.dtype}")
    if specs is None:
        return arrays, "given"
    if len(arrays) != len(specs):
        raise BadInput(f"the model takes {len(specs)} inputs ({', '.join(spec.name for spec in specs)}); you gave {len(arrays)}")
    return arrays, "given"


def draw(model: Model, shape: Any = None, seed: int = 0) -> tuple[tuple[np.ndarray, ...], str]:
    """Signed, non-constant inputs from a seed; free sizes are tried until the model accepts them.

    Raises BadInput where neither the model nor ``shape`` says what to draw.
    """
    specs = _shaped(model, shape)
    rng = np.random.default_rng(seed)
    failure: Exception | None = None
    for sizes in _candidates(specs):
        arrays = tuple(_drawn(rng, spec, size) for spec, size in zip(specs, sizes, strict=True))
        words = f"drawn from seed {seed}, shape {' and '.join(str(size) for size in sizes)}"
        if all(None not in spec.shape[1:] for spec in specs):
            return arrays, words
        try:
            model.run(arrays, (), lambda _: None)
        except (ForwardFailed, BadInput) as error:
            failure = error
            continue
        return arrays, words + " (free sizes chosen by trying)"
    raise BadInput(f"no input size tried is accepted by the model; give shape= (--shape). The last attempt said: {failure}")


def _shaped(model: Model, shape: Any) -> tuple[InputSpec, ...]:
    """What to draw: the model's own inputs, or those that ``shape`` asks for."""
    specs = model.inputs
    if shape is None:
        if specs is None:
            hint = getattr(model, "first_layer_hint", "")
            raise BadInput(
                "the model does not say the shape of its input"
                + (f" ({hint})" if hint else "")
                + "; give an input (--input x.npy) or a shape to draw (--shape 1,3,224,224)"
            )
        return specs
    shapes = [tuple(one) for one in shape] if shape and not isinstance(shape[0], int) else [tuple(shape)]
    if specs is None:
        high = getattr(model, "first_index_bound", None)
        return tuple(
            InputSpec(f"input_{i}", one, "int64" if high and not i else "float32", None if i else high) for i, one in enumerate(shapes)
        )
    if len(shapes) != len(specs):
        raise BadInput(f"the model takes {len(specs)} inputs ({', '.join(spec.name for spec in specs)}); you gave {len(shapes)} shapes")
    return tuple(InputSpec(spec.name, one, spec.dtype, spec.high) for spec, one in zip(specs, shapes, strict=True))


def _candidates(specs: Sequence[InputSpec]) -> Iterator[list[tuple[int, ...]]]:
    """Shapes to try: the batch is 2, every other free size the same number."""
    for size in _SIZES:
        yield [tuple((2 if axis == 0 else size) if length is None else length for axis, length in enumerate(spec.shape)) for spec in specs]


def _drawn(rng: np.random.Generator, spec: InputSpec, shape: tuple[int, ...]) -> np.ndarray:
    if spec.high is not None or spec.dtype.startswith(("int", "uint")):
        dtype = spec.dtype if spec.dtype.startswith(("int", "uint", "float")) else "int64"
        return rng.integers(0, spec.high or 2, size=shape).astype(dtype)
    if spec.dtype == "bool":
        return rng.integers(0, 2, size=shape).astype(bool)
    return rng.normal(size=shape).astype("float32" if spec.dtype == "bfloat16" else spec.dtype)


def part_of(at: Any) -> tuple[int | slice, ...]:
    """ "0,0:3,0:3,0", or such a tuple, as one number or slice per axis; axes left out at the end are whole."""
    if not isinstance(at, str):
        return tuple(at) if isinstance(at, (list, tuple)) else (at,)
    try:
        ends = [[int(end) if end.strip() else None for end in part.split(":")] for part in at.split(",")]
        if any(len(part) > 2 or part == [None] for part in ends):
            raise ValueError
    except ValueError:
        raise BadInput(f"{at!r} is not a part of an array such as 0,0:3,0:3,0") from None
    return tuple(part[0] if len(part) == 1 and part[0] is not None else slice(*part) for part in ends)
