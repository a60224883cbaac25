"""A call that goes through TensorFlow's own functions, followed through the graph that TensorFlow
traces of it.

Each operation of the graph is described one by one; together they are the steps of the call. What
follows from no input and no variable is computed by TensorFlow itself, such as the arithmetic of
shapes. Loops and branches are taken as they go on the values that the layer was given.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from probe.description import Description, Ref, Step, Weight
from probe.errors import Undescribed
from probe.ops import Cast
from probe.process.interrupts import held_back, interruptible

from ..describe.call import Call
from ..describe.describe import described_name
from ..describe.described_classes import ROOTS
from ..describe.layer_tree import root_of
from ..describe.op_builder import OpBuilder
from ..describe.tensors import Tensors
from ..describe.undescribed_classes import FOLLOWED
from ..describe.variables import cast, read_variable, widened
from ..tf_graph.node import Held, Later, TidyBuilder
from ..tf_graph.walk import Inside, Walk
from .arguments import received
from .restore_state import unchanged

__all__ = ["METHODS", "graph_steps"]

T = TypeVar("T")

METHODS = ("call", "quantized_call")

_FEW = 0.02
"""Rounding may move a threshold here and there, and an element by so much of the largest one."""

Describe = Callable[[Any, Call], Description]
"""What describes a layer inside."""


@dataclass(frozen=True, eq=False)
class _Called:
    """A layer that was called while the graph was traced, on tensors of the graph."""

    layer: Any
    given: Sequence[Any]
    arguments: dict[str, Any]
    outputs: Sequence[Any]
    masks: int
    """How many of those given are masks, the last ones."""
    why: str
    """Why it has no description, or empty."""


def graph_steps(
    made: Callable[[Sequence[Any]], Any],
    values: Sequence[Any],
    layer: Any,
    call: Call,
    tensors: Tensors,
    describe: Describe,
) -> Description:
    """The steps of what ``made`` does with tensors; Undescribed where something in it cannot be
    followed, or where it does something else in a graph than on ``values``.

    ``layer`` holds the variables, and the layers inside, which are described as layers.
    """
    tf = importlib.import_module("tensorflow")
    with tensors.compiled():
        function, count, called = _kept(layer, lambda: _traced(made, values, layer, tensors, tf))
        found = _kept(layer, lambda: _run(lambda: function(*values)))
    graph, rest = function.graph, iter(found[count:])
    build = TidyBuilder(call)
    walk = Walk(build, tf, call.dtype, partial(_weight, _names(layer, call), call))
    given = {
        one.name: _input(build, k, one, value)
        for k, (one, value) in enumerate(zip(graph.inputs, values, strict=False))
    }
    variables = {id(variable.handle): variable for variable in graph.variables}
    for outside, one in graph.captures:
        given[one.name] = (
            Held("resource", Later(lambda: None), variable=variables.get(id(outside)))
            if outside.dtype == tf.resource
            else walk.known(outside)
        )
    layers = {}
    for note in called:
        arrays = [tensors.array(next(rest)) for _ in note.given]
        results = [next(rest) for _ in note.outputs]
        inside = Inside(
            note.given,
            note.outputs,
            partial(_inner, note, arrays, results, call, tensors, describe),
        )
        layers.update({one.name: inside for one in note.outputs})
    outputs = walk.outputs(graph, given, graph.outputs[:count], layers)
    if why := next((one.why for one in outputs if one.why), ""):
        raise Undescribed(why)
    steps = _reached(build.ended(*(walk.ref(one) for one in outputs)))
    fixed = any(one.ref is None or one.known is not None for one in outputs)
    if fixed or not any(ref.step < 0 for k, step in enumerate(steps) for ref in step.sources(k)):
        raise Undescribed("it returns a tensor that does not depend on its inputs")
    eager = _kept(layer, lambda: _again(lambda: tensors.made(lambda: made(values))))
    _compared(found[:count], tensors.within(eager))
    return Description(steps)


def _traced(
    made: Callable[[Sequence[Any]], Any],
    values: Sequence[Any],
    layer: Any,
    tensors: Tensors,
    tf: Any,
) -> tuple[Any, int, list[_Called]]:
    """The graph as a function, how many of its outputs are those of the call, and the layers that
    are called in it, whose inputs and outputs are the other ones."""
    specs = [tf.TensorSpec(one.shape, one.dtype) for one in values]
    counts: list[int] = []
    called: list[_Called] = []

    def function(*given: Any) -> list[Any]:
        found = tensors.within(made(given))
        if not found:
            raise Undescribed("it returns no tensor")
        here = tf.compat.v1.get_default_graph()
        called[:] = [
            one
            for one in called
            if all(getattr(tensor, "graph", None) is here for tensor in (*one.given, *one.outputs))
        ]
        counts[:] = [len(found)]
        return [*found, *(tensor for one in called for tensor in (*one.given, *one.outputs))]

    failure = ""
    for autograph in (False, True):  # which takes Python's branches and loops on tensors apart
        called.clear()
        try:
            with _noted(layer, tensors, called):
                traced = tf.function(function, autograph=autograph).get_concrete_function(*specs)
            return traced, counts[0], called
        except Exception as error:
            line = next((one.strip() for one in str(error).split("\n") if one.strip()), "")
            failure = (
                failure or f"TensorFlow cannot trace it ({type(error).__name__}: {line[:200]})"
            )
    raise Undescribed(failure)


@contextmanager
def _noted(layer: Any, tensors: Tensors, called: list[_Called]) -> Iterator[None]:
    """Takes down the calls of the layers inside, but for those of the user's own and for models,
    which only call others."""
    inside = layer._flatten_layers(include_self=False) if hasattr(layer, "_flatten_layers") else ()
    on: list[Any] = []
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for one in inside:
            why = ""
            try:
                described_name(one, METHODS)
            except Undescribed as error:
                own = root_of(type(one)) not in ROOTS or type(one).__name__ in FOLLOWED
                if own or isinstance(one, tensors.keras.Model):
                    continue
                why = str(error)
            attributes = vars(one)
            for method in METHODS:
                if callable(original := getattr(one, method, None)):
                    replaced.append((attributes, method, attributes.get(method, inspect)))
                    attributes[method] = _noting(one, original, why, on, tensors, called)
        yield
    finally:
        for attributes, method, before in reversed(replaced):
            del attributes[method]
            if before is not inspect:
                attributes[method] = before


def _noting(
    layer: Any,
    original: Callable[..., Any],
    why: str,
    on: list[Any],
    tensors: Tensors,
    called: list[_Called],
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if on:  # within another layer
            return original(*args, **kwargs)
        on.append(layer)
        try:
            result = original(*args, **kwargs)
        finally:
            on.pop()
        given, masks, arguments = received(original, args, kwargs, tensors)
        outputs = tensors.within(result)
        if outputs and not any(one is other for one in outputs for other in given):
            called.append(_Called(layer, [*given, *masks], arguments, outputs, len(masks), why))
        return result

    return functools.wraps(original)(call)


def _inner(
    note: _Called,
    arrays: Sequence[np.ndarray],
    results: Sequence[Any],
    call: Call,
    tensors: Tensors,
    describe: Describe,
    walk: Walk,
    held: Sequence[Held],
) -> Sequence[Held]:
    """What a layer inside gives: its own steps, on what it was given."""
    dtypes = [tensors.dtype([one]) for one in results]
    why = next((one.why for one in held if one.why), note.why)
    refs: Sequence[Ref] = ()
    if not why:
        cut = len(arrays) - note.masks
        name = f"{note.layer.name}."
        read = call.read or read_variable(call.namespace)
        inner = replace(
            call,
            layer=note.layer,
            inputs=tuple(arrays[:cut]),
            dtype=str(getattr(note.layer, "compute_dtype", None) or tensors.dtype(results)),
            arguments=note.arguments,
            watched=METHODS,
            read=lambda key, variable, dtype: read(f"{name}{key}", variable, dtype),
            carried=(),
            masks=tuple(arrays[cut:]),
        )
        try:
            steps = describe(note.layer, inner).steps
            refs = walk.build.include(steps, *(walk.ref(one) for one in held))
        except Undescribed as error:
            why = str(error)
    found = []
    for k, (dtype, result) in enumerate(zip(dtypes, results, strict=True)):
        later = Later(partial(_same, result))
        if why:
            found.append(Held(dtype, later, why=why))
            continue
        found.append(Held(dtype, later, ref=walk.build.told(refs[k], result.shape)))
    return found


def _same(value: Any) -> Any:
    return value


def _input(build: OpBuilder, k: int, placeholder: Any, value: Any) -> Held:
    """An input of the call; integers in their own type, in which they wrap around."""
    dtype, shape = str(placeholder.dtype.name), tuple(int(size) for size in placeholder.shape)
    ref, later = Ref(-1, k), Later(partial(_same, value))
    if placeholder.dtype.is_integer or placeholder.dtype.is_bool:
        ref = build.add(Cast(to=dtype), ref, shape=shape)
    return Held(dtype, later, ref=ref)


def _names(layer: Any, call: Call) -> dict[int, tuple[str, Any]]:
    """The variables of a layer and of those inside by the ids of TensorFlow's, with their names and
    as Keras has them."""
    found: dict[int, tuple[str, Any]] = {}
    inside = layer._flatten_layers() if hasattr(layer, "_flatten_layers") else ()
    for one in inside:
        for variable in one.variables:
            own = str(getattr(variable, "path", None) or variable.name).partition(":")[0]
            name = own.rpartition("/")[2]
            key = id(variable if call.legacy else variable._value)
            # the innermost layer comes last, and is the one that has it
            found[key] = (name if one is layer else f"{one.name}.{name}", variable)
    return found


def _weight(names: Mapping[int, tuple[str, Any]], call: Call, variable: Any, casts: bool) -> Weight:
    """A variable of TensorFlow as a weight, cast to what the layer computes in or as it is
    stored."""
    name, own = names.get(id(variable), ("", None))
    dtype = call.dtype if casts else None
    if own is not None:
        return read_variable(call.namespace)(name, own, dtype)
    name = str(variable.name).partition(":")[0].rpartition("/")[2]
    stored = widened(np.array(variable.numpy()))
    return Weight(name, stored, stored if dtype is None else cast(stored, dtype))


def _kept(layer: Any, run: Callable[[], T]) -> T:
    """What is run, with the layer left as it was."""
    with held_back(), unchanged(layer), interruptible():
        return run()


def _run(run: Callable[[], Any]) -> list[Any]:
    try:
        return list(run())
    except Exception as error:
        raise Undescribed(f"running its graph failed ({type(error).__name__})") from None


def _again(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except Exception as error:
        raise Undescribed(f"calling it once more failed ({type(error).__name__})") from None


def _compared(found: Sequence[Any], others: Sequence[Any]) -> None:
    """Undescribed where a graph gives other values than the call itself, as code does that asks
    whether it is in one; their rounding is not the same."""
    if len(found) != len(others) or any(
        one.shape != other.shape or one.dtype != other.dtype or _apart(one, other)
        for one, other in zip(found, others, strict=True)
    ):
        raise Undescribed("its graph, as TensorFlow traces it, gives other values than the call")


def _apart(one: Any, other: Any) -> bool:
    left, right = (np.asarray(widened(np.asarray(x.numpy()))) for x in (one, other))
    if left.dtype.kind != "f":
        return bool((left != right).mean() > _FEW) if left.size else False
    fine = np.isfinite(left) & np.isfinite(right)
    same = fine | (left == right) | ((left != left) & (right != right))
    largest = np.abs(right[fine]).max(initial=0.0)
    far = np.abs(left[fine].astype(np.float64) - right[fine]).max(initial=0.0)
    return not same.all() or bool(far > _FEW * largest)


def _reached(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that the last one depends on."""
    used = {len(steps) - 1}
    for position in range(len(steps) - 1, -1, -1):
        if position in used:
            used.update(ref.step for ref in steps[position].sources(position) if ref.step >= 0)
    place = {position: k for k, position in enumerate(sorted(used))}
    return tuple(
        Step(
            steps[position].op,
            tuple(
                ref if ref.step < 0 else Ref(place[ref.step], ref.index)
                for ref in steps[position].sources(position)
            ),
        )
        for position in sorted(used)
    )
