"""Operations of a graph of TensorFlow on lists of tensors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.errors import Undescribed

from .control_flow import Special
from .node import GraphTensor, Later, dtype_of

if TYPE_CHECKING:
    from .walk import GraphWalk

__all__ = ["TENSOR_LISTS"]


def _listed(items: Sequence[GraphTensor | None]) -> GraphTensor:
    return GraphTensor("variant", Later(lambda: None), items=items)


def _reserved(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    if operation.type == "EmptyTensorList":
        count = 0
    else:
        count = _count(walk, inputs[1])
    return [_listed([None] * count)]


def _count(walk: "GraphWalk", tensor: GraphTensor) -> int:
    return int(walk.value(tensor))


def _items(tensor: GraphTensor) -> list[GraphTensor | None]:
    if tensor.items is None:
        raise Undescribed("its input is not a list of tensors")
    return list(tensor.items)


def _from_tensor(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    (whole, _) = inputs
    return [_listed([_row(walk, whole, at) for at in range(whole.shape(walk.build)[0])])]


def _row(walk: "GraphWalk", tensor: GraphTensor, at: int) -> GraphTensor:
    later = Later(lambda value: value[at], tensor.later)
    if tensor.known is not None:
        return GraphTensor(tensor.dtype, later, known=tensor.known[at])
    ref = walk.ref(tensor)
    return GraphTensor(tensor.dtype, later, ref=walk.build.getitem(ref, at))


def _set_item(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    items, place = _items(inputs[0]), _count(walk, inputs[1])
    items += [None] * (place + 1 - len(items))
    items[place] = inputs[2]
    return [_listed(items)]


def _get_item(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    element = _items(inputs[0])[_count(walk, inputs[1])]
    if element is None:
        raise Undescribed("it reads an element of a list that was never written")
    return [element]


def _push(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    return [_listed([*_items(inputs[0]), inputs[1]])]


def _pop(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    *rest, last = _items(inputs[0])
    if last is None:
        raise Undescribed("it reads an element of a list that was never written")
    return [_listed(rest), last]


def _length(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    return [walk.constant(walk.tensorflow.constant(len(_items(inputs[0]))))]


def _resized(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    items, count = _items(inputs[0]), _count(walk, inputs[1])
    return [_listed((items + [None] * count)[:count])]


def _stacked(
    walk: "GraphWalk", operation: Any, inputs: Sequence[GraphTensor], graph: Any
) -> Sequence[GraphTensor]:
    items = _items(inputs[0])
    if operation.type == "TensorListGather":
        items = [items[int(at)] for at in np.ravel(walk.value(inputs[1]))]
    parts = [item for item in items if item is not None]
    if len(parts) < len(items) or not parts:
        raise Undescribed("it reads an element of a list that was never written")
    if why := next((part.why for part in parts if part.why), ""):
        raise Undescribed(why)
    dtype = dtype_of(operation.outputs[0])
    stack = walk.tensorflow.stack
    later = Later(lambda *values: stack(values), *(part.later for part in parts))
    if all(part.known is not None for part in parts):
        return [GraphTensor(dtype, later, known=np.stack([part.known for part in parts]))]  # type: ignore[misc]
    refs = [walk.ref(part) for part in parts]
    return [GraphTensor(dtype, later, ref=walk.build.stack(refs, 0))]


TENSOR_LISTS: dict[str, Special] = {
    "EmptyTensorList": _reserved,
    "TensorListFromTensor": _from_tensor,
    "TensorListGather": _stacked,
    "TensorListGetItem": _get_item,
    "TensorListLength": _length,
    "TensorListPopBack": _pop,
    "TensorListPushBack": _push,
    "TensorListReserve": _reserved,
    "TensorListResize": _resized,
    "TensorListSetItem": _set_item,
    "TensorListStack": _stacked,
}
