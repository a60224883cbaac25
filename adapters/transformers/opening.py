"""An opened directory: the module that PyTorch's adapter watches, and the inputs and texts that it
takes."""

import importlib
import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from probe.errors import BadInput, MissingExtra
from probe.model import CallArguments, InputSpec, Model, OnCall, Slot
from probe.process.extras import install
from probe.process.interrupts import held_back, interruptible

from ..torch import open_model as open_module
from ..torch.capture.devices import DISK, idle, refuse_absent
from ..torch.capture.model import TorchModel
from ..torch.capture.module_tree import unwrapped
from ..torch.loading.factory import Factory, build
from ..torch.loading.state_dict import fill
from .directory import Directory
from .inputs import drawn
from .loading import QUIETLY, load, parameters
from .memory import kept_on_disk
from .tokenizer import token_ids

__all__ = ["live", "opened"]


def opened(
    directory: Directory,
    trust: bool,
    factory: Factory | None,
    imports: Sequence[str],
    device: str | None,
    gguf: Path | None = None,
) -> Model:
    """The model of a directory, with the weights of a GGUF file where one is given; or of a factory
    that takes the directory's parameters."""
    if gguf is not None and (factory is not None or device == DISK):
        raise BadInput(
            "gguf= (--gguf) takes a directory that transformers' own class opens on the CPU or a "
            f"GPU: leave out the factory and --device {DISK}"
        )
    if device not in (None, DISK):
        refuse_absent(device)
    source, files = str(directory.path), tuple(map(str, directory.files))
    if factory is None:
        told = kept_on_disk(directory) if device is None else ""
        disk = device == DISK or bool(told)
        module, notes = load(directory, trust, imports, disk and gguf is None)
        if gguf is not None:
            notes = (*notes, *_gguf_weights().with_weights_of(module, gguf))
            disk, told, files = False, "", (*files, str(gguf))
        if not disk:
            module.to(device or "cpu")
        if told:
            notes = (*notes, told)
        notes = (*notes, *idle(device))
        return TransformersModel(module, source, notes, files, drawn(module), folder=directory.path)
    if device == DISK:
        raise BadInput(
            f"--device {DISK} opens a directory by transformers' own class: leave --factory out"
        )
    module = unwrapped(build(factory))
    notes = fill(module, parameters(directory, trust, imports), directory.path)
    module.eval().to(device or "cpu")
    notes = (*notes, "probe called eval() on the module after loading", *idle(device))
    return TorchModel(module, source, notes, files)


def _gguf_weights() -> Any:
    try:
        return importlib.import_module(".gguf_weights", __package__)
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        raise MissingExtra(
            f"a GGUF file needs gguf, which is not installed: {install('gguf')}"
        ) from None


def live(module: Any, device: str | None) -> Model:
    """A live model as PyTorch's adapter opens it, with inputs to draw."""
    known = open_module(module, device=device)
    assert isinstance(known, TorchModel)
    return TransformersModel(known.module, known.source, known.notes, (), drawn(known.module))


def _holds_slot(value: Any) -> bool:
    parts = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, Slot) or (
        isinstance(value, Mapping | list | tuple) and any(map(_holds_slot, parts))
    )


@dataclass(frozen=True, eq=False, repr=False)
class TransformersModel(TorchModel):
    """What ``probe.open_model`` returns for a directory (``probe.model.Model``)."""

    folder: Path | None = None
    """The directory; None of a live model."""

    @property
    def framework(self) -> str:
        return f"transformers {transformers.__version__} on {super().framework}"

    def called_with(self, arguments: CallArguments, layer: str | None = None) -> TorchModel:
        bound = super().called_with(arguments, layer)
        if layer is not None:
            return bound
        return replace(bound, specs=self._named(arguments))

    def _named(self, arguments: CallArguments) -> tuple[InputSpec, ...] | None:
        """The inputs that the arguments are, in the order of the arrays; None where arrays lie
        inside of them."""
        names = list(inspect.signature(self.module.forward).parameters)
        left = [name for name in names if name not in arguments.named]
        given = {**dict(zip(left, arguments.positional, strict=False)), **arguments.named}
        places = {value.position: name for name, value in given.items() if isinstance(value, Slot)}
        if any(not isinstance(value, Slot) and _holds_slot(value) for value in given.values()):
            return None
        known = {spec.name: spec for spec in self.specs or ()}
        return tuple(known.get(places[at], InputSpec(places[at], ())) for at in sorted(places))

    def tokens(self, text: str) -> dict[str, np.ndarray]:
        if self.folder is None:
            raise BadInput(
                "a live model has no tokenizer, so a text cannot be its input: give input_ids"
            )
        return {"input_ids": np.asarray([token_ids(self.folder, text)], np.int64)}

    def run(
        self, inputs: Sequence[Any], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        with held_back(), QUIETLY, interruptible():
            return super().run(inputs, wanted, on_call)
