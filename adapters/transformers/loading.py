"""A directory opened with the class of transformers that wrote it.

What is in a directory is data: code of its own (``auto_map``) runs only with ``trust``, nothing is
downloaded, and what config.json declares is held against what the files hold before memory is taken
for it.
"""

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
from probe.errors import CannotOpen, MissingExtra, NotTrusted
from probe.process.extras import install
from probe.process.interrupts import Shared, held_back, interruptible
from probe.process.log_suppression import silenced

from ..torch.loading.file import contents, stored
from ..torch.loading.file import load as load_file
from . import own_code
from .config import code_within
from .config import made as config_of
from .directory import CONFIG, Directory
from .empty_module import refuse_more_than_the_files_hold
from .reason import reason

__all__ = ["QUIETLY", "load", "parameters"]


def load(
    directory: Directory, trust: bool, imports: Sequence[str] = (), disk: bool = False
) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """The module with its parameters, and what there is to say about it; with ``disk`` accelerate
    reads those of each module while it runs."""
    with (
        held_back(),
        silenced("", logs=True),
        QUIETLY,
        _OFFLINE,
        own_code.not_run(directory, trust),
        interruptible(),
    ):
        cls, notes = _class(directory, trust)
        own = not cls.__module__.startswith(transformers.__name__ + ".")
        refuse_more_than_the_files_hold(directory, cls, own)
        config, told = config_of(directory, cls, own)
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
        others = [own] if own else list(code_within(directory.config))
        if found.config_class is None:
            raise CannotOpen(f"{place} names {name}, which is no model of its own but a base class")
        told = (
            f"opened as {name} of transformers {transformers.__version__}, in evaluation mode",
            *((f"{CONFIG} also names code of its own, which was not run",) if others else ()),
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
    try:
        made = get_class_from_dynamic_module(own, str(directory.path), local_files_only=True)
    except Exception as error:
        raise CannotOpen(
            f"{place} names {printable.name(repr(name))}, and {printable.name(own)} of the "
            f"directory cannot be imported: {reason(error)}"
        ) from None
    return made, (
        f"opened as {name}, code of the directory's own (trust=True, --trust), in evaluation mode",
    )


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, transformers.PreTrainedModel)


def _own_code(directory: Directory, name: str) -> str:
    """What config.json says holds a class of this name, such as "modeling_net.Net", or ""."""
    named = (directory.config or {}).get("auto_map")
    values = list(named.values()) if isinstance(named, Mapping) else []
    values = [value for value in values if isinstance(value, str)]
    return next((value for value in values if value.rpartition(".")[2] == name), "")


def _version(directory: Directory) -> str:
    found = (directory.config or {}).get("transformers_version")
    if isinstance(found, str):
        return found
    return ""


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
            what = f"cannot be opened as {cls.__name__}"
            if directory.quantisation:
                kind = printable.name(directory.quantisation)
                what = f"is quantised ({kind}), which cannot be opened here"
            raise CannotOpen(f"{directory.path} {what}: {reason(error)}") from None
    _refuse_misfit(directory, cls, info)
    if written is not None:
        weakref.finalize(module, written.cleanup)
    return module, tuple(_notes(directory, module, info, state))


def _folder_on_disk() -> "TemporaryDirectory[str]":
    if find_spec("accelerate") is None:
        raise MissingExtra(
            "reading parameters from the disk while they are needed takes accelerate, which is not "
            f"installed: {install('transformers')}"
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
    held = {
        name: str(tensor.dtype).removeprefix("torch.") for name, tensor in (state or {}).items()
    } or {name: tensor.dtype for name, tensor in directory.tensors.items()}
    tied = getattr(module, "all_tied_weights_keys", None) or {}
    absent = [(name, source) for name, source in tied.items() if name not in held]
    if absent:
        told = printable.several((f"{name} is {source}" for name, source in absent), 3)
        yield f"tied weights, which the files hold once: {told}"
    stored = {kind for kind in held.values() if kind.startswith(("float", "bfloat"))}
    used = {
        str(parameter.dtype).removeprefix("torch.")
        for parameter in module.parameters()
        if parameter.is_floating_point()
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
