"""One run of a node as a capture: what it took and gave, and its description."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from probe.description import Description, Grid, Step
from probe.errors import Undescribed, describing
from probe.model import Capture, Producer

from .arithmetic import EngineKernel
from .control_flow import inlined
from .dataflow import CONTROL, Dataflow, short
from .describe import describe_node
from .effective import otherwise_dequantised, worked_out
from .engines import machine
from .runs import Runs, Values
from .schema import TfliteNode, TfliteTensor, bits_of

__all__ = ["capture", "grid_of"]


_SIZES = (
    *("strideW", "strideH", "strideD", "dilationWFactor", "dilationHFactor", "dilationDFactor"),
    *("filterWidth", "filterHeight", "blockSize"),
)


def capture(
    runs: Runs,
    name: str,
    node: TfliteNode,
    values: Values,
    made_by: Mapping[int, Producer],
) -> Capture | None:
    """None where the engine gave nothing of what the node computes."""
    flow = runs.flow
    given = flow.given(node)
    if not given or any(at not in values.arrays for at in given):
        return None
    taken = [at for at in flow.taken(node) if values.taken(at) is not None]
    arrays = {at: values.arrays[at] for at in given} | {
        at: array for at in taken if (array := values.taken(at)) is not None
    }
    description, why = _described(runs, node, arrays, taken, values)
    outputs = tuple(arrays[at] for at in given)
    return Capture(
        name,
        node.kind,
        0,
        tuple(arrays[at] for at in taken),
        outputs,
        _dtype(outputs, [arrays[at] for at in taken]),
        description,
        why,
        notes=(*_kernel(runs, node, values), *_notes(flow, node, values)),
        made_by=tuple(made_by.get(at) for at in taken),
        input_names=tuple(short(flow.tensors[at].name) for at in taken),
        input_grids=tuple(grid_of(flow.tensors[at]) for at in taken),
        output_grids=tuple(grid_of(flow.tensors[at]) for at in given),
    )


def _described(
    runs: Runs,
    node: TfliteNode,
    arrays: Mapping[int, np.ndarray],
    taken: Sequence[int],
    values: Values,
) -> tuple[Description | None, str]:
    flow = runs.flow
    if why := values.refused.get(node.index):
        return None, why
    handles = [at for at in node.inputs if at in flow.following and at not in taken]
    if handles:
        tensor = flow.tensors[handles[0]]
        return None, f"its input {short(tensor.name)} of type {tensor.dtype} was not captured"
    if len(flow.given(node)) < len(node.outputs):
        return None, "it has an output that holds no numbers, or leaves one out"
    if any(array.dtype.kind not in "fiub" for array in arrays.values()):
        return None, "it computes with numbers that are not real ones"
    for name in _SIZES:
        if node.options.get(name, 1) < 1:
            return None, f"its option {name}={node.options[name]} is no size"
    try:
        with describing():
            if node.operator in CONTROL:
                return Description(inlined(runs, node, arrays, taken, _inside)), ""
            kernel = EngineKernel(runs.engine, machine(), values.delegated_to(node))
            weights = worked_out(flow, node, values.arrays)
            describe = partial(describe_node, node, flow.main, arrays, taken, weights=weights)
            found = describe(kernel)
            if any(grid_of(flow.tensors[at]) is not None for at in arrays):
                found = replace(found, kernels=partial(_kernels, describe, kernel))
            return found, ""
    except Undescribed as error:
        return None, str(error)


def _kernels(
    describe: Callable[[EngineKernel], Description], own: EngineKernel
) -> dict[str, tuple[Step, ...]]:
    """What each family's kernel computes, where that is known."""
    found = {}
    for kernel in (own, *own.others()):
        try:
            with describing():
                found[kernel.whose] = describe(kernel).steps
        except Undescribed:
            continue
    return found


def _inside(runs: Runs, node: TfliteNode, values: Values) -> Capture | None:
    """A node of a subgraph that another node runs."""
    return capture(runs, node.kind, node, values, {})


def _kernel(runs: Runs, node: TfliteNode, values: Values) -> tuple[str, ...]:
    """Whose kernel ran, where it is not the engine's that was asked for."""
    if runs.engine != "xnnpack" or node.operator in CONTROL or values.delegated_to(node):
        return ()
    if node.index in values.refused:
        return ()
    return ("XNNPACK does not take this operator: LiteRT's optimised kernel ran it",)


def _notes(flow: Dataflow, node: TfliteNode, values: Values) -> tuple[str, ...]:
    """What it takes of a state, and what becomes of that; weights that the engine reads in another
    way."""
    notes: list[str] = []
    if not values.delegated_to(node):  # which takes the stored ones
        notes += otherwise_dequantised(flow, node, values.arrays)
    for at in dict.fromkeys(node.inputs):
        before, after = values.before.get(at), values.arrays.get(at)
        maker = flow.makers.get(at)
        if maker is not None and maker.operator == "READ_VARIABLE":
            name = short(flow.tensors[at].name)
            notes.append(f"its input {name} is a state of the model, as this pass read it")
        if before is None or after is None:
            continue
        changed = "leaves it as it is" if before.tobytes() == after.tobytes() else "changes it"
        zeros = "is not zero" if before.any() else "is all zero"
        notes.append(
            f"its state {short(flow.tensors[at].name)} {zeros} before the call, which {changed}"
        )
    return tuple(notes)


def grid_of(tensor: TfliteTensor) -> Grid | None:
    """What the codes of a tensor stand for; None of a tensor of numbers."""
    quantisation = tensor.quantisation
    integers = tensor.dtype.startswith(("int", "uint"))
    if quantisation is None or not integers or quantisation.unsupported:
        return None
    if not quantisation.scale.size:
        return None
    around = [] if quantisation.axis is None else [1] * len(tensor.shape)
    if quantisation.axis is not None:
        around[quantisation.axis] = -1
    return Grid(
        quantisation.scale.astype(np.float64).reshape(around),
        bits_of(tensor.dtype),
        not tensor.dtype.startswith("u"),
        quantisation.zero_point.reshape(around),
    )


def _dtype(outputs: Sequence[np.ndarray], inputs: Sequence[np.ndarray]) -> str:
    """The type that a node computes in."""
    for array in (*outputs, *inputs):
        if array.dtype.kind == "f":
            return str(array.dtype.name)
    return str(outputs[0].dtype.name)
