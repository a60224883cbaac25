"""What a model or a layer wants for its input, and one sentence with the way out where something
else is given.

Keras 3 quietly adds or drops an axis of size 1 to make an input fit, so ranks and sizes are
compared before anything is called.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from probe.errors import BadInput
from probe.model import InputSpec

from ..describe.layer_tree import shape_of
from ..describe.op_builder import as_list

__all__ = ["axes_of", "checked", "checked_alone", "hint", "refuse_shape", "specs"]

Shape = tuple[int | None, ...]

_SPATIAL = {1: ("steps",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def specs(root: Any, keras: Any) -> tuple[InputSpec, ...] | None:
    """The inputs in the order of ``root.inputs``, or None where the model does not say."""
    if not isinstance(root, keras.Model):
        shape = _built_shape(root)
        if shape is None:
            return None
        return (InputSpec("input", shape, str(root.compute_dtype or "float32")),)
    tensors = _model_inputs(root)
    if not tensors or any(shape_of(tensor) is None for tensor in tensors):
        return None
    specs_of_inputs = []
    for tensor in tensors:
        sizes = [
            layer.input_dim
            for layer in _consumers(root, tensor)
            if isinstance(layer, keras.layers.Embedding)
        ]
        specs_of_inputs.append(
            InputSpec(
                _name(tensor), shape_of(tensor) or (), _dtype(tensor), min(sizes, default=None)
            )
        )
    return tuple(specs_of_inputs)


def checked(root: Any, keras: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arrays in the dtypes that the model wants; BadInput where a rank, a size or a kind does
    not fit."""
    wanted = specs(root, keras)
    if wanted is None or not isinstance(root, keras.Model):
        if isinstance(root, keras.Sequential):
            first = next(iter(root.layers), None)
        else:
            first = root
        if isinstance(first, keras.Model | None):
            return [np.asarray(array) for array in arrays]
        return checked_alone(first, arrays)
    if len(arrays) != len(wanted):
        raise BadInput(
            f"the model takes {len(wanted)} inputs "
            f"({', '.join(spec.name for spec in wanted)}); you gave {len(arrays)}"
        )
    found = []
    for spec, tensor, array in zip(wanted, _model_inputs(root), arrays, strict=True):
        array = np.asarray(array)
        if not _fits(spec.shape, array.shape):
            first = next(iter(_consumers(root, tensor)), None)
            axes = () if first is None else axes_of(first, len(spec.shape))
            if axes:
                who = type(first).__name__
            elif len(wanted) > 1:
                who = f"the input {spec.name!r}"
            else:
                who = "the model"
            refuse_shape(who, axes, spec.shape, array.shape)
        found.append(_cast(array, spec))
    return found


def checked_alone(layer: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same for the inputs of one layer called directly, as far as its ``input_spec`` goes."""
    declared = getattr(layer, "input_spec", None)
    if not isinstance(declared, list | tuple):
        declared = [declared] * len(arrays)
    arrays = [np.asarray(array) for array in arrays]
    for spec, array in zip(declared, arrays, strict=False):
        if spec is None:
            shape = None
        else:
            shape = _declared_shape(layer, spec, array.ndim)
        if shape is not None and not _fits(shape, array.shape):
            refuse_shape(type(layer).__name__, axes_of(layer, len(shape)), shape, array.shape)
    return arrays


def hint(root: Any, keras: Any) -> str:
    """What the first layer says about a model that does not say the shape of its input."""
    if isinstance(root, keras.Sequential):
        first = next(iter(root.layers), None)
    else:
        first = root
    rank = re.search(r"([123])D", type(first).__name__)
    axes = axes_of(first, int(rank[1]) + 2 if rank else 2)
    if axes:
        return f"its first layer, {type(first).__name__}, expects ({', '.join(axes)})"
    return ""


def axes_of(layer: Any, rank: int) -> tuple[str, ...]:
    """What the axes of a layer's input mean, or () where that is not known."""
    kind = type(layer).__name__
    spatial = re.search(r"([123])D", kind)
    if spatial and rank == int(spatial[1]) + 2:
        names = _SPATIAL[int(spatial[1])]
        first = getattr(layer, "data_format", "channels_last") == "channels_first"
        if first:
            return ("batch", "channels", *names)
        return ("batch", *names, "channels")
    if kind in ("Dense", "QDense"):
        return ("batch", *(f"axis {axis}" for axis in range(1, rank - 1)), "features")
    if (
        kind in ("LSTM", "GRU", "SimpleRNN", "QLSTM", "QGRU", "QSimpleRNN", "Bidirectional")
        and rank == 3
    ):
        return ("batch", "steps", "features")
    if kind == "Embedding" and rank == 2:
        return ("batch", "steps")
    return ()


def _model_inputs(root: Any) -> list[Any]:
    """The symbolic inputs; a model that is subclassed, or not built yet, has none."""
    return list(getattr(root, "inputs", None) or ())


def _name(tensor: Any) -> str:
    history = getattr(tensor, "_keras_history", None)
    return str(history[0].name if history else tensor.name)


def _dtype(tensor: Any) -> str:
    return str(getattr(tensor.dtype, "name", tensor.dtype))


def _consumers(root: Any, tensor: Any) -> list[Any]:
    """The layers that a symbolic tensor goes to."""
    layers = [layer for layer in root.layers if type(layer).__name__ != "InputLayer"]
    nodes = [(layer, node) for layer in layers for node in getattr(layer, "_inbound_nodes", ())]
    return [
        layer
        for layer, node in nodes
        if any(source is tensor for source in as_list(getattr(node, "input_tensors", ())))
    ]


def _built_shape(layer: Any) -> Shape | None:
    """The input shape that a layer was built for, its batch left free."""
    shapes = getattr(layer, "_build_shapes_dict", None) or {}
    if len(shapes) == 1:
        shape = next(iter(shapes.values()))
    else:
        shape = getattr(layer, "_build_input_shape", None)
    if (
        shape is None
        or getattr(shape, "rank", 0) is None
        or any(not isinstance(size, int | None) for size in shape)
    ):
        return None
    return (None, *tuple(shape)[1:])


def _declared_shape(layer: Any, spec: Any, rank: int) -> Shape | None:
    """An ``input_spec`` as a shape with None where a size is free."""
    wanted = spec.ndim
    if wanted is None and spec.min_ndim is not None:
        if re.search(r"[123]D", type(layer).__name__):
            wanted = spec.min_ndim
        else:
            wanted = max(spec.min_ndim, rank)
    if wanted is None:
        return None
    sizes: list[int | None] = [None] * wanted
    for axis, size in (spec.axes or {}).items():
        sizes[int(axis)] = size
    if spec.shape is not None and len(spec.shape) == wanted:
        return tuple(spec.shape)
    return tuple(sizes)


def _fits(wanted: Shape, actual: Sequence[int]) -> bool:
    """The batch may always be another."""
    return len(wanted) == len(actual) and all(
        size in (None, other) for size, other in zip(wanted[1:], actual[1:], strict=True)
    )


def _cast(array: np.ndarray, spec: InputSpec) -> np.ndarray:
    if spec.dtype in ("bfloat16", "string"):
        return array
    if (
        np.dtype(spec.dtype).kind in "iu"
        and array.dtype.kind == "f"
        and not np.array_equal(array, np.trunc(array))
    ):
        raise BadInput(
            f"the input {spec.name!r} takes integers ({spec.dtype}); you gave non-integer values"
        )
    return array.astype(spec.dtype, copy=False)


def refuse_shape(who: str, axes: tuple[str, ...], wanted: Shape, actual: tuple[int, ...]) -> None:
    """Raises BadInput where an array of that shape does not fit."""
    if not _fits(wanted, actual):
        shape = ", ".join(axes or ("any" if size is None else str(size) for size in wanted))
        way_out = _way_out(axes, wanted, actual)
        raise BadInput(f"{who} expects ({shape}); you gave {actual}: {way_out}")


def _way_out(axes: tuple[str, ...], wanted: Shape, actual: tuple[int, ...]) -> str:
    """How to bring the array to the shape: add axes, move the channels, flatten; or else which size
    is wrong."""
    rank = len(wanted)
    last = axes.index("channels") if "channels" in axes else rank - 1
    for places, words in (
        ((last,), f"a {axes[last].rstrip('s') if axes else 'last'} axis"),
        ((0,), "a batch axis"),
        ((0, last), f"a batch and a {axes[last].rstrip('s') if axes else 'last'} axis"),
    ):
        sizes = list(actual)
        for place in places:
            sizes.insert(place, 1)
        if _fits(wanted, sizes):
            shape = ",".join(map(str, sizes))
            return f"add {words}, x[{_index(places, rank)}] (for a random input: --shape {shape})"
    if rank == len(actual):
        for source, target in ((1, -1), (-1, 1)):
            sizes = list(actual)
            size = sizes.pop(source)
            sizes.insert(rank if target == -1 else target, size)
            if _fits(wanted, sizes):
                return f"move the channel axis, np.moveaxis(x, {source}, {target})"
        axis = next(axis for axis in range(1, rank) if wanted[axis] not in (None, actual[axis]))
        return (
            f"{axes[axis] if axes else f'axis {axis}'} must be {wanted[axis]}, not {actual[axis]}"
        )
    if rank == 2 and len(actual) > 2 and wanted[1] in (None, math.prod(actual[1:])):
        return "flatten it, x.reshape(len(x), -1)"
    elements = math.prod(size or 0 for size in wanted[1:])
    if elements and math.prod(actual) and math.prod(actual) % elements == 0:
        text = ", ".join(map(str, (math.prod(actual) // elements, *wanted[1:])))
        return f"reshape it, x.reshape({text})"
    return f"give it {rank} axes"


def _index(places: tuple[int, ...], rank: int) -> str:
    """What to write between the brackets to add axes there."""
    if places == (rank - 1,):
        return "..., None"
    parts = ["None" if place in places else ":" for place in range(rank)]
    return ", ".join(parts[: max(places) + 1])
