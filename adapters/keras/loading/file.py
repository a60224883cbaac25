"""What a Keras file says about its model without any framework: who wrote it, its config, and the
list of its layers.

Standard library only at the top, and h5py for an ``.h5`` alone: listing a file must not wait for a
framework.
"""

import importlib
import io
import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from probe.errors import CannotOpen, first_line
from probe.files.regular_file import open_file
from probe.listing import Layer

from ..describe.described_classes import ADAPTERS
from .allow_list import OF_HGQ2, QKERAS, TFMOT, objects
from .config_limits import oversized
from .hdf5 import UnusualLayout, shapes
from .layer_order import endless
from .listed_layers import inner_layers, layer_name, listed_layers
from .output_shapes import inferred_shapes

__all__ = ["File", "TopLevel", "listing", "read", "refuse_foreign_weights", "top_level"]

_WEIGHTS = "model.weights.h5"
_DEPTH = 200
_KIND = "a Keras file"
_BROKEN = (
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile, h5py and json raise, and what a config of another shape than a config's comes
to."""


@dataclass(frozen=True)
class File:
    """A saved model, read as far as it can be without its framework."""

    path: Path
    form: str
    """"h5" or "keras", by content."""
    writer: str
    """The version of Keras that wrote it, such as "2.15.0", or "" where it does not say."""
    config: Mapping[str, Any]
    """The model's serialized config: ``class_name``, ``config``, …"""

    @property
    def namespace(self) -> str:
        """Keras 3 refuses some files of Keras 2 and computes others differently: each opens with
        its own."""
        if self.writer.startswith("3") and not self.quantised:
            return "keras"
        return "tf_keras"

    @property
    def quantised(self) -> bool:
        """Whether it holds layers or quantizers of QKeras."""
        values = [found.value for found in objects(self.config)]
        values = [value for value in values if value.get("registered_name") not in OF_HGQ2]
        # keras.ops has operations of the same names, such as Clip.
        return any(
            (
                value["class_name"] in QKERAS
                and not str(value.get("module")).startswith(("keras.src.ops.", "hgq."))
            )
            or str(value.get("module")).startswith("qkeras.")
            for value in values
        )

    @property
    def packages(self) -> frozenset[str]:
        """The packages with an adapter of their own that it holds classes of; an ``.h5`` names
        classes without their module."""
        values = [found.value for found in objects(self.config)]
        roots = {str(value.get("module")).partition(".")[0] for value in values}
        if any(value["class_name"] in TFMOT and not value.get("module") for value in values):
            roots.add("tensorflow_model_optimization")
        roots.discard("qkeras")  # HGQ2 brings a package of that name along
        return frozenset(roots & ADAPTERS.keys()) | ({"qkeras"} if self.quantised else set())


def read(path: Path) -> File:
    """Reads an ``.h5`` or ``.keras`` by its content; CannotOpen with a sentence where there is no
    whole model in it."""
    with _damage(path):
        with open_file(path, _KIND, CannotOpen) as stream:
            signature = stream.read(4)
        if signature == b"\x89HDF":
            return _read_h5(path)
        return _read_archive(path)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever reading a broken file comes to, from the zip archive and HDF5 down to the config's
    JSON, in one sentence."""
    try:
        yield
    except _BROKEN as error:
        raise CannotOpen(f"{path} is damaged or truncated ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """What was wrong in the file: what Python says of an object of another type than is expected
    there says nothing of the file."""
    other = isinstance(error, LookupError) and " " not in str(error)
    if other or isinstance(error, AttributeError | TypeError):
        return "its config or metadata is not structured as Keras writes it"
    if cut := _CUT.search(str(error)):
        return f"it ends after {int(cut[1]):,} of {int(cut[2]):,} bytes: copy it once more"
    return first_line(error)


_CUT = re.compile(r"truncated file: eof = (\d+),.*stored_eof = (\d+)")


def _read_archive(path: Path) -> File:
    with open_file(path, _KIND, CannotOpen) as file, zipfile.ZipFile(file) as archive:
        if "metadata.json" in archive.namelist():
            metadata = json.loads(archive.read("metadata.json"))
        else:
            metadata = {}
        return _ordered(
            File(
                path,
                "keras",
                str(metadata.get("keras_version", "3")),
                _model(json.loads(archive.read("config.json"))),
            )
        )


def _read_h5(path: Path) -> File:
    with _hdf5(path, path, path.stat().st_size) as (file, _):
        config = file.attrs.get("model_config")
        if config is None:
            raise CannotOpen(_without_config(path, set(file), set(file.attrs)))
        writer = file.attrs.get("keras_version", "")
        return _ordered(
            File(
                path,
                "h5",
                writer.decode() if isinstance(writer, bytes) else str(writer),
                _model(json.loads(config)),
            )
        )


def refuse_foreign_weights(file: File) -> None:
    """Raises CannotOpen where the weights of a ``.keras`` file, which is listed without them, lie
    elsewhere; an ``.h5`` was read so."""
    if file.form == "keras":
        with (
            _damage(file.path),
            open_file(file.path, _KIND, CannotOpen) as stream,
            zipfile.ZipFile(stream) as archive,
        ):
            if _WEIGHTS in archive.namelist():
                with _hdf5(
                    file.path, _ArchivePart(archive, stream), archive.getinfo(_WEIGHTS).file_size
                ):
                    pass


@contextmanager
def _hdf5(path: Path, source: Any, size: int) -> Iterator[tuple[Any, dict[str, tuple[int, ...]]]]:
    """An open ``h5py.File`` all of whose numbers lie in the file, and the shape of every array in
    it."""
    opened = open_file(path, _KIND, CannotOpen) if source is path else nullcontext(source)
    with opened as stream, suppress(UnusualLayout):
        shapes(partial(_at, stream))
    with importlib.import_module("h5py").File(source, "r") as file:
        yield (
            file,
            importlib.import_module(".hdf5_tree", __package__).refuse_foreign(file, path, size),
        )


def _model(config: Any) -> Mapping[str, Any]:
    if not isinstance(config, Mapping) or not isinstance(config.get("class_name"), str):
        raise ValueError("its config has no class name")
    level, depth = [config], 0
    while level:
        level = [
            inner
            for part in level
            if isinstance(part, dict | list)
            for inner in (part.values() if isinstance(part, dict) else part)
        ]
        depth += 1
        if depth > _DEPTH:
            raise ValueError(f"its config is nested {_DEPTH} levels deep or more")
    return config


def _ordered(file: File) -> File:
    """The file, where its layers are of sizes that it can hold, and can be put in order: Keras 3
    says itself where they cannot."""
    size = file.path.stat().st_size
    large = oversized(file.config, size)
    if large:
        raise CannotOpen(
            f"{file.path} is damaged or crafted: {large}, but the whole file has {size:,} bytes"
        )
    stuck = endless(file.config) if file.namespace == "tf_keras" else ""
    if stuck:
        raise CannotOpen(
            f"the model in {file.path} cannot be built: its layer {stuck!r} takes its own "
            "output or one that no layer produces"
        )
    return file


def _without_config(path: Path, groups: set[str], attributes: set[str]) -> str:
    if "layer_names" in attributes or groups & {
        "layers",
        "vars",
        "_layer_checkpoint_dependencies",
        "model_weights",
    }:
        return (
            f"{path} contains only weights, not a model: build the model in Python, call "
            "model.load_weights(path) and open that model, or save it with "
            "model.save('model.keras')"
        )
    return f"{path} is an HDF5 file but contains no Keras model"


def listing(file: File) -> tuple[Layer, ...] | None:
    """The atomic layers as far as the file tells, or None where it does not list layers (a
    subclassed model)."""
    if inner_layers(file.config) is None:
        return None
    with _damage(file.path):
        sizes = {
            name: math.prod(shape)
            for name, shape in _shapes(file).items()
            if "seed_generator" not in name
        }
        return tuple(
            listed_layers(
                file.config, sizes, "", "" if file.form == "keras" else "model_weights", file.form
            )
        )


class TopLevel(NamedTuple):
    """What a file tells of the model itself, without the layers inside of its layers."""

    names: frozenset[str]
    inputs: tuple[tuple[int | None, ...] | None, ...]
    """Their shapes, None where one is not told."""


def top_level(file: File) -> TopLevel | None:
    """None where the file does not list layers (a subclassed model)."""
    entries = inner_layers(file.config)
    if not entries:
        return None
    with _damage(file.path):
        shapes = inferred_shapes(entries, file.config["class_name"].endswith("Sequential"))
        ends = file.config["config"]
        ends = ends.get("input_layers") if isinstance(ends, Mapping) else None
        if ends and isinstance(ends, list) and isinstance(ends[0], str):
            ends = [ends]
        first = [layer_name(entry) for entry in entries if entry["class_name"] == "InputLayer"]
        if ends and isinstance(ends, list):
            names = [end[0] for end in ends]
        else:
            names = first
        return TopLevel(frozenset(map(layer_name, entries)), tuple(map(shapes.get, names)))


def _shapes(file: File) -> dict[str, tuple[int, ...]]:
    """The shape of every dataset that holds weights, by its path."""
    if file.form == "h5":
        with _hdf5(file.path, file.path, file.path.stat().st_size) as (_, found):
            return found
    with open_file(file.path, _KIND, CannotOpen) as stream, zipfile.ZipFile(stream) as archive:
        if _WEIGHTS not in archive.namelist():
            return {}
        part = _ArchivePart(archive, stream)
        try:
            return shapes(partial(_at, part))
        except UnusualLayout:
            with _hdf5(file.path, part, archive.getinfo(_WEIGHTS).file_size) as (_, found):
                return found


def _at(stream: Any, offset: int, size: int) -> bytes:
    """As many bytes from there as there are."""
    if offset >= 1 << 63:  # no place that a file can have
        return b""
    stream.seek(offset)
    return stream.read(size) or b""


class _ArchivePart(io.RawIOBase):
    """The weights inside an archive as a file: past the archive where they are stored, since
    zipfile reads through to where it seeks."""

    def __init__(self, archive: zipfile.ZipFile, stream: IO[bytes]) -> None:
        info = archive.getinfo(_WEIGHTS)
        self._stream, self._start, self._size, self._at = stream, 0, info.file_size, 0
        if info.compress_type == zipfile.ZIP_STORED:
            stream.seek(info.header_offset + 26)
            self._start = info.header_offset + 30 + sum(struct.unpack("<HH", stream.read(4)))
        else:
            self._stream = io.BytesIO(archive.read(_WEIGHTS))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._start + self._at)
        read = self._stream.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(read)] = read
        self._at += len(read)
        return len(read)
