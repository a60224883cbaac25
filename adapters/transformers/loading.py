"""A directory opened with the class of transformers that wrote it.

What is in a directory is data: code of its own (``auto_map``) runs only with ``trust``, nothing is
downloaded, and what config.json declares is held against what the files hold before memory is taken
for it.
"""

import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import huggingface_hub.constants
import torch
import transformers
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.utils import logging

from probe import printable
from probe.errors import CannotOpen, MissingExtra, NotTrusted, ProbeError, first_line
from probe.files.size_limits import too_much
from probe.process.interrupts import Shared, held_back, interruptible
from probe.process.log_suppression import silenced

from ..torch.loading.file import contents, stored
from ..torch.loading.file import load as load_file
from .directory import CONFIG, Directory

__all__ = ["QUIETLY", "load", "parameters"]

_PRECISIONS = ("float64", "float32", "float16", "bfloat16")
_COUNTED = re.compile(r"(layer|block|depth|stage|expert|head|group|codebook|level|label)s?$")
"""How what config.json gives a number of is named, each of which costs time."""
_MANY, _LABELS = 10_000, 1_000_000
_SPECIAL = ("Infinity", "-Infinity", "NaN")
_KERNELS = ("eager", "sdpa")
"""The implementations of attention that need no package and no kernel from a server."""


def load(
    directory: Directory, trust: bool, imports: Sequence[str] = (), disk: bool = False
) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """The module with its parameters, and what there is to say about it; with ``disk`` accelerate
    reads those of each module while it runs."""
    with held_back(), silenced("", logs=True), QUIETLY, _OFFLINE, interruptible():
        cls, notes = _class(directory, trust)
        config, told = _config(directory, cls, trust)
        _refuse_more_than_the_files_hold(directory, cls, config)
        module, found = _filled(directory, cls, config, trust, imports, disk)
    return module, (*notes, *told, *found)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' own log lines and progress bars."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


QUIETLY = Shared(_quietly)


@contextmanager
def _offline() -> Iterator[None]:
    """No server is asked, whatever config.json names."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


_OFFLINE = Shared(_offline)


def _class(directory: Directory, trust: bool) -> tuple[Any, tuple[str, ...]]:
    """The class that config.json names, of transformers or, with ``trust``, of the directory
    itself."""
    name, place = directory.architecture, directory.path / CONFIG
    own = _own_code(directory, name)
    found: Any = getattr(transformers, name, None) if name in transformers.__all__ else None
    if _is_model(found):
        if found.config_class is None:
            raise CannotOpen(f"{place} names {name}, which is no model of its own but a base class")
        told = (
            f"opened as {name} of transformers {transformers.__version__}, in evaluation mode",
            *((f"{CONFIG} also names code of its own, which was not run",) if own else ()),
        )
        return found, told
    if not own:
        raise CannotOpen(
            f"{place} names the class {printable.name(repr(name))}, which is no model of "
            f"transformers {transformers.__version__}: install the version that wrote it"
            + (f" ({printable.name(version)})" if (version := _version(directory)) else "")
        )
    if not trust:
        raise NotTrusted(
            f"{place} names {printable.name(repr(name))}, code of the directory's own "
            f"({printable.name(own)}): give --trust (trust=True) if you trust its author"
        )
    made = get_class_from_dynamic_module(own, str(directory.path), local_files_only=True)
    return made, (f"opened as {name}, code of the directory's own (--trust), in evaluation mode",)


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, transformers.PreTrainedModel)


def _own_code(directory: Directory, name: str) -> str:
    """What config.json says holds a class of this name, such as "modeling_net.Net", or ""."""
    named = (directory.config or {}).get("auto_map")
    values = list(named.values()) if isinstance(named, Mapping) else []
    values = [one for one in values if isinstance(one, str)]
    return next((one for one in values if one.rpartition(".")[2] == name), "")


def _version(directory: Directory) -> str:
    found = (directory.config or {}).get("transformers_version")
    return found if isinstance(found, str) else ""


def _config(directory: Directory, cls: Any, trust: bool) -> tuple[Any, tuple[str, ...]]:
    """config.json as transformers has it, and what was not taken over from it."""
    place = directory.path / CONFIG
    values = {
        key: value
        for key, value in (directory.config or {}).items()
        if key not in ("auto_map", "fusion_config", "name_or_path", "transformers_weights")
        and not key.startswith("_")
    }
    if directory.dtype and directory.dtype not in _PRECISIONS:
        raise CannotOpen(
            f"{place} asks for the precision {printable.name(repr(directory.dtype))}; "
            f"{', '.join(_PRECISIONS)} can be opened"
        )
    _refuse_endless(directory)
    try:
        config = cls.config_class.from_dict(_decoded(values))
    except Exception as error:  # a config may be wrong in any way
        raise CannotOpen(
            f"{place} is refused by {cls.config_class.__name__}: {first_line(error)}"
        ) from None
    asked = [one for one in _implementations(config) if one not in (None, *_KERNELS)]
    if not asked:
        return config, ()
    config._attn_implementation = "sdpa" if getattr(cls, "_supports_sdpa", False) else "eager"
    return config, (
        f"{CONFIG} asks for the attention {printable.name(repr(asked[0]))}, which is not for this "
        f"CPU: opened with {config._attn_implementation}",
    )


def _decoded(value: Any) -> Any:
    """transformers writes what JSON has no numbers for as {"__float__": "Infinity"}."""
    if isinstance(value, Mapping):
        if value.keys() == {"__float__"} and value["__float__"] in _SPECIAL:
            return float(value["__float__"])
        return {key: _decoded(one) for key, one in value.items()}
    return [_decoded(one) for one in value] if isinstance(value, list) else value


def _implementations(config: Any) -> list[str | None]:
    """Which attention the config and those inside ask for."""
    inner = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    return [
        getattr(config, "_attn_implementation", None),
        *(found for one in inner if one is not None for found in _implementations(one)),
    ]


def _refuse_endless(directory: Directory) -> None:
    """Raises CannotOpen where config.json gives a number of layers and their like that the files
    cannot hold."""
    waiting: list[Any] = [directory.config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            for key, value in one.items():
                sizes = value if isinstance(value, list) else [value]
                most = max((n for n in sizes if isinstance(n, int | float)), default=0)
                limit = _LABELS if "label" in key else _MANY
                if _COUNTED.search(key) and most > limit:
                    raise CannotOpen(
                        f"{directory.path / CONFIG} gives {printable.name(key)} as {most:,}, more "
                        f"than the {limit:,} that are built"
                    )
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _refuse_more_than_the_files_hold(directory: Directory, cls: Any, config: Any) -> None:
    """Raises CannotOpen where the module would take far more memory than the files: built without
    memory first."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            empty = cls(config)
    except ProbeError:
        raise
    except Exception as error:
        raise CannotOpen(
            f"{directory.path}: {cls.__name__} cannot be built from {CONFIG}: {first_line(error)}"
        ) from None
    tensors = {id(one): one for one in (*empty.parameters(), *empty.buffers())}
    wanted = sum(one.numel() * one.element_size() for one in tensors.values())
    holds = sum(file.stat().st_size for file in directory.files)
    if too_much(wanted, holds):
        raise CannotOpen(
            f"{directory.path / CONFIG} describes a model of {wanted:,} bytes, but its files have "
            f"{holds:,}: they do not belong together"
        )


def _filled(
    directory: Directory,
    cls: Any,
    config: Any,
    trust: bool,
    imports: Sequence[str],
    disk: bool,
) -> tuple[torch.nn.Module, tuple[str, ...]]:
    state = _state(directory, trust, imports)
    options: dict[str, Any] = (
        {"state_dict": state} if state is not None else {"use_safetensors": True}
    )
    # what transformers does not take as it is in the files, such as merged experts, it writes there
    written = _folder_on_disk() if disk else None
    if written is not None:
        options |= {"device_map": {"": "disk"}, "offload_folder": written.name}
    with torch.random.fork_rng(devices=[]):
        try:
            module, info = cls.from_pretrained(
                None if state is not None else str(directory.path),
                config=config,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
        except Exception as error:
            what = (
                f"is quantised ({printable.name(directory.quantisation)}), which cannot be opened "
                "here"
                if directory.quantisation
                else f"cannot be opened as {cls.__name__}"
            )
            raise CannotOpen(f"{directory.path} {what}: {first_line(error)}") from None
    _refuse_misfit(directory, cls, info)
    if written is not None:
        weakref.finalize(module, written.cleanup)
    return module, tuple(_notes(directory, module, info, state))


def _folder_on_disk() -> "TemporaryDirectory[str]":
    if find_spec("accelerate") is None:
        raise MissingExtra(
            "reading parameters from the disk while they are needed takes accelerate, which is not "
            "installed: pip install 'layerprobe[transformers]'"
        )
    return TemporaryDirectory(prefix="probe")


def _state(
    directory: Directory, trust: bool, imports: Sequence[str]
) -> dict[str, torch.Tensor] | None:
    """The parameters, where transformers does not find the files by their names, or would unpickle
    them itself."""
    named_so = directory.index or [file.name for file in directory.files] == ["model.safetensors"]
    if not directory.pickled and named_so:
        directory.tensors  # noqa: B018 - reads and checks the headers
        return None
    return parameters(directory, trust, imports)


def parameters(
    directory: Directory, trust: bool, imports: Sequence[str]
) -> dict[str, torch.Tensor]:
    """All parameters by name; pickles go through the restricted unpickler of PyTorch files."""
    if not directory.pickled:
        directory.tensors  # noqa: B018 - reads and checks the headers
        return stored(directory.files)
    found: dict[str, torch.Tensor] = {}
    for file in directory.files:
        state, _ = contents(file, load_file(file, trust, imports))
        if isinstance(state, torch.nn.Module):
            raise CannotOpen(f"{file} is a whole pickled module: open that file itself")
        found.update(state)
    return found


def _refuse_misfit(directory: Directory, cls: Any, info: Mapping[str, Any]) -> None:
    """Raises CannotOpen where parameters were not in the files, or in another shape: transformers
    draws them at random."""
    wrong = [
        f"{name} (file {tuple(file)}, {cls.__name__} {tuple(module)})"
        for name, file, module in sorted(info["mismatched_keys"])
    ]
    missing = sorted(info["missing_keys"])
    parts = [
        f"{word} {printable.several(names, 3)}"
        for word, names in (("missing", missing), ("with another shape", wrong))
        if names
    ]
    if parts:
        raise CannotOpen(
            f"the files of {directory.path} do not fit {cls.__name__}: {'; '.join(parts)}"
        )


def _notes(
    directory: Directory,
    module: Any,
    info: Mapping[str, Any],
    state: Mapping[str, torch.Tensor] | None,
) -> Iterator[str]:
    if directory.quantisation:
        yield f"{CONFIG} says that it is quantised: {printable.name(directory.quantisation)}"
    held = {name: str(one.dtype).removeprefix("torch.") for name, one in (state or {}).items()} or {
        name: one.dtype for name, one in directory.tensors.items()
    }
    tied = getattr(module, "all_tied_weights_keys", None) or {}
    absent = [(name, source) for name, source in tied.items() if name not in held]
    if absent:
        told = printable.several((f"{name} is {source}" for name, source in absent), 3)
        yield f"tied weights, which the files hold once: {told}"
    stored = {one for one in held.values() if one.startswith(("float", "bfloat"))}
    used = {
        str(one.dtype).removeprefix("torch.")
        for one in module.parameters()
        if one.is_floating_point()
    }
    if stored != used and not directory.quantisation:
        yield (
            f"the files hold {' and '.join(sorted(stored)) or 'no floats'}; it computes in "
            f"{' and '.join(sorted(used))}"
            + (f", which {CONFIG} asks for" if directory.dtype in used else "")
        )
    if info["unexpected_keys"]:
        names = printable.several(sorted(info["unexpected_keys"]), 3)
        yield f"{type(module).__name__} does not use these tensors of the files: {names}"
