"""Which tensors of a Hugging Face directory a tensor of a GGUF file is made of, by gguf's table."""

import re
from collections.abc import Iterable, Iterator

from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, TensorNameMap, get_tensor_name_map

from probe import printable
from probe.errors import CannotOpen

from ..gguf_header import GgufFile

__all__ = ["is_left_out", "name_of", "names_of_architecture", "stem_of"]

_SUFFIXES = (".weight", ".bias")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_LEFT_OUT = re.compile(
    r"rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$|\.attention\.(masked_)?bias$|position_ids$"
)
"""Buffers that follow from the config, which no converter writes."""
_LAYERS = 1 << 12


def names_of_architecture(file: GgufFile) -> TensorNameMap:
    """gguf's table of names; CannotOpen of an architecture that it does not know."""
    found = [arch for arch, name in MODEL_ARCH_NAMES.items() if name == file.architecture]
    if not found:
        shown = printable.name(repr(file.architecture))
        raise CannotOpen(
            f"{file.path} is of the architecture {shown}, which gguf does not know; a newer gguf "
            "may: pip install -U gguf"
        )
    blocks = file.of_architecture("block_count")
    if not isinstance(blocks, int) or not 0 <= blocks <= _LAYERS:
        raise CannotOpen(
            f"{file.path} says that it has {printable.name(str(blocks))} blocks "
            f"({file.architecture}.block_count); 0 to {_LAYERS} are read"
        )
    arch: MODEL_ARCH = found[0]
    return get_tensor_name_map(arch, blocks)


def is_left_out(name: str) -> bool:
    """Whether no converter writes a tensor of this name."""
    return _LEFT_OUT.search(name) is not None


def stem_of(name: str) -> tuple[str, int | None]:
    """A name without the number of its expert, and that number."""
    found = _EXPERT.search(name)
    if found is None:
        return name, None
    return _EXPERT.sub(".experts.", name, count=1), int(found[1])


def name_of(name: str, table: TensorNameMap) -> str | None:
    """The name in a GGUF file of a tensor of Hugging Face's; None where the table has none."""
    return next(
        (found for form in _forms(name) if (found := table.get_name(form, _SUFFIXES))), None
    )


def _forms(name: str) -> Iterator[str]:
    """The ways in which the table may write a name: with and without the prefix of the body."""
    plain = name.replace("language_model.", "", 1)
    for form in _spellings(dict.fromkeys((name, plain))):
        yield form
        for prefix in ("model.", "transformer.", "backbone."):
            yield form.removeprefix(prefix)
            yield prefix + form


def _spellings(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield name
        # Fused experts have no suffix: "mlp.experts.down_proj".
        if ".experts." in name and not name.endswith(_SUFFIXES):
            yield f"{name}.weight"
