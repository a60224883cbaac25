"""A Keras model that is there: what it consists of, what it wants for its input, and how it is run
under watch."""

import inspect
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from probe.errors import BadInput, NotReached, UnknownLayer
from probe.listing import Layer, Shown
from probe.model import AndEvery, InputSpec, OnCall
from probe.process.interrupts import held_back
from probe.process.log_suppression import silenced
from probe.process.model_lock import turn

from ..describe.layer_tree import Place, layer_of, listed, own_call, places, root_of
from ..describe.tensors import Tensors
from ..layers import quantized  # noqa: F401 - its import registers what it completes
from .arguments import arguments, inputs_by_name
from .call_hooks import watch
from .devices import device_of, on_device
from .input_checks import checked, checked_alone, guessed, hint, specs
from .restore_state import settings_here, settings_kept, unchanged

__all__ = ["Opened", "uses_qkeras"]


def uses_qkeras(root: Any) -> bool:
    """Whether a layer anywhere in it comes from QKeras or derives from one that does."""
    return any(
        root_of(cls) == "qkeras" for layer in root._flatten_layers() for cls in type(layer).__mro__
    )


class Opened(Shown):
    """``probe.model.Model`` for a model or a single layer of Keras. A live one is called without
    saying which mode."""

    def __init__(
        self,
        source: str,
        root: Any,
        keras: Any,
        live: bool,
        notes: tuple[str, ...] = (),
        device: str | None = None,
    ):
        self.source = source
        self.notes = notes
        self._device = device_of(device, keras)
        self.other_files: tuple[str, ...] = ()
        self._root = root
        self._keras = keras
        self._live = live
        self._tensors = Tensors(keras)
        self._called: set[int] = set()
        self._told: tuple[str, ...] = ()
        self._met: dict[str, str] = {}

    @property
    def framework(self) -> str:
        backend = self._tensors.backend
        text = (
            f"{self._keras.__name__} {self._keras.__version__} on {backend} "
            f"{sys.modules[backend].__version__}"
        )
        if uses_qkeras(self._root):
            text += f" with qkeras {sys.modules['qkeras'].__version__}"
        if self._device is None:
            return text
        return f"{text} on {self._device}"

    @property
    def layers(self) -> tuple[Layer, ...]:
        return listed(self._places())

    @property
    def inputs(self) -> tuple[InputSpec, ...] | None:
        return specs(self._root, self._keras)

    @property
    def input_hint(self) -> str:
        names = inputs_by_name(self._root)
        if names:
            return f"it takes a dict with the keys {', '.join(names)}"
        return hint(self._root, self._keras)

    def guessed_inputs(self) -> tuple[InputSpec, ...]:
        return guessed(self._root, self._keras)

    def needed_inputs(self) -> tuple[str, ...]:
        return inputs_by_name(self._root)

    @property
    def input_index_bound(self) -> int | None:
        return None

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        """For a model of the user's own whose ``call`` takes a dict; one that was never called is
        taken at the word that these are its inputs."""
        known = inputs_by_name(self._root)
        if (
            not known
            and len(names) > 1
            and not self._root.built
            and not isinstance(self._root, self._keras.Sequential)
        ):
            known = self._told = tuple(sorted(names))
        return known

    def argument_names(self) -> tuple[str, ...]:
        return self.input_order(())

    def output_names(self) -> tuple[str, ...]:
        """Those of a functional model's outputs."""
        return tuple(getattr(self._root, "output_names", None) or ())

    def names(self) -> tuple[str, ...]:
        return (*dict.fromkeys(place.name for place in self._containing()), *self._met)

    @property
    def containers(self) -> tuple[Layer, ...]:
        found = [place for place in self._containing() if place.role == "container"]
        return tuple(replace(layer_of(place), checkable=("numpy", "onnx")) for place in found)

    def may_be_operation(self, name: str) -> bool:
        place, slash, _ = name.rpartition("/")
        found = self._places()
        models = [
            inner.name for inner in found if inner.role == "container" and own_call(inner.layer)
        ]
        return bool(slash) and name not in [inner.name for inner in found] and place in models

    def settings(self) -> AbstractContextManager[None]:
        return settings_here(self._tensors)

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        return self._watch(self._root, checked(self._root, self._keras, inputs), wanted, on_call)

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        if self.may_be_operation(name):
            raise BadInput(
                f"{name!r} is an operation between layers, which cannot run alone: give the "
                "model's input"
            )
        layers = {place.name: place.layer for place in reversed(self._containing())}
        if name not in layers:
            raise UnknownLayer(name, self.names())
        self._watch(layers[name], checked_alone(layers[name], inputs), {name}, on_call)

    def _places(self) -> tuple[Place, ...]:
        return places(self._root, self._keras)

    def _containing(self) -> tuple[Place, ...]:
        """All places, and the model as a whole."""
        found = self._places()
        if not isinstance(self._root, self._keras.Model) or (found and not found[0].name):
            return found
        return (Place("", self._root, "container"), *found)

    def _watch(
        self,
        called: Any,
        arrays: Sequence[np.ndarray],
        wanted: Collection[str] | None,
        on_call: OnCall,
    ) -> tuple[np.ndarray, ...]:
        with (
            held_back(),
            silenced("", logs=True),
            turn(self._root._flatten_layers()),
            on_device(self._device, self._keras),
        ):
            self._build(called, arrays)
            if "" in (wanted or ()):
                places = self._containing()
            else:
                places = self._places()
            for place in places:
                if place.role == "input" and wanted is not None and place.name in wanted:
                    raise NotReached(
                        f"{place.name!r} is an input of the model and computes nothing"
                    )
            sought: Collection[str]
            operations: set[str] | None = None
            if wanted is None or isinstance(wanted, AndEvery):
                sought = {place.name for place in places if place.role == "atomic"}
                sought |= wanted or set()
            else:
                sought = wanted
                operations = {name for name in wanted if self.may_be_operation(name)}
            forward, given = self._forward(called, arrays, None if self._live else False)
            with unchanged(self._root), settings_kept(self._keras):
                outputs = watch(
                    forward, given, places, sought, on_call, self._tensors, operations, self._met
                )
        for name in sorted((operations or set()) - self._met.keys()):
            raise UnknownLayer(name, self.names())
        return outputs

    def _build(self, called: Any, arrays: Sequence[np.ndarray]) -> None:
        """Calls what was never called once before it is guarded: the weights that this makes must
        stay."""
        found = self._places()
        layers = [called, *(place.layer for place in found)]
        if id(called) not in self._called and not all(
            getattr(layer, "built", True) for layer in layers
        ):
            self._called.add(id(called))
            # Watched, so that a failure names the layer.
            watch(
                *self._forward(called, arrays, False),
                found,
                {place.name for place in found},
                lambda _: None,
                self._tensors,
            )
            self.notes = (
                *self.notes,
                "the model was not built; its first call initialised its weights at random",
            )

    def _forward(
        self, called: Any, arrays: Sequence[np.ndarray], training: bool | None
    ) -> tuple[Callable[[], Any], list[Any]]:
        """What makes the call, and the tensors that it makes it on."""
        given = [self._tensors.tensor(array) for array in arrays]
        args, kwargs = arguments(
            called, given, self._tensors, self._told if called is self._root else ()
        )
        if training is not None and "training" in inspect.signature(called.call).parameters:
            kwargs["training"] = training
        return lambda: called(*args, **kwargs), given
