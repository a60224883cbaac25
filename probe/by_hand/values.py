"""What a writer is given and gives: an expression, its shape, and the order in which an op wants
its axes."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    *("ATOM", "POWER", "PRODUCT", "SUM", "TEST"),
    *(
        "Value",
        "array_text",
        "as_tuple",
        "bracketed",
        "commented",
        "composed",
        "joined",
        "listed",
        "number",
    ),
    *("shape_words", "sizes_of"),
]

TEST, SUM, PRODUCT, POWER, ATOM = range(5)
"""How tightly an expression binds: a comparison, a sum, a product, a power or a sign, a name or a
call."""

Order = tuple[int, ...] | None


@dataclass(frozen=True)
class Value:
    """An expression of the script."""

    text: str
    shape: tuple[int, ...]
    """That of the expression."""
    order: Order = None
    """The op's own layout is ``text.transpose(order)``; None where it is that of the expression."""
    level: int = ATOM

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def axes(self) -> tuple[int, ...]:
        """Where each axis of the op's layout lies in the expression."""
        if self.order is None:
            return tuple(range(self.rank))
        return self.order

    @property
    def own_shape(self) -> tuple[int, ...]:
        """The shape in the op's layout."""
        return tuple(self.shape[axis] for axis in self.axes)

    @property
    def is_name(self) -> bool:
        return self.text.isidentifier()

    def at(self, level: int) -> str:
        """The expression, in brackets where it binds less tightly than that."""
        return bracketed(self.text, self.level < level)

    @property
    def is_zero(self) -> bool:
        """Whether it is zeros in the shape of something."""
        return re.fullmatch(r"np\.zeros_like\([^()]*\)", self.text) is not None

    @property
    def root(self) -> str:
        """The square root of the expression: of a square its magnitude."""
        if self.level == POWER and self.text.endswith(" ** 2"):
            return f"np.abs({self.text.removesuffix(' ** 2')})"
        return f"np.sqrt({self.text})"

    @property
    def array(self) -> str:
        """The expression as one whose methods may be called: a number in digits has none."""
        digits = self.text.lstrip("-")[:1].isdigit()
        if not self.shape and (digits or self.text in ("True", "False")):
            return f"np.asarray({self.text})"
        return self.at(ATOM)

    def letters(self, word: str) -> str:
        """A letter for each axis of the op's layout, in the order in which they lie."""
        lying = [""] * self.rank
        for axis, letter in zip(self.axes, word, strict=True):
            lying[axis] = letter
        return "".join(lying)


def bracketed(text: str, needed: bool) -> str:
    """The text, in brackets where they are needed."""
    return f"({text})" if needed else text


def composed(order: Order, perm: Sequence[int]) -> Order:
    """The order of what is turned once more; None where it is that of the axes as they lie."""
    turned = tuple(perm) if order is None else tuple(order[axis] for axis in perm)
    if turned == tuple(range(len(turned))):
        return None
    return turned


def number(value: float | int | bool | np.generic) -> str:
    """A number in digits that give the same bits: those of a float32 as one."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    exact = float(value)
    if not math.isfinite(exact):
        return "np.nan" if math.isnan(exact) else ("-" * (exact < 0) + "np.inf")
    if exact.is_integer() and abs(exact) < 1e15:
        return str(int(exact)) if exact or math.copysign(1, exact) > 0 else "-0.0"
    with np.errstate(all="ignore"):
        short = np.float32(exact)
    if float(short) == exact and len(str(short)) < len(repr(exact)) - 4:
        return f"np.float32({short!s})"
    return repr(exact)


def as_tuple(numbers: Iterable[int]) -> str:
    """A tuple of whole numbers."""
    words = [str(int(value)) for value in numbers]
    return f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"


def sizes_of(shape: Sequence[int]) -> str:
    """The arguments of ``reshape``."""
    return as_tuple(shape) if shape else "(())"


def reshaped(text: str, shape: Sequence[int]) -> str:
    """The text of an array in another shape; what was a reshape before is none of its own."""
    return re.sub(r"\.reshape\([\d, ]+\)$", "", text) + f".reshape{sizes_of(shape)}"


def listed(numbers: Iterable[float]) -> str:
    """A list of numbers."""
    return f"[{', '.join(number(value) for value in numbers)}]"


def array_text(array: np.ndarray) -> str:
    """An array of one axis in digits, floats in float64."""
    if array.dtype.kind == "f":
        texts = [number(value) for value in array]
        if any(text.startswith("np.float32(") for text in texts):
            digits = ", ".join(str(value) for value in array.astype(np.float32))
            narrow = f"np.array([{digits}], np.float32).astype(float)"
            if np.array_equal(array.astype(np.float32), array):
                return narrow
            return f"np.array([{', '.join(texts)}], float)"
    return f"np.array({listed(array)})"


def shape_words(shape: Sequence[int]) -> str:
    """A shape, for a comment."""
    return as_tuple(shape) if shape else "a number"


def commented(shape: Sequence[int], comment: str) -> str:
    """A shape with what else is said of a value."""
    if comment.startswith(":"):
        return f"{shape_words(shape)}{comment}"
    return joined(shape_words(shape), comment)


def joined(*parts: str) -> str:
    """Parts of a comment."""
    return ", ".join(filter(None, parts))
