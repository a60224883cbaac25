"""Where the numbers of a recording come from: the model's files and the versions of packages.

The model may itself be a recording, whose source is no more than words: the file of that name is
not looked at.
"""

import platform
import sys
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import Any

from probe import __version__
from probe.errors import BadInput
from probe.files.regular_file import is_file, is_folder, open_file
from probe.model import Model, recorded

__all__ = ["digest_of", "files_of", "pass_of", "versions"]


def files_of(model: Model) -> list[str]:
    """The files and folders that an opened model was read from; of a live one no path that
    exists."""
    held = recorded(model)
    if held is None:
        return [model.source, *model.other_files]
    return [held.path]


def pass_of(model: Model, layers: Collection[str] | None) -> dict[str, Any] | None:
    """What tells that another recording is of the same pass, but for its input; None where the
    model is no file."""
    source, *others = map(Path, files_of(model))
    try:
        inside = sorted(source.iterdir()) if is_folder(source) else [source]
        files = [path for path in (*inside, *others) if is_file(path)]
        stats = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    except OSError:
        return None
    if not stats:
        return None
    return {
        "probe": __version__,
        "framework": model.framework,
        "notes": list(model.notes),
        "files": stats,
        "only": None if layers is None else sorted(layers),
    }


def digest_of(model: Model) -> str | None:
    """The sha256 of the model's file, or the one that a recording says; None where it is no single
    file."""
    held = recorded(model)
    if held is not None:
        return held.sha256
    if not is_file(model.source):
        return None
    try:
        with open_file(model.source, "a model file") as file:
            digest = sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
            return digest.hexdigest()
    except (BadInput, OSError):
        return None


def versions() -> dict[str, str]:
    """Of Python, and of what has been imported of the packages that the numbers may depend on."""
    names = (
        *("numpy", "onnx", "onnxruntime", "ml_dtypes", "tensorflow", "keras", "tf_keras"),
        *("qkeras", "torch", "torchvision", "transformers", "safetensors", "h5py"),
    )
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in names}
    python = {"python": platform.python_version(), "platform": platform.platform()}
    return python | {name: value for name, value in found.items() if isinstance(value, str)}
