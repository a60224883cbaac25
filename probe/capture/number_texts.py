"""Texts of numbers, as programs write them; BadInput with the line and the word that is none."""

from io import TextIOWrapper
from typing import IO

import numpy as np

from probe import printable
from probe.errors import BadInput

__all__ = ["rows", "words"]


def rows(file: IO[bytes], path: str, delimiter: str | None) -> np.ndarray:
    """A text of rows of numbers, as ``numpy.loadtxt`` reads it; by name that would also fetch a
    URL, and unpack."""
    with TextIOWrapper(file, encoding="utf-8") as text:
        if not any(line.partition("#")[0].strip() for line in text):
            raise BadInput(f"{path} contains no numbers")
        text.seek(0)
        try:
            return np.loadtxt(text, delimiter=delimiter, ndmin=1)
        except ValueError:
            text.seek(0)
            raise BadInput(_no_rows(text, path, delimiter)) from None


def words(file: IO[bytes], path: str) -> np.ndarray:
    """The numbers of a text between blanks or commas, as programs in C write them."""
    text = file.read()
    try:
        found = text.decode("ascii").replace(",", " ").split()
    except UnicodeDecodeError:
        raise BadInput(
            f"{path} is not text; if it holds numbers as bytes, name it .bin and give --dtype"
        ) from None
    wrong = next((word for word in found if not _is_number(word)), None)
    if wrong is not None:
        raise BadInput(
            f"{path} holds {printable.name(repr(wrong))} where a number is expected: it may hold "
            "numbers alone, between blanks or commas"
        )
    return np.array(list(map(float, found)))


def _no_rows(text: IO[str], path: str, delimiter: str | None) -> str:
    """Which line of a text is no row of numbers, and how it becomes one."""
    width = 0
    for number, line in enumerate(text, 1):
        row = line.partition("#")[0].strip()
        found = row.split(delimiter) if row else []
        wrong = next((word for word in found if not _is_number(word)), None)
        if wrong is not None:
            hint = "begin a line that is no row of numbers with #"
            if delimiter is None and _is_number(wrong.replace(",", "")):
                hint = "numbers between commas are read from a file named .csv"
            elif _is_number(wrong.replace(";", "")):
                hint = "separate the numbers by commas"
            return (
                f"line {number} of {path} holds {printable.name(repr(wrong.strip()))} where a "
                f"number is expected: {hint}"
            )
        if found and width not in (0, len(found)):
            return (
                f"line {number} of {path} has another number of columns ({len(found)}) than the "
                f"lines before it ({width}): name it .dat to read all numbers in a row"
            )
        width = len(found) or width
    return f"{path} cannot be read as rows of numbers"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
