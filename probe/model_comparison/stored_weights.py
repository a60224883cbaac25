"""Two files of weights, tensor by tensor: whether the second holds what a conversion makes of the
first, and where it does not, what it holds instead. No model is run.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from probe import printable
from probe.model_comparison.reports.result import ModelComparison, Pair
from probe.model_comparison.stored_reasons import Shapes, reason
from probe.model_comparison.stored_values import (
    difference,
    fits,
    rows_of,
    unknown_rounding,
)
from probe.model_comparison.weight_files import ConvertedTensor, Setting, WeightFiles

__all__ = ["BY_WEIGHTS", "compared_weights"]

BY_WEIGHTS = "stored weights"
"""``Pair.how`` of tensors that are compared as they are stored."""
_STORED = "each tensor is compared as it is stored; no model is run"


def compared_weights(files: WeightFiles, say: Callable[[str], None]) -> ModelComparison:
    """The comparison of two files of weights; ``say`` is called with what is being done."""
    pairs = [
        *map(_of_setting, files.settings),
        *(_of_missing(a, b) for a, b in files.missing),
    ]
    shapes = _by_shape(files.tensors)
    for tensor in files.tensors:
        say(f"comparing {tensor.b}")
        pairs.append(_of_tensor(tensor, shapes))
    together = _together(pairs)
    return ModelComparison(
        *_verdict(pairs, files, together),
        tuple(pairs),
        files.unpaired,
        files.a,
        files.b,
        notes=(_STORED, *files.notes, *filter(None, (together,))),
    )


def _of_setting(setting: Setting) -> Pair:
    differs = ((setting.b, *setting.values),)
    return Pair(
        *((setting.a,), (setting.b,), "", BY_WEIGHTS, None, None, "diverge", True),
        differs=differs,
    )


def _of_missing(a: str, b: str) -> Pair:
    note = f"B holds no {b}: {a} was left out"
    return Pair((a,), (), "", BY_WEIGHTS, None, None, "diverge", True, notes=(note,))


def _by_shape(tensors: Sequence[ConvertedTensor]) -> Shapes:
    """The tensors by the shape that they should have."""
    found: dict[tuple[int, int], list[ConvertedTensor]] = {}
    for tensor in tensors:
        if tensor.expected is not None:
            found.setdefault((tensor.expected.count, tensor.expected.width), []).append(tensor)
    return found


def _of_tensor(tensor: ConvertedTensor, shapes: Shapes) -> Pair:
    pair = Pair(
        *(tensor.a, (tensor.b,), "", BY_WEIGHTS, None, None, "unchecked"),
        shape=tensor.shape,
        tensors=("", tensor.b),
        computed="",
    )
    if tensor.expected is None:
        return replace(pair, notes=(tensor.unknown,))
    held = (rows_of(tensor.shape), tensor.shape[-1])
    wanted = (tensor.expected.count, tensor.expected.width)
    if held != wanted:
        return _of_other_shape(pair, tensor, held, wanted)
    local = difference(tensor, tensor.expected)
    if local is None:
        return replace(pair, notes=(unknown_rounding(tensor, tensor.expected),))
    if local.ok:
        return replace(pair, local=local, verdict="agree")
    words, holds = reason(tensor, tensor.expected, shapes)
    if tensor.unknown:
        told = "; ".join(filter(None, (tensor.unknown, words)))
        return replace(pair, local=local, notes=(told,))
    notes = (words,) * bool(words)
    after = (holds,) * bool(holds)
    return replace(pair, local=local, verdict="diverge", source=True, notes=notes, after=after)


def _of_other_shape(
    pair: Pair, tensor: ConvertedTensor, held: tuple[int, int], wanted: tuple[int, int]
) -> Pair:
    """A tensor of another shape: rows that were added or left out, or another tensor altogether."""
    assert tensor.expected is not None
    common = min(held[0], wanted[0])
    same = held[1] == wanted[1] and difference(tensor, tensor.expected, common)
    words = f"B's shape {held} is not the {wanted} that A's gives"
    if same and same.ok and held[0] > common and not tensor.read(common, held[0]).values.any():
        note = f"{held[0] - common} rows of zeros follow A's {common}: a padded vocabulary"
        return replace(pair, local=same, verdict="agree", notes=(note,))
    if same and same.ok:
        words += f": the first {common} rows are A's"
    transposed = next((other for other in tensor.others if fits(tensor, other.rows)), None)
    if transposed is not None:
        words = transposed.words
    return replace(pair, verdict="diverge", source=True, notes=(words,))


def _together(pairs: Sequence[Pair]) -> str:
    """What many differences are at once, in one sentence; "" where they are not."""
    weighty = [pair for pair in pairs if pair.local is not None and len(pair.shape) > 1]
    unlike = [pair for pair in weighty if pair.source and _ELSEWHERE in "".join(pair.notes)]
    if len(weighty) > 2 and len(unlike) >= 0.8 * len(weighty):
        return (
            f"{len(unlike)} of {len(weighty)} tensors hold numbers that do not follow from A's: "
            "another checkpoint"
        )
    held = {pair.b[0]: pair.after[0] for pair in pairs if pair.after}
    moved = {(_BLOCK.search(b), _BLOCK.search(other)) for b, other in held.items()}
    blocks = {(mine[1], theirs[1]) for mine, theirs in moved if mine and theirs}
    same_part = all(_BLOCK.sub("", b) == _BLOCK.sub("", other) for b, other in held.items())
    if len(held) > 2 and same_part and len(blocks) == len({mine for mine, _ in blocks}) > 1:
        order = ", ".join(f"{mine} holds {theirs}" for mine, theirs in sorted(blocks))
        return f"the blocks are in another order: {order}"
    return ""


_BLOCK = re.compile(r"^blk\.(\d+)\.")
_ELSEWHERE = "of another checkpoint"


def _verdict(pairs: Sequence[Pair], files: WeightFiles, together: str) -> tuple[str, str]:
    agreeing = sum(pair.verdict == "agree" for pair in pairs)
    count = f"{agreeing} of {len(pairs)} tensors agree"
    sources = [pair for pair in pairs if pair.source]
    if sources:
        return "diverge", f"diverge: {together or _of_sources(sources)}; {count}"
    unknown = [pair for pair in pairs if pair.verdict == "unchecked"]
    if not pairs:
        return "unchecked", "unchecked: no tensor of B corresponds to one of A"
    if unknown:
        why = unknown[0].notes[0]
        return "unchecked", f"unchecked: {count}; {unknown[0].b[0]} of B: {why}"
    if any(files.unpaired):
        names = [*files.unpaired[0], *files.unpaired[1]]
        return (
            "unchecked",
            f"unchecked: {count}; without a partner: {printable.several(names, 3)}",
        )
    return "agree", f"agree: {count}{_types(files)}"


def _types(files: WeightFiles) -> str:
    kinds = sorted({tensor.kind for tensor in files.tensors})
    return f", as {', '.join(kinds)} may round"


def _of_sources(sources: Sequence[Pair]) -> str:
    first = sources[0]
    more = f" and {len(sources) - 1} more source{'s' * (len(sources) > 2)}"
    name = printable.name((first.b or first.a)[0])
    why = f" ({first.notes[0]})" if first.notes else ""
    if first.differs:
        _, a, b = first.differs[0]
        why = f" ({printable.name(str(b))}, where A has {printable.name(str(a))})"
    return f"B differs from A in {name}{why}{more * (len(sources) > 1)}"
