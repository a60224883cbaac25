"""A text as the numbers of its tokens, by the tokenizer.json of a directory."""

import os
from pathlib import Path
from typing import Any

from probe.errors import BadInput, CannotOpen, MissingExtra, first_line
from probe.files.size_limits import most
from probe.process.extras import install
from probe.process.limited_child import limited

__all__ = ["token_ids"]

_FILE, _BYTES = "tokenizer.json", 1 << 27
_ADDED, _OF_A_LETTER = 1_000, 32
"""How many tokens may be made beside those of the text, and of one letter: of its bytes, after a
normalisation that writes it in others."""
_SECONDS, _A_SECOND = 10.0, 1 << 20
"""How long it may take, and for how many bytes of the file and the text a second more."""


def token_ids(folder: Path, text: str) -> list[int]:
    """With the special tokens that the tokenizer adds."""
    place = folder / _FILE
    if not place.is_file():
        raise BadInput(f"{folder} has no {_FILE}, so a text cannot be its input: give input_ids")
    if (size := place.stat().st_size) > _BYTES:
        raise CannotOpen(f"{place} has {size:,} bytes, more than the {_BYTES:,} that are read")
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - a text alone needs it
    except ModuleNotFoundError:
        raise MissingExtra(
            f"a text needs tokenizers, which is not installed: {install('transformers')}"
        ) from None
    ids = limited(
        lambda: _ids(Tokenizer, place, text),
        f"making tokens by {place}",
        memory=most(size + len(text)),
        seconds=_SECONDS + (size + len(text)) / _A_SECOND,
        prepare=lambda: os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"),
    )
    most_tokens = _ADDED + _OF_A_LETTER * len(text)
    if len(ids) > most_tokens:
        raise CannotOpen(
            f"{place} makes {len(ids):,} tokens of a text of {len(text):,} letters, more than the "
            f"limit of {most_tokens:,}"
        )
    if not ids:
        raise BadInput(f"{place} makes no token of the text {text!r}")
    return ids


def _ids(tokenizers: Any, place: Path, text: str) -> list[int]:
    try:
        tokenizer = tokenizers.from_file(str(place))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ids: list[int] = tokenizer.encode(text).ids
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # what panics in Rust is no Exception
        raise CannotOpen(f"{place} is no tokenizer: {first_line(error)}") from None
    return ids
