"""Two whole models on one input: the layers where the second leaves the first, and why."""

from collections.abc import Callable, Iterator
from dataclasses import replace as changed
from importlib import import_module
from pathlib import Path
from typing import Any

from probe.capture.flags import flags_checked
from probe.capture.question import tolerance_of
from probe.capture.replacing import Replace
from probe.capture.run import ModelLike
from probe.capture.user_arrays import InputArgument, Inputs, Shape
from probe.command_line import drawing
from probe.errors import BadInput
from probe.model import Model, recorded
from probe.model_comparison.batches import batches
from probe.model_comparison.causes.types import Types, beyond, read_types
from probe.model_comparison.conclusion import concluded
from probe.model_comparison.declared_axes import declared_axes
from probe.model_comparison.given_pairs import Pairing
from probe.model_comparison.pairing import compared
from probe.model_comparison.passes import outputs_apart, passes_of
from probe.model_comparison.reports.result import ModelComparison
from probe.model_comparison.side_run import Blocks, SideRun, blocks_of
from probe.model_comparison.sides import ArraysAlone, declare_axes, in_numbers, opened_side
from probe.model_comparison.stored_weights import compared_weights
from probe.process.interrupts import undisturbed
from probe.verdict.options import NOT_SEARCHED, search_of

__all__ = ["Pairing", "assert_same", "compare"]


@flags_checked
@undisturbed
def compare(
    a: ModelLike,
    b: ModelLike,
    x: Inputs = None,
    *,
    x_b: Inputs = None,
    pairs: Pairing = None,
    axes: str | None = None,
    strict: bool = False,
    shape: Shape = None,
    seed: int = 0,
    types: Types = None,
    layers: str | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    replace: Replace | None = None,
    replace_b: Replace | None = None,
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
        x_b: B's own input. None: A's, by name, by shape or in order, in the order of axes and the
            batch that B's input shapes want.
        pairs: Layers that stand for one another: names of A and B, or a JSON file of such.
        axes: In which order the axes of arrays alone lie in memory, the slowest first, such as
            "t h d" or "(b t) d": b batch, t tokens, h heads, d features, in parentheses those that
            are in one. None: whatever fits.
        strict: Whether a layer without a partner leaves the comparison unchecked at best.
        shape: As for ``probe.check``.
        seed: As for ``probe.check``.
        types: Fixed-point types planned for the layers of the model (of A, where both are models),
            as hls4ml's configuration has them, or a JSON file of it: what lies beyond them on this
            input is told in the notes.
        layers: Some blocks alone, a range such as "0-3": a number in the names of layers says which
            block they are in. Those before are run and not compared; nothing behind is run, or read
            from a directory's files.
        rtol: Relative tolerance, with ``atol``: where B's layers differ from A's by no more than
            atol + rtol * |A's value|, that is no difference, though rounding does not explain it.
        atol: Absolute tolerance, in the unit of the output.
        replace: Your own outputs of layers of A, by their names, that the rest of A runs on, as for
            ``probe.check``. What becomes of A's output is ``effect[0]``; their pairs are told as
            replaced, and no differences.
        replace_b: The same of B and ``effect[1]``.
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
    if import_module("probe.adapters").weights_alone(a, b):
        return _of_weights(a, b, (x, x_b, pairs, axes, replace, replace_b), say)
    tolerance = tolerance_of(rtol, atol)
    how = search_of(search, thorough) or NOT_SEARCHED
    order = declared_axes(axes)
    planned = None if types is None else read_types(types)
    is_drawn = (x.values if isinstance(x, InputArgument) else x) is None
    (first, second), of_numbers = in_numbers(opened_side(a), opened_side(b), is_drawn)
    declare_axes((first, second), order)
    blocks = blocks_of(layers)
    runs = SideRun(replace, blocks), SideRun(replace_b, blocks)
    furthest = 0.0
    for part in batches(first, second, x, x_b, shape, seed):
        passed = passes_of(first, second, part.x, part.x_b, part.shape, seed, say, runs)
        apart = outputs_apart(passed.of_a.outputs, passed.walked.outputs)
        if not part.is_worth_it(apart, furthest):
            continue
        batch, passes, furthest = part, passed, max(furthest, apart)
        outcome = compared(passes, pairs, how, say, tolerance, blocks.first if blocks else 0)
        comparison = concluded(outcome, passes, (first.source, second.source), strict, tolerance)
        if not comparison.ok:
            break
    if notes := batch.notes(comparison.ok):
        comparison = changed(comparison, how=batch.how, notes=(*notes, *comparison.notes))
    if comparison.ok and batch.some:
        comparison = changed(comparison, sentence=f"{comparison.sentence}, on {batch.some}")
    comparison = changed(comparison, notes=(*of_numbers, *comparison.notes))
    if blocks is not None:
        comparison = _of_blocks(comparison, blocks)
    if tolerance is not None:
        comparison = changed(comparison, notes=(*_within(comparison, tolerance), *comparison.notes))
    if planned is not None:
        notes = (*beyond(planned, passes.of_a.graph), *comparison.notes)
        comparison = changed(comparison, notes=notes)
    takes = ("", "") if batch.words else _takes(first, second, x_b, passes.walked.words)
    drawn = {} if x is not None else {"x": drawing(shape, seed)}
    return changed(comparison, takes=takes).opened_by(_path(a), _path(b), drawn)


def _of_weights(
    a: ModelLike, b: ModelLike, given: tuple[Any, ...], say: Callable[[str], None]
) -> ModelComparison:
    """Files of weights, compared as they are stored; BadInput where anything else is ``given``."""
    if any(value is not None for value in given):
        raise BadInput(
            "a GGUF file holds weights that are compared as they are stored: leave out the "
            "inputs, pairs, axes and replaced outputs"
        )
    files = import_module("probe.adapters").weight_files(a, b)
    return compared_weights(files, say).opened_by(_path(a), _path(b), {})


def _of_blocks(comparison: ModelComparison, blocks: Blocks) -> ModelComparison:
    """The comparison of some blocks, which says which."""
    which = f"in blocks {blocks.first} to" if blocks.first else "up to block"
    note = (
        f"both passes end where a block after block {blocks.last} begins: what the models give is "
        "not compared"
    )
    sentence = f"{comparison.sentence}, {which} {blocks.last}"
    return changed(comparison, sentence=sentence, notes=(note, *comparison.notes))


def _within(comparison: ModelComparison, tolerance: tuple[float, float]) -> Iterator[str]:
    """What is said of differences that only the user's tolerance allows."""
    count = sum(
        pair.verdict == "agree" and pair.local is not None and pair.local.ratio > 1
        for pair in comparison.pairs
    )
    if count:
        rtol, atol = tolerance
        yield (
            f"{count} pairs differ by more than rounding explains, and lie within your tolerance "
            f"(rtol {rtol:g}, atol {atol:g})"
        )


def _path(source: ModelLike) -> tuple[str, ...]:
    """What opens a model on the command line, where it is a file."""
    if isinstance(source, str | Path):
        return (str(source),)
    return ()


def _takes(
    a: Model | ArraysAlone, b: Model | ArraysAlone, x_b: Inputs, reordered: tuple[str, ...]
) -> tuple[str, str]:
    """What A and B are run on (``ModelComparison.takes``)."""
    of_a, of_b = (
        "recorded" if not isinstance(model, ArraysAlone) and recorded(model) is not None else "x"
        for model in (a, b)
    )
    if of_b != "recorded" and x_b is not None:
        return of_a, "x_b"
    if of_b != "recorded" and (of_a == "recorded" or reordered):
        return of_a, ""
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
