"""Which .safetensors files of a folder make one set of tensors, and what their headers say.

Without PyTorch: a header is a few kilobytes of JSON, which safetensors reads and checks without
the numbers behind it.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from probe import printable
from probe.errors import CannotOpen, first_line
from probe.files.regular_file import is_file, open_file, read_json

__all__ = ["StoredTensor", "headers", "indexed", "json_object", "same_set"]

_HEADER = 1 << 25
"""The longest header that is read; that of 91,000 tensors has 9 MiB."""
_NUMBERED = re.compile(r"(.*)-(\d{1,6})-of-(\d{1,6})\.safetensors")
_TYPES = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}


class StoredTensor(NamedTuple):
    """One tensor of a file, as its header has it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def headers(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """All tensors of the files by name; CannotOpen where a file is broken, or two hold the same."""
    found: dict[str, StoredTensor] = {}
    for file in files:
        for name, stored in _header(file).items():
            if name in found:
                raise CannotOpen(
                    f"{found[name].file.name} and {file.name} both hold a tensor "
                    f"{printable.name(repr(name))}: say which file is the model's with an index, "
                    "model.safetensors.index.json"
                )
            found[name] = stored
    return found


def _header(file: Path) -> dict[str, StoredTensor]:
    with open_file(file, "a .safetensors file", CannotOpen) as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > _HEADER:
        raise CannotOpen(
            f"{file} is not a .safetensors file, or its header of {length:,} bytes is longer than "
            f"the {_HEADER:,} that are read"
        )
    try:
        with safe_open(file, framework="numpy") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}
            return {
                name: StoredTensor(file, tuple(part.get_shape()), _type(part.get_dtype()))
                for name, part in slices.items()
            }
    except (SafetensorError, OSError, ValueError) as error:
        raise CannotOpen(broken(file, error)) from None


def broken(file: Path, error: Exception) -> str:
    """What is said of a file that safetensors cannot read."""
    words = f"{file} is a broken .safetensors file"
    if not isinstance(error, SafetensorError):
        return f"{words}: {first_line(error)}"
    return (
        f"{words}: its {file.stat().st_size:,} bytes are not what its header says; copy or "
        "download it once more"
    )


def _type(name: str) -> str:
    return _TYPES.get(name, name.lower())


def indexed(index: Path) -> list[Path]:
    """The files that an index names, in order; CannotOpen where one is missing, outside the folder,
    or lacks what the index says it has."""
    weights = json_object(index).get("weight_map")
    if not isinstance(weights, Mapping) or not weights:
        raise CannotOpen(f"{index} has no weight_map from tensors to files")
    names = set()
    for name in weights.values():
        if not isinstance(name, str) or Path(name).name != name or name in (".", "..", ""):
            raise CannotOpen(
                f"{index} names the file {printable.name(repr(name))}, which is not one of its "
                "own folder"
            )
        names.add(name)
    files = [index.parent / name for name in sorted(names)]
    missing = [file.name for file in files if not is_file(file)]
    if missing:
        raise CannotOpen(
            f"{index} names {len(files)} file{'s' * (len(files) > 1)}, of which "
            f"{printable.several(missing, 3)} {'is' if len(missing) == 1 else 'are'} missing: "
            "download all of them"
        )
    if index.name.endswith(".safetensors.index.json"):
        stored = headers(files)
        for tensor, name in weights.items():
            if tensor not in stored or stored[tensor].file.name != name:
                raise CannotOpen(
                    f"{index} says that {name} holds {printable.name(repr(tensor))}, but it does "
                    "not: the files do not belong together"
                )
    return files


def same_set(file: Path) -> list[Path]:
    """The files that a shard, ``model-00001-of-00003.safetensors``, belongs to, itself among them;
    any other file alone."""
    numbered = _NUMBERED.fullmatch(file.name)
    if not numbered:
        return [file]
    stem, digits, count = numbered[1], len(numbered[2]), int(numbered[3])
    here = sum(
        (found := _NUMBERED.fullmatch(path.name)) is not None
        and (found[1], found[3]) == (stem, numbered[3])
        for path in file.parent.iterdir()
    )
    names = [
        f"{stem}-{number:0{digits}}-of-{numbered[3]}.safetensors"
        for number in range(1, min(count, here + 3) + 1)
    ]
    missing = [name for name in names if not is_file(file.parent / name)]
    if missing:
        raise CannotOpen(
            f"{file} is one of {count:,} files, of which {missing[0]} is missing: download all "
            "of them"
        )
    return [file.parent / name for name in names]


def json_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file; CannotOpen where it is something else."""
    found = read_json(file, CannotOpen)
    if not isinstance(found, dict):
        raise CannotOpen(f"{file} is not a JSON object")
    return found
