"""The arrays a model is run on: the user's own, brought into the model's order, or drawn from a
seed."""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from probe import printable
from probe.capture.declared_shape import by_name
from probe.capture.images import pixels
from probe.capture.input_values import is_whole, refuse_others
from probe.capture.undeclared_input import undeclared
from probe.capture.user_arrays import (
    InputArgument,
    Inputs,
    Part,
    Picture,
    Shape,
    Unshaped,
    as_array,
    as_arrays,
)
from probe.errors import BadInput, ForwardFailed
from probe.model import (
    CallArguments,
    Capture,
    InputSpec,
    Keyworded,
    Model,
    Reads,
    RecordedPass,
    Slot,
    TakesCodes,
    recorded,
)
from probe.ops import Transpose

__all__ = ["Bound", "bind", "bind_alone", "draw", "given_words", "index_of", "part_of"]

_DRAWN, _AXES = 1 << 27, 32
"""The largest input that is drawn: a gigabyte in float64."""

_SIZES = (32, 64, 96, 128, 224, 299, 16, 8)


class Bound(NamedTuple):
    """What a model is run on: the model (called with the arguments that were given), the arrays,
    and in words how they came about."""

    model: Model
    arrays: tuple[np.ndarray, ...]
    how: str


def bind(model: Model, x: Inputs | InputArgument, shape: Shape = None, seed: int = 0) -> Bound:
    """The model's inputs in its own order.

    ``x`` is an array, a sequence of arrays, a mapping from input names, or None: then they are
    drawn. Raises BadInput where names or the number of inputs do not fit.
    """
    request = _request(x)
    if (recording := recorded(model)) is not None:
        return _of_recording(model, recording, request, shape, seed)
    if isinstance(model, Keyworded):
        return _called(model, model.called_with, request, shape, seed)
    if request.literals:
        raise BadInput(
            f"{model.framework} runs this model on arrays alone; you gave the argument "
            f"{', '.join(request.literals)} (--arg), which only a PyTorch module takes"
        )
    x, words = _read(model, request.values, shape, seed)
    if x is None:
        return Bound(model, *draw(model, shape, seed))
    arrays, words = _in_order(model, x, words)
    return Bound(model, *_coded(model, arrays, words))


def _coded(
    model: Model, arrays: tuple[np.ndarray, ...], words: str, layer: str = ""
) -> tuple[tuple[np.ndarray, ...], str]:
    """The arrays as codes, where the model takes these in the place of real numbers."""
    if not isinstance(model, TakesCodes):
        return arrays, words
    arrays, done = model.coded(arrays, layer)
    return arrays, f"{words}, {done}" if done else words


def _request(x: Inputs | InputArgument) -> InputArgument:
    if isinstance(x, InputArgument):
        return x
    return InputArgument(x)


def _of_recording(
    model: Model, held: RecordedPass, request: InputArgument, shape: Shape, seed: int
) -> Bound:
    """The input that was recorded; BadInput where another is asked for."""
    other = ""
    if request.literals:
        other = f"the argument {next(iter(request.literals))}"
    elif isinstance(request.values, str):
        other = "a text"
    elif shape is not None and _sizes(shape) != [array.shape for array in held.arrays]:
        other = f"the shape {shape}"
    elif request.values is None and seed not in (0, held.seed):
        other = f"the seed {seed}"
    elif request.values is not None:
        x, words = _read(model, request.values, shape, seed)
        if isinstance(x, Mapping) and model.inputs is None:
            x = list(x.values())
        arrays = () if isinstance(x, Mapping) and not x else _in_order(model, x, words)[0]
        if arrays and not _equal(arrays, held.arrays):
            other = "another input"
    if other:
        raise BadInput(
            f"{held.path} holds one forward pass, on its own input ({held.how}); you gave {other}: "
            "record the model on that (probe record), or leave it out"
        )
    return Bound(model, held.arrays, held.how)


def _sizes(shape: Sequence[Any]) -> list[tuple[int, ...]]:
    return [
        tuple(sizes)
        for sizes in (shape if any(isinstance(part, Iterable) for part in shape) else [shape])
    ]


def _equal(arrays: Sequence[np.ndarray], held: Sequence[np.ndarray]) -> bool:
    return len(arrays) == len(held) and all(
        array.shape == other.shape
        and np.array_equal(array, other, equal_nan=array.dtype.kind == "f")
        for array, other in zip(arrays, held, strict=True)
    )


def bind_alone(
    model: Model, layer: str, given: Inputs | InputArgument, shape: Shape = None
) -> Bound:
    """The same for one layer that is called alone; arrays by names that its call does not have
    are taken in their order."""
    request = _request(given)
    x, words = request.values, "the layer's own input, given by you"
    if isinstance(x, Unshaped):
        x, how = _reshaped(x, None, shape)
        words = f"{words}: {how}"
    if isinstance(model, Keyworded):
        arrays, arguments = _arguments(x, request.literals)
        model = model.called_with(arguments, layer)
    elif request.literals:
        raise BadInput(
            f"only a PyTorch module takes arguments such as {next(iter(request.literals))}"
        )
    else:
        several = list(x.values()) if isinstance(x, Mapping) else x
        arrays = tuple(as_arrays(several))
    refuse_others(arrays)
    return Bound(model, *_coded(model, arrays, given_words(arrays, words), layer))


def _called(
    model: Model,
    called_with: Callable[[CallArguments], Model],
    request: InputArgument,
    shape: Shape,
    seed: int,
) -> Bound:
    """The inputs of a model whose call takes arguments by name, and such as are no arrays."""
    x, words = _read(model, request.values, shape, seed)
    arrays, arguments = _arguments(x, request.literals)
    literals = {name: value for name, value in arguments.named.items() if not _has_slot(value)}
    if not arrays and (x is None or isinstance(x, Mapping)):
        specs = _shaped(model, shape)
        slots = [Slot(place) for place in range(len(specs))]
        if model.inputs is None:
            named = {}
        else:
            named = {spec.name: slot for spec, slot in zip(specs, slots, strict=True)}
        arguments = CallArguments(() if named else tuple(slots), {**named, **literals})
        model = called_with(arguments)
        arrays, words = draw(model, shape, seed)
    else:
        refuse_others(arrays)
        if words == "given" and isinstance(x, Mapping):
            names = [name for name in arguments.named if name not in literals]
            words = f"given by name ({', '.join(names)})"
        model, words = called_with(arguments), given_words(arrays, words)
    if literals:
        words += f", with {', '.join(f'{name}={literal!r}' for name, literal in literals.items())}"
    return Bound(model, arrays, words)


def _arguments(
    x: Inputs, literals: Mapping[str, Any]
) -> tuple[tuple[np.ndarray, ...], CallArguments]:
    """The arrays, and the arguments of the call that they are slots of."""
    arrays: list[np.ndarray] = []
    if isinstance(x, Mapping):
        if twice := x.keys() & literals.keys():
            raise BadInput(f"the argument {min(twice)} is given twice, in the input and by --arg")
        named = {name: _slotted(value, arrays) for name, value in x.items()}
        return tuple(arrays), CallArguments((), {**named, **literals})
    if x is None:
        return (), CallArguments((), literals)
    several = x if isinstance(x, list | tuple) else (x,)
    positional = tuple(_slotted(value, arrays) for value in several)
    return tuple(arrays), CallArguments(positional, literals)


def _slotted(value: Any, arrays: list[np.ndarray]) -> Any:
    """The argument with a Slot for each array in it, which is added to the arrays.

    Numbers, strings, None and tuples of these stay what they are; a list of numbers is an array.
    """
    if value is None or isinstance(value, bool | int | float | complex | str):
        return value
    if isinstance(value, Mapping):
        return {key: _slotted(part, arrays) for key, part in value.items()}
    if isinstance(value, list | tuple) and any(map(_holds_array, value)):
        return type(value)([_slotted(part, arrays) for part in value])
    if isinstance(value, tuple) and all(map(_is_literal, value)):
        return value
    array = as_array(value)
    if array.dtype.hasobject:
        raise BadInput(
            "an argument is an array, a number, a string, None, or a tuple, list or mapping of "
            f"these; you gave {printable.kind(value)}"
        )
    arrays.append(array)
    return Slot(len(arrays) - 1)


def _holds_array(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_array, value))
    return hasattr(value, "__array__")


def _is_literal(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_literal, value))
    return value is None or isinstance(value, bool | int | float | complex | str)


def _has_slot(value: Any) -> bool:
    if isinstance(value, Slot):
        return True
    parts = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, Mapping | list | tuple) and any(map(_has_slot, parts))


def _read(model: Model, values: Any, shape: Shape, seed: int) -> tuple[Inputs, str]:
    """What a text or a file gives that is read as the model wants it, and in words how."""
    if isinstance(values, str):
        return _tokens(model, values, seed)
    if not isinstance(values, Picture | Unshaped):
        return values, "given"
    specs = model.inputs
    if specs is not None and len(specs) != 1:
        raise BadInput(
            f"{values.path} is one input, and the model takes {len(specs)} "
            f"({', '.join(spec.name for spec in specs)}): give an .npz with an array for each name"
        )
    spec = None if specs is None else specs[0]
    if isinstance(values, Picture):
        return pixels(values, spec, first=isinstance(model, Keyworded))
    return _reshaped(values, spec, shape)


def _tokens(model: Model, text: str, seed: int) -> tuple[dict[str, np.ndarray], str]:
    """The inputs that stand for a text, and one drawn sample of the others, such as an image."""
    if not isinstance(model, Reads):
        way = "give an array"
        if text.endswith((".npy", ".npz")):
            way = f"give the array of the file, np.load({text!r})"
        raise BadInput(
            f"a text can only be the input of a Hugging Face directory that has a tokenizer; {way}"
        )
    read, specs = model.tokens(text), model.inputs
    if specs is not None and len(specs) > len(read):
        drawn = draw(model, None, seed)[0]
    else:
        drawn = ()
    others = {
        spec.name: array[:1]
        for spec, array in zip(specs or (), drawn, strict=False)
        if spec.name not in read
    }
    count = next(iter(read.values())).shape[-1]
    how = f"the text {printable.name(repr(text))}, {count} tokens"
    more = f"; {' and '.join(others)} random, seed {seed}" if others else ""
    return {**others, **read}, how + more


def _reshaped(numbers: Unshaped, spec: InputSpec | None, shape: Shape) -> tuple[np.ndarray, str]:
    """The numbers of a file without a shape in the one that was given, or that the model
    declares."""
    values = numbers.values
    wanted: tuple[int | None, ...] | None = (spec and spec.shape) or None
    if shape is not None:
        wanted = tuple(None if index_of(size) == -1 else index_of(size) for size in shape)
    elif wanted is None or _is_of(wanted, values.shape):
        return values, f"{numbers.path}, read as {values.shape}"
    known = math.prod(length for length in wanted if length is not None)
    free = [axis for axis, length in enumerate(wanted) if length is None]
    text = f"({', '.join('?' if length is None else str(length) for length in wanted)})"
    if not free:
        whole = values.size == known
    else:
        whole = known > 0 and values.size % known == 0
    if not whole or len(free) > 1:
        contained = f"{numbers.path} contains {values.size:,} numbers"
        if len(free) > 1:
            raise BadInput(
                f"{contained}, and the model's input {text} leaves several sizes open: give --shape"
            )
        per = f", {known:,} for each" if free else ""
        raise BadInput(f"{contained}, which do not fill the shape {text}{per}")
    target = tuple(values.size // known if length is None else length for length in wanted)
    return (
        values.reshape(target),
        f"{numbers.path}, {values.size:,} numbers reshaped to {target} in row-major order",
    )


def _is_of(wanted: Sequence[int | None], shape: Sequence[int]) -> bool:
    return len(wanted) == len(shape) and all(
        length in (None, other) for length, other in zip(wanted[1:], shape[1:], strict=True)
    )


def _in_order(model: Model, x: Inputs, words: str) -> tuple[tuple[np.ndarray, ...], str]:
    """The arrays in the order of a model that takes nothing but arrays."""
    specs = model.inputs
    if isinstance(x, Mapping):
        if specs is None:
            names = list(model.input_order(x))
        else:
            names = [spec.name for spec in specs]
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
    arrays = tuple(as_arrays(x))
    if specs is not None and len(arrays) != len(specs) and len(specs) == 1 and isinstance(x, list):
        arrays = (as_array(x),)
    refuse_others(arrays)
    if specs is not None and len(arrays) != len(specs):
        names = [spec.name for spec in specs]
        raise BadInput(
            f"the model takes {len(specs)} inputs ({', '.join(names)}); you gave {len(arrays)}: "
            f"give all by name, {by_name(names)}"
        )
    return arrays, given_words(arrays, words)


def given_words(arrays: Sequence[np.ndarray], words: str = "given") -> str:
    """What is said of arrays that the user gave: NaN and inf in them hide faults."""
    floats = [
        array for array in arrays if array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    ]
    counts = [sum(int(of(array).sum()) for array in floats) for of in (np.isnan, np.isinf)]
    text = " and ".join(
        f"{count} {kind}" for count, kind in zip(counts, ("NaN", "infinite"), strict=True) if count
    )
    if text:
        return f"{words}; it contains {text} among {sum(array.size for array in arrays)} values"
    return words


def draw(model: Model, shape: Shape = None, seed: int = 0) -> tuple[tuple[np.ndarray, ...], str]:
    """Signed, non-constant inputs from a seed; free sizes are tried until the model accepts them.

    Raises BadInput where neither the model nor ``shape`` says what to draw.
    """
    if not is_whole(seed) or seed < 0:
        raise BadInput(f"seed must be an integer >= 0; you gave {seed!r}")
    specs = _shaped(model, shape)
    _drawable(specs)
    free = any(None in spec.shape[1:] for spec in specs)
    unsure = free or any(None in spec.shape and spec.usual for spec in specs)
    rng = np.random.default_rng(seed)
    failure: Exception | None = None
    for sizes in _candidates(specs):
        if sum(map(math.prod, sizes)) > _DRAWN:
            continue
        arrays = tuple(_drawn(rng, spec, size) for spec, size in zip(specs, sizes, strict=True))
        if not unsure:
            return arrays, _words(seed, arrays)
        try:
            if not free:
                model.run(arrays, (), lambda _: None)
                return arrays, _words(seed, arrays)
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
            least = min(known)
            raise BadInput(
                f"no random input can be drawn for {spec.name!r}, whose shape is {text}: a size "
                f"cannot be negative, and {least} is (-1 stands for a size to be found out only "
                "with a file of numbers)"
            )
        if math.prod(known) > _DRAWN or len(spec.shape) > _AXES:
            raise BadInput(
                f"the shape {text} of the input {spec.name!r} exceeds the limit for random "
                f"inputs ({_DRAWN:,} values, {_AXES} axes): give your own (--input x.npy) or "
                "a shape (shape=, --shape)"
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
            for axis, (free, size) in enumerate(zip(spec.shape, lengths, strict=True))
        )
        for spec, lengths in zip(specs, sizes, strict=True)
    ]


def _shaped(model: Model, shape: Shape) -> tuple[InputSpec, ...]:
    """What to draw: the model's own inputs, or those that ``shape`` asks for."""
    specs = model.inputs
    if shape is None:
        if specs is None:
            raise BadInput(undeclared(model))
        return specs
    given: object = shape
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise BadInput(
            f"shape is a tuple of sizes such as (1, 3, 224, 224), or one for each input; you gave "
            f"{given!r}"
        )
    several = [tuple(size) for size in shape if isinstance(size, Iterable)]
    shapes = several or [tuple(size for size in shape if not isinstance(size, Iterable))]
    if not all(size is None or is_whole(size) for sizes in shapes for size in sizes):
        raise BadInput(
            f"the sizes of a shape are integers, such as (1, 3, 224, 224); you gave {given!r}"
        )
    if specs is None:
        high = model.input_index_bound
        return tuple(
            InputSpec(
                f"input_{i}", lengths, "int64" if high and not i else "float32", None if i else high
            )
            for i, lengths in enumerate(shapes)
        )
    if len(shapes) != len(specs):
        raise BadInput(
            f"the model takes {len(specs)} inputs "
            f"({', '.join(spec.name for spec in specs)}); you gave {len(shapes)} "
            "shapes"
        )
    return tuple(
        replace(spec, shape=lengths, usual=None)
        for spec, lengths in zip(specs, shapes, strict=True)
    )


def _candidates(specs: Sequence[InputSpec]) -> Iterator[list[tuple[int, ...]]]:
    """Shapes to try: the batch is 2, every other free size that of the file, or else the same
    number; at last the file's own."""
    for size in _SIZES:
        yield [_filled(spec, size) for spec in specs]
    if any(spec.usual for spec in specs):
        yield [spec.usual or _filled(spec, _SIZES[0]) for spec in specs]


def _filled(spec: InputSpec, size: int) -> tuple[int, ...]:
    usual = spec.usual or (1,) * len(spec.shape)
    free = (2, *[length if length > 1 else size for length in usual[1:]])
    return tuple(free[k] if length is None else length for k, length in enumerate(spec.shape))


def _drawn(rng: "np.random.Generator", spec: InputSpec, shape: tuple[int, ...]) -> np.ndarray:
    if spec.high is not None or spec.dtype.startswith(("int", "uint")):
        if spec.dtype.startswith(("int", "uint", "float")):
            dtype = spec.dtype
        else:
            dtype = "int64"
        high = spec.high or (256 if spec.dtype == "uint8" else 2)
        return rng.integers(spec.low, high, size=shape).astype(dtype)
    if spec.dtype == "bool":
        return rng.integers(0, 2, size=shape).astype(bool)
    x = rng.normal(size=shape)
    if x.size > 1 and (x.min() >= 0 or x.max() <= 0):
        x.flat[0] *= -1
    return x.astype("float32" if spec.dtype == "bfloat16" else spec.dtype)


def part_of(at: Part) -> tuple[int | slice, ...]:
    """ "0,0:3,0:3,0", or such a tuple, as one number or slice per axis; axes left out at the end
    are whole."""
    if isinstance(at, list | tuple):
        return tuple(map(_end_of, at))
    if not isinstance(at, str):
        return (_end_of(at),)
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


def index_of(value: object) -> int:
    """An index as the user gave it. BadInput where it is no whole number: 0.5 is none, and True
    stands for something else."""
    try:
        if is_whole(value):
            return operator.index(value)
    except TypeError:
        pass
    raise BadInput(f"an index must be an integer such as 0 or -1; you gave {value!r}")
