"""Lines of C: comments, loops, and the digits of tables."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from probe import printable

__all__ = [
    "axis_letters",
    "comment",
    "indented",
    "nest",
    "numbers",
    "plus",
    "point",
    "scaled",
    "times",
    "told",
]


def point(exponent: int) -> str:
    """Where the point lies, in words."""
    if exponent > 0:
        return f"integer * 2^{exponent} ({exponent} zeros before the point are left out)"
    bits = "bit" if exponent == -1 else "bits"
    where = f"{-exponent} {bits} behind the point" if exponent else "no bits behind the point"
    return f"integer * 2^{exponent} ({where})"


def times(text: str, factor: int) -> str:
    """A product with a constant."""
    if factor == 1:
        return text
    return f"{text} * {factor}"


def scaled(text: str, factor: int, ctype: str) -> str:
    """A product with a constant of an element, in the type that holds it."""
    if factor != 1 and ctype == "int64_t":
        text = f"(int64_t){text}"
    return times(text, factor)


def plus(text: str, number: int) -> str:
    """A sum with a constant."""
    if number < 0:
        return f"{text} - {-number}"
    return f"{text} + {number}" if number else text


def axis_letters(rank: int) -> tuple[str, ...]:
    """Names of the indices of an array."""
    letters = ("b", "c", "h", "w", "d")
    if rank > len(letters):
        return tuple(f"i{axis}" for axis in range(rank))
    return letters[:rank]


def nest(loops: Iterable[tuple[str, int]], body: Sequence[str]) -> list[str]:
    """Loops within one another around a body."""
    lines, depth = [], 0
    for letter, size in loops:
        lines.append(f"{'  ' * depth}for (int {letter} = 0; {letter} < {size}; {letter}++) {{")
        depth += 1
    lines += ["  " * depth + line for line in body]
    while depth:
        depth -= 1
        lines.append(f"{'  ' * depth}}}")
    return lines


def indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" if line else line for line in lines]


def told(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def comment(text: str) -> list[str]:
    """Text of a file as a comment, which it can neither end nor begin again."""
    text = text.replace("*/", "* /").replace("/*", "/ *").replace("??/", "? ?/")
    plain = printable.line(text, 1200)
    lines, left = list[str](), plain
    while len(left) > 94:
        cut = max(left.rfind(" ", 0, 94), 0) or 94
        lines.append(left[:cut])
        left = left[cut:].strip()
    lines.append(left)
    return [
        f"{'/* ' if not k else '   '}{line}{' */' if k == len(lines) - 1 else ''}"
        for k, line in enumerate(lines)
    ]


def numbers(codes: np.ndarray) -> Iterator[str]:
    flat = [str(code) for code in codes.ravel().tolist()]
    per_line = max(1, 96 // (max(map(len, flat)) + 2))
    for start in range(0, len(flat), per_line):
        yield f"  {', '.join(flat[start : start + per_line])},"
