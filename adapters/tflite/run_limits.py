"""Which .tflite files are not run, and what a run may take."""

import math
from graphlib import CycleError, TopologicalSorter

from probe import printable
from probe.errors import CannotOpen, NotTrusted
from probe.files.size_limits import most

from .allowed_operators import ALLOWED
from .cut_out import bytes_of
from .run_in_child import Limits
from .schema import OMITTED, Subgraph, TfliteFile, TfliteNode, bits_of, count_of

__all__ = ["limits", "refuse_endless", "refuse_untrusted"]

_LOOPING, _SECONDS = 3.0, 120.0
"""Seconds of processor time that a run may take whose subgraphs run as often as the model computes,
and the most that any run may take."""
_DEEPEST = 64
"""So deep do subgraphs run others."""
_PRODUCTS = 1e8
"""So many products a second the slowest of the kernels computes."""
_COLUMNS = 1 << 31
"""The most bytes that windows of convolutions, copied as columns, add to what a run may take."""
_TRUST = "--trust (trust=True) runs it"


def refuse_untrusted(model: TfliteFile, what: str) -> None:
    """Raises NotTrusted where a file wants code of others to be run, or other files to be read."""
    nodes = [node for subgraph in model.subgraphs for node in subgraph.nodes]
    custom = sorted({node.custom_code for node in nodes if node.operator == "CUSTOM"})
    if custom:
        raise NotTrusted(
            f"{what} uses the custom operator {printable.several(map(repr, custom))}, which is "
            f"code of a library of its own: {_TRUST}"
        )
    unknown = sorted({node.operator for node in nodes} - ALLOWED)
    if unknown:
        raise NotTrusted(
            f"{what} uses the operator {printable.several(unknown)}, which is not among those that "
            f"are known to compute from their tensors alone: {_TRUST}"
        )
    if model.external:
        raise NotTrusted(f"{what} holds tensors in files beside it: {_TRUST}")


def refuse_endless(model: TfliteFile, what: str) -> None:
    """Raises CannotOpen where a subgraph runs itself, or subgraphs run others without a bound."""
    calls = {
        subgraph.index: {at for node in subgraph.nodes for at in node.subgraphs}
        for subgraph in model.subgraphs
    }
    depth: dict[int, int] = {}
    try:
        for index in TopologicalSorter(calls).static_order():
            depth[index] = 1 + max((depth[at] for at in calls.get(index, ())), default=0)
    except CycleError as error:
        numbers = printable.several(map(str, sorted(set(error.args[1]))))
        raise CannotOpen(
            f"{what} has subgraphs that run themselves (number {numbers}): it would not finish"
        ) from None
    if max(depth.values(), default=0) > _DEEPEST:
        raise CannotOpen(f"{what} has subgraphs that run others, more than {_DEEPEST} deep")


def limits(model: TfliteFile, fed: int, trusted: bool) -> Limits:
    """What a run may take that is fed so many bytes."""
    if trusted:
        return Limits(math.inf, math.inf)
    nodes = [node for subgraph in model.subgraphs for node in subgraph.nodes]
    looping = any(node.subgraphs and node.operator != "CALL_ONCE" for node in nodes)
    main = model.subgraphs[0]
    declared = sum(
        count_of(main.tensors[at].shape) * bits_of(main.tensors[at].dtype) // 8
        for at in main.inputs
        if at != OMITTED
    )
    batches = max(1.0, fed / max(1, declared))
    columns = min(batches * _columns(model), _COLUMNS)
    memory = most(len(model.content) + fed) + 2 * (batches * bytes_of(model) + columns)
    seconds = _LOOPING
    if not looping:
        seconds = min(_LOOPING + batches * _products(model) / _PRODUCTS, _SECONDS)
    return Limits(memory, seconds)


_KERNELS = {"CONV_2D": 0, "CONV_3D": -1, "TRANSPOSE_CONV": -1, "CONV_3D_TRANSPOSE": -1}
"""Operator -> the axis of its kernel, its second input, that no column has."""


def _columns(model: TfliteFile) -> int:
    """Bytes of the buffers of columns (im2col and col2im) of all convolutions, in which every
    window, or its part of the result, is copied; by the shapes of the file."""
    return sum(
        _columns_of(node, subgraph)
        for subgraph in model.subgraphs
        for node in subgraph.nodes
        if node.operator in _KERNELS
    )


def _columns_of(node: TfliteNode, subgraph: Subgraph) -> int:
    """Four bytes for each number of a window, and a window for each cell: of what is put in columns
    for a convolution, of the input for a transposed one."""
    cells = node.inputs[2:3] if "TRANSPOSE" in node.operator else node.outputs[:1]
    tensors = [subgraph.tensors[at] for at in (*node.inputs[1:2], *cells) if at != OMITTED]
    if len(tensors) < 2 or not all(tensor.shape for tensor in tensors):
        return 0
    kernel, shape = (list(tensor.shape) for tensor in tensors)
    kernel[_KERNELS[node.operator]] = shape[-1] = 1
    return 4 * count_of(tuple(shape)) * count_of(tuple(kernel))


def _products(model: TfliteFile) -> float:
    """How many products the nodes compute, by the shapes of the file: of each output as many as a
    constant, or a factor, has numbers for a channel."""
    total = 0.0
    for node in model.subgraphs[0].nodes:
        tensors = model.subgraphs[0].tensors
        given = sum(count_of(tensors[at].shape) for at in node.outputs if at != OMITTED)
        kernels = [
            count_of(tensors[at].shape) / max(1, tensors[at].shape[0], tensors[at].shape[-1])
            for at in node.inputs
            if at != OMITTED and len(tensors[at].shape) > 1
            if tensors[at].is_constant or node.operator == "BATCH_MATMUL"
        ]
        total += given * max(kernels, default=1.0)
    return total
