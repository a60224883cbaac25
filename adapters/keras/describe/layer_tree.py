"""Which layers a model has, under which names, and which of them are listed: the live counterpart
of ``files.listing``."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from probe.description.custom_layers import registered
from probe.errors import Undescribed
from probe.listing import Layer

from .describe import described_name
from .described_classes import DESCRIBED, ROOTS
from .undescribed_classes import FOLLOWED, LEFT_OUT

__all__ = [
    "Place",
    "is_followed",
    "layer_of",
    "listed",
    "own_call",
    "places",
    "root_of",
    "shape_of",
]

_LISTED = ("keras", "tf_keras")
"""Packages all of whose layers are either described or left out for a reason."""

_OPERATIONS = ("keras.src.ops.", "tf_keras.src.layers.core.tf_op_layer")
"""The modules of what stands for a function in a graph of Keras, and is described by its name."""


@dataclass(frozen=True, eq=False)
class Place:
    """A layer under its name: "outer/inner" inside a nested model or a wrapper."""

    name: str
    layer: Any
    role: str
    """"atomic" (listed and swept), "container" (calls others), "inner" (inside an atomic layer) or
    "input"."""
    why: str = ""
    """Why an atomic layer cannot be checked, or empty."""
    own: bool = False
    """Whether it is a layer of the user's own, which is followed through the operations of its
    ``call``."""

    @property
    def kind(self) -> str:
        return type(self.layer).__name__


def places(root: Any, keras: Any) -> tuple[Place, ...]:
    """Every layer once, in the model's own order; one that is shared goes by the name it has first.

    A model whose ``call`` is the user's own is a place too, named "": what that does between the
    layers is named after it.
    """
    if not isinstance(root, keras.Model):
        return (*_place(root, root.name, False, keras, {id(root)}),)
    own = (Place("", root, "container"),) if own_call(root) else ()
    return (*own, *_below(root, "", False, keras, {id(root)}))


def own_call(layer: Any) -> bool:
    """Whether the ``call`` of a layer is written by the user."""
    return any(
        "call" in vars(cls)
        for cls in takewhile(lambda cls: root_of(cls) not in ROOTS, type(layer).__mro__)
    )


def _below(parent: Any, prefix: str, inside: bool, keras: Any, seen: set[int]) -> Iterator[Place]:
    names: dict[str, int] = {}
    for child in _children(parent, keras):
        if id(child) in seen:
            continue
        seen.add(id(child))
        # Keras keeps names unique in a functional model only.
        names[child.name] = names.get(child.name, 0) + 1
        if names[child.name] > 1:
            suffix = f"#{names[child.name]}"
        else:
            suffix = ""
        yield from _place(child, f"{prefix}{child.name}{suffix}", inside, keras, seen)


def _place(layer: Any, name: str, inside: bool, keras: Any, seen: set[int]) -> Iterator[Place]:
    role, why, own = ("inner", "", False) if inside else _role(layer, keras)
    yield Place(name, layer, role, why, own)
    yield from _below(layer, f"{name}/", inside or (role == "atomic" and not own), keras, seen)


def _role(layer: Any, keras: Any) -> tuple[str, str, bool]:
    if isinstance(layer, keras.layers.InputLayer):
        return "input", "", False
    if registered(layer):
        return "atomic", "", False
    try:
        described_name(layer)
    except Undescribed as error:
        if isinstance(layer, keras.Model) or type(layer).__name__ == "Pipeline":
            return "container", "", False
        own = is_followed(type(layer))
        return "atomic", "" if own else str(error), own
    return "atomic", "", False


def _children(layer: Any, keras: Any) -> list[Any]:
    """What a layer holds directly: for a functional model of Keras 3 also its operations, such as
    the one of ``x + y``."""
    if not isinstance(layer, keras.layers.Layer):
        return []
    if isinstance(layer, keras.Model):
        return list(getattr(layer, "operations", None) or layer.layers)
    return list(layer._flatten_layers(include_self=False, recursive=False))


def root_of(kind: type) -> str:
    """The package that a class comes from; the `qkeras` that HGQ2 brings along is HGQ2's."""
    root = kind.__module__.partition(".")[0]
    if root == "qkeras" and any(cls.__module__.startswith("hgq.") for cls in kind.__mro__):
        return "hgq"
    return root


def is_followed(kind: type) -> bool:
    """Whether a class that has no description is followed through its ``call``: one of the user's
    own, one that holds functions of theirs, and one that Keras does not list among its layers, such
    as the cells of its own tests."""
    root, name = root_of(kind), kind.__name__
    if root not in ROOTS or name in FOLLOWED:
        return True
    listed = root not in _LISTED or name in DESCRIBED or name in LEFT_OUT[root]
    return not listed and not kind.__module__.startswith(_OPERATIONS)


def layer_of(place: Place) -> Layer:
    """The line of the listing."""
    sizes = [shape_of(weight) or () for weight in getattr(place.layer, "weights", ())]
    return Layer(
        place.name,
        place.kind,
        () if place.why else ("numpy", "onnx"),
        place.why,
        _output_shape(place.layer),
        sum(math.prod(size or 0 for size in shape) for shape in sizes),
    )


def listed(places: tuple[Place, ...]) -> tuple[Layer, ...]:
    """The lines of ``probe MODEL``."""
    return tuple(layer_of(place) for place in places if place.role == "atomic")


def _output_shape(layer: Any) -> tuple[int | None, ...] | None:
    """The shape of its only output in the first call that a model recorded."""
    nodes = getattr(layer, "_inbound_nodes", None)
    if not nodes:
        return None
    outputs = nodes[0].outputs
    if isinstance(outputs, list | tuple):
        if len(outputs) != 1:
            return None
        outputs = outputs[0]
    return shape_of(outputs)


def shape_of(tensor: Any) -> tuple[int | None, ...] | None:
    """The shape of a tensor or variable of either Keras, None where its rank is unknown."""
    shape = getattr(tensor, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None:
        return None
    return tuple(None if size is None else int(size) for size in shape)
