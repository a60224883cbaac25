"""Functions that move, pick, repeat and overwrite elements."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function

__all__ = ["concat", "getitem", "setitem"]


@function(
    *(
        "view",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "squeeze_",
        "unsqueeze",
        "unsqueeze_",
        "view_as",
        "reshape_as",
        "ravel",
    ),
    *("_unsafe_view", "_reshape_alias", "atleast_1d", "atleast_2d", "atleast_3d"),
    onnx="reshape",
    idle="args size shape stride start_dim end_dim dim sizes other dtype",
)
def reshape(build: CallBuilder, input: Value, *args: Any, **kwargs: Any) -> Ref:
    """The elements in row-major order in the shape that the call gave them."""
    if build.array(input).dtype != build.outputs[0].dtype:
        raise Undescribed("reinterpreting the bits as another dtype is not supported")
    return build.reshaped(input)


@function("permute", onnx="transpose")
def permute(build: CallBuilder, input: Value, *args: Any, dims: Any = None) -> Ref:
    return _transposed(build, input, [axis % build.rank(input) for axis in _several(args, dims)])


def _several(args: Sequence[Any], dims: Any) -> Sequence[int]:
    """Axes that were given one by one, as one argument, or by name."""
    given = args if dims is None else (dims,)
    return given[0] if len(given) == 1 and not isinstance(given[0], int) else given


def _transposed(build: CallBuilder, input: Value, order: Sequence[int]) -> Ref:
    return build.add(ops.Transpose(perm=tuple(order)) if order else ops.Identity(), input)


@function("transpose", "transpose_", "swapaxes", "swapdims", onnx="transpose")
def transpose(build: CallBuilder, input: Value, dim0: int, dim1: int) -> Ref:
    order = list(range(build.rank(input)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return build.add(ops.Transpose(perm=tuple(order)), input)


@function("t", "T", "H", "numpy_T", onnx="transpose")
def turned(build: CallBuilder, input: Value) -> Ref:
    return _transposed(build, input, [*reversed(range(build.rank(input)))])


@function("mT", "mH", "adjoint", onnx="transpose")
def matrix_turned(build: CallBuilder, input: Value) -> Ref:
    return transpose(build, input, -1, -2)


@function("data", "real", onnx="identity")
def same(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Identity(), input)


@function("movedim", "moveaxis", onnx="transpose")
def movedim(build: CallBuilder, input: Value, source: Any, destination: Any) -> Ref:
    rank = build.rank(input)
    pairs = zip(
        *(((axes,) if isinstance(axes, int) else axes) for axes in (destination, source)),
        strict=True,
    )
    fixed = {to % rank: of % rank for to, of in pairs}
    rest = iter(axis for axis in range(rank) if axis not in fixed.values())
    return build.add(
        ops.Transpose(
            perm=tuple(fixed[axis] if axis in fixed else next(rest) for axis in range(rank))
        ),
        input,
    )


@function(
    "expand", "expand_as", "broadcast_to", onnx="expand", idle="sizes size shape implicit other"
)
def expand(build: CallBuilder, input: Value, *sizes: Any, **kwargs: Any) -> Ref:
    return build.add(ops.Expand(shape=build.outputs[0].shape), input)


@function("repeat", "tile", onnx="tile", idle="sizes repeats dims")
def repeat(build: CallBuilder, input: Value, *sizes: Any, **kwargs: Any) -> Ref:
    shape, wanted = build.shape(input), build.outputs[0].shape
    full = (1,) * (len(wanted) - len(shape)) + shape
    repeats = tuple(to // of if of else 1 for to, of in zip(wanted, full, strict=True))
    return build.add(
        ops.Tile(repeats=repeats),
        input if full == shape else build.add(ops.Reshape(shape=full), input),
    )


@function("as_strided", onnx="gather")
def as_strided(
    build: CallBuilder,
    input: Value,
    size: Sequence[Any],
    stride: Sequence[Any],
    storage_offset: int | None = None,
) -> Ref:
    """Elements by their places in memory, as far as they are elements of the tensor itself."""
    if isinstance(input, Ref) and input.step < 0:
        layout = build.layouts.get(input.index)
    else:
        layout = None
    if layout is None:
        raise Undescribed("the strides of its tensor are not available")
    own = _in_memory(build.shape(input), *layout).reshape(-1)
    sizes, steps = ([int(build.array(number)) for number in part] for part in (size, stride))
    wanted = _in_memory(sizes, steps, layout[1] if storage_offset is None else storage_offset)
    order = np.argsort(own, kind="stable")
    found = order[np.searchsorted(own[order], wanted).clip(0, max(0, own.size - 1))]
    if not own.size or (own[found] != wanted).any():
        raise Undescribed("it reads memory that is not the tensor's own")
    return build.add(ops.Gather(axis=0), build.add(ops.Reshape(shape=(-1,)), input), found)


def _in_memory(size: Sequence[int], stride: Sequence[int], offset: int) -> np.ndarray:
    """The place in memory of each element."""
    places = np.full((1,) * len(size), offset)
    for axis, (length, step) in enumerate(zip(size, stride, strict=True)):
        along = [1] * len(size)
        along[axis] = length
        places = places + (np.arange(length) * step).reshape(along)
    return places


@function("repeat_interleave", onnx="gather", idle="output_size")
def repeat_interleave(
    build: CallBuilder,
    input: Value,
    repeats: Any,
    dim: int | None = None,
    *,
    output_size: Any = None,
) -> Ref:
    counts = build.array(repeats) if not isinstance(repeats, int) else repeats
    if dim is None:
        axis, x = (0, build.add(ops.Reshape(shape=(-1,)), input))
    else:
        axis, x = (dim, build.ref(input))
    size = build.array(input).size if dim is None else build.shape(input)[dim]
    return build.add(ops.Gather(axis=axis), x, np.repeat(np.arange(size), counts))


@function("cat", "concat", "concatenate", onnx="concat")
def concat(
    build: CallBuilder, tensors: Sequence[Value], dim: int = 0, *, axis: int | None = None
) -> Ref:
    """Empty tensors are left out beside others; of one axis everywhere, as PyTorch does."""
    kept = [tensor for tensor in tensors if 0 not in build.shape(tensor)]
    kept = (
        kept or [tensor for tensor in tensors if build.shape(tensor) != (0,)] or list(tensors)[:1]
    )
    return build.add(ops.Concat(axis=dim if axis is None else axis), *kept)


@function("stack", onnx="concat")
def stack(build: CallBuilder, tensors: Sequence[Value], dim: int = 0) -> Ref:
    at = dim % (build.rank(tensors[0]) + 1)
    shape = build.shape(tensors[0])
    lifted = [
        build.add(ops.Reshape(shape=(*shape[:at], 1, *shape[at:])), tensor) for tensor in tensors
    ]
    return build.add(ops.Concat(axis=at), *lifted)


def _part(build: CallBuilder, input: Value, axis: int, start: int, stop: int) -> Ref:
    shape = build.shape(input)
    bounds = [
        (start, stop) if k == axis % len(shape) else (0, size) for k, size in enumerate(shape)
    ]
    return build.add(
        ops.Slice(starts=tuple(low for low, _ in bounds), stops=tuple(high for _, high in bounds)),
        input,
    )


@function(
    *("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_chunk", "unsafe_split"),
    onnx="split",
    idle=(
        "split_size split_size_or_sections split_sizes chunks indices sections "
        "indices_or_sections tensor_indices_or_sections"
    ),
)
def split(
    build: CallBuilder, input: Value, *sizes: Any, dim: int = 0, **kwargs: Any
) -> tuple[Ref, ...]:
    """Where the pieces end is told by their sizes."""
    axis = sizes[1] if len(sizes) > 1 else dim
    ends = np.cumsum([0, *(piece.shape[axis] for piece in build.outputs)]).tolist()
    return tuple(_part(build, input, axis, low, high) for low, high in pairwise(ends))


@function("unbind", "__iter__", onnx="split")
def unbind(build: CallBuilder, input: Value, dim: int = 0) -> tuple[Ref, ...]:
    pieces = (_part(build, input, dim, at, at + 1) for at in range(len(build.outputs)))
    return tuple(
        build.add(ops.Reshape(shape=out.shape), piece)
        for piece, out in zip(pieces, build.outputs, strict=True)
    )


@function("meshgrid", onnx="expand")
def meshgrid(build: CallBuilder, *tensors: Any, indexing: str | None = None) -> tuple[Ref, ...]:
    """Each tensor along an axis of its own; "xy" exchanges the first two axes."""
    if len(tensors) == 1 and isinstance(tensors[0], list | tuple):
        lines = tensors[0]
    else:
        lines = tensors
    order = list(range(len(lines)))
    if indexing == "xy":
        order[:2] = order[:2][::-1]
    found = []
    for axis, line, out in zip(order, lines, build.outputs, strict=True):
        along = tuple(-1 if k == axis else 1 for k in range(len(lines)))
        alone = build.add(ops.Reshape(shape=along), line)
        found.append(build.add(ops.Expand(shape=out.shape), alone))
    return tuple(found)


@function("narrow", "narrow_copy", onnx="slice")
def narrow(build: CallBuilder, input: Value, dim: int, start: Any, length: int) -> Ref:
    first = int(build.array(start)) if not isinstance(start, int) else start
    first += build.shape(input)[dim] if first < 0 else 0
    return _part(build, input, dim, first, first + length)


@function("select", onnx="slice")
def select(build: CallBuilder, input: Value, dim: int, index: int) -> Ref:
    at = index % build.shape(input)[dim]
    return build.reshaped(_part(build, input, dim, at, at + 1))


@function("slice", onnx="slice")
def sliced(
    build: CallBuilder,
    input: Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Ref:
    key = [slice(None)] * build.rank(input)
    key[dim] = slice(start, end, step)
    return getitem(build, input, tuple(key))


@function("index_select", onnx="gather")
def index_select(build: CallBuilder, input: Value, dim: int, index: Value) -> Ref:
    if not build.rank(input):
        raise Undescribed("a 0-dimensional tensor is not supported")
    # one place keeps its axis
    at = index if build.rank(index) else build.add(ops.Reshape(shape=(-1,)), index)
    return build.add(ops.Gather(axis=dim), input, at)


@function("take_along_dim", onnx="gatherelements")
def take_along_dim(build: CallBuilder, input: Value, indices: Value, dim: int | None = None) -> Ref:
    """The elements at places along an axis, both broadcast along the others; without one those of
    all elements in a row."""
    if dim is None:
        row = build.add(ops.Reshape(shape=(-1,)), input)
        return build.add(ops.Gather(axis=0), row, build.add(ops.Reshape(shape=(-1,)), indices))
    axis, shape = dim % build.rank(input), build.outputs[0].shape
    wide = (*shape[:axis], build.shape(input)[axis], *shape[axis + 1 :])
    x, at = build.add(ops.Expand(shape=wide), input), build.add(ops.Expand(shape=shape), indices)
    return build.add(ops.GatherElements(axis=axis), x, at)


@function("gather", onnx="gatherelements")
def gather(
    build: CallBuilder, input: Value, dim: int, index: Value, *, sparse_grad: bool = False
) -> Ref:
    if build.rank(input) and build.rank(index):
        return build.add(ops.GatherElements(axis=dim), input, index)
    # one without axes is one of a single element
    row, places = (build.add(ops.Reshape(shape=(-1,)), operand) for operand in (input, index))
    return build.reshaped(build.add(ops.Gather(axis=0), row, places))


@function("take", onnx="gather")
def take(build: CallBuilder, input: Value, index: Value) -> Ref:
    return build.add(ops.Gather(axis=0), build.add(ops.Reshape(shape=(-1,)), input), index)


@function("roll", onnx="gather")
def roll(build: CallBuilder, input: Value, shifts: Any, dims: Any = None) -> Ref:
    if dims is None or dims == ():
        flat = build.add(ops.Reshape(shape=(-1,)), input)
        size = build.array(input).size
        return build.reshaped(build.add(ops.Gather(axis=0), flat, np.roll(np.arange(size), shifts)))
    found = build.ref(input)
    pairs = zip(
        *(((numbers,) if isinstance(numbers, int) else numbers) for numbers in (shifts, dims)),
        strict=True,
    )
    for shift, axis in pairs:
        found = build.add(
            ops.Gather(axis=axis), found, np.roll(np.arange(build.shape(input)[axis]), shift)
        )
    return found


@function("fliplr", onnx="slice")
def fliplr(build: CallBuilder, input: Value) -> Ref:
    return flip(build, input, 1)


@function("flipud", onnx="slice")
def flipud(build: CallBuilder, input: Value) -> Ref:
    return flip(build, input, 0)


@function("flip", onnx="slice")
def flip(build: CallBuilder, input: Value, *args: Any, dims: Any = None) -> Ref:
    rank = build.rank(input)
    turned = {axis % rank for axis in _several(args, dims)}
    starts = tuple(-1 if axis in turned else 0 for axis in range(rank))
    return build.add(
        ops.Slice(
            starts, (None,) * rank, tuple(-1 if axis in turned else 1 for axis in range(rank))
        ),
        input,
    )


@function("tril", "tril_", onnx="trilu")
def tril(build: CallBuilder, input: Value, diagonal: int = 0) -> Ref:
    return build.add(ops.Trilu(upper=False, k=diagonal), input)


@function("triu", "triu_", onnx="trilu")
def triu(build: CallBuilder, input: Value, diagonal: int = 0) -> Ref:
    return build.add(ops.Trilu(upper=True, k=diagonal), input)


@function("unfold", onnx="gather")
def unfold(build: CallBuilder, input: Value, *args: Any, **kwargs: Any) -> Ref:
    """``Tensor.unfold``, whose windows are an axis more; or ``F.unfold``, whose windows are
    columns."""
    if len(build.outputs[0].shape) > build.rank(input):
        return _windows(build, input, *args, **kwargs)
    names = ("kernel_size", "dilation", "padding", "stride")
    given = dict(zip(names, args, strict=False)) | kwargs  # PyTorch gives its defaults too
    if given.keys() != set(names):
        raise Undescribed(
            f"the arguments {', '.join(sorted(given.keys() ^ set(names)))} are missing or not "
            "supported"
        )
    return build.module("Unfold", input, **given)


def _windows(build: CallBuilder, input: Value, dimension: int, size: int, step: int) -> Ref:
    """Windows of one axis, side by side along a new last one; a number is an axis of one."""
    if not build.rank(input):
        return build.reshaped(input)
    axis = dimension % build.rank(input)
    count = (build.shape(input)[axis] - size) // step + 1
    picked = build.add(
        ops.Gather(axis=axis), input, np.arange(count)[:, None] * step + np.arange(size)
    )
    order = [k for k in range(build.rank(input) + 1) if k != axis + 1]
    return build.add(ops.Transpose(perm=(*order, axis + 1)), picked)


def _positions(build: CallBuilder, input: Value, key: Any) -> np.ndarray:
    """The number of each element that an index picks.

    PyTorch applies slices and single numbers first, NumPy these beside tensors as if they were
    tensors too: then the axes stand in another order.
    """
    shape = build.shape(input)
    parts = [_indices(build, part) for part in (key if isinstance(key, tuple) else (key,))]
    arrays = [isinstance(part, np.ndarray) for part in parts]
    first: list[Any] = []
    for part, is_array in zip(parts, arrays, strict=True):
        axes = part.ndim if is_array and part.dtype.kind == "b" else 1
        first += [slice(None)] * axes if is_array else [part]
    numbers = np.arange(math.prod(shape)).reshape(shape)[tuple(first)]
    then = [
        part if is_array or part is Ellipsis else slice(None)
        for part, is_array in zip(parts, arrays, strict=True)
        if is_array or not _is_int(part)
    ]
    return np.asarray(numbers[tuple(then)])


def _is_int(part: Any) -> bool:
    return isinstance(part, int) and not isinstance(part, bool)


def _indices(build: CallBuilder, part: Any) -> Any:
    if isinstance(part, Ref | Weight):
        array = build.array(part)
        if array.dtype.kind == "b":
            return array
        return array.astype(np.intp) if array.ndim else int(array)
    if isinstance(part, slice):
        return slice(
            *(
                int(build.array(bound)) if isinstance(bound, Ref | Weight) else bound
                for bound in (part.start, part.stop, part.step)
            )
        )
    if isinstance(part, list | tuple):
        return np.asarray(part)
    return part


def _basic(parts: Sequence[Any]) -> bool:
    return all(
        part is None or part is Ellipsis or isinstance(part, slice) or _is_int(part)
        for part in parts
    )


@function("index", onnx="slice")
def index(build: CallBuilder, input: Value, indices: Sequence[Any]) -> Ref:
    """A graph's own: None stands for the whole of an axis, where in Python it is a new one."""
    return getitem(
        build, input, tuple(slice(None) if index is None else index for index in indices)
    )


@function("__getitem__", onnx="slice")
def getitem(build: CallBuilder, input: Value, key: Any) -> Ref:
    """Slices and numbers: Slice. One tensor of indices among full slices: Gather. Anything else:
    the elements by their numbers."""
    if isinstance(key, tuple | list) and not (
        isinstance(key, list) and all(isinstance(k, int) for k in key)
    ):
        parts = list(key)
    else:
        parts = [key]
    shape = build.shape(input)
    if _basic(parts):
        named = sum(part is not None and part is not Ellipsis for part in parts)
        spelled: list[Any] = []
        for part in parts:
            if part is Ellipsis:
                spelled += [slice(None)] * (len(shape) - named)
            elif part is not None:
                spelled.append(part)
        spelled += [slice(None)] * (len(shape) - len(spelled))
        bounds = [
            (part % size, part % size + 1, 1) if isinstance(part, int) else part.indices(size)
            for part, size in zip(spelled, shape, strict=True)
        ]
        whole = all(bound == (0, size, 1) for bound, size in zip(bounds, shape, strict=True))
        found = build.ref(input)
        if not whole:
            starts, stops, steps = zip(*bounds, strict=True)
            found = build.add(
                ops.Slice(
                    starts,
                    tuple(max(0, stop) for stop in stops),
                    () if set(steps) == {1} else steps,
                ),
                found,
            )
        return build.reshaped(found)
    tensors = [at for at, part in enumerate(parts) if isinstance(part, Ref | Weight)]
    full = all(
        isinstance(part, slice) and part == slice(None)
        for at, part in enumerate(parts)
        if at not in tensors
    )
    if len(tensors) == 1 and full and build.array(parts[tensors[0]]).dtype.kind in "iu":
        return build.add(ops.Gather(axis=tensors[0]), input, parts[tensors[0]])
    numbers = _positions(build, input, tuple(parts))
    return build.add(ops.Gather(axis=0), build.add(ops.Reshape(shape=(-1,)), input), numbers)


def _written(
    build: CallBuilder, input: Value, key: Any, value: Value, reduction: str = "none"
) -> Ref:
    numbers = _positions(build, input, key)
    array = build.array(value)
    updates = build.ref(_of_the_kind(build, value))
    while array.ndim > numbers.ndim:  # axes of size 1 in front that the place lacks
        array = array[0]
        updates = build.add(ops.Reshape(shape=array.shape), updates)
    if array.shape != numbers.shape:
        updates = build.add(ops.Expand(shape=numbers.shape), updates)
    flat = [build.add(ops.Reshape(shape=(-1,)), operand) for operand in (input, updates)]
    return build.reshaped(
        build.add(ops.ScatterND(reduction=reduction), flat[0], numbers.reshape(-1, 1), flat[1])
    )


@function("__setitem__", onnx="scatternd")
def setitem(build: CallBuilder, input: Value, key: Any, value: Value) -> Ref:
    return _written(build, input, tuple(key) if isinstance(key, tuple) else key, value)


@function("index_put", "index_put_", "_index_put_impl_", onnx="scatternd", idle="unsafe")
def index_put(
    build: CallBuilder,
    input: Value,
    indices: Sequence[Any],
    values: Value,
    accumulate: bool = False,
    **kwargs: Any,
) -> Ref:
    key = tuple(slice(None) if part is None else part for part in indices)
    return _written(build, input, key, values, "add" if accumulate else "none")


@function("copy_", "copy", onnx="identity", idle="input")  # which is overwritten
def copy(build: CallBuilder, input: Value, src: Value, non_blocking: bool = False) -> Ref:
    return build.add(ops.Expand(shape=build.outputs[0].shape), _of_the_kind(build, src))


@function("fill_", "fill", onnx="expand", idle="input")  # which is overwritten
def fill(build: CallBuilder, input: Value, value: Value) -> Ref:
    return build.add(ops.Expand(shape=build.outputs[0].shape), _of_the_kind(build, value))


def _of_the_kind(build: CallBuilder, value: Value) -> Value:
    """What is written, in the type of what it is written to."""
    kind = build.outputs[0].dtype
    if kind.kind == "f" or build.array(value).dtype == kind:
        return value
    return build.add(ops.Cast(to=build.kinds[0]), value)


@function("scatter", "scatter_", onnx="scatterelements")
def scatter(
    build: CallBuilder,
    input: Value,
    dim: int,
    index: Value,
    src: Value,
    *,
    reduce: str | None = None,
) -> Ref:
    if reduce not in (None, "add"):
        raise Undescribed(f"reduce={reduce!r} is not supported")
    shape = build.shape(index)
    updates = build.ref(src)
    if isinstance(src, int | float):
        updates = build.add(ops.Expand(shape=shape), updates)
    elif build.shape(src) != shape:
        updates = build.add(ops.Slice(starts=(0,) * len(shape), stops=shape), updates)
    return build.add(
        ops.ScatterElements(axis=dim, reduction=reduce or "none"), input, index, updates
    )


@function("scatter_add", "scatter_add_", onnx="scatterelements")
def scatter_add(build: CallBuilder, input: Value, dim: int, index: Value, src: Value) -> Ref:
    return scatter(build, input, dim, index, src, reduce="add")


@function("index_add", "index_add_", onnx="scatternd")
def index_add(
    build: CallBuilder, input: Value, dim: int, index: Value, source: Value, *, alpha: float = 1
) -> Ref:
    key = (*(slice(None),) * (dim % build.rank(input)), index)
    if alpha != 1:
        raise Undescribed(f"alpha={alpha!r} is not supported")
    return _written(build, input, key, source, "add")
