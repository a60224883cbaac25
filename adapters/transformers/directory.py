"""What a Hugging Face directory says of its model without transformers or PyTorch: config.json, and
the headers of its .safetensors files."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from probe import printable
from probe.errors import CannotOpen
from probe.files.regular_file import exists, is_file, read_file
from probe.listing import Layer, Listing

from ..safetensors_files import StoredTensor, headers, indexed, json_object, same_set

__all__ = ["CONFIG", "Directory", "listing", "read"]

CONFIG, _ADAPTER = "config.json", "adapter_config.json"
_GENERATION = "generation_config.json"
"""transformers reads it whole, whatever its size."""
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED, _PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_HEADS = re.compile(r"ForCausalLM|LMHead|ForConditionalGeneration|ForMaskedLM|ForPreTraining")
_HEAD = re.compile(r"lm_head|embed_out|output_layer|decoder\.weight|predictions|generator_lm_head")


@dataclass(frozen=True)
class Directory:
    """A directory as far as it is read without a framework."""

    path: Path
    config: Mapping[str, Any] | None
    """config.json, or None where there is none."""
    files: tuple[Path, ...]
    """Those that hold the parameters."""
    index: bool
    """Whether an index names them."""

    @property
    def pickled(self) -> bool:
        """Whether the parameters are pickles, which say nothing before they are loaded."""
        return self.files[0].suffix == ".bin"

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """All that the .safetensors files hold."""
        if self.pickled:
            return {}
        return headers(self.files)

    @property
    def architecture(self) -> str:
        """The name of the class that config.json says wrote it."""
        place = self.path / CONFIG
        if self.config is None:
            raise CannotOpen(
                f"{self.path} has .safetensors files but no {CONFIG}: give what builds the module, "
                "--factory 'package.module:Net' (factory= in Python)"
            )
        if not self.classes:
            raise CannotOpen(
                f'{place} names no architectures, such as ["LlamaForCausalLM"]: add the class '
                "that wrote it, or give what builds the module, --factory 'package.module:Net' "
                "(factory= in Python)"
            )
        return self.classes[0]

    @property
    def classes(self) -> list[str]:
        """The names of the classes that config.json says wrote it."""
        named = (self.config or {}).get("architectures")
        if isinstance(named, list):
            return [name for name in named if isinstance(name, str)]
        return []

    @property
    def quantisation(self) -> str:
        """What quantised the parameters, such as "gptq, 4 bits", or ""."""
        found = (self.config or {}).get("quantization_config")
        if not isinstance(found, Mapping):
            return ""
        bits = found.get("bits")
        method = found.get("quant_method") or (
            "bitsandbytes" if "load_in_4bit" in found or "load_in_8bit" in found else "unknown"
        )
        if isinstance(bits, int):
            return f"{method}, {bits} bits"
        return str(method)

    @property
    def dtype(self) -> str:
        """The precision that config.json asks for, such as "bfloat16", or ""."""
        config = self.config or {}
        found = config.get("dtype", config.get("torch_dtype"))
        if isinstance(found, str):
            return found.removeprefix("torch.")
        return ""


def read(path: Path) -> Directory:
    """The directory; CannotOpen with one sentence where it holds no model, or not all of it."""
    if exists(path / _ADAPTER):
        raise CannotOpen(
            f"{path} holds an adapter of PEFT ({_ADAPTER}): merge it into its model "
            "(merge_and_unload) and save that, or open it live from Python"
        )
    config = json_object(path / CONFIG) if exists(path / CONFIG) else None
    if exists(path / _GENERATION):
        read_file(path / _GENERATION, "a JSON file", error=CannotOpen)
    for name, index in ((_WHOLE, _INDEX), ("", ""), (_PICKLED, _PICKLED_INDEX)):
        if not name:
            others = sorted(path.glob("*.safetensors"))
            if others:
                sets = {tuple(same_set(other)) for other in others}
                files = sorted({file for names in sets for file in names})
                return Directory(path, config, tuple(files), False)
        elif is_file(path / name):
            return Directory(path, config, (path / name,), False)
        elif is_file(path / index):
            return Directory(path, config, tuple(indexed(path / index)), True)
    raise CannotOpen(
        f"{path} has a {CONFIG} but no parameters: neither *.safetensors nor {_PICKLED}"
    )


def listing(directory: Directory) -> Listing:
    """The modules that the files hold tensors of, and what config.json says of the whole."""
    modules: dict[str, dict[str, StoredTensor]] = {}
    for name, stored in directory.tensors.items():
        module, _, last = name.rpartition(".")
        modules.setdefault(module, {})[last] = stored
    layers = tuple(
        Layer(
            name,
            printable.several((_shown(last, tensor) for last, tensor in held.items()), 3),
            parameters=sum(math.prod(tensor.shape) for tensor in held.values()),
        )
        for name, held in sorted(modules.items(), key=lambda item: _natural(item[0]))
    )
    return Listing(layers, "tensors", operations=True, notes=tuple(_notes(directory)))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts layers.2 before layers.10."""
    return [
        (part.isdigit(), int(part) if part.isdigit() else 0, part)
        for part in re.split(r"(\d{1,9})", name)
    ]


def _shown(name: str, stored: StoredTensor) -> str:
    return f"{name} {stored.shape} {stored.dtype}".replace(",)", ")")


def _notes(directory: Directory) -> list[str]:
    tensors = directory.tensors
    total = sum(math.prod(tensor.shape) for tensor in tensors.values())
    count = len(directory.files)
    notes = [
        f"{total:,} parameters in {count} {'file' if count == 1 else 'files'}"
        f" ({', '.join(sorted({tensor.dtype for tensor in tensors.values()}))})"
    ]
    if directory.config is None:
        return notes
    if directory.classes:
        notes.insert(0, f"{CONFIG} names the class {printable.several(directory.classes, 3)}")
    if directory.dtype:
        notes.append(f"{CONFIG} asks for the precision {printable.name(directory.dtype)}")
    if directory.quantisation:
        notes.append(
            f"{CONFIG} says that it is quantised: {printable.name(directory.quantisation)}"
        )
    if tied := _tied(directory):
        notes.append(tied)
    return notes


def _tied(directory: Directory) -> str:
    """What is said of an output layer that has no tensor of its own."""
    config, tensors = directory.config or {}, directory.tensors
    if (
        not any(map(_HEADS.search, directory.classes[:1]))
        or config.get("tie_word_embeddings") is False
        or any(_HEAD.search(name) for name in tensors)
    ):
        return ""
    inner = config.get("text_config")
    rows = (config, inner if isinstance(inner, Mapping) else {})
    sizes = [row.get("vocab_size") for row in rows]
    table = next(
        (
            name
            for name, tensor in tensors.items()
            if len(tensor.shape) == 2 and tensor.shape[0] in sizes
        ),
        "",
    )
    if table:
        return f"the output layer has no tensor of its own: it is tied to {printable.name(table)}"
    return ""
