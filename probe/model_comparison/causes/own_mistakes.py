"""Mistakes of the comparison itself, looked for before a model is blamed: nothing copied, another
mode, another input, dumps that are all alike or of another layer."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

import numpy as np

from probe import printable
from probe.evaluation.other_kernels import NEITHER, given_by
from probe.model_comparison.graphs.graph import GraphNode, ModelGraph, Tensor
from probe.model_comparison.graphs.node_values import signature
from probe.model_comparison.matching.segments import Segment
from probe.numerics.shared_memory import DO, in_words, overlaps
from probe.ops import Add
from probe.ops.step import Step
from probe.report import Finding

__all__ = [
    "kernels_of",
    "of_another_kernel",
    "of_axes",
    "of_dump",
    "of_dumped",
    "of_modes",
    "of_reused_memory",
    "ties",
]

Kernels = Callable[[], Mapping[str, tuple[Step, ...]]]
_NEAR = 1e-4
_CALL = re.compile("[/:]")
"""Between the name of a layer and that of an operation in it, or the number of a call."""


def of_modes(a: ModelGraph, b: ModelGraph) -> Iterator[str]:
    """Says that one model ran in training mode."""
    if a.training != b.training:
        first, second = ("A", "B") if a.training else ("B", "A")
        yield f"{first} ran in training mode and {second} in inference mode (eval())"


def of_dump(alone: ModelGraph) -> Iterator[str]:
    """Says that several arrays of a file are one and the same."""
    alike: dict[tuple[object, ...], list[str]] = {}
    for tensor in alone.loose:
        if tensor.value.size > 1:
            key = tensor.value.shape, sha256(np.ascontiguousarray(tensor.value).tobytes()).digest()
            alike.setdefault(key, []).append(tensor.name)
    for names in alike.values():
        if len(names) > 2:
            yield (
                f"{printable.several(names, 4)} hold identical arrays: a buffer was read after it "
                "was reused, or the dump was taken from a captured graph"
            )


def of_axes(arrays: Iterable[tuple[Sequence[str], str]]) -> Iterator[str]:
    """Says in which order of axes arrays of a file were read, by their names and ``Pair.axes``,
    where that is not the order of the model's tensors."""
    by_axes: dict[str, list[str]] = {}
    for names, axes in arrays:
        if axes and "->" not in axes:
            by_axes.setdefault(axes, []).append(printable.name(" + ".join(names)))
    for axes, moved in by_axes.items():
        yield (
            f"the axes of {printable.several(moved, 4)} are in another order than those of the "
            f"model's tensors; they were compared as B = A.transpose({axes})"
        )


def of_dumped(segment: Segment, model: ModelGraph, alone: ModelGraph) -> Iterator[str]:
    """What an array that differs is instead: another layer's, or this one's without its
    residual."""
    dump, own = segment.paired.a.tensor.value, segment.paired.b
    for other in alone.loose:
        alike = other.value.shape == dump.shape == own.value.shape and other.value is not dump
        if alike and _same(own.value, dump + other.value):
            name = printable.name(other.name)
            yield f"with {name} added these values are the model's: they are without the residual"
            return
    mark = signature(dump)
    for tensor in model.tensors:
        if tensor is own or tensor.recorded is None or tensor.value.size != dump.size:
            continue
        if tensor.root is own.root or tensor.value.dtype.kind != "f":
            continue
        if _near(signature(tensor.value), mark) and _same(tensor.value, dump):
            yield (
                f"the array {printable.name(segment.paired.a.tensor.name)} holds the output of "
                f"{printable.name(tensor.name)}: {_read_elsewhere(own, tensor)}"
            )
            return


def of_reused_memory(segment: Segment, model: ModelGraph) -> Finding | None:
    """The tensors whose values an array that differs holds in the place of its own."""
    dump, own = segment.paired.a.tensor.value, segment.paired.b
    tensors: dict[str, np.ndarray] = {}
    for tensor in model.tensors:
        if tensor.recorded is not None:
            tensors.setdefault(printable.name(tensor.name), tensor.value)
    name = printable.name(own.name)
    if tensors.get(name) is not own.recorded or own.value.shape != dump.shape:
        return None
    found = overlaps(dump, name, tensors)
    if (
        own.value.dtype.kind == "f"
        and len(found) == 1
        and found[0].stop - found[0].start == dump.size
    ):
        return None  # of_dumped says it, which measures by more than equality
    left = dump.ravel() != own.value.ravel()
    for overlap in found:
        left[overlap.start : overlap.stop] = False
    if not found or left.any():
        return None
    return Finding("reused-buffer", in_words(found, name, dump.size, tensors), 0.0, do=DO)


def kernels_of(nodes: Sequence[GraphNode]) -> tuple[Kernels, tuple[Tensor, ...]]:
    """What gives the kernels of other engines, of nodes that are one call; and what they take."""
    calls = {node.call for node in nodes}
    call = calls.pop() if len(calls) == 1 else None
    if call is None or call.capture.description is None:
        return dict, ()
    return call.capture.description.kernels or dict, call.inputs


def of_another_kernel(nodes: Sequence[GraphNode], theirs: np.ndarray) -> Finding | None:
    """The kernels of other engines that give B's values, of nodes of A."""
    kernels, tensors = kernels_of(nodes)
    found = given_by(kernels(), [tensor.value for tensor in tensors], theirs)
    if found is None:
        return None
    return Finding("another-kernel", found.claim("B's", "A"), 0.0, do=NEITHER)


def _read_elsewhere(own: Tensor, held: Tensor) -> str:
    """How an array comes to hold another tensor than its own."""
    node, reader = own.root.node, _CALL.split(held.name)[0]
    if node is not None and isinstance(node.op, Add) and held.root in (x.root for x in node.inputs):
        return (
            "the residual is not added to it (layers of vLLM and sglang return both, "
            "hidden_states and residual, and the next layer adds them)"
        )
    readers = {_CALL.split(consumer.call.name)[0] for consumer in own.consumers}
    if readers == {reader} and not own.name.startswith(reader):
        return (
            "it was read one layer later (the last of the hidden_states of transformers is behind "
            "the final norm)"
        )
    return "it was read at another place, or the buffer was reused"


def ties(pair_a: np.ndarray, pair_b: np.ndarray, allowed: np.ndarray) -> str:
    """What is to be said where the largest output is another one."""
    if pair_a.ndim < 2 or pair_a.shape != pair_b.shape or pair_a.shape[-1] < 2:
        return ""
    first, second = pair_a.argmax(axis=-1), pair_b.argmax(axis=-1)
    other = first != second
    if not other.any():
        return ""
    near = np.ones(first.shape, bool)
    for values in (pair_a, pair_b):  # in a model that gives the same everywhere all are near
        of_first, of_second = (
            np.take_along_axis(values.astype(np.float64, copy=False), place[..., None], -1)[..., 0]
            for place in (first, second)
        )
        slack = np.take_along_axis(np.broadcast_to(allowed, pair_a.shape), first[..., None], -1)[
            ..., 0
        ]
        near &= np.abs(of_first - of_second) <= 2 * slack
    tied = int((other & near).sum())
    places = f"{int(other.sum())} of {other.size} places"
    if tied:
        nearness = f"{tied} within rounding: a tie"
    else:
        nearness = "none of them within rounding"
    return f"the largest output (argmax) differs at {places}, at {nearness}"


def _near(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.abs(left - right).max() <= _NEAR * (left[0] + 1e-30))


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    if left.size != right.size:
        return False
    if left.shape != right.shape:
        left, right = np.sort(left, axis=None), np.sort(right, axis=None)
    with np.errstate(invalid="ignore"):
        apart = np.abs(left.astype(np.float64) - right)
    scale = float(np.abs(np.nan_to_num(right)).max(initial=0.0))
    return bool(scale and (apart <= _NEAR * scale).all())
