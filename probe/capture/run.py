"""The calls of one layer in one forward pass, and whether watching them changed the model's
result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from probe.capture.model_inputs import bind, given_words
from probe.capture.user_arrays import ArrayLike, Expected, Inputs, Shape, as_array
from probe.capture.user_layer_outputs import Theirs, check_names
from probe.errors import BadInput, NotReached
from probe.model import Capture, Model, Unloaded, is_model

__all__ = ["Captured", "ModelLike", "captured", "open_model", "opened"]

ModelLike: TypeAlias = Any
"""What ``open_model`` takes, or has returned."""


def open_model(
    source: ModelLike,
    *,
    trust: bool = False,
    factory: str | Callable[[], object] | None = None,
    imports: Sequence[str] = (),
) -> Model:
    """Opens a saved model, or wraps a live one.

    Args:
        source: A path, a ``keras.Model``, ``tf_keras.Model``, ``torch.nn.Module`` or a single layer
            of these, an exported program, or an ``onnx.ModelProto``.
        trust: Whether a file may run the code it holds.
        factory: What builds the module that a PyTorch state_dict belongs to: "pkg.mod:Net",
            "net.py:Net(10)" or a callable.
        imports: Modules to import first, with the user's own layers: names, or paths of .py files.

    Returns:
        The model: its ``layers``, and what the other functions take in place of a path.

    Raises:
        CannotOpen: The file is missing, broken, or of a kind that cannot be opened.
        NotTrusted: The file holds code, and ``trust`` is not given.
        MissingExtra: The framework that the file needs is not installed.
    """
    model: Model = import_module("probe.adapters").open_model(
        source, trust=trust, factory=factory, imports=tuple(imports)
    )
    return model


@dataclass(frozen=True, eq=False)
class Captured:
    """The calls of one layer in one forward pass, and how it was fed."""

    model: Model
    calls: list[Capture]
    arrays: tuple[np.ndarray, ...]
    how: str
    notes: tuple[str, ...]
    alone: bool = False
    """Whether the layer alone was run, on ``arrays``."""
    own: Mapping[int, tuple[np.ndarray, ...] | None] = field(default_factory=dict)
    """The inputs of each call in the user's own run, where the values of other layers hold them."""


def captured(
    model: ModelLike,
    layer: str,
    x: Inputs = None,
    *,
    given: ArrayLike | Sequence[ArrayLike] | None = None,
    call: int | None = None,
    shape: Shape = None,
    seed: int = 0,
    values: Mapping[str, Expected] = MappingProxyType({}),
) -> Captured:
    """Runs the model (or, with ``given``, the layer alone) and keeps the calls of one layer, or the
    one that ``call`` picks.

    ``values`` are the user's own outputs by names of layers.
    """
    model = opened(model)
    if isinstance(model, Unloaded) and isinstance(layer, str):  # before a framework is imported
        inputs = () if x is None or given is not None or isinstance(x, Mapping) else x
        inputs = inputs if isinstance(inputs, list | tuple) else (inputs,)
        model.refuse(layer, [as_array(one) for one in inputs])
    check_names(model, {layer: None, **values})
    own: dict[int, tuple[np.ndarray, ...] | None] = {}
    calls: list[Capture] = []
    said: tuple[str, ...]
    if given is not None:
        arrays = (
            tuple(map(as_array, given)) if isinstance(given, (list, tuple)) else (as_array(given),)
        )
        model.run_alone(layer, arrays, calls.append)
        how, said = given_words(arrays, "the layer's own input, given by you"), ()
    else:
        arrays, how = bind(model, x, shape, seed)
        theirs = Theirs(arrays, values)
        others = values.keys() - {spec.name for spec in model.inputs or ()}

        def push(capture: Capture) -> None:
            if capture.layer == layer:
                calls.append(capture)
                own[capture.call] = theirs.inputs_of(capture) if values else None
            theirs.remember(capture)

        watched = model.run(arrays, {layer, *others}, push)
        said = _faithful(model, arrays, watched)
    calls = [one for one in calls if one.layer == layer]
    if not calls:
        raise NotReached(f"the forward pass did not call {layer!r}, so there is nothing to check")
    if call is not None and not 0 <= call < len(calls):
        raise BadInput(
            f"{layer!r} is called {len(calls)} times; call {call} does not exist (calls are "
            "numbered from 0)"
        )
    return Captured(
        model, calls if call is None else [calls[call]], arrays, how, said, given is not None, own
    )


def _faithful(
    model: Model, arrays: tuple[np.ndarray, ...], watched: tuple[np.ndarray, ...]
) -> tuple[str, ...]:
    """Whether the model gives the same with nobody watching, and whether it repeats itself at
    all."""

    def same(left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> bool:
        return len(left) == len(right) and all(
            one.shape == other.shape and one.tobytes() == other.tobytes()
            for one, other in zip(left, right, strict=True)
        )

    def unwatched() -> tuple[np.ndarray, ...]:
        return model.run(arrays, (), lambda _: None)

    first = unwatched()
    if same(first, watched):
        return ()
    if same(first, unwatched()):
        return (
            (
                "capturing activations changes the result: the uninstrumented forward pass "
                "is not bit-identical (fused or compiled kernels)"
            ),
        )
    return (
        (
            "the model is nondeterministic: two passes on the same input differ (active "
            "dropout or random layers)"
        ),
    )


def opened(model: ModelLike) -> Model:
    """The model itself where an adapter has opened it, or else opened."""
    return model if is_model(model) else open_model(model)
