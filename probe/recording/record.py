"""A forward pass written down: its calls with their arrays, weights and descriptions, as they are
made, so that no more than one call is held in memory."""

import os
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from probe.capture.model_inputs import bind
from probe.capture.run import ModelLike, as_names, open_model, opened
from probe.capture.user_arrays import Inputs, Shape
from probe.errors import BadInput
from probe.files import atomic_write
from probe.files.regular_file import is_folder
from probe.model import Model
from probe.process.interrupts import undisturbed
from probe.recording.folder import Folder
from probe.recording.interrupted import Interrupted
from probe.recording.origin import files_of, pass_of
from probe.recording.store import Zip
from probe.recording.writer import Writer

__all__ = ["record", "record_inside", "refuse_target"]


@undisturbed
def record(
    model: ModelLike,
    x: Inputs,
    path: str | os.PathLike[str],
    *,
    layers: Collection[str] | None = None,
    shape: Shape = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Model:
    """Runs the model once and keeps the forward pass in a file, which opens as a model without any
    framework.

    Args:
        model: As for ``check``.
        x: As for ``check``.
        path: "run.npz", or a folder "run/" that is written call by call; what an interrupt leaves
            of it is completed by the next run.
        layers: Names or shell patterns of the layers and blocks to keep. None: all.
        shape: As for ``check``.
        seed: As for ``check``.
        progress: Called with the name of each layer as it is written.

    Returns:
        What ``open_model(path)`` returns.

    Raises:
        UnknownLayer: No layer matches one of ``layers``.
        BadInput: The file cannot be written, or the input does not fit. Other errors are those of
            ``check``.
    """
    model, layers = opened(model), as_names(layers)
    refuse_target(path, files_of(model))
    model, arrays, how = bind(model, x, shape, seed)
    if _is_folder(path):
        folder = Folder(Path(path), pass_of(model, layers))
        writer = Writer(folder, model, layers, progress, Interrupted(Path(path), folder))
        writer.write(arrays, how, seed)
    else:
        zipped = partial(_zipped, model, layers, progress, arrays, how, seed)
        atomic_write.write(path, zipped, files_of(model))
    return open_model(path)


@undisturbed
def record_inside(
    model: ModelLike,
    x: Inputs,
    folder: Path,
    name: str,
    *,
    layers: Collection[str] | None = None,
    shape: Shape = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Model:
    """The same under a name of ours in an output folder, where no link is followed."""
    model, arrays, how = bind(opened(model), x, shape, seed)
    atomic_write.refuse_same(folder / name, files_of(model))
    zipped = partial(_zipped, model, layers, progress, arrays, how, seed)
    atomic_write.write_inside(folder, name, zipped)
    return open_model(folder / name)


def _zipped(
    model: Model,
    layers: Collection[str] | None,
    progress: Callable[[str], None] | None,
    arrays: tuple[np.ndarray, ...],
    how: str,
    seed: int,
    file: IO[bytes],
) -> None:
    with Zip(file) as store:
        Writer(store, model, layers, progress, None).write(arrays, how, seed)


def _is_folder(path: str | os.PathLike[str]) -> bool:
    return os.fspath(path).endswith(("/", os.sep)) or is_folder(path)


def refuse_target(path: str | os.PathLike[str], reading: Collection[object] = ()) -> None:
    """Raises BadInput where no recording can be written there, before the model is run."""
    atomic_write.named(path)
    if _is_folder(path):
        atomic_write.refuse_same(path, reading)
        return
    if Path(path).suffix != ".npz":
        raise BadInput(
            f"a recording is written as a file run.npz or a folder run/; {path} is neither"
        )
    atomic_write.target_of(path, reading)
