"""The forward passes that are compared: of both models on A's input, or of one model where the
other side is arrays alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np

from probe.capture.model_inputs import bind
from probe.capture.replacing import Replacing
from probe.capture.user_arrays import InputArgument, Inputs, Shape
from probe.errors import BadInput, ForwardFailed, ProbeError
from probe.model import Model
from probe.model_comparison.dumps.reading import as_of_model
from probe.model_comparison.graphs.graph import GraphNode, ModelGraph
from probe.model_comparison.graphs.node_values import channel_axis, signature
from probe.model_comparison.graphs.normalize import normalized
from probe.model_comparison.graphs.quantized import quantizes, take_integers_away
from probe.model_comparison.graphs.weights import held_weights
from probe.model_comparison.inputs import (
    AInputs,
    BInputs,
    candidates,
    input_names,
    own_inputs,
)
from probe.model_comparison.matching.paired import InputPair
from probe.model_comparison.side_run import SideRun
from probe.model_comparison.sides import ArraysAlone, Side, told_of
from probe.process.one_thread import one_blas_thread

__all__ = [
    "ComparedPasses",
    "ModelPass",
    "of_integers",
    "outputs_apart",
    "passes_of",
    "threads_for",
]

_ALIKE = 1e-2
"""Outputs whose signatures lie that near need no other order of the input's axes."""
_LARGE = 2**28
"""So many multiplications take one thread about 20 ms."""


class ModelPass(NamedTuple):
    """A forward pass of one model."""

    graph: ModelGraph
    arrays: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    how: str
    names: tuple[str, ...] = ()
    """Of the arrays."""
    pairs: tuple[InputPair, ...] = ()
    """Of B's: its inputs with A's."""
    words: tuple[str, ...] = ()
    """How they follow from A's, a sentence each."""
    replacing: Replacing | None = None
    """The model where the user's values took the place of layers' outputs."""


class ComparedPasses(NamedTuple):
    """What is compared: a reference, and the pass that is walked over on its tensors."""

    reference: ModelGraph
    """A's pass; the arrays where one side is arrays alone, B's too."""
    walked: ModelPass
    """B's pass; the model's where one side is arrays alone, A's too."""
    of_a: ModelPass
    """A's pass; the model's where A is arrays alone."""
    alone: Side | None = None
    """Which side is arrays alone."""
    same_layout: bool = False
    """Whether both models have one order of axes."""
    notes: tuple[str, ...] = ()
    ordered: frozenset[str] = frozenset()
    """The names of arrays whose order of axes the user has told."""


def passes_of(
    a: Model | ArraysAlone,
    b: Model | ArraysAlone,
    x: Inputs,
    x_b: Inputs,
    shape: Shape,
    seed: int,
    say: Callable[[str], None],
    runs: tuple[SideRun, SideRun] = (SideRun(), SideRun()),
) -> ComparedPasses:
    """Runs the models, each as its ``SideRun`` says; BadInput where neither side is one."""
    for side, run in zip((a, b), runs, strict=True):
        if isinstance(side, ArraysAlone):
            run.refuse_arrays(side.source)
    if isinstance(a, ArraysAlone) and isinstance(b, ArraysAlone):
        raise BadInput(
            f"{a.source} and {b.source} contain only arrays, not how they were computed: give the "
            "model as one of them"
        )
    if isinstance(b, ArraysAlone):
        assert not isinstance(a, ArraysAlone)
        say("running A")
        with told_of(Side.A):
            walked = _pass_of(a, x, shape, seed, runs[0])
        return _of_dump(b, Side.B, walked)
    if isinstance(a, ArraysAlone):
        say("running B")
        with told_of(Side.B):
            walked = _pass_of(b, x if x_b is None else x_b, shape, seed, runs[1])
        return _of_dump(a, Side.A, walked)
    say("running A")
    with told_of(Side.A):
        of_a = _pass_of(a, x, shape, seed, runs[0]._replace(reference=True))
    say("running B")
    same_layout = _have_one_layout(a.framework, b.framework)
    with told_of(Side.B, "" if x_b is not None else "; B's own input is x_b= (--input-b)"):
        of_b = _pass_of_b(b, of_a, x, x_b, same_layout, runs[1])
    return ComparedPasses(of_a.graph, of_b, of_a, None, same_layout)


def _of_dump(alone: ArraysAlone, side: Side, walked: ModelPass) -> ComparedPasses:
    dump = as_of_model(alone.arrays, alone.printed, walked.graph, alone.axes)
    notes = (*alone.notes, *dump.notes)
    return ComparedPasses(dump.arrays, walked, walked, side, notes=notes, ordered=dump.ordered)


def _pass_of(
    model: Model,
    x: Inputs | InputArgument,
    shape: Shape,
    seed: int,
    run: SideRun,
) -> ModelPass:
    bound = bind(model, x, shape, seed)
    graph, outputs, own = run.recorded(bound.model, bound.arrays)
    names = input_names(bound.model, len(bound.arrays))
    return ModelPass(
        normalized(graph, run.reference), bound.arrays, outputs, bound.how, names, replacing=own
    )


def _pass_of_b(
    model: Model,
    a: ModelPass,
    x: Inputs | InputArgument,
    x_b: Inputs | InputArgument,
    same_layout: bool,
    run: SideRun,
) -> ModelPass:
    """B's pass on A's inputs: of several orders of axes that fit, the one whose outputs are A's or
    come nearest; in models of the same layout the order that A's are in, where it fits."""
    if x_b is not None:
        bound = bind(model, x_b, None, 0)
        own = own_inputs(AInputs(x, a.arrays, a.names), bound.model, bound.arrays)
        return _run(own, a, run)
    failure: ProbeError | None = None
    for ways in candidates(model, AInputs(x, a.arrays, a.names)):
        best, failed = _nearest(ways, a, same_layout, run)
        if best is not None:
            return best
        failure = failure or failed
    raise failure or BadInput(
        "B takes A's input in no order of its axes: give B's own (x_b=, --input-b)"
    )


def _nearest(
    ways: Iterator[BInputs], a: ModelPass, same_layout: bool, run: SideRun
) -> tuple[ModelPass | None, ProbeError | None]:
    """The pass whose outputs come nearest to A's; and why the first that fails did."""
    best: tuple[float, ModelPass] | None = None
    failure: ProbeError | None = None
    for candidate in ways:
        try:
            passed = _run(candidate, a, run)
        except (ForwardFailed, BadInput) as error:
            failure = failure or error
            continue
        apart = outputs_apart(a.outputs, passed.outputs)
        if best is None or apart < 0.5 * best[0]:
            best = apart, passed
        moved = any(pair.way.text for pair in candidate.pairs)
        if apart < _ALIKE or (same_layout and not moved):
            break
    return (None if best is None else best[1]), failure


def _run(b: BInputs, a: ModelPass, run: SideRun) -> ModelPass:
    graph, outputs, own = run.recorded(b.model, b.arrays)
    if not quantizes(a.graph):
        graph = take_integers_away(graph)
    names = input_names(b.model, len(b.arrays))
    return ModelPass(
        normalized(graph, True), b.arrays, outputs, a.how, names, b.pairs, b.words, own
    )


def of_integers(passes: ComparedPasses) -> str:
    """Why a model of integers is no reference of one of floats; "" where that is not asked."""
    if passes.alone is not None or not quantizes(passes.reference):
        return ""
    if any(node.op is None or node.op.jumps for node in passes.walked.graph.nodes):
        return ""  # it rounds, too
    return (
        "A computes with integers and B does not: what rounding does in A is no fault of B; give "
        "the model of floats as A and that of integers as B"
    )


def _have_one_layout(a: str, b: str) -> bool:
    """Whether models of two frameworks have the same order of axes: most graphs of ONNX come from
    PyTorch."""
    names = {framework.partition(" ")[0] for framework in (a, b)}
    return len(names) == 1 or names == {"torch", "onnxruntime"}


def outputs_apart(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """How far the outputs' signatures lie apart, in units of their size."""
    apart = [
        _apart(output, other)
        for output, other in zip(a, b, strict=False)
        if output.dtype.kind == other.dtype.kind == "f" and output.size and other.size
    ]
    return max(apart, default=0.0)


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    if a.size != b.size:
        return np.inf
    mark = signature(a)
    return float(np.abs(mark - signature(b)).max() / max(mark[0], 1e-30))


def threads_for(graph: ModelGraph) -> AbstractContextManager[None]:
    """BLAS on one thread where no product of a graph is worth more: its threads spin while they
    wait for the next one, which takes half as much processor time again and gains none. Enter it
    where signals are held back."""
    largest = max(map(_multiplications, graph.nodes), default=0.0)
    if largest < _LARGE:
        return one_blas_thread
    return nullcontext()


def _multiplications(node: GraphNode) -> float:
    """How many a product with a weight takes."""
    axis, outputs = channel_axis(node), node.call.capture.outputs
    weights = [weight.value for name, weight in held_weights(node) if "bias" not in name]
    if axis is None or not weights or not outputs or not outputs[0].ndim:
        return 0.0
    return float(outputs[0].size / max(outputs[0].shape[axis], 1) * weights[0].size)
