"""What a .tflite file says of its layers, inputs and outputs by itself."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from probe import printable
from probe.listing import Layer, Party
from probe.model import InputSpec

from .cut_out import readable
from .dataflow import CONTROL, Dataflow, short
from .describe import refusal
from .schema import DTYPES, OMITTED, TfliteTensor

__all__ = ["layers", "names_of", "notes", "specs"]


def names_of(flow: Dataflow, tensors: Iterable[int], outputs: bool = False) -> tuple[str, ...]:
    """What inputs or outputs are called: as the signature has it, or else as the tensors are."""
    named: dict[int, str] = {}
    for signature in flow.model.signatures:
        if signature.subgraph == flow.model.first:
            entries = signature.outputs if outputs else signature.inputs
            named |= {at: name for name, at in entries.items()}
    names: list[str] = []
    for at in tensors:
        name = named.get(at) or short(flow.tensors[at].name) or f"tensor_{at}"
        names.append(name if name not in names else f"{name}_{at}")
    return tuple(names)


def specs(flow: Dataflow, fixed: bool = False) -> tuple[InputSpec, ...]:
    """What the model takes: in the shapes of the file alone where they are ``fixed``."""
    taken = [at for at in flow.main.inputs if at != OMITTED]
    return tuple(
        _spec(name, flow.tensors[at], fixed)
        for name, at in zip(names_of(flow, taken), taken, strict=True)
    )


def _spec(name: str, tensor: TfliteTensor, fixed: bool) -> InputSpec:
    sizes = tensor.shape if fixed else _sizes(tensor)
    if not readable(tensor):
        return InputSpec(name, sizes, tensor.dtype)
    kind = DTYPES[tensor.dtype]
    spec = InputSpec(name, sizes, kind.name, usual=tensor.shape)
    if tensor.quantisation is None or not tensor.quantisation.scale.size or kind.kind not in "iu":
        return spec
    bounds = np.iinfo(kind)
    return replace(spec, high=int(bounds.max) + 1, low=int(bounds.min))


def layers(flow: Dataflow) -> tuple[Layer, ...]:
    found = []
    for name, node in flow.nodes.items():
        why = "" if node.operator in CONTROL else refusal(node)
        shape = _sizes(flow.tensors[node.outputs[0]])
        parties: tuple[Party, ...] = () if why else ("numpy", "onnx")
        found.append(Layer(name, node.kind, parties, why, shape, flow.parameters(node)))
    return tuple(found)


def notes(flow: Dataflow) -> tuple[str, ...]:
    """Which of several signatures runs."""
    keys = [entry.key for entry in flow.model.signatures if entry.subgraph == flow.model.first]
    others = [entry.key for entry in flow.model.signatures if entry.subgraph != flow.model.first]
    if not others:
        return ()
    runs = f"the signature {keys[0]!r}" if keys else "the first subgraph"
    return (
        f"{runs} is what runs; --signature (signature=) chooses another: "
        f"{printable.several(map(repr, others))}",
    )


def _sizes(tensor: TfliteTensor) -> tuple[int | None, ...]:
    return tuple(None if size < 0 else size for size in tensor.shape_signature)
