"""Arrays that a program on a device has written of a model's tensors: each has the name of a tensor
or its number in the file."""

import re
from collections.abc import Mapping

import numpy as np

from probe.capture.user_codes import codes_of

from .dataflow import Dataflow, short
from .node_capture import grid_of
from .schema import DTYPES, TfliteTensor, count_of

__all__ = ["by_layers"]

_NUMBER = re.compile(r"(?:tensor|t)?[-_. #]?(\d{1,6})")
_OTHERS = re.compile(r"[^0-9A-Za-z]+")


def by_layers(
    flow: Dataflow, arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays by the names of the layers that give their tensors, in the shapes of these and as
    codes where real numbers were written of codes; and in words how they were read. What has no
    tensor keeps its name and its form."""
    layers = {at: name for name, node in flow.nodes.items() for at in flow.given(node)[:1]}
    known = _by_name(flow, layers)
    read: dict[str, np.ndarray] = {}
    words: dict[str, int] = {}
    for name, array in arrays.items():
        at = known.get(name, known.get(_plain(name), _number(name)))
        if at not in layers or layers[at] in read:
            read[name] = array
            continue
        tensor = flow.tensors[at]
        values = _shaped(array, tensor)
        if (grid := grid_of(tensor)) is not None:
            values, _, how = codes_of(values, grid)
            values = _typed(values, tensor)
            kind = how.partition(", ")[0].replace("your values", "arrays")
            words[kind] = words.get(kind, 0) + 1
        read[layers[at]] = values
    return read, tuple(f"{count} {kind}" for kind, count in words.items())


def _by_name(flow: Dataflow, layers: Mapping[int, str]) -> dict[str, int]:
    """Every name that stands for one of these tensors, those of layers first."""
    known = {name: at for at, name in layers.items()}
    for at in layers:
        for name in (flow.tensors[at].name, short(flow.tensors[at].name)):
            known.setdefault(name, at)
    for name, at in [*known.items()]:
        known.setdefault(_plain(name), at)
    return known


def _plain(name: str) -> str:
    """A name as it stands in that of a file."""
    return _OTHERS.sub("_", name).strip("_")


def _number(name: str) -> int:
    """The number of a tensor, -1 of a name that holds none."""
    found = _NUMBER.fullmatch(name)
    return -1 if found is None else int(found[1])


def _shaped(array: np.ndarray, tensor: TfliteTensor) -> np.ndarray:
    """A row of numbers in the shape of its tensor, the batch as large as they fill it."""
    sizes = tensor.shape[1:]
    if array.ndim == 1 and len(tensor.shape) > 1 and array.size % max(1, count_of(sizes)) == 0:
        return array.reshape(-1, *sizes)
    return array


def _typed(codes: np.ndarray, tensor: TfliteTensor) -> np.ndarray:
    """In the type of the tensor, where that holds them."""
    bounds = np.iinfo(DTYPES[tensor.dtype])
    if codes.size and not ((codes >= bounds.min) & (codes <= bounds.max)).all():
        return codes
    return codes.astype(DTYPES[tensor.dtype])
