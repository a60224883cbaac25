"""Two whole models on one input: the layers where the second leaves the first, and why."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from probe import printable
from probe.capture.model_inputs import bind
from probe.capture.pipeline import one_blas_thread
from probe.capture.run import ModelLike
from probe.capture.user_arrays import InputArgument, Inputs, Shape
from probe.command_line import drawing
from probe.comparison.compare import Comparison, Worst
from probe.comparison.compare import compare as compare_arrays
from probe.errors import BadInput, ForwardFailed, ProbeError
from probe.files.regular_file import read_json
from probe.model import Model, recorded
from probe.model_comparison.causes.own_mistakes import (
    nothing_copied,
    of_axes,
    of_dump,
    of_dumped,
    of_modes,
    ties,
)
from probe.model_comparison.causes.reading import hidden
from probe.model_comparison.causes.types import Types, beyond, read_types
from probe.model_comparison.causes.unseen_weights import unseen_weights
from probe.model_comparison.graphs.axes import Way, unchanged
from probe.model_comparison.graphs.graph import (
    Call,
    Graph,
    Node,
    Tensor,
    recorded_pass,
    tensors_alone,
)
from probe.model_comparison.graphs.node_values import channel_axis, digits, signature
from probe.model_comparison.graphs.normalize import normalized
from probe.model_comparison.graphs.quantized import quantizes, take_integers_away
from probe.model_comparison.graphs.weights import anchors, held_weights
from probe.model_comparison.inputs import BInputs, candidates
from probe.model_comparison.matching.level import Level, expected_error, level_between
from probe.model_comparison.matching.merging import merged
from probe.model_comparison.matching.names import by_names, in_one_layout, names_of_layers, repeated
from probe.model_comparison.matching.paired import Decision, Paired
from probe.model_comparison.matching.propagated import carried, propagated
from probe.model_comparison.matching.segments import (
    Segment,
    calls_of,
    names_of,
    read_by,
    segments,
    uncovered,
)
from probe.model_comparison.matching.structure import refined
from probe.model_comparison.matching.walk import Walk
from probe.model_comparison.reports.blocks import differing
from probe.model_comparison.reports.pictures import drawn
from probe.model_comparison.reports.result import ModelComparison, Pair
from probe.model_comparison.sides import Outputs, Side, side
from probe.numerics.dtypes import widened
from probe.process.interrupts import undisturbed
from probe.verdict.options import NOT_SEARCHED, Search, search_of

if TYPE_CHECKING:
    from probe.model_comparison.causes.why import Reasons

__all__ = ["Pairing", "assert_same", "compare"]

Pairing = Mapping[str, str] | Sequence[tuple[str, str]] | str | Path | None
"""Which layers' outputs stand for one another: names of A and of B, or a JSON file of such."""
_EXPLAINED = 8
"""In how many sources the mistake is looked for."""
_UNSEARCHED = f"causes were searched for in {_EXPLAINED} sources before and not in this one"
_DRAWN = 24
"""Of how many pairs that differ there are pictures: of sources first."""
_ALIKE = 1e-2
"""Outputs whose signatures lie that near need no other order of the input's axes."""


@undisturbed
def compare(
    a: ModelLike,
    b: ModelLike,
    x: Inputs = None,
    *,
    x_b: Inputs = None,
    pairs: Pairing = None,
    strict: bool = False,
    shape: Shape = None,
    seed: int = 0,
    types: Types = None,
    search: bool = True,
    thorough: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ModelComparison:
    """Compares two models layer by layer: where the second leaves the first, and why.

    B is computed once in NumPy, each of its layers on A's tensors, which are found by their
    weights and values. So an error is named where it is made, and what only inherits it is not.

    Args:
        a: The reference: what ``probe.open_model`` takes or has returned, or arrays by names (a
            mapping, a folder of .npy, an .npz): outputs alone, as another program wrote them.
        b: What is compared with it, in the same forms.
        x: A's input, as for ``probe.check``. None: random.
        x_b: B's own input. None: A's, in the order of axes that B's input shapes want.
        pairs: Layers that stand for one another: names of A and B, or a JSON file of such.
        strict: Whether a layer without a partner leaves the comparison unchecked at best.
        shape: As for ``probe.check``.
        seed: As for ``probe.check``.
        types: Fixed-point types planned for the layers of the model (of A, where both are models),
            as hls4ml's configuration has them, or a JSON file of it: what lies beyond them on this
            input is told in the notes.
        search: Whether to search for the mistakes behind differences. False: only what the two
            descriptions differ in is said, and the notes of a source that causes were not searched
            for.
        thorough: Whether to search ten times as far for the mistake behind each difference.
        progress: Called with what is being done.

    Returns:
        The comparison: ``verdict``, ``pairs`` in execution order, ``sources``, ``unpaired``.

    Raises:
        CannotOpen: A model cannot be opened.
        BadInput: An array, a shape or a name does not fit, or both sides hold outputs alone and
            share no name.
        ForwardFailed: A model's own forward pass raises.
    """
    say = progress or (lambda _: None)
    search_options = search_of(search, thorough) or NOT_SEARCHED
    planned = None if types is None else read_types(types)
    first, second = side(a), side(b)
    if isinstance(first, Outputs) and isinstance(second, Outputs):
        return _arrays_alone(first, second)
    alone, unlike, same_layout = "", tuple[str, ...](), False
    if isinstance(second, Outputs):
        say("running A")
        reference, alone, unlike = tensors_alone(second.arrays), "b", second.notes
        passed = candidate = _pass_of(first, x, shape, seed)
    elif isinstance(first, Outputs):
        say("running B")
        reference, alone, unlike = tensors_alone(first.arrays), "a", first.notes
        passed = candidate = _pass_of(second, x if x_b is None else x_b, shape, seed)
    else:
        say("running A")
        passed = _pass_of(first, x, shape, seed)
        say("running B")
        same_layout = _have_one_layout(first.framework, second.framework)
        reference, candidate = passed.graph, _pass_of_b(second, passed, x, x_b, same_layout)
        unlike = tuple(_unlike_outputs(passed.outputs, candidate.outputs))
    with _threads(candidate.graph):
        found = _compared(reference, candidate, pairs, alone, say, same_layout, search_options)
    found = found._replace(notes=(*unlike, *found.notes))
    told = _told(found, first, second, passed.how, candidate.words, strict)
    told = replace(told, takes=_takes(first, second, x_b, candidate.words))
    given = {} if x is not None else {"x": drawing(shape, seed)}
    told = told.opened_by(_path(a), _path(b), given)
    if planned is None:
        return told
    return replace(told, notes=(*beyond(planned, passed.graph), *told.notes))


def _path(source: ModelLike) -> tuple[str, ...]:
    """What opens a model on the command line, where it is a file."""
    if isinstance(source, str | Path):
        return (str(source),)
    return ()


def _takes(a: Side, b: Side, x_b: Inputs, reordered: tuple[str, ...]) -> tuple[str, str]:
    """What A and B are run on (``ModelComparison.takes``)."""
    of_a, of_b = (
        "recorded" if not isinstance(model, Outputs) and recorded(model) is not None else "x"
        for model in (a, b)
    )
    if of_b != "recorded" and x_b is not None:
        of_b = "x_b"
    elif of_b != "recorded" and (of_a == "recorded" or reordered):
        of_b = ""
    return of_a, of_b


def assert_same(a: ModelLike, b: ModelLike, x: Inputs = None, **options: Any) -> None:
    """For tests: fails where the models differ, and where they could not be compared.

    Args:
        a: As for ``compare``.
        b: As for ``compare``.
        x: As for ``compare``.
        **options: The other arguments of ``compare``.

    Raises:
        AssertionError: It carries the comparison.
        ProbeError: As ``compare`` raises it.
    """
    __tracebackhide__ = True  # pytest then shows the line of the test
    comparison = compare(a, b, x, **options)
    if not comparison.ok:
        raise AssertionError(str(comparison))


class _Pass(NamedTuple):
    """A forward pass of one model."""

    graph: Graph
    arrays: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    how: str
    ways: tuple[Way, ...] = ()
    words: tuple[str, ...] = ()


def _pass_of(model: Side, x: Inputs | InputArgument, shape: Shape, seed: int) -> _Pass:
    assert not isinstance(model, Outputs)
    bound = bind(model, x, shape, seed)
    graph, outputs = recorded_pass(bound.model, bound.arrays)
    graph = normalized(graph)
    return _Pass(graph, bound.arrays, outputs, bound.how)


def _pass_of_b(
    model: Model,
    a: _Pass,
    x: Inputs | InputArgument,
    x_b: Inputs | InputArgument,
    same_layout: bool,
) -> _Pass:
    """B's pass on A's inputs: of several orders of axes that fit, the one whose outputs are A's or
    come nearest; in models of the same layout the order that A's are in, where it fits."""
    if x_b is not None:
        bound = bind(model, x_b, None, 0)
        own = BInputs(bound.model, bound.arrays, tuple(unchanged(one.ndim) for one in bound.arrays))
        return _run(own, a)
    best: tuple[float, _Pass] | None = None
    failure: ProbeError | None = None
    for candidate in candidates(model, a.arrays, x):
        try:
            passed = _run(candidate, a)
        except (ForwardFailed, BadInput) as error:
            failure = failure or error
            continue
        apart = _outputs_apart(a.outputs, passed.outputs)
        if best is None or apart < 0.5 * best[0]:
            best = apart, passed
        if apart < _ALIKE or (same_layout and not candidate.words):
            break
    if best is None:
        raise failure or BadInput(
            "B takes A's input in no order of its axes: give B's own (x_b=, --input-b)"
        )
    return best[1]


def _run(b: BInputs, a: _Pass) -> _Pass:
    graph, outputs = recorded_pass(b.model, b.arrays)
    if not quantizes(a.graph):
        graph = take_integers_away(graph)
    graph = normalized(graph)
    return _Pass(graph, b.arrays, outputs, a.how, b.ways, b.words)


def _have_one_layout(a: str, b: str) -> bool:
    """Whether models of two frameworks have the same order of axes: most graphs of ONNX come from
    PyTorch."""
    names = {one.partition(" ")[0] for one in (a, b)}
    return len(names) == 1 or names == {"torch", "onnxruntime"}


def _unlike_outputs(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Iterable[str]:
    """What is to be said of outputs that are not as many, or of other shapes than an order of axes
    makes of them."""
    if len(a) != len(b):
        yield f"A gives {len(a)} outputs and B {len(b)}: what the others hold is not compared"
        return
    for k, (one, other) in enumerate(zip(a, b, strict=True)):
        if one.size == other.size and sorted(one.shape) != sorted(other.shape):
            yield f"output {k} has the shape {one.shape} in A and {other.shape} in B"


def _outputs_apart(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """How far the outputs' signatures lie apart, in units of their size."""
    apart = [
        float(np.abs(signature(one) - signature(other)).max() / max(signature(one)[0], 1e-30))
        if one.size == other.size
        else np.inf
        for one, other in zip(a, b, strict=False)
        if one.dtype.kind == other.dtype.kind == "f" and one.size and other.size
    ]
    return max(apart, default=0.0)


class _Walked(NamedTuple):
    """The walk, and what was concluded."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[tuple[str, ...], tuple[str, ...]]
    notes: tuple[str, ...]
    ends_open: bool
    """Whether an output of B has no partner and none is computed."""
    uncopied: str = ""
    """Says that no weights are shared."""
    unheld: tuple[str, ...] = ()
    """Arrays named after layers of the model that stand for none of its tensors."""


def _threads(graph: Graph) -> AbstractContextManager[None]:
    """BLAS on one thread where no product of a graph is worth more: its threads spin while they
    wait for the next one, which takes half as much processor time again and gains none."""
    largest = max(map(_multiplications, graph.nodes), default=0.0)
    if largest < _LARGE:
        return one_blas_thread
    return nullcontext()


_LARGE = 2**28
"""So many multiplications take one thread about 20 ms."""


def _multiplications(node: Node) -> float:
    """How many a product with a weight takes."""
    axis, outputs = channel_axis(node), node.call.capture.outputs
    weights = [one.value for name, one in held_weights(node) if "bias" not in name]
    if axis is None or not weights or not outputs or not outputs[0].ndim:
        return 0.0
    return float(outputs[0].size / max(outputs[0].shape[axis], 1) * weights[0].size)


def _compared(
    a: Graph,
    b: _Pass,
    pairs: Pairing,
    alone: str = "",
    say: Callable[[str], None] = lambda _: None,
    same_layout: bool = False,
    search_options: Search | str = NOT_SEARCHED,
) -> _Walked:
    """The walk over one model on the other's tensors. ``alone`` says which side is arrays alone:
    the walk is then over the other."""
    graph = b.graph
    say("pairing layers by their weights")
    held = {} if alone else anchors(a, graph)
    decisions: list[Decision] = []
    if pairs is not None:
        given = [*dict.fromkeys(_given(pairs, a, graph, alone))]
        _refuse_crossing(given, a, graph)
        decisions += [Decision(one, other, "given") for one, other in given]
    if alone:
        decisions += [Decision(one, other, "name") for one, other in by_names(a, graph)]
    say("computing B's layers on A's tensors")
    level = Level() if alone else level_between(a, graph, held)
    walk = Walk(
        *(a, graph, held),
        decisions=decisions,
        inputs=b.ways,
        level=level,
        same_layout=same_layout,
    ).run()
    if alone:
        walk = in_one_layout(walk)
        all_segments = segments(walk)
    else:
        walk, all_segments = refined(walk)
    say("computing propagated errors")
    wanted_a = {tensor for one in walk.pairs for tensor in one.a.tensors}
    slack_a = {} if alone else carried(a, wanted_a, walk.own)
    slack_b = carried(graph, {one.b for one in walk.pairs}, walk.own, level)
    down = {one: propagated(one.paired, slack_a, slack_b) for one in all_segments}
    innocent = [one for one in all_segments if alone and one.differs and _innocent(one.paired)]
    groups = merged(all_segments, innocent)
    firsts = {group[0]: group for group in groups}
    apart = [one for one, off in down.items() if one.differs or (off is not None and not off.ok)]
    shown = {*sorted(apart, key=lambda one: one not in firsts)[:_DRAWN]}
    rows: list[Pair] = []
    explained = 0
    for segment in all_segments:
        if segment.paired.b.input is not None and not segment.differs:
            continue
        group = firsts.get(segment)
        against = segment.paired.a.tensor.value
        made_by_format = expected_error(segment.b, segment.paired.b, level, against)
        pair = replace(_pair(segment, down[segment], alone), expected=made_by_format)
        if group is not None:
            from probe.model_comparison.causes.why import (  # noqa: PLC0415 - all causes: only for a source
                reasons,
                reasons_alone,
            )

            say(f"explaining {names_of(segment.b, segment.paired.b)[-1]}")
            search = search_options if explained < _EXPLAINED else _UNSEARCHED
            if alone:
                why = reasons_alone(segment, walk.values, search)
                why.notes[:0] = of_dumped(segment, graph, a)
            else:
                why = reasons(segment, search)
            pair = _explained(pair, group, why)
            explained += 1
        elif segment in innocent:
            pair = replace(pair, verdict="agree", notes=(_INNOCENT,))
        elif segment.differs:
            pair = replace(pair, notes=("this difference is explained at a source listed below",))
        elif not alone and pair.verdict == "agree":
            pair = replace(pair, differs=tuple(hidden(segment)), notes=unseen_weights(segment))
        if segment in shown:
            pair = replace(pair, drawn=drawn(segment.paired, slack_a, slack_b))
        rows.append(pair)
    if alone:
        rows += [_repeated(*one) for one in repeated(a, graph)]
    covered_a: set[Node] = {node for one in all_segments for node in one.a}
    covered_b: set[Node] = {node for one in all_segments for node in one.b}
    free_a = uncovered(a.nodes, covered_a)
    free_b = uncovered(graph.nodes, covered_b)
    unheld: tuple[str, ...] = ()
    if alone:
        known = {tensor for one in walk.pairs for tensor in one.a.tensors}
        known |= {array for array, _, _ in repeated(a, graph)}
        free_a = tuple(one.name for one in a.loose if one not in known)
        layers = names_of_layers(graph)
        unheld = tuple(name for name in free_a if name in layers)
    ends_open = not alone and any(
        end not in walk.partner and end.root not in walk.partner for end in graph.outputs
    )
    unpaired = (free_b, free_a) if alone == "b" else (free_a, free_b)
    read = [(one.a if alone == "a" else one.b, one.axes) for one in rows]
    mistakes = [*of_dump(a), *of_axes(read)] if alone else [*of_modes(a, graph)]
    uncopied = "" if alone else nothing_copied(a, graph, held)
    notes = (
        *filter(None, [uncopied]),
        *walk.notes,
        *mistakes,
        *level.notes,
        *_made_by_format(rows),
        *level.cut(walk.values),
        *_hidden(rows),
        *(() if alone else _unseen_weights(rows)),
        *_ties(all_segments, slack_a, slack_b),
    )
    return _Walked(tuple(rows), unpaired, notes, ends_open, uncopied, unheld)


def _made_by_format(pairs: Sequence[Pair]) -> Iterable[str]:
    """What the number format is expected to do in one layer, at most."""
    most = max(pairs, key=lambda one: one.expected or 0.0, default=None)
    if most is not None and most.expected:
        yield (
            "B's number format is expected to make an error of at most "
            f"{100 * most.expected:.2g} % of the deviation in one layer, in "
            f"{printable.name(' + '.join(most.b))}"
        )


def _unseen_weights(pairs: Sequence[Pair]) -> Iterable[str]:
    """What is said of weights in the pairs that agree."""
    return (note for pair in pairs if pair.verdict == "agree" for note in pair.notes)


def _hidden(pairs: Sequence[Pair]) -> Iterable[str]:
    """What options differ in without that this input shows it."""
    found = [one for one in pairs if one.differs and one.verdict == "agree"]
    for one in found[:_TOLD]:
        where = printable.name(" + ".join(one.b))
        yield f"{differing(*one.differs[0])} ({where}): hidden by rounding on this input"
    if len(found) > _TOLD:
        yield f"{len(found) - _TOLD} more options differ, hidden by rounding on this input"


_TOLD = 8
"""So many hidden differences are told one by one."""


def _ties(
    all_segments: Sequence[Segment],
    slack_a: Mapping[Tensor, np.ndarray | None],
    slack_b: Mapping[Tensor, np.ndarray | None],
) -> list[str]:
    """What is to be said of the largest of the last outputs."""
    last = next((one.paired for one in reversed(all_segments) if not one.paired.b.consumers), None)
    if last is None or last.a.columns or last.way.text or last.b.value.dtype.kind != "f":
        return []
    if last.a.tensor.value.shape != last.b.value.shape:
        return []
    slacks = [slack_a.get(last.a.tensor), slack_b.get(last.b)]
    allowed = sum((one for one in slacks if one is not None), np.zeros(()))
    return [*filter(None, [ties(last.a.tensor.value, last.b.value, allowed)])]


def _repeated(array: Tensor, first: Tensor, tensor: Tensor) -> Pair:
    """An array against another that stands for the same tensor of the model."""
    slack = digits(first.value)
    local = compare_arrays((first.value,), (array.value,), (2 * slack,))
    return Pair(
        *((array.name,), (array.name,), "", "name", local, None),
        verdict="agree" if local.ok else "diverge",
        source=not local.ok,
        shape=tuple(array.value.shape),
        tensors=(array.name, tensor.name),
        notes=(f"{first.name} is the same tensor of the model",),
    )


def _innocent(paired: Paired) -> bool:
    """Whether a given array lies much nearer to what the model itself has there than to what the
    model's layer makes of the arrays given before: then it is one of these that is wrong."""
    if paired.unforced is None:
        return False
    shown, perm = paired.b.shown
    own = shown.value.transpose(np.argsort(perm))
    given = paired.a.gathered([one.value for one in paired.a.tensors])
    try:
        apart, local = (
            np.abs(given - paired.way.to_a(widened(one))).max(initial=0.0)
            for one in (own, paired.unforced)
        )
    except ValueError:  # of another shape
        return False
    return bool(apart < _MUCH_NEARER * local)


_MUCH_NEARER = 0.1
_INNOCENT = (
    "these values are right for the model's own inputs: only in the file the tensor before differs"
)


def _given(pairs: Pairing, a: Graph, b: Graph, alone: str) -> Iterable[tuple[Tensor, Tensor]]:
    """The user's pairs as tensors."""
    if isinstance(pairs, str | Path):
        pairs = read_json(pairs)
    told: Any = pairs
    if isinstance(told, Mapping) and isinstance(told.get("pairs"), list):
        told = told["pairs"]
    if not isinstance(told, Mapping | list | tuple):
        raise BadInput(f"pairs are names of layers of A and of B; you gave {told!r}")
    rows = list(told.items()) if isinstance(told, Mapping) else told
    of_a, of_b = _outputs(a), _outputs(b)
    for row in rows:
        if not _is_pair(row):
            raise BadInput(f"a pair is a layer of A and a layer of B; you gave {row!r}")
        first, second = row if alone != "b" else row[::-1]
        yield _named(first, of_a), _named(second, of_b)


def _is_pair(row: object) -> bool:
    return (
        isinstance(row, list | tuple)
        and len(row) == 2
        and all(isinstance(name, str) for name in row)
    )


def _refuse_crossing(pairs: Sequence[tuple[Tensor, Tensor]], a: Graph, b: Graph) -> None:
    """BadInput where a layer of A comes before another, and B's of the one after B's of the
    other."""
    before = _connected([one for one, _ in pairs], a)
    after = _connected([other for _, other in pairs], b, after=True)
    for second, crossing in enumerate(map(and_, before, after)):
        if crossing:
            first = (crossing & -crossing).bit_length() - 1
            names = [(one.name, other.name) for one, other in (pairs[first], pairs[second])]
            raise BadInput(
                f"pairs: {names[0][0]} comes before {names[1][0]} in A, but {names[0][1]} "
                f"after {names[1][1]} in B"
            )


def _connected(tensors: Sequence[Tensor], graph: Graph, after: bool = False) -> list[int]:
    """Of each tensor which of them it is computed from, or which are computed from it, as bits."""
    own: dict[Tensor, int] = {}
    for place, tensor in enumerate(tensors):
        own[tensor] = own.get(tensor, 0) | 1 << place
    found: dict[Tensor, int] = {}
    for node in reversed(graph.nodes) if after else graph.nodes:
        sides = (node.outputs, node.inputs) if after else (node.inputs, node.outputs)
        bits = 0
        for tensor in sides[0]:
            bits |= found.get(tensor, 0) | own.get(tensor, 0)
        for tensor in sides[1]:
            found[tensor] = found.get(tensor, 0) | bits
    return [found.get(tensor, 0) for tensor in tensors]


def _outputs(graph: Graph) -> dict[str, Tensor]:
    """The outputs of the layers by name: "conv", "conv:1" for a second call."""
    return {tensor.name: tensor for tensor in graph.tensors if tensor.recorded is not None}


def _named(name: str, outputs: Mapping[str, Tensor]) -> Tensor:
    if name not in outputs:
        raise BadInput(
            f"pairs: no layer {printable.name(repr(name))}; there are "
            f"{printable.several(list(outputs), 8)}"
        )
    return outputs[name]


def _pair(segment: Segment, down: Comparison | None, alone: str) -> Pair:
    paired = segment.paired
    local = None if paired.local is None else _in_a(paired.local, paired)
    beside = (segment.b, segment.a) if segment.differs else (None, None)
    a_names = names_of(segment.a, paired.a.tensor, beside[0])
    b_names = names_of(segment.b, paired.b, beside[1])
    called = (_last(calls_of(segment.a, beside[0])), _last(calls_of(segment.b, beside[1])))
    axes = _axes(paired)
    if alone == "b":
        axes = axes.inverse
        a_names, b_names = b_names, a_names
        called = called[::-1]
        local, down = _exchanged(local), _exchanged(down)
    if local is None:
        verdict = "unchecked"
    elif local.ok:
        verdict = "agree"
    else:
        verdict = "diverge"
    empty = verdict == "agree" and _holds_nan_alone(paired.a.tensor.value)
    if verdict == "agree" and (paired.vague or empty):
        verdict = "unchecked"
    return Pair(
        *(a_names, b_names, axes.text, paired.how, local, down, verdict),
        fitting=paired.fitting,
        shape=tuple(paired.a.tensor.value.shape),
        tensors=(paired.a.tensor.name, paired.b.name),
        after=read_by(segment),
        called=called,
        notes=(_NAN_ALONE,) if empty else (),
        computed="A" if alone == "b" else "B",
    )


def _exchanged(comparison: Comparison | None) -> Comparison | None:
    """The same with the values of A and B in each other's place."""
    if comparison is None or comparison.worst is None:
        return comparison
    first, second = comparison.worst.values
    return replace(comparison, worst=replace(comparison.worst, values=(second, first)))


def _last(calls: Sequence[Call]) -> tuple[str, int] | None:
    """The layer of the last of them, and which of its calls it is."""
    if calls:
        return (calls[-1].capture.layer, calls[-1].capture.call)
    return None


_NAN_ALONE = "every value is NaN in A and in B: there is nothing to compare"


def _holds_nan_alone(values: np.ndarray) -> bool:
    return bool(values.size and values.dtype.kind == "f" and np.isnan(values).all())


def _axes(paired: Paired) -> Way:
    """How the axes of A's tensor become those of B's, as the framework gave it."""
    _, perm = paired.b.shown
    if paired.way.merged is not None or len(paired.way.perm) != len(perm):
        return paired.way
    return Way(tuple(paired.way.perm[axis] for axis in perm))


def _in_a(local: Comparison, paired: Paired) -> Comparison:
    """The comparison with its worst element's index in A's axes."""
    worst = local.worst
    if worst is None or not paired.way.text:
        return local
    shape = paired.b_shape
    place = np.ravel_multi_index(worst.index, shape) if shape else 0
    try:
        flags = np.zeros(shape, bool)
        flags.flat[place] = True
        index = tuple(int(k) for k in np.argwhere(paired.way.to_a(flags))[0])
    except (ValueError, IndexError):
        return local
    return replace(local, worst=Worst(worst.output, index, worst.values, worst.allowance))


def _explained(pair: Pair, group: Sequence[Segment], reasons: "Reasons") -> Pair:
    also = [printable.name(" + ".join(names_of(one.b, one.paired.b))) for one in group[1:]]
    notes = list(reasons.notes)
    if also:
        notes.append(f"the same difference also appears at {printable.several(also, 4)}")
    return replace(
        pair,
        source=True,
        differs=tuple((one.name, one.a, one.b) for one in reasons.differences),
        findings=reasons.findings,
        notes=tuple(notes),
    )


def _told(
    walked: _Walked, a: Side, b: Side, how: str, inputs: tuple[str, ...], strict: bool
) -> ModelComparison:
    pairs = walked.pairs
    sources = [one for one in pairs if one.source]
    count = sum(one.verdict == "agree" for one in pairs)
    doubtful = [
        one
        for one in pairs
        if one.verdict == "unchecked" and not (one.propagated is not None and one.propagated.ok)
    ]
    agreeing = f"{count} of {len(pairs)} pairs agree"
    if walked.uncopied and (sources or not pairs):
        verdict, sentence = "diverge", f"diverge: {walked.uncopied}"
    elif sources:
        verdict, told = "diverge", _of_sources(sources)
        sentence = f"diverge: {told}; {agreeing}"
    elif not pairs:
        verdict, sentence = "unchecked", "unchecked: no tensor of B corresponds to one of A"
    elif any(one.verdict == "diverge" for one in pairs):
        verdict, sentence = "diverge", f"diverge: {agreeing}"
    elif empty := [one for one in pairs if _NAN_ALONE in one.notes]:
        where = printable.name(" + ".join(empty[0].b))
        verdict = "unchecked"
        sentence = f"unchecked: {agreeing}; in {where} of B {_NAN_ALONE}"
    elif doubtful:
        verdict = "unchecked"
        sentence = (
            f"unchecked: {agreeing}; {' + '.join(doubtful[0].b)} of B could not be computed from "
            "A's tensors"
        )
    elif walked.unheld:
        verdict = "unchecked"
        sentence = (
            f"unchecked: {agreeing}, but no tensor of the model was found for "
            f"{printable.several(walked.unheld, 3)}; name its pair with --pairs"
        )
    elif walked.ends_open:
        verdict = "unchecked"
        sentence = f"unchecked: {agreeing}, but an output of B corresponds to none of A"
    elif strict and any(walked.unpaired):
        verdict = "unchecked"
        names = [*walked.unpaired[0], *walked.unpaired[1]]
        sentence = f"unchecked: {agreeing}, without a partner: {printable.several(names, 3)}"
    else:
        verdict, sentence = "agree", f"agree: {agreeing}"
    return ModelComparison(
        *(verdict, sentence, pairs, walked.unpaired, a.source, b.source, how),
        notes=walked.notes,
        inputs=inputs,
    )


def _of_sources(sources: Sequence[Pair]) -> str:
    first = sources[0]
    name = printable.name(" + ".join(first.b))
    why = ""
    if first.differs:
        field, mine, theirs = first.differs[0]
        why = f" ({field} {_short(mine)} in A, {_short(theirs)} in B)"
    if first.findings:
        why = f" ({first.findings[0].named})"
    more = f" and {len(sources) - 1} more source{'s' * (len(sources) > 2)}" if sources[1:] else ""
    return f"B differs from A in {name}{why}{more}"


def _short(value: object) -> str:
    if isinstance(value, float):
        text = f"{value:g}"
    elif value is None:
        text = "none"
    else:
        text = str(value)
    if len(text) <= 40:
        return text
    return f"{text[:37]}..."


def _arrays_alone(a: Outputs, b: Outputs) -> ModelComparison:
    raise BadInput(
        f"{a.source} and {b.source} contain only arrays, not how they were computed: give the "
        "model as one of them"
    )
