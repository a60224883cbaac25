"""The layers that a model's config lists: their names, classes and shapes, and which of them can be
checked, without any framework."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probe.listing import Layer

from ..describe.described_classes import DESCRIBED, FUNCTIONS, OPERATIONS, ROOTS, key_of
from ..describe.undescribed_classes import FOLLOWED
from .allow_list import objects
from .output_shapes import inferred_shapes

__all__ = ["inner_layers", "layer_name", "listed_layers"]


def inner_layers(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """The layers that a model's config lists; None where it lists none."""
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, Mapping) else inner
    if isinstance(layers, list) and all(
        isinstance(layer, Mapping) and "class_name" in layer for layer in layers
    ):
        return layers
    return None


def listed_layers(
    model: Mapping[str, Any], sizes: Mapping[str, int], prefix: str, group: str, form: str
) -> Iterator[Layer]:
    """The layers of a model as the listing has them, those of models inside it after their names;
    ``sizes`` are those of the datasets, ``group`` is where the model's lie."""
    entries = inner_layers(model) or ()
    chained = model["class_name"].endswith("Sequential")
    outputs = inferred_shapes(entries, chained) | _output_shapes(entries, chained)
    groups = _groups(model, entries, group) if form == "keras" else {}
    for entry in entries:
        name, kind = layer_name(entry), entry["class_name"].rpartition(">")[2]
        place = groups.get(name, "") if form == "keras" else f"{group}/{name}"
        if kind == "InputLayer":
            continue
        if inner_layers(entry):
            yield from listed_layers(entry, sizes, f"{prefix}{name}/", place, form)
            continue
        why = _why(entry, kind)
        parameters = sum(size for path, size in sizes.items() if _within(path, place, form))
        yield Layer(
            prefix + name,
            kind,
            () if why else ("numpy", "onnx"),
            why,
            outputs.get(name),
            parameters,
        )


def layer_name(entry: Mapping[str, Any]) -> str:
    """What the entry of a layer calls it."""
    return str(entry.get("name") or entry["config"].get("name", ""))


def _why(entry: Mapping[str, Any], kind: str) -> str:
    module = str(entry.get("module") or "keras")
    if module.startswith("keras.src.ops."):
        if kind in OPERATIONS or kind in FOLLOWED:
            return ""
        return f"{kind} of keras.ops has no description"
    if kind in FOLLOWED and module.partition(".")[0] in ROOTS:
        return ""
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        called = entry["config"].get("function")
        if called in FUNCTIONS:
            return ""
        return f"the function {called} of TensorFlow has no description"
    if module.partition(".")[0] == "hgq":
        if key_of("hgq", kind) in DESCRIBED:
            return ""
        return f"{kind} has no description"
    own = (
        entry["class_name"] != kind
        or module.partition(".")[0] not in ROOTS
        or entry.get("registered_name") not in (None, kind)
    )
    if own or kind not in DESCRIBED:
        return f"{kind} has no description"
    return ""


def _within(path: str, place: str, form: str) -> bool:
    """Whether a dataset belongs to a layer. An ``.h5`` keeps nested weights flat below the
    outermost layer: outer/…/inner/kernel:0."""
    if form == "keras":
        return path.startswith(place + "/")
    top, *nested = place.split("/")[1:]
    parts = path.split("/")
    return parts[:2] == ["model_weights", top] and all(name in parts[2:-1] for name in nested)


def _groups(
    model: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], group: str
) -> dict[str, str]:
    """Where a ``.keras`` file keeps the weights of each layer: ``layers/conv2d_1``, counted by
    class and not by name."""
    counts: dict[str, int] = {}
    found = {}
    for entry in entries:
        kind = entry["class_name"].rpartition(">")[2]
        operation = str(entry.get("module")).startswith("keras.src.ops.")
        if operation or (kind == "InputLayer" and model["class_name"].endswith("Sequential")):
            continue
        snake = re.sub(
            r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)
        ).lower()
        count = counts[snake] = counts.get(snake, -1) + 1
        found[layer_name(entry)] = f"{group}/layers/{snake}{f'_{count}' if count else ''}".lstrip(
            "/"
        )
    return found


def _output_shapes(
    entries: Sequence[Mapping[str, Any]], chained: bool
) -> dict[str, tuple[int | None, ...]]:
    """The output shapes that the file tells: those of which it tells the input shape of the layer
    that comes next."""
    shapes: dict[str, tuple[int | None, ...]] = {}

    def note(name: str, shape: Any) -> None:
        if isinstance(shape, list) and all(size is None or isinstance(size, int) for size in shape):
            shapes.setdefault(name, tuple(shape))

    for position, entry in enumerate(entries):
        told = (entry.get("build_config") or {}).get("input_shape")
        if chained and position:
            note(layer_name(entries[position - 1]), told)
        for node in entry.get("inbound_nodes") or ():
            if isinstance(node, list):
                if len(node) > 1 and isinstance(told, list):
                    shapes_told = told
                else:
                    shapes_told = [told]
                for origin, shape in zip(node, shapes_told, strict=False):
                    if isinstance(origin, list) and origin[1:3] == [0, 0]:
                        note(origin[0], shape)
            for tensor in objects(node):
                if tensor.value["class_name"] == "__keras_tensor__":
                    history = tensor.value["config"].get("keras_history")
                else:
                    history = None
                if history and history[1:] == [0, 0]:
                    note(history[0], tensor.value["config"]["shape"])
    return shapes
