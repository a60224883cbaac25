"""Builds the steps of an operation whose arguments are tensors, numbers and variables in any
mixture."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from probe import ops, printable
from probe.description import Builder, Ref, Value, Weight
from probe.errors import Undescribed

from .call import KerasCall
from .variables import widened

__all__ = ["OpBuilder", "as_list"]


def as_list(value: Any) -> list[Any]:
    """A list or tuple as a list, anything else as a list of one."""
    if isinstance(value, list | tuple):
        return list(value)
    return [value]


class OpBuilder(Builder):
    """Steps under construction, with the shape of what each gives: ``ref`` brings an argument in,
    ``add`` applies an op."""

    single = ops.Identity

    def __init__(self, call: KerasCall):
        super().__init__(call.inputs)
        self.call = call

    def dtype(self, ref: Ref) -> np.dtype:
        """Of an input of the call as it is; of anything computed a float."""
        if ref.step < 0:
            return self.call.inputs[ref.index].dtype
        return np.dtype(np.float64)

    def ref(self, value: Any) -> Ref:
        """A tensor of the call, a variable, or a number or array that belongs to the operation."""
        return super().ref(self.weight(value) or value)

    def constant(self, value: Any) -> np.ndarray:
        array = widened(super().constant(value))
        if array.dtype.kind not in "fiub":
            raise Undescribed(f"it was called with {printable.kind(value)}, not a number")
        return array

    def weight(
        self, value: Any, axes: tuple[int, ...] | None = None, shape: tuple[int, ...] | None = None
    ) -> Weight | None:
        """A variable under the last part of its name, or None for anything else."""
        if not hasattr(type(value), "assign") or not hasattr(value, "shape"):
            return None
        name = str(getattr(value, "path", None) or value.name).partition(":")[0].rpartition("/")[2]
        found: Weight = self.call.weight(name, value, axes=axes, shape=shape)
        return found

    def pair(self, left: Any, right: Any, early: bool = False) -> tuple[Ref, Ref]:
        """Two operands of one type: beside a float an integer becomes one, and so does an integer
        number.

        ``early`` where a number is made a tensor before the other operand is looked at
        (``KerasCall.early``).
        """
        tensors = [operand for operand in (left, right) if isinstance(operand, Ref)]
        floats = [self.dtype(tensor).kind == "f" for tensor in tensors]
        if not any(floats):
            whole = [self.dtype(tensor) for tensor in tensors if self.dtype(tensor).kind in "iu"]
            # what an integer number becomes, and sums wrap around in
            if whole and not early:
                kind = np.result_type(*whole)
            else:
                kind = None
            first, second = (
                self.ref(
                    np.asarray(operand).astype(kind) if kind and type(operand) is int else operand
                )
                for operand in (left, right)
            )
            return first, second
        found = []
        for operand in (left, right):
            if not isinstance(operand, Ref) and not hasattr(type(operand), "assign"):
                if early:
                    operand = self.call.early(operand)
                else:
                    operand = np.asarray(operand, np.float64)
            elif isinstance(operand, Ref) and self.dtype(operand).kind != "f":
                operand = self.add(
                    ops.Cast(to="float64" if self.call.dtype == "float64" else "float32"), operand
                )
            found.append(self.ref(operand))
        return found[0], found[1]

    def shaped(self, value: Any) -> Any:
        """The same, with a nested list of numbers (as a file holds it) as an array."""
        if isinstance(value, Ref) or hasattr(value, "shape"):
            return value
        return np.asarray(value)

    def truth(self, ref: Ref) -> Ref:
        """Whether each element holds."""
        if ref.step >= 0 or self.dtype(ref).kind == "b":
            return ref
        return self.add(ops.Cast(to="bool"), ref)

    def ints(self, value: Any) -> list[int]:
        """Sizes and places, which may themselves be tensors of this call."""
        if isinstance(value, Ref):
            value = np.ravel(self.call.inputs[value.index]).tolist()
        if hasattr(value, "tolist"):
            value = np.ravel(value).tolist()
        found = []
        for number in as_list(value):
            if hasattr(number, "numpy"):
                number = number.numpy()
            found += self.ints(number) if isinstance(number, Ref | np.ndarray) else [int(number)]
        return found

    def add(self, op: ops.Op, *inputs: Value, shape: Sequence[int] | None = None) -> Ref:
        """An op on ``inputs``; its output has the shape that they broadcast to, or the one
        given."""
        refs = [self.ref(value) for value in inputs]
        if shape is None:
            try:
                shape = np.broadcast_shapes(*map(self.shape, refs))
            except ValueError as error:
                raise Undescribed(f"incompatible shapes: {error}") from None
        return super().add(op, *refs, shape=shape)

    def told(self, ref: Ref, shape: Sequence[int]) -> Ref:
        """An output of a layer that was taken in, which has that shape."""
        sizes = tuple(int(size) for size in shape)
        if ref.step < 0 or self._shapes.setdefault(ref.step, sizes) == sizes:
            return ref
        return self.add(ops.Identity(), ref, shape=sizes)  # another output of the same step

    def axes(self, ref: Ref, axis: Any) -> tuple[int, ...]:
        """Axes counted from the first; all of them for None."""
        rank = len(self.shape(ref))
        if axis is None:
            return tuple(range(rank))
        return tuple(sorted(int(place) % rank for place in as_list(axis)))

    def reduce(self, op: Callable[..., ops.Op], ref: Ref, axis: Any, keepdims: bool) -> Ref:
        over = self.axes(ref, axis)
        sizes = [1 if k in over else size for k, size in enumerate(self.shape(ref))]
        if keepdims:
            shape = sizes
        else:
            shape = [size for k, size in enumerate(sizes) if k not in over]
        if not over:
            return self.add(ops.Identity(), ref)
        return self.add(op(axes=over, keepdims=bool(keepdims)), ref, shape=shape)

    def reshape(self, ref: Ref, shape: Sequence[int]) -> Ref:
        have = int(np.prod(self.shape(ref), dtype=np.int64))
        known = int(np.prod([size for size in shape if size != -1], dtype=np.int64))
        target = tuple(have // known if size == -1 else int(size) for size in shape)
        return self.add(ops.Reshape(shape=target), ref, shape=target)

    def transpose(self, ref: Ref, perm: Sequence[int] | None) -> Ref:
        shape = self.shape(ref)
        if perm is None:
            order = tuple(range(len(shape)))[::-1]
        else:
            order = tuple(int(axis) % len(shape) for axis in perm)
        return self.add(ops.Transpose(perm=order), ref, shape=[shape[axis] for axis in order])

    def expand_dims(self, ref: Ref, axis: Any) -> Ref:
        axes = as_list(axis)
        rank = len(self.shape(ref)) + len(axes)
        new = {int(place) % rank for place in axes}
        rest = iter(self.shape(ref))
        return self.reshape(ref, [1 if k in new else next(rest) for k in range(rank)])

    def squeeze(self, ref: Ref, axis: Any) -> Ref:
        shape = self.shape(ref)
        if axis in (None, [], ()):
            gone = {k for k, size in enumerate(shape) if size == 1}
        else:
            gone = set(self.axes(ref, axis))
        return self.reshape(ref, [size for k, size in enumerate(shape) if k not in gone])

    def concat(self, refs: Sequence[Ref], axis: int) -> Ref:
        shape = list(self.shape(refs[0]))
        axis = int(axis) % len(shape)
        shape[axis] = sum(self.shape(ref)[axis] for ref in refs)
        return self.add(ops.Concat(axis=axis), *refs, shape=shape)

    def stack(self, refs: Sequence[Ref], axis: int) -> Ref:
        wide = [self.expand_dims(ref, axis) for ref in refs]
        return self.concat(wide, int(axis) % len(self.shape(wide[0])))

    def part(self, ref: Ref, axis: int, start: int, stop: int, step: int = 1) -> Ref:
        """Elements of one axis."""
        slices = [slice(None)] * len(self.shape(ref))
        slices[axis] = slice(start, None if stop < 0 else stop, step)
        return self.sliced(ref, slices)

    def sliced(self, ref: Ref, slices: Sequence[slice]) -> Ref:
        starts, stops, steps, sizes = [], [], [], []
        for size, part in zip(self.shape(ref), slices, strict=True):
            start, stop, step = part.indices(size)
            starts.append(start)
            stops.append(None if stop < 0 else stop)
            steps.append(step)
            sizes.append(len(range(start, stop, step)))
        if 0 in sizes:
            raise Undescribed("its slice of the input is empty")
        return self.add(
            ops.Slice(starts=tuple(starts), stops=tuple(stops), steps=tuple(steps)),
            ref,
            shape=sizes,
        )

    def split(self, ref: Ref, parts: Any, axis: int) -> list[Ref]:
        """Along one axis: into so many equal parts, at those places (a tuple), or of those sizes (a
        list)."""
        axis = self.axes(ref, axis)[0]
        size = self.shape(ref)[axis]
        if isinstance(parts, int):
            stops = [size // parts * (k + 1) for k in range(parts)]
        elif isinstance(parts, list):
            sizes = [
                length if length >= 0 else size - sum(other for other in parts if other >= 0)
                for length in parts
            ]
            stops = np.cumsum(sizes).tolist()
        else:
            stops = [*(place if place >= 0 else size + place for place in parts), size]
        return [
            self.part(ref, axis, start, stop)
            for start, stop in zip([0, *stops[:-1]], stops, strict=True)
        ]

    def getitem(self, ref: Ref, key: Any) -> Ref:
        """What ``x[key]`` gives: numbers, slices, None and an ellipsis, or one tensor of places."""
        keys = [int(index) if isinstance(index, np.integer) else index for index in as_list(key)]
        if not any(index is Ellipsis for index in keys):
            keys.append(Ellipsis)
        at = next(k for k, index in enumerate(keys) if index is Ellipsis)
        used = sum(1 for index in keys if index is not Ellipsis and index is not None)
        rank = len(self.shape(ref))
        keys[at : at + 1] = [slice(None)] * (rank - used)
        slices: list[slice] = []
        shape: list[int] = []
        gather: tuple[int, Any] | None = None
        for index in keys:
            if index is None:
                shape.append(1)
                continue
            size = self.shape(ref)[len(slices)]
            if isinstance(index, bool) or not isinstance(index, int | slice | Ref | np.ndarray):
                raise Undescribed(f"indexing by {type(index).__name__} is not supported")
            elif isinstance(index, int):
                if not -size <= index < size:
                    raise Undescribed("it is indexed beyond its number of axes")
                slices.append(slice(index % size, index % size + 1))
            elif isinstance(index, slice):
                if any(
                    isinstance(end, Ref) or hasattr(end, "numpy")
                    for end in (index.start, index.stop, index.step)
                ):
                    raise Undescribed("slicing at computed positions is not supported")
                slices.append(index)
                shape.append(len(range(*index.indices(size))))
            else:
                if gather is not None or None in keys:
                    raise Undescribed("indexing by several tensors is not supported")
                gather = (len(shape), index)
                slices.append(slice(None))
                shape.append(size)
        cut = self.reshape(self.sliced(ref, slices), shape)
        if gather is None:
            return cut
        return self.take(cut, self.ref(gather[1]), gather[0])

    def take(self, ref: Ref, indices: Ref, axis: int | None) -> Ref:
        if axis is None:
            ref, axis = self.reshape(ref, (-1,)), 0
        shape, axis = self.shape(ref), self.axes(ref, axis)[0]
        if indices.step < 0 and self.call.inputs[indices.index].dtype.kind == "b":
            raise Undescribed("indexing by a boolean mask is not supported")
        return self.add(
            ops.Gather(axis=axis),
            ref,
            indices,
            shape=(*shape[:axis], *self.shape(indices), *shape[axis + 1 :]),
        )

    def picked(self, ref: Ref, numbers: np.ndarray) -> Ref:
        """The elements of these numbers, counted in row-major order; 0 for a number of -1."""
        flat = self.reshape(ref, (-1,))
        if (numbers < 0).any():
            flat = self.concat([flat, self.ref(np.zeros(1))], 0)
        return self.take(
            flat,
            self.ref(np.where(numbers < 0, int(np.prod(self.shape(ref), dtype=np.int64)), numbers)),
            0,
        )

    def product(self, left: Ref, right: Ref) -> Ref:
        """A matrix product as NumPy's; with a weight of two axes on the right it is a layer's
        own."""
        left_shape, other = self.shape(left), self.shape(right)
        op = self.steps[right.step].op if right.step >= 0 else None
        if (
            isinstance(op, ops.Parameter)
            and right == self.last
            and len(other) == 2
            and len(left_shape) > 1
        ):
            self.steps.pop()
            return self.add(
                ops.MatMul(weight=op.weight, bias=None), left, shape=(*left_shape[:-1], other[-1])
            )
        lead = np.broadcast_shapes(left_shape[:-2], other[:-2])
        return self.add(
            ops.Product(),
            left,
            right,
            shape=(*lead, *left_shape[-2:-1], *(other[-1:] if len(other) > 1 else ())),
        )

    def expand(self, ref: Ref, shape: Sequence[int]) -> Ref:
        target = tuple(int(size) for size in shape)
        return self.add(ops.Expand(shape=target), ref, shape=target)

    def like(self, ref: Ref, value: float) -> Ref:
        """Numbers in the shape of another."""
        return self.ref(np.full(self.shape(ref), value))
