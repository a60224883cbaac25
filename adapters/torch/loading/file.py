"""What a PyTorch file holds: a state_dict, alone or inside a checkpoint, or a whole pickled module.

Unpickling a module runs code of the file's choosing. So the classes that a file names are read from
its opcodes first, and without ``trust`` only PyTorch's restricted unpickler ever sees it.
"""

import io
import mmap
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from probe import printable
from probe.errors import BadInput, CannotOpen, NotTrusted, first_line
from probe.files.regular_file import open_file
from probe.process.interrupts import held_back, interruptible
from probe.process.log_suppression import silenced

from ...safetensors_files import broken, headers, same_set
from ...user_modules import import_all, import_option
from ..capture.exported_program import load_program

__all__ = ["contents", "load", "stored"]

_KEYS = ("state_dict", "model_state_dict", "model")
_SCALARS = (
    np.float16,
    np.float32,
    np.float64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.bool_,
)
_DAMAGES: dict[type[Exception], str] = {
    AssertionError: "it refers to a tensor in another form than torch.save writes",
    EOFError: "it ends too early",
    IndexError: "it takes an object where it has made none",
    KeyError: "it refers to an object that it does not contain",
}
"""What the unpicklers of Python and PyTorch raise on pickles that nobody wrote."""


def load(path: Path, trust: bool, imports: Sequence[str], built: bool = False) -> Any:
    """The object in the file, on the CPU; of trusted TorchScript its state_dict, where a factory
    builds the module (``built``)."""
    with open_file(path, "a PyTorch file", CannotOpen) as file:
        head = file.read(9)
    if _is_safetensors(head, path):
        return stored(same_set(path))
    if head[:2] == b"PK":
        kind = _archive(path)
    elif head[:1] == b"\x80":
        kind = "pickle"
    else:
        kind = ""
    if not kind:
        raise CannotOpen(f"{path} is not a file written by torch.save, nor a .safetensors file")
    if kind == "program":
        return load_program(path, trust)
    if kind == "script":
        return _scripted(path, trust, built)
    # of TypedStorage, which quantised tensors are pickled with
    with held_back(), silenced(""), interruptible():
        if trust:
            return _trusted(path, imports)
        return _restricted(path)


def stored(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The tensors of .safetensors files that are one set."""
    if len(files) > 1:
        headers(files)  # refuses files that hold the same
    found: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            found.update(load_file(file))
        except SafetensorError as error:
            raise CannotOpen(broken(Path(file), error)) from None
    return found


def _is_safetensors(head: bytes, path: Path) -> bool:
    """Eight bytes of length and then a JSON object of that length."""
    return (
        len(head) == 9
        and head[8:] == b"{"
        and struct.unpack("<Q", head[:8])[0] <= path.stat().st_size
    )


def _archive(path: Path) -> str:
    """What an archive holds: a "checkpoint", TorchScript ("script") or an exported "program"."""
    try:
        with (
            open_file(path, "a PyTorch file", CannotOpen) as file,
            zipfile.ZipFile(file) as archive,
        ):
            names = {name.partition("/")[2] for name in archive.namelist()} | set(
                archive.namelist()
            )
    except zipfile.BadZipFile:
        raise CannotOpen(f"{path} is a broken or truncated archive") from None
    if (
        "archive_format" in names
        or "serialized_exported_program.json" in names
        or any(name.endswith("models/model.json") for name in names)
    ):
        return "program"
    if any(name.startswith("code/") or name == "constants.pkl" for name in names):
        return "script"
    if "data.pkl" not in names:
        raise CannotOpen(f"{path} is a zip archive, but not one that torch.save wrote")
    return "checkpoint"


def _scripted(path: Path, trust: bool, built: bool) -> Any:
    """A TorchScript archive: its parameters alone where a factory builds the module, else the
    module.

    Its code runs as it is loaded (``__setstate__``), also where only the parameters are wanted.
    """
    if not trust:
        raise NotTrusted(
            f"{path} is TorchScript, whose code runs when it is opened: give --trust "
            "(trust=True) if you trust its author, or save the original module's "
            "state_dict() and open that with factory= (--factory)"
        )
    try:
        # of torch.jit.load itself, which is deprecated
        with held_back(), silenced(""), interruptible():
            loaded = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise CannotOpen(
            f"{path} cannot be loaded as TorchScript: {type(error).__name__}: {first_line(error)}"
        ) from None
    if built:
        return loaded.state_dict()
    return loaded


def _restricted(path: Path) -> Any:
    """The file through the restricted unpickler; NumPy's scalars are allowed, since training loops
    save their best score so."""
    scalar = np.float64(0).__reduce__()[0]
    allowed: list[Any] = [np.dtype, *_SCALARS, *(type(np.dtype(kind)) for kind in _SCALARS)]
    allowed += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    try:
        with safe_globals(allowed):
            if zipfile.is_zipfile(path):
                named = get_unsafe_globals_in_checkpoint(path)
            else:
                named = []
            named = named or _of_any_size(path)
            if not named:
                return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Before version 1.6 torch.save wrote plain pickles: there the restricted unpickler itself
        # stops at the first such name.
        named = re.findall(r"GLOBAL ([\w.]+) was not an allowed", str(error))
        if not named:
            raise CannotOpen(f"{path} cannot be loaded: {_reason(error)}") from None
    raise NotTrusted(_untrusted(path, named))


def _reason(error: Exception) -> str:
    """What is wrong with a pickle: what Python says of its unpickler's own stack, table of objects
    and end says nothing of the file."""
    for kind, reason in _DAMAGES.items():
        if type(error) is kind:
            return f"its pickle is damaged: {reason}"
    if "Unsupported operand" in str(error):
        return (
            "it is a pickle that torch.save did not write: save the model's state_dict() with "
            "torch.save"
        )
    return f"{type(error).__name__}: {first_line(error)}"


def _of_any_size(path: Path) -> list[str]:
    """What the restricted unpickler would call with any number: ``bytearray(n)`` takes n bytes of
    memory. No tensor needs it."""
    if zipfile.is_zipfile(path):
        with (
            open_file(path, "a PyTorch file", CannotOpen) as file,
            zipfile.ZipFile(file) as archive,
        ):
            pickles = (
                archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")
            )
            named = [
                _names_bytearray(io.BytesIO(content))
                for content in pickles
                if b"bytearray" in content
            ]
    else:
        with (
            open_file(path, "a PyTorch file", CannotOpen) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            named = [content.find(b"bytearray") >= 0 and _names_bytearray(content)]
    if any(named):
        return ["builtins.bytearray"]
    return []


def _names_bytearray(stream: Any) -> bool:
    """Whether the pickles that stand one after the other at the beginning of a file name it, as far
    as they can be read."""
    with suppress(ValueError):
        while True:
            if any(
                code.name == "GLOBAL" and str(argument).endswith(" bytearray")
                for code, argument, _ in pickletools.genops(stream)
            ):
                return True
    return False


def _untrusted(path: Path, named: Sequence[str]) -> str:
    found = printable.several(sorted(named), 4)
    what = "contains a whole pickled module or other objects, not only tensors"
    return (
        f"{path} {what} ({found}), so loading it can run any code: give --trust (trust=True) "
        "if you trust its author, or save the module's state_dict() and open that with "
        "factory= (--factory)"
    )


def _trusted(path: Path, imports: Sequence[str]) -> Any:
    """The file through Python's own unpickler; a class that was pickled as a script's own is looked
    for in ``imports``."""
    modules = import_all(imports)
    main = __import__("__main__")
    lent = {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and not hasattr(main, name)
    }
    try:
        vars(main).update(lent)
        return torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError) as error:
        raise BadInput(
            f"{path} needs code that cannot be imported ({error}): name the module that "
            f"defines it, {_option(path, error)} (imports=)"
        ) from None
    except Exception as error:
        raise CannotOpen(f"{path} cannot be loaded: {_reason(error)}") from None
    finally:
        for name in lent:
            vars(main).pop(name, None)


def _option(path: Path, error: AttributeError | ImportError) -> str:
    """The option that imports what was not found."""
    found = re.search(r"Can't get attribute '(\w+)'", str(error))
    if found is not None:
        return import_option(path, defines=found[1])
    return import_option(path, getattr(error, "name", None) or "")


def contents(
    path: Path, loaded: Any
) -> tuple[torch.nn.Module | Mapping[str, Any], tuple[str, ...]]:
    """The module or the state_dict in what was loaded, and what there is to say about where it was
    found."""
    if isinstance(loaded, torch.nn.Module) or _is_state(loaded):
        return loaded, ()
    if not isinstance(loaded, Mapping):
        hint = ""
        if isinstance(loaded, torch.Tensor):
            hint = "; a tensor is an input: np.save('x.npy', tensor.numpy()), --input x.npy (x=)"
        raise CannotOpen(
            f"{path} contains {printable.kind(loaded)}, not a module or a state_dict{hint}"
        )
    for key in _KEYS:
        found: Any = loaded.get(key)
        if isinstance(found, torch.nn.Module) or _is_state(found):
            others = (
                printable.several(repr(other) for other in loaded if other != key) or "nothing else"
            )
            return found, (f"used the entry {key!r} of the checkpoint (it also has {others})",)
    if "param_groups" in loaded or any("optim" in str(key) for key in loaded):
        raise CannotOpen(
            f"{path} contains an optimiser's state ({printable.several(map(str, loaded))}), "
            "not a model's parameters: give the file with the model's state_dict()"
        )
    if not loaded:
        raise CannotOpen(f"{path} is empty: it holds neither a state_dict nor a module")
    raise CannotOpen(
        f"{path} is a checkpoint without a state_dict: it has the entries "
        f"{printable.several(map(repr, loaded), 8)}, but none of {', '.join(_KEYS)}"
    )


def _is_state(value: Any) -> bool:
    """Names to tensors or packed parameters; entries of other kinds (get_extra_state) may be among
    them, further mappings may not."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return False
    return any(
        isinstance(part, torch.Tensor | torch.ScriptObject) for part in value.values()
    ) and not any(
        isinstance(part, Mapping) and not key.endswith("_extra_state")
        for key, part in value.items()
    )
