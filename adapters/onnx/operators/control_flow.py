"""If, Loop and Scan: the graphs that they run become steps of the node itself, a loop's as often as
it ran.

What an inner node takes and gives in numbers, which its description asks for, comes from a run of
the inner graph alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, describe_node, node
from ..schema import numbers, plain

__all__ = ["free_names"]

_MOST_ROUNDS, _MOST_STEPS = 128, 4096
"""So often a body is followed, and into so many steps."""
_SHAPES = ("Shape", "Size")


def free_names(graph: onnx.GraphProto) -> list[str]:
    """What a graph and those inside of it take from outside."""
    known = {value.name for value in (*graph.input, *graph.initializer)}
    names: dict[str, None] = {}
    for operator in graph.node:
        inner = [
            name
            for attribute in operator.attribute
            for part in (attribute.g, *attribute.graphs)
            for name in free_names(part)
        ]
        names.update(
            dict.fromkeys(name for name in (*operator.input, *inner) if name and name not in known)
        )
        known.update(operator.output)
    names.update(dict.fromkeys(output.name for output in graph.output if output.name not in known))
    return list(names)


Tensor = tuple[Ref, np.ndarray]
"""Something that a graph computes, as a reference into the steps and in numbers."""


def _followed(
    build: NodeBuilder,
    graph: onnx.GraphProto,
    inputs: Mapping[str, Value],
    arrays: Mapping[str, np.ndarray],
) -> list[Tensor]:
    """The graph's outputs. ``inputs`` and ``arrays`` hold what it takes, as references and in
    numbers."""
    held = {proto.name: numbers(proto) for proto in graph.initializer}
    refs: dict[str, Value] = {
        **build.outer,
        **inputs,
        **{name: Weight(name, array, array) for name, array in held.items()},
    }
    takes = [*(value.name for value in graph.input if value.name not in held), *free_names(graph)]
    needed = {name: arrays[name] if name in arrays else build.outside[name] for name in takes}
    values: dict[str, Any] = {**needed, **held}
    values |= build.run_graph(graph, needed)
    if any(isinstance(array, list) for array in values.values()):
        raise Undescribed("sequences in its subgraph are not supported")
    for inner in graph.node:
        _inlined(build, inner, refs, values)
    return [(build.ref(refs[output.name]), values[output.name]) for output in graph.output]


def _inlined(
    build: NodeBuilder,
    inner: onnx.NodeProto,
    refs: dict[str, Value],
    values: Mapping[str, np.ndarray],
) -> None:
    """One node of an inner graph: its steps behind those built, its outputs among
    ``refs``."""
    takes = [
        *inner.input,
        *(
            name
            for attribute in inner.attribute
            for part in (attribute.g, *attribute.graphs)
            for name in free_names(part)
        ),
    ]
    if inner.op_type in _SHAPES or all(not isinstance(refs.get(name), Ref) for name in takes):
        told = ("computed by the model from constants",)
        refs.update({name: Weight(name, None, values[name], told) for name in inner.output if name})
        return
    if inner.domain not in ("", "ai.onnx") or (inner.domain, inner.op_type) in build.own:
        kind = "function" if (inner.domain, inner.op_type) in build.own else "operator"
        raise Undescribed(
            f"the {kind} {'.'.join(filter(None, (inner.domain, inner.op_type)))} in its "
            "subgraph has no description"
        )
    places: dict[Ref, int] = {}
    arrays: list[np.ndarray] = []
    local: dict[str, Value] = {}
    for name in takes:
        value = refs.get(name) if name else None
        if isinstance(value, Ref):
            if value not in places:
                places[value] = len(arrays)
                arrays.append(values[name])
            local[name] = Ref(-1, places[value])
        elif value is not None:
            local[name] = value
    attributes = {
        attribute.name: plain(helper.get_attribute_value(attribute))
        for attribute in inner.attribute
    }
    outputs, present = (
        [values[name] for name in inner.output if name],
        [at for at, name in enumerate(inner.output) if name],
    )
    part = NodeBuilder(arrays, outputs, attributes, build.opset, present)
    part.outer, part.outside, part.run_graph, part.own = local, values, build.run_graph, build.own
    part.inside = True
    try:
        steps = describe_node(inner.op_type, part, [local.get(name) for name in inner.input]).steps
    except Undescribed as error:
        raise Undescribed(f"{inner.op_type} in its subgraph: {error}") from None
    build.notes.extend(part.notes)
    if len(build.steps) + len(steps) > _MOST_STEPS:
        raise Undescribed(f"its subgraph runs more than {_MOST_STEPS} steps (the limit)")
    refs.update(zip(filter(None, inner.output), build.include(steps, *places), strict=True))


def _given(build: NodeBuilder, values: Sequence[Value | None]) -> list[Tensor]:
    return [(build.ref(value), build.array(value)) for value in values if value is not None]


def _stacked(build: NodeBuilder, parts: Sequence[Ref], axis: int, like: np.ndarray) -> Ref:
    """What a body gave in each round along an axis of its own."""
    if not parts:
        return build.ref(like)
    each = [build.add(ops.Unsqueeze(axes=(axis,)), part) for part in parts]
    if len(each) == 1:
        return each[0]
    return build.add(ops.Concat(axis=axis), *each)


@node("If")
def branch(build: NodeBuilder, condition: Value) -> tuple[Ref, ...]:
    """The branch that ran."""
    build.knows("then_branch", "else_branch")
    holds = bool(build.array(condition).reshape(()))
    build.notes.append(
        "only the branch that ran is checked: the one for the condition being "
        f"{'true' if holds else 'false'}"
    )
    return tuple(
        ref
        for ref, _ in _followed(build, build.get("then_branch" if holds else "else_branch"), {}, {})
    )


@node("Loop")
def loop(
    build: NodeBuilder,
    most: Value | None = None,
    condition: Value | None = None,
    *values: Value | None,
) -> tuple[Ref, ...]:
    """States come first among its outputs, then what the rounds gave, one after the other."""
    body: onnx.GraphProto = build.get("body")
    count = None if most is None else int(build.array(most).reshape(()))
    goes = True if condition is None else bool(build.array(condition).reshape(()))
    states, names = _given(build, values), [value.name for value in body.input]
    gathered: list[list[Ref]] = [[] for _ in body.output[1 + len(states) :]]
    turn = 0
    while goes and (count is None or turn < count):
        if turn == _MOST_ROUNDS:
            raise Undescribed(f"its body runs more than {_MOST_ROUNDS} times (the limit)")
        arrays = dict(
            zip(
                names,
                (np.asarray(turn), np.asarray(goes), *(array for _, array in states)),
                strict=True,
            )
        )
        refs: dict[str, Value] = dict(
            zip(
                names,
                (np.asarray(turn), np.asarray(goes), *(ref for ref, _ in states)),
                strict=True,
            )
        )
        (_, again), *made = _followed(build, body, refs, arrays)
        states, rest = made[: len(states)], made[len(states) :]
        for whole, (ref, _) in zip(gathered, rest, strict=True):
            whole.append(ref)
        goes, turn = bool(again.reshape(())), turn + 1
    like = dict(zip(build.present, build.outputs, strict=True))
    ends = [
        _stacked(build, whole, 0, like.get(len(states) + at, np.zeros(0)))
        for at, whole in enumerate(gathered)
    ]
    return (*(ref for ref, _ in states), *ends)


@node("Scan")
def scan(build: NodeBuilder, *values: Value | None) -> tuple[Ref, ...]:
    """As Loop, over the places on one axis of each of its last inputs."""
    if build.opset < 9:
        raise Undescribed("Scan of opset 8, over samples of different lengths, is not supported")
    body, number = build.get("body"), build.get("num_scan_inputs")
    states, scanned = (
        _given(build, values[: len(values) - number]),
        _given(build, values[len(values) - number :]),
    )
    results, names = len(body.output) - len(states), [value.name for value in body.input]
    backwards, axes = (
        build.get("scan_input_directions", (0,) * number),
        build.get("scan_input_axes", (0,) * number),
    )
    ahead, over = (
        build.get("scan_output_directions", (0,) * results),
        build.get("scan_output_axes", (0,) * results),
    )
    along = [axis % array.ndim for axis, (_, array) in zip(axes, scanned, strict=True)]
    count = scanned[0][1].shape[along[0]]
    if count > _MOST_ROUNDS:
        raise Undescribed(f"its body runs {count} times; the limit is {_MOST_ROUNDS}")
    gathered: list[list[Tensor]] = [[] for _ in range(results)]
    for turn in range(count):
        places = [count - 1 - turn if back else turn for back in backwards]
        parts = [
            _at(build, tensor, axis, at)
            for tensor, axis, at in zip(scanned, along, places, strict=True)
        ]
        refs: dict[str, Value] = dict(
            zip(names, (ref for ref, _ in (*states, *parts)), strict=True)
        )
        made = _followed(
            build,
            body,
            refs,
            dict(zip(names, (array for _, array in (*states, *parts)), strict=True)),
        )
        states = made[: len(states)]
        for whole, output in zip(gathered, made[len(states) :], strict=True):
            whole.append(output)
    like, ends = dict(zip(build.present, build.outputs, strict=True)), []
    for at, (whole, axis, back) in enumerate(zip(gathered, over, ahead, strict=True)):
        rank = whole[0][1].ndim + 1 if whole else 1
        order = [ref for ref, _ in (reversed(whole) if back else whole)]
        ends.append(_stacked(build, order, axis % rank, like.get(len(states) + at, np.zeros(0))))
    return (*(ref for ref, _ in states), *ends)


def _at(build: NodeBuilder, tensor: Tensor, axis: int, place: int) -> Tensor:
    """What stands at a place on an axis."""
    ref, array = tensor
    starts = tuple(place if k == axis else 0 for k in range(array.ndim))
    stops = tuple(place + 1 if k == axis else None for k in range(array.ndim))
    picked = build.add(ops.Slice(starts=starts, stops=stops), ref)
    return build.add(ops.Squeeze(axes=(axis,)), picked), np.asarray(array.take(place, axis))
