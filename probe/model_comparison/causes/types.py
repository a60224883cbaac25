"""Fixed-point types that are planned for a model's layers, as hls4ml's configuration names them:
which values and weights lie outside of them, before anything fails."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probe import printable
from probe.errors import BadInput
from probe.files.regular_file import read_json
from probe.model_comparison.graphs.graph import ModelGraph, Tensor, tensors_alone
from probe.model_comparison.graphs.weights import held_weights
from probe.model_comparison.matching.names import before_activation, by_names

__all__ = ["FixedType", "Types", "beyond", "read_types"]

Types = Mapping[str, Any] | str | Path | None
"""What hls4ml's configuration holds, or a JSON file of it: ``{"LayerName": {"fc1": {"Precision":
"ap_fixed<16,6>"}}}``, or types by the names of layers alone."""

_WORDS = re.compile(
    r"(?:ap_)?(u?)(fixed|int)<\s*(\d{1,3})\s*(?:,\s*(-?\d{1,3})\s*)?(?:,\s*[A-Za-z_][\s\w:,]*)?>"
)
_WHOLE = "default"


class FixedType(NamedTuple):
    """A fixed-point type."""

    text: str
    signed: bool
    width: int
    integer: int
    """With the sign, as AMD counts."""

    @property
    def step(self) -> float:
        """The distance between neighbouring values."""
        return 2.0 ** (self.integer - self.width)

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        if self.signed:
            half = 2.0 ** (self.integer - 1)
            return -half, half - self.step
        return 0.0, 2.0**self.integer - self.step


def read_types(types: Types) -> dict[str, dict[str, FixedType]]:
    """The types of each layer, by what they are of: "result", "weight", "bias"; those of all other
    layers under "".

    Raises:
        BadInput: The file cannot be read, or holds what is no type.
    """
    if isinstance(types, str | Path):
        types = read_json(types)
    if not isinstance(types, Mapping):
        raise BadInput("types: an object of types by the names of layers is wanted")
    layers = types.get(
        "LayerName", {name: entry for name, entry in types.items() if name != "Model"}
    )
    if not isinstance(layers, Mapping):
        raise BadInput("types: LayerName is no object of types by the names of layers")
    whole = types.get("Model")
    if isinstance(whole, Mapping):
        planned = {"": dict(_types("Model", whole))}
    else:
        planned = {}
    usual = planned.get("", {}).get(_WHOLE)
    for name, entry in layers.items():
        planned[str(name)] = dict(_types(name, entry, usual))
    return planned


def _types(
    name: str, entry: Any, usual: "FixedType | None" = None
) -> Iterator[tuple[str, FixedType]]:
    """The types of one layer; for "auto" of weights, biases and the accumulator hls4ml takes the
    model's, for a result one that loses nothing."""
    if isinstance(entry, Mapping):
        entry = entry.get("Precision", {} if "Trace" in entry else entry)
    parts = entry if isinstance(entry, Mapping) else {_WHOLE: entry}
    for part, text in parts.items():
        if text == "auto":
            if usual is not None and part in ("weight", "bias"):
                yield part, usual
            if usual is not None and part == "weight" and "accum" not in parts:
                yield "accum", usual
            continue
        match = _WORDS.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            if isinstance(text, str | int | float):
                shown = repr(text)
            else:
                shown = printable.kind(text)
            raise BadInput(
                f"types: {printable.name(shown)} of {printable.name(str(name))} is no type "
                "such as ap_fixed<16,6>, ufixed<8,0> or int<8>"
            )
        unsigned, kind, width, integer = match.groups()
        whole = int(width) if kind == "int" else int(integer or width)
        yield str(part), FixedType(str(text), not unsigned, int(width), whole)


def beyond(types: Mapping[str, Mapping[str, FixedType]], model: ModelGraph) -> Iterator[str]:
    """A sentence for each type that does not hold the values of its layer on this input."""
    layers = {name: plan for name, plan in types.items() if name}
    named = tensors_alone({name: np.zeros(0) for name in layers})
    tensors = {array.name: tensor for array, tensor in by_names(named, model)}
    inputs = [name for name in layers if name not in tensors and name.startswith("input")]
    tensors |= dict(zip(inputs, model.inputs, strict=False))  # hls4ml's layers of the inputs
    missing = [name for name in layers if name not in tensors]
    if missing:
        yield f"types: no layer of the model is named {printable.several(missing, 4)}"
    default = types.get("", {})
    if default:
        alone = {tensor.name: tensor for tensor in model.tensors if tensor.recorded is not None}
        names = {tensor.name for tensor in tensors.values()}
        for name, tensor in alone.items():
            if tensor.node is not None and name not in names:
                layers[name], tensors[name] = default, tensor
    count = 0
    for name, tensor in tensors.items():
        values = {"result": tensor.value}
        if "accum" in layers[name]:
            values["accum"] = _sums(tensor)
        if tensor.node is None:
            nodes = []
        else:
            nodes = [tensor.node, *_same_call(tensor.node, model)]
        for node in nodes:
            values |= {
                "bias" if "bias" in field else "weight": weight.value
                for field, weight in held_weights(node)
                if node.kind in ("MatMul", "Conv", "ConvTranspose")
            }
        for part, array in values.items():
            kind = layers[name].get(part, layers[name].get(_WHOLE))
            if kind is not None and array.dtype.kind == "f" and array.size:
                count += 1
                yield from _outside(printable.name(name), part, np.asarray(array, float), kind)
    if tensors:
        yield f"types: {count} types of {len(tensors)} layers were compared with their values"


def _sums(tensor: Tensor) -> np.ndarray:
    """What a layer adds up, before the activation that it ends with."""
    return before_activation(tensor).value


def _same_call(node: Any, model: ModelGraph) -> list[Any]:
    return [other for other in model.nodes if other.call is node.call and other is not node]


def _outside(name: str, part: str, values: np.ndarray, kind: FixedType) -> Iterator[str]:
    low, high = kind.limits
    outside = int(((values < low - kind.step / 2) | (values > high + kind.step / 2)).sum())
    if outside:
        yield (
            f"types: {name}, {part} {kind.text}: {outside} of {values.size} values, from "
            f"{values.min():.6g} to {values.max():.6g}, lie beyond [{low:g}, {high:g}]; "
            f"{_integer(values, kind)} integer bits hold them"
        )
    lost = int(((values != 0) & (np.abs(values) < kind.step / 2)).sum())
    if lost > values.size / 2:
        yield (
            f"types: {name}, {part} {kind.text}: {lost} of {values.size} values are smaller than "
            f"half its step {kind.step:g} and become 0"
        )


def _integer(values: np.ndarray, kind: FixedType) -> str:
    """How many integer bits hold all of the values, with as many fraction bits."""
    if not kind.signed and values.min() < 0:
        return "a sign and more"
    for bits in range(kind.integer, 65):
        low, high = kind._replace(integer=bits, width=kind.width + bits - kind.integer).limits
        if low <= values.min() and values.max() <= high:
            return str(bits)
    return "no number of"
