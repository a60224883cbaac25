"""Tensors in the text that llama.cpp's eval callback prints: the first and last three elements of
each axis, with four decimals."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

import numpy as np

from probe.errors import BadInput
from probe.files.regular_file import open_file

__all__ = ["PrintedTensor", "holds_printed", "read_printed"]

_HEADER = re.compile(
    rb"(?:cb_eval|ggml_debug): +(\S.*?) = \(\w+\) +([^(]+?)\(.*\) = \{(\d+(?:, \d+){0,3})\}"
)
"""``common_debug_cb_eval:   Qcur-0 = (f32)   MUL_MAT(…) = {64, 6, 1, 1}``."""
_ROW = re.compile(rb"\[([^\[\]]+)\]")
_BEGINNING = 1 << 20
_SIZE = 1 << 31
"""More than an axis has."""


class PrintedTensor(NamedTuple):
    """Some elements of a tensor."""

    operation: str
    shape: tuple[int, ...]
    """In NumPy's order, without the axes of length 1 before all others."""
    places: tuple[np.ndarray, ...]
    """The indices along each axis that are printed."""
    numbers: np.ndarray
    """What is printed there."""
    rounding: float
    """How far a number may be off by the decimals that are left out."""

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)


def holds_printed(file: IO[bytes]) -> bool:
    """Whether a text begins to print tensors within its first MiB."""
    return _HEADER.search(file.read(_BEGINNING)) is not None


def read_printed(path: str, links: bool = True) -> dict[str, PrintedTensor]:
    """The tensors in a text by their names; BadInput where it holds none."""
    with open_file(path, "a text of printed tensors", links=links) as file:
        found = _tensors(file)
    if not found:
        raise BadInput(
            f"{path} holds no tensor that is printed to its end, as llama.cpp's eval callback does"
        )
    return found


def _tensors(lines: Iterable[bytes]) -> dict[str, PrintedTensor]:
    """With the operation behind a name that was printed before. Those that end before all their
    numbers are left out, and what a later pass prints."""
    found: dict[str, PrintedTensor] = {}
    for header, numbers in _blocks(lines):
        operation = header[2].decode("utf-8", "replace").strip()
        name = header[1].decode("utf-8", "replace")
        tensor = _tensor(operation, header[3], numbers)
        if name in found:
            name = f"{name} ({operation})"
        if tensor is not None and name not in found:
            found[name] = tensor
    return found


def _blocks(lines: Iterable[bytes]) -> Iterator[tuple[re.Match[bytes], list[list[bytes]]]]:
    """Each header, and the words of the rows behind it."""
    header: re.Match[bytes] | None = None
    rows: list[list[bytes]] = []
    for line in lines:
        begun = _HEADER.search(line)
        if begun is not None:
            if header is not None:
                yield header, rows
            header, rows = begun, []
        elif header is not None:
            rows += [row.replace(b",", b" ").split() for row in _ROW.findall(line)]
    if header is not None:
        yield header, rows


def _tensor(operation: str, sizes: bytes, rows: list[list[bytes]]) -> PrintedTensor | None:
    shape = tuple(map(int, sizes.split(b", ")))[::-1]
    if not rows or max(shape) >= _SIZE or 0 in shape:
        return None
    first = rows[0]
    ends = first.index(b"...") if b"..." in first else _ENDS
    try:
        numbers = np.array([float(word) for row in rows for word in row if word != b"..."])
    except ValueError:
        return None
    lengths = [*shape[:-3], *(min(length, 2 * ends) for length in shape[-3:])]
    if numbers.size != math.prod(lengths):
        return None
    # of the outermost of four axes all are printed
    places = [*map(np.arange, shape[:-3]), *(_printed(length, ends) for length in shape[-3:])]
    decimals = min(len(word.partition(b".")[2]) for row in rows for word in row if b"..." != word)
    leading = next((axis for axis, length in enumerate(shape) if length > 1), len(shape) - 1)
    kept = places[leading:]
    return PrintedTensor(
        *(operation, shape[leading:], tuple(kept), numbers.reshape([*map(len, kept)])),
        rounding=0.5 * 10.0**-decimals,
    )


_ENDS = 3
"""So many are printed at each end of an axis that has more than twice as many."""


def _printed(length: int, ends: int) -> np.ndarray:
    if length > 2 * ends:
        return np.concatenate([np.arange(ends), np.arange(length - ends, length)])
    return np.arange(length)
