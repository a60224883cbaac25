"""What a model or a layer wants for its input, and one sentence with the way out where something
else is given.

Keras 3 quietly adds or drops an axis of size 1 to make an input fit, so ranks and sizes are
compared before anything is called.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from probe.capture.declared_shape import Shape, fits, refuse_order, refuse_shape
from probe.capture.input_values import refuse_no_indices
from probe.errors import BadInput
from probe.model import InputSpec

from ..describe.layer_tree import shape_of
from ..describe.op_builder import as_list

__all__ = ["axes_of", "checked", "checked_alone", "guessed", "hint", "specs"]

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
    refuse_order(wanted, arrays)
    found = []
    for spec, tensor, array in zip(wanted, _model_inputs(root), arrays, strict=True):
        array = np.asarray(array)
        if not fits(spec.shape, array.shape):
            first = next(iter(_consumers(root, tensor)), None)
            axes = () if first is None else axes_of(first, len(spec.shape))
            if axes:
                who = type(first).__name__
            elif len(wanted) > 1:
                who = f"the input {spec.name!r}"
            else:
                who = "the model"
            refuse_shape(who, spec.shape, array.shape, axes)
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
        if shape is not None and not fits(shape, array.shape):
            refuse_shape(type(layer).__name__, shape, array.shape, axes_of(layer, len(shape)))
    return arrays


def hint(root: Any, keras: Any) -> str:
    """What the first layer says about a model that does not say the shape of its input."""
    first, axes = _first(root, keras)
    if axes:
        return f"its first layer, {type(first).__name__}, expects ({', '.join(axes)})"
    return ""


_USUAL = {"batch": 2, "channels": 3, "features": 8}
"""Sizes that a layer takes which is not built yet; of other axes 16."""


def guessed(root: Any, keras: Any) -> tuple[InputSpec, ...]:
    """An input that the first layer takes, whatever it will be built for; () where nothing is
    known."""
    _, axes = _first(root, keras)
    if not axes:
        return ()
    return (InputSpec("x", tuple(_USUAL.get(axis, 16) for axis in axes)),)


def _first(root: Any, keras: Any) -> tuple[Any, tuple[str, ...]]:
    """The first layer, and what its axes mean."""
    first = root
    if isinstance(root, keras.Sequential):
        first = next(iter(root.layers), None)
    rank = re.search(r"([123])D", type(first).__name__)
    of_steps = type(first).__name__ in ("LSTM", "GRU", "SimpleRNN", "Bidirectional")
    return first, axes_of(first, int(rank[1]) + 2 if rank else 2 + of_steps)


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


def _cast(array: np.ndarray, spec: InputSpec) -> np.ndarray:
    if spec.dtype in ("bfloat16", "string"):
        return array
    refuse_no_indices([spec], [array])
    return array.astype(spec.dtype, copy=False)
