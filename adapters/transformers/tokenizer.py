"""A text as the numbers of its tokens, by the tokenizer.json of a directory."""

from pathlib import Path

from probe.errors import BadInput, CannotOpen, MissingExtra, first_line

__all__ = ["token_ids"]

_FILE, _BYTES = "tokenizer.json", 1 << 27


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
            "a text needs tokenizers, which is not installed: pip install "
            "'layerprobe[transformers]'"
        ) from None
    try:
        tokenizer = Tokenizer.from_file(str(place))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ids: list[int] = tokenizer.encode(text).ids
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what panics in Rust is no Exception
        raise CannotOpen(f"{place} is no tokenizer: {first_line(error)}") from None
    if not ids:
        raise BadInput(f"{place} makes no token of the text {text!r}")
    return ids
