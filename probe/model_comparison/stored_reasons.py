"""What a converted tensor holds in the place of what it should, in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from probe import printable
from probe.model_comparison.causes.weight_relations import STEPS, RoundingBetween, relation
from probe.model_comparison.stored_values import fits
from probe.model_comparison.weight_files import ConvertedTensor, RowValues, StoredRows

__all__ = ["HeldTensor", "Shapes", "reason"]

_LOOKED_AT = 1 << 22
"""So many elements of a tensor that differs are looked at for the reason."""
Shapes = Mapping[tuple[int, int], Sequence[ConvertedTensor]]
"""Tensors of B by the shape that they should have."""


class HeldTensor(NamedTuple):
    """What a tensor holds."""

    words: str
    """"" where that is not seen."""
    name: str = ""
    """The tensor of B that it belongs to, where it is another's."""


def reason(tensor: ConvertedTensor, expected: StoredRows, shapes: Shapes) -> HeldTensor:
    """What B's tensor holds in the place of what it should."""
    for other in tensor.others:
        if fits(tensor, other.rows):
            return HeldTensor(other.words)
    if _is_telling(tensor):
        for another in shapes.get((expected.count, expected.width), ()):
            if another.b != tensor.b and another.expected and fits(tensor, another.expected):
                of_a = printable.several(another.a, 2)
                words = f"it holds {of_a} of A, which is that of {another.b}"
                return HeldTensor(words, another.b)
    count = max(1, min(expected.count, _LOOKED_AT // max(expected.width, 1)))
    part = _Part(tensor, expected.read(0, count), tensor.read(0, count))
    if not part.wrong.any():
        return HeldTensor(f"only rows behind the first {count:,} differ")
    return HeldTensor(next(_relations(part), "") or _of_parts(part, shapes) or _unlike(part))


def _is_telling(tensor: ConvertedTensor) -> bool:
    """Whether B's numbers are not all alike, so that others would not fit by chance."""
    values = tensor.read(0, 1).values
    return bool(np.ptp(values) > 0)


class _Part:
    """The rows of a tensor that are looked at: A's, B's, and where they differ."""

    def __init__(self, tensor: ConvertedTensor, a: np.ndarray, held: RowValues) -> None:
        assert held.allowance is not None
        self.tensor, self.a, self.b = tensor, a, held.values
        self.allowance = held.allowance
        self.step = held.step
        self.wrong = np.asarray(np.abs(a - self.b) > held.allowance)
        self.rows = np.asarray(self.wrong.any(axis=1))

    @property
    def stacked(self) -> tuple[int, ...]:
        """The shape that the rows have in the tensor, where all of them are looked at."""
        if self.a.size == np.prod(self.tensor.shape, dtype=np.int64):
            return self.tensor.shape
        return self.a.shape


def _relations(part: _Part) -> Iterator[str]:
    """How B's numbers follow from A's, all of them."""
    a, b, wrong = part.a, part.b, part.wrong
    if not b[wrong].any():
        yield f"{int(wrong.sum()):,} of its numbers are 0{_rows_in_words(part.rows)}"
        return
    yield from _one_factor(part)
    shape = a.shape if a.shape[0] > 1 else (a.size,)
    for axes in dict.fromkeys((part.stacked, shape)):
        rounding = RoundingBetween(step=part.allowance.reshape(axes) / STEPS)
        if words := relation(a.reshape(axes), b.reshape(axes), wrong.reshape(axes), rounding):
            yield words
    yield from _of_codes(part)
    yield from _cut_to_bfloat16(part)


_DIGITS = 3
"""So many digits of a factor are told, where rounding hides more."""


def _one_factor(part: _Part) -> Iterator[str]:
    """Where B's numbers are A's times one number, or plus one, within their rounding."""
    a, b = part.a, part.b
    with np.errstate(all="ignore"):
        factor = float(f"{(a * b).sum() / np.square(a).sum():.{_DIGITS}g}")
        shift = float(f"{np.median(b - a):.{_DIGITS}g}")
    if np.ptp(a) > 0 and (np.abs(factor * a - b) <= part.allowance).all():
        yield f"B's are {factor:g} times A's"
    if (np.abs(a + shift - b) <= part.allowance).all():
        yield f"B's are A's plus {shift:g}"


_BLOCK = 32
"""So many numbers share a scale in every type of blocks, or in a part of its blocks."""


def _of_codes(part: _Part) -> Iterator[str]:
    """Where the codes of a quantised type are wrong, or the scales of its blocks."""
    if part.step is None:
        return
    kind = part.tensor.kind
    with np.errstate(all="ignore"):
        steps = np.where(part.step > 0, (part.b - part.a) / part.step, 0.0)
    most = float(np.abs(steps).max())
    if most <= 2:
        yield (
            f"its numbers lie off A's by up to {most:.2g} steps of {kind}: another rounding, or "
            "another scale, than the converter's"
        )
    codes = steps[part.wrong]
    for power in _POWERS:
        if (np.abs(codes - power * np.rint(codes / power)) <= _NEAR).all() and most >= power - 1:
            yield f"its codes are wrong by multiples of {power}: the high bits of {kind}"
            break
    yield from _scales_of_blocks(part)


_POWERS = (128, 64, 32, 16, 8)
_NEAR = 1.1
"""How many steps rounding and cutting off may add to a difference of codes."""


def _scales_of_blocks(part: _Part) -> Iterator[str]:
    """Where each block is A's times a factor of its own."""
    if part.a.shape[1] % _BLOCK:
        return
    a, b, room = (x.reshape(-1, _BLOCK) for x in (part.a, part.b, part.allowance))
    with np.errstate(all="ignore"):
        factors = (a * b).sum(axis=1) / np.square(a).sum(axis=1)
    factors = np.where(np.isfinite(factors), factors, 1.0)
    if not (np.abs(factors[:, None] * a - b) <= 1.5 * room).all():
        return
    if np.allclose(np.abs(factors), 1, atol=0.05):
        count = int((factors < 0).sum())
        yield f"the scales of {count:,} of {len(factors):,} blocks have the other sign"
    else:
        some = ", ".join(f"{factor:.3g}" for factor in factors[:3])
        yield f"each block of {_BLOCK} is A's times a factor of its own ({some}, ...): other scales"


def _cut_to_bfloat16(part: _Part) -> Iterator[str]:
    """Where B's numbers have fewer bits than their type."""
    if part.step is not None:
        return
    narrow = part.b.astype(np.float32).view(np.uint32) & 0xFFFF == 0
    if narrow.all() and (np.abs(part.a - part.b) <= 2.0**-7 * np.abs(part.a)).all():
        yield "its numbers are A's cut to the bits of bfloat16"


_LISTED = 4
"""So many parts of a stacked tensor are looked for."""


def _of_parts(part: _Part, shapes: Shapes) -> str:
    """Which parts of a stacked tensor are wrong, such as experts, and what they hold; of others
    which rows."""
    wrong = part.rows
    if not 0 < wrong.sum() < len(wrong):
        return ""
    stacked = part.stacked
    rows = f"{int(wrong.sum())} of {len(wrong)} rows differ{_rows_in_words(wrong)}"
    if len(stacked) != 3:
        return rows
    size = stacked[1]
    places = np.flatnonzero(wrong.reshape(stacked[0], size).any(axis=1))
    told = [_of_place(part, int(place), size, shapes) for place in places[:_LISTED]]
    more = f" and {len(places) - _LISTED} more" * (len(places) > _LISTED)
    return f"{', '.join(told)}{more}"


def _of_place(part: _Part, place: int, size: int, shapes: Shapes) -> str:
    """What a part of a stacked tensor holds: another part of it, or one of another tensor."""
    span = slice(place * size, (place + 1) * size)
    b, room = part.b[span], part.allowance[span]
    expected = part.tensor.expected
    assert expected is not None
    mine = (part.tensor, *shapes.get((expected.count, expected.width), ()))
    for tensor in mine:
        for other in range(part.stacked[0]):
            rows = tensor.expected
            assert rows is not None
            if (np.abs(rows.read(other * size, (other + 1) * size) - b) <= room).all():
                of_another = f" of {tensor.b}" * (tensor.b != part.tensor.b)
                return f"part {place} holds part {other}{of_another}"
    return f"part {place} differs"


_ALIKE = 0.2
"""Numbers whose correlation is less have nothing to do with each other."""


def _unlike(part: _Part) -> str:
    """What is said of numbers that do not follow from A's at all."""
    a, b = part.a.ravel(), part.b.ravel()
    if a.size < 16 or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return ""
    if abs(float(np.corrcoef(a, b)[0, 1])) > _ALIKE:
        return ""
    if np.allclose(np.sort(a), np.sort(b), rtol=0, atol=float(part.allowance.max())):
        return "it holds A's numbers in another order"
    return "its numbers have nothing to do with A's: of another checkpoint, or another tensor"


def _rows_in_words(wrong: np.ndarray) -> str:
    places = np.flatnonzero(wrong)
    if len(places) == len(wrong) or not len(places):
        return ""
    first, last = int(places[0]), int(places[-1])
    if len(places) == 1:
        return f": row {first}"
    if last - first + 1 == len(places):
        return f": rows {first} to {last}"
    return f": rows {first}, {int(places[1])}, ..., {last}"
