"""The tensors of a GGUF file beside those of a Hugging Face directory, or of another GGUF file,
that they were made of."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from probe.command_line import joined
from probe.errors import BadInput
from probe.files.regular_file import is_folder
from probe.model_comparison.weight_files import ConvertedTensor, RowValues, StoredRows, WeightFiles

from .. import gguf_header as header
from ..gguf_header import GgufFile, GgufTensor
from ..safetensors_files import StoredTensor
from ..transformers.directory import Directory
from ..transformers.directory import read as read_directory
from . import row_views
from .conversions import Conversion, HeadCounts, conversion, heads_of
from .names import is_left_out, name_of, names_of_architecture, stem_of
from .rope_factors import rope_factors
from .settings import differing
from .values import read_rows

__all__ = ["weight_files"]

_OUTPUT, _EMBEDDING = "output.weight", "token_embd.weight"


def weight_files(a: Path, b: Path) -> WeightFiles:
    """What is compared of A, a directory or a GGUF file, and B, a GGUF file."""
    if is_folder(b):
        raise BadInput(
            f"{b} is a folder, and {a} a GGUF file: give the directory first and the GGUF file "
            f"second, which is what was converted: {joined(['probe', 'compare', str(b), str(a)])}"
        )
    file = header.read(b)
    if not is_folder(a):
        return _of_two_files(header.read(a), file)
    directory = read_directory(a)
    if directory.pickled:
        raise BadInput(
            f"{a} holds pickles, whose weights cannot be read a part at a time: save the model "
            "with save_pretrained(), which writes .safetensors"
        )
    return _of_directory(directory, file)


def _of_two_files(a: GgufFile, b: GgufFile) -> WeightFiles:
    tensors = tuple(
        ConvertedTensor(
            (name,), name, tensor.shape, tensor.type.name, _rows(found), _reader(tensor)
        )
        for name, tensor in b.tensors.items()
        if (found := a.tensors.get(name)) is not None
    )
    missing = tuple((name, name) for name in a.tensors if name not in b.tensors)
    left = tuple(name for name in b.tensors if name not in a.tensors)
    return WeightFiles(str(a.path), str(b.path), tensors, (), missing, ((), left))


def _rows(tensor: GgufTensor) -> StoredRows:
    return StoredRows(
        tensor.rows, tensor.shape[-1], lambda start, stop: read_rows(tensor, start, stop).values
    )


def _reader(tensor: GgufTensor) -> Callable[[int, int], RowValues]:
    return lambda start, stop: read_rows(tensor, start, stop)


class _Source(NamedTuple):
    """The tensors of A that one of B is made of."""

    names: tuple[str, ...]
    rows: StoredRows
    turned: StoredRows | None


def _of_directory(directory: Directory, file: GgufFile) -> WeightFiles:
    config = directory.config or {}
    sources, unnamed = _sources(directory, file)
    notes: tuple[str, ...] = ()
    if _OUTPUT in file.tensors and _OUTPUT not in sources and _EMBEDDING in sources:
        sources[_OUTPUT] = sources[_EMBEDDING]
    elif _OUTPUT in sources and _OUTPUT not in file.tensors and config.get("tie_word_embeddings"):
        del sources[_OUTPUT]
        notes = (f"B holds no {_OUTPUT}: it uses {_EMBEDDING} for it, as A ties the two",)
    for name, rows in rope_factors(config):
        sources.setdefault(name, _Source(("the rope scaling of config.json",), rows, None))
        if name not in file.tensors:
            del sources[name]
            notes = (*notes, f"B holds no {name}, which a converter works out of the config")
    heads = heads_of(file, config)
    tensors = tuple(
        _converted(sources[name], tensor, file.architecture, heads)
        for name, tensor in file.tensors.items()
        if name in sources
    )
    missing = tuple(
        (" and ".join(source.names[:2]), name)
        for name, source in sources.items()
        if name not in file.tensors
    )
    left = tuple(name for name in file.tensors if name not in sources)
    settings = tuple(differing(file, config))
    return WeightFiles(
        *(str(directory.path), str(file.path), tensors, settings, missing),
        unpaired=(tuple(unnamed), left),
        notes=notes,
    )


def _sources(directory: Directory, file: GgufFile) -> tuple[dict[str, _Source], list[str]]:
    """What B's tensors are made of, by their names; and A's that have no name in GGUF."""
    table = names_of_architecture(file)
    grouped: dict[str, list[tuple[int, str]]] = {}
    unnamed = []
    for name in directory.tensors:
        stem, expert = stem_of(name)
        named = name_of(stem, table)
        if named is not None:
            grouped.setdefault(named, []).append((-1 if expert is None else expert, name))
        elif not is_left_out(name):
            unnamed.append(name)
    return {
        named: _source([name for _, name in sorted(parts)], directory.tensors)
        for named, parts in grouped.items()
    }, unnamed


def _source(names: list[str], tensors: Mapping[str, StoredTensor]) -> _Source:
    parts = [row_views.stored(name, tensors[name]) for name in names]
    if len(parts) > 1:
        return _Source(tuple(names), row_views.joined(parts), None)
    tensor = tensors[names[0]]
    turned = None
    if len(tensor.shape) == 2:
        turned = row_views.transposed(names[0], tensor)
    return _Source(tuple(names), parts[0], turned)


def _converted(
    source: _Source, tensor: GgufTensor, architecture: str, heads: HeadCounts
) -> ConvertedTensor:
    made = conversion(tensor.name, source.rows, source.turned, architecture, heads)
    made = _flattened(made, tensor)
    return ConvertedTensor(
        *(source.names, tensor.name, tensor.shape, tensor.type.name, made.expected),
        *(_reader(tensor), made.others, made.unknown),
    )


def _flattened(made: Conversion, tensor: GgufTensor) -> Conversion:
    """Of a convolution's kernel, whose axes of length 1 ggml leaves out, the rows in B's shape."""
    rows = made.expected
    if rows is None or rows.width == tensor.shape[-1] or rows.width != 1:
        return made
    if rows.count != tensor.rows * tensor.shape[-1]:
        return made
    width = tensor.shape[-1]

    def read(start: int, stop: int) -> Any:
        return rows.read(start * width, stop * width).reshape(-1, width)

    return made._replace(expected=StoredRows(tensor.rows, width, read))
