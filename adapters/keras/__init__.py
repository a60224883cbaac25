"""Opens Keras models, from a file or live, and runs them with every call of the wanted layers
pushed to a callback.

Keras 3 (``keras``) and Keras 2 (``tf_keras``, and QKeras on it) are one adapter: the module that a
model belongs to is handed from function to function. A file is read without either until the model
has to run, so that listing it costs nothing; what needs NumPy or a framework is imported from here
by name.
"""

import importlib
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.capture.declared_shape import refuse_shape
from probe.errors import CannotOpen, UnknownLayer
from probe.listing import Listing, Shown

from ..user_modules import import_all, refuse_factory
from .loading.allow_list import refuse_code
from .loading.file import File, listing, read, top_level

if TYPE_CHECKING:
    import os
    from contextlib import AbstractContextManager

    import numpy as np

    from probe.listing import Layer
    from probe.model import InputSpec, Model, OnCall

    from .capture.model import Opened

__all__ = ["Saved", "is_live", "list_file", "open_model"]


def is_live(source: Any) -> bool:
    """Whether this is a Keras model or layer. Nothing is imported: what nobody has imported has no
    instances."""
    return _namespace_of(source) is not None


def _namespace_of(source: Any) -> Any:
    for module in (sys.modules.get(name) for name in ("keras", "tf_keras")):
        layer = getattr(getattr(module, "layers", None), "Layer", None)
        if layer is not None and isinstance(source, layer):
            return module
    return None


def open_model(
    source: Any,
    *,
    trust: bool = False,
    factory: Any = None,
    imports: Sequence[str] = (),
    device: str | None = None,
) -> "Model":
    """A ``.keras`` or ``.h5`` file, a live ``keras.Model`` or ``tf_keras.Model``, or a single layer
    of either."""
    refuse_factory(factory, "a Keras model")
    keras = _namespace_of(source)
    if keras is not None:
        import_all(imports)
        return _live(source, keras, device)
    file = read(Path(source))
    custom: Mapping[str, Any] = {}
    names: Mapping[str, Any] = {}
    if imports:
        keras = importlib.import_module(".loading.import_framework", __package__).framework(
            file.namespace, file.quantised
        )
        load = importlib.import_module(".loading.load", __package__)
        custom, names = load.imported(imports, keras)
    if not trust:
        refuse_code(
            str(source), file.config, custom.keys(), {value.__module__ for value in custom.values()}
        )
    return Saved(file, custom, names, trust, device or "cpu")


def list_file(path: "str | os.PathLike[str]") -> Listing | None:
    """The layers as the file tells them, without a framework and without running what it holds."""
    layers = listing(read(Path(path)))
    if layers is None:
        return None
    return Listing(layers)


def _live(source: Any, keras: Any, device: str | None) -> "Opened":
    opened = importlib.import_module(".capture.model", __package__)
    if keras.__name__ == "keras" and opened.uses_qkeras(source):
        raise CannotOpen(
            "this model's QKeras layers are built on Keras 3, but QKeras works on Keras 2: "
            "set TF_USE_LEGACY_KERAS=1 before anything imports tensorflow, and restart Python"
        )
    kind = "model" if isinstance(source, keras.Model) else "layer"
    name = f"a live {keras.__name__} {kind}"
    model: Opened = opened.Opened(name, source, keras, live=True, device=device)
    return model


class Saved(Shown):
    """``probe.model.Model`` for a file: what the file tells, until the model has to be loaded."""

    def __init__(
        self,
        file: File,
        custom: Mapping[str, Any],
        names: Mapping[str, Any],
        trust: bool,
        device: str,
    ):
        self._device = device
        self.source = str(file.path)
        self.other_files: tuple[str, ...] = ()
        self._file = file
        self._custom = custom
        self._names = names
        self._trust = trust

    @cached_property
    def _opened(self) -> "Opened":
        keras = importlib.import_module(".loading.import_framework", __package__).framework(
            self._file.namespace, self._file.quantised
        )
        devices = importlib.import_module(".capture.devices", __package__)
        with devices.on_device(devices.device_of(self._device, keras), keras):
            root, told = importlib.import_module(".loading.load", __package__).load(
                self._file, keras, self._custom, self._names, self._trust
            )
        notes = (*self._told_notes, *told)
        model: Opened = importlib.import_module(".capture.model", __package__).Opened(
            self.source, root, keras, live=False, notes=notes, device=self._device
        )
        return model

    @property
    def _is_loaded(self) -> bool:
        return "_opened" in vars(self)

    @property
    def _told_notes(self) -> tuple[str, ...]:
        if self._file.namespace == "keras":
            return ()
        with_qkeras = " and QKeras" if self._file.quantised else ""
        return (
            (
                f"written by Keras {self._file.writer or '1 or 2'}: opened with "
                f"tf_keras{with_qkeras}"
            ),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        if self._is_loaded:
            return self._opened.notes
        return self._told_notes

    @property
    def framework(self) -> str:
        if self._is_loaded:
            return self._opened.framework
        return self._file.namespace

    @property
    def layers(self) -> "tuple[Layer, ...]":
        listed = None
        if not self._is_loaded and not self._custom:
            listed = listing(self._file)
        if listed is None:
            return self._opened.layers
        return listed

    @property
    def inputs(self) -> "tuple[InputSpec, ...] | None":
        return self._opened.inputs

    @property
    def input_hint(self) -> str:
        return self._opened.input_hint

    @property
    def input_index_bound(self) -> int | None:
        return self._opened.input_index_bound

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        return self._opened.input_order(names)

    def refuse(self, layer: str, inputs: "Sequence[np.ndarray]") -> None:
        told = top_level(self._file)
        if self._is_loaded or told is None:
            return
        if layer and layer.partition("/")[0] not in told.names:
            raise UnknownLayer(layer, [listed.name for listed in self.layers])
        wanted_shapes = [shape for shape in told.inputs if shape is not None]
        if len(inputs) == len(wanted_shapes) == len(told.inputs):
            for wanted, given in zip(wanted_shapes, inputs, strict=True):
                refuse_shape("the model", wanted, given.shape)

    def argument_names(self) -> tuple[str, ...]:
        return self._opened.argument_names()

    def output_names(self) -> tuple[str, ...]:
        return self._opened.output_names()

    def names(self) -> tuple[str, ...]:
        return self._opened.names()

    @property
    def containers(self) -> "tuple[Layer, ...]":
        return self._opened.containers

    def may_be_operation(self, name: str) -> bool:
        return self._opened.may_be_operation(name)

    def settings(self) -> "AbstractContextManager[None]":
        return self._opened.settings()

    def run(
        self, inputs: "Sequence[np.ndarray]", wanted: Collection[str] | None, on_call: "OnCall"
    ) -> "tuple[np.ndarray, ...]":
        return self._opened.run(inputs, wanted, on_call)

    def run_alone(self, name: str, inputs: "Sequence[np.ndarray]", on_call: "OnCall") -> None:
        self._opened.run_alone(name, inputs, on_call)
