"""Which adapter opens what: the content of a file decides, or where a live object comes from.

Standard library only. An adapter imports its framework, which may be absent, or slow, or fill the
memory of a GPU: so adapters are named by string and imported when they are the one, and a live
object is recognised without importing anything.
"""

import importlib
import os
import re
import struct
import zipfile
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from probe import printable
from probe.errors import BadInput, CannotOpen, MissingExtra, ProbeError, in_words
from probe.files.kinds import beginning, kind_of
from probe.files.regular_file import exists, is_file, is_folder, open_file
from probe.files.size_limits import too_much
from probe.listing import Listing
from probe.process.extras import install
from probe.suggestions import did_you_mean

__all__ = ["list_file", "open_model", "weight_files", "weights_alone"]

_EXTRAS = {
    ".gguf": "gguf",
    ".keras": "keras",
    ".saved_model": "keras",
    ".tflite": "tflite",
    ".torch": "torch",
    ".transformers": "transformers",
}
"""Adapter -> the extra that installs its framework."""

_RECORDING = "probe.recording"
_ZIP = b"PK\x03\x04"
_SAVE = (
    "load it with the framework version that wrote it and save it with model.save('model.keras')"
)


def open_model(
    source: Any,
    *,
    trust: bool = False,
    factory: Any = None,
    imports: Sequence[str] = (),
    device: str | None = None,
    engine: str | None = None,
    signature: str | None = None,
    gguf: str | os.PathLike[str] | None = None,
) -> Any:
    """A ``probe.model.Model`` of a path or a live object; CannotOpen, NotTrusted or MissingExtra
    with one sentence."""
    options: dict[str, Any] = {"trust": trust, "factory": factory, "imports": imports}
    if device is not None:
        options["device"] = device
    given = {"engine": engine, "signature": signature, "gguf": gguf}
    own = {name: value for name, value in given.items() if value is not None}
    if not isinstance(source, str | os.PathLike):
        _refuse_options(own, "", "a live model")
        return _imported(_adapter_of_object(source)).open_model(source, **options)
    try:
        adapter = _adapter_of_file(Path(source))
        _refuse_options(own, adapter, str(source))
        return _imported(adapter).open_model(source, **options, **own)
    except ProbeError:
        raise
    except Exception as error:  # no file is bad in a way that was foreseen everywhere
        raise CannotOpen(f"{source} cannot be opened ({in_words(error)})") from error


def list_file(path: str | os.PathLike[str]) -> Listing | None:
    """The layers of a file that tells them without its framework; None where it does not.

    Nothing that the file holds is run. Raises CannotOpen as ``open_model`` does.
    """
    adapter = _adapter_of_file(Path(path))
    if adapter not in (".gguf", ".keras", ".saved_model", ".tflite", ".transformers", _RECORDING):
        return None
    found: Listing | None = _imported(adapter).list_file(path)
    return found


_OF_A_KIND = {
    "engine": ((".tflite",), "a .tflite file"),
    "signature": ((".saved_model", ".tflite"), "a SavedModel or a .tflite file"),
    "gguf": ((".transformers",), "a Hugging Face directory"),
}
"""Options that only some kinds of models have: their adapters, and what these are."""


def _refuse_options(own: Collection[str], adapter: str, what: str) -> None:
    """Raises BadInput where an option is given that only another kind of model has."""
    for name in own:
        if adapter not in _OF_A_KIND[name][0]:
            raise BadInput(
                f"{name}= (--{name}) is for {_OF_A_KIND[name][1]}, and {what} is none: leave it out"
            )


def weights_alone(*sources: Any) -> bool:
    """Whether one of these files holds weights without a graph, which ``weight_files`` compares."""
    paths = [Path(source) for source in sources if isinstance(source, str | os.PathLike)]
    return any(map(_is_gguf, paths))


def weight_files(a: Any, b: Any) -> Any:
    """What is compared of two files of which one holds weights without a graph
    (``probe.model_comparison.weight_files.WeightFiles``)."""
    if not all(isinstance(source, str | os.PathLike) for source in (a, b)):
        raise CannotOpen(
            "a GGUF file is compared with the path of the Hugging Face directory, or GGUF file, "
            "that it was made of, not with a live model"
        )
    for path, other in ((a, b), (b, a)):
        if is_file(path) and not _is_gguf(Path(path)):
            raise CannotOpen(
                f"{path} is no GGUF file: {other} is compared with the Hugging Face directory, or "
                f"the GGUF file, that it was made of, probe compare DIRECTORY {other}"
            )
    return _imported(".gguf").weight_files(a, b)


def _is_gguf(path: Path) -> bool:
    if not is_file(path):
        return False
    with open_file(path, "a model file", CannotOpen) as file:
        return file.read(4) == b"GGUF"


def _imported(adapter: str) -> Any:
    try:
        return importlib.import_module(adapter, __name__)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(__name__):
            raise
        raise MissingExtra(
            f"opening this model needs {error.name}, which is not installed: "
            f"{install(_EXTRAS[adapter])}"
        ) from None


def _adapter_of_object(source: Any) -> str:
    if importlib.import_module(".keras", __name__).is_live(source):
        return ".keras"
    if any(
        (cls.__module__, cls.__name__) == ("transformers.modeling_utils", "PreTrainedModel")
        for cls in type(source).__mro__
    ):
        return ".transformers"
    # A Keras 3 layer on the torch backend is a torch module too.
    if any(
        cls.__module__.startswith("torch.nn.") and cls.__name__ == "Module"
        for cls in type(source).__mro__
    ):
        return ".torch"
    if (
        type(source).__module__.startswith("torch.export.")
        and type(source).__name__ == "ExportedProgram"
    ):
        return ".torch"
    kind = type(source)
    if kind.__module__.startswith("onnx.") and kind.__name__ == "ModelProto":
        return ".onnx"
    raise CannotOpen(
        "open_model takes a path, a Keras model or layer, a torch.nn.Module or an "
        f"onnx.ModelProto; you gave a {kind.__module__}.{kind.__qualname__}{_instead(source)}"
    )


def _instead(source: Any) -> str:
    """How what is no model leads to one."""
    if isinstance(source, type):
        return f": give an instance, {source.__name__}()"
    if isinstance(source, Mapping) and any(hasattr(value, "shape") for value in source.values()):
        return ": give the module after module.load_state_dict(...), or the file and factory="
    if hasattr(source, "__array__"):
        return ": an array is the input, x="
    return ""


def _adapter_of_file(path: Path) -> str:
    if is_folder(path):
        return _adapter_of_folder(path)
    with open_file(path, "a model file", CannotOpen) as file:
        text = file.read(_BEGINNING)
        size = file.seek(0, os.SEEK_END)
    head = text[:1024]
    if head.startswith(_ZIP):
        return _adapter_of_archive(path)
    if _is_safetensors(head, size):
        return ".torch"
    for start, kind in _KINDS:
        if re.match(start, head, re.DOTALL):
            if kind.startswith("."):
                return kind
            raise CannotOpen(f"{path} is {kind.format(folder=path.parent)}")
    if _PRINTED.search(text):
        return _RECORDING
    found = kind_of(str(path), head)
    if found is not None and found.as_model:
        raise CannotOpen(f"{path} is {found.what}: {found.as_model.format(path=path)}")
    raise CannotOpen(f"{path} is not a Keras, PyTorch, ONNX or TFLite file: {beginning(head)}")


_BEGINNING = 1 << 20
_PRINTED = re.compile(rb"(?:cb_eval|ggml_debug): +\S")
"""In the beginning of what llama.cpp's eval callback prints."""
_KINDS: tuple[tuple[bytes, str], ...] = (
    (rb".{4}TFL3", ".tflite"),
    (rb"GGUF", ".gguf"),
    (rb"\x89HDF\r\n\x1a\n", ".keras"),
    # A pickle of protocol 2 to 5: what torch.save wrote before 1.6.
    (rb"\x80[\x02-\x05]", ".torch"),
    # ModelProto: field 1 is the IR version, 3 or more; then the producer's name, or another low
    # field.
    (rb"\x08[\x03-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]", ".onnx"),
    # SavedModel: field 1 is the schema version, 1; then the graphs.
    (rb"\x08\x01\x12", "the graph of a SavedModel: give its folder, {folder}"),
)
"""How a file begins -> its adapter, or what it is and why it cannot be opened."""


def _is_safetensors(head: bytes, size: int) -> bool:
    """Eight bytes of length, and then a JSON object of that length."""
    return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= size - 8


_MEMBERS = 10_000
"""Keras unpacks them into files, some thousand a second."""


def _adapter_of_archive(path: Path) -> str:
    try:
        with (
            open_file(path, "a model file", CannotOpen) as file,
            zipfile.ZipFile(file) as archive,
        ):
            names = archive.namelist()
            _bounded(path, archive)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, struct.error):
        raise CannotOpen(
            f"{path} is a damaged or truncated zip archive (.keras and .pt files are zip archives)"
        ) from None
    last = {name.rpartition("/")[2] for name in names}
    if "recording.json" in names:
        return _RECORDING
    if "config.json" in names:
        if len(names) > _MEMBERS:
            raise CannotOpen(
                f"{path} has {len(names):,} members, which Keras would all unpack; a .keras file "
                f"has a few for the config, the weights and the vocabularies: at most {_MEMBERS:,}"
            )
        return ".keras"
    exported = any(name.endswith("models/model.json") for name in names)
    if exported or last & {"constants.pkl", "data.pkl", "serialized_exported_program.json"}:
        return ".torch"
    if names and all(name.endswith(".npy") for name in names):
        return _RECORDING
    raise CannotOpen(
        f"{path} is a zip archive, but not one of Keras or PyTorch: it contains "
        f"{', '.join(names[:3]) or 'nothing'}"
    )


def _bounded(path: Path, archive: zipfile.ZipFile) -> None:
    """Raises CannotOpen where what an archive declares cannot be meant: loaders unpack it whole."""
    size, declared = path.stat().st_size, sum(info.file_size for info in archive.infolist())
    if too_much(declared, size):
        raise CannotOpen(
            f"{path} declares {declared:,} bytes of content but has {size:,}: it is damaged "
            "or crafted to exhaust memory"
        )
    if any(info.flag_bits & 1 for info in archive.infolist()):
        raise CannotOpen(
            f"{path} is encrypted: extract it with its password and zip it again without one"
        )


def _adapter_of_folder(path: Path) -> str:
    if any(exists(path / name) for name in ("saved_model.pb", "saved_model.pbtxt")):
        return ".saved_model"
    if any(is_file(path / name) for name in ("recording.json", "arrays.jsonl")):
        return _RECORDING
    if is_file(path / "config.json") or any(path.glob("*.safetensors")):
        return ".transformers"
    if _arrays_alone(path):
        return _RECORDING
    names = sorted(entry.name for entry in islice(os.scandir(path), _LISTED))
    if not names:
        raise CannotOpen(f"{path} is an empty folder: it contains neither a model nor outputs")
    models = [str(path / name) for name in names if name.endswith(_MODELS)][:_SHOWN]
    if models:
        raise CannotOpen(f"{path} is a folder, not a model file; {did_you_mean(models)}")
    raise CannotOpen(
        f"{path} is a folder, not a model file, nor a Hugging Face directory with config.json and "
        "*.safetensors, nor a folder of nothing but .npy files: it contains "
        f"{printable.several(names, _SHOWN)}"
    )


_MODELS = (".keras", ".h5", ".hdf5", ".pt", ".pth", ".pt2", ".onnx", ".tflite", ".gguf")
"""How files of models are called."""
_LISTED, _SHOWN = 1000, 3
"""So many names of a folder are looked at, and so many said."""


def _arrays_alone(path: Path) -> bool:
    """Whether a folder holds .npy files and texts of printed tensors, and no other; it is read up
    to the first that is none."""
    files = (
        Path(place, name)
        for place, _, names in os.walk(path)
        for name in names
        if not name.startswith(".")
    )
    first = next(files, None)
    return first is not None and _holds_arrays(first) and all(map(_holds_arrays, files))


def _holds_arrays(path: Path) -> bool:
    if path.suffix not in (".txt", ".log"):
        return path.suffix == ".npy"
    with open_file(path, "a text of printed tensors", CannotOpen, links=False) as file:
        return _PRINTED.search(file.read(_BEGINNING)) is not None
