"""One run of a node as a capture: what it took and gave, and its description."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from probe.description import Builder, Description, Ref, Weight
from probe.errors import Undescribed, describing
from probe.model import Capture, Producer, WorkedOut

from .describe import NodeBuilder, Tensors, Value, describe_node
from .node_tensors import kind_of, takes, tensors_of
from .operators.quantize_linear import dequantized
from .operators.sequences import SEQUENCES
from .schema import plain

__all__ = ["NodeCaptures"]

_LARGE = 1 << 22
"""Bytes of a constant from which on its steps are not looked at."""
_LONG = 64
"""So many nodes behind a constant are."""


@dataclass
class _NodeOperands:
    """What stands for each tensor that a node takes, and those of them that are inputs."""

    values: dict[str, Value | Tensors] = field(default_factory=dict)
    inputs: list[np.ndarray] = field(default_factory=list)
    made_by: list[Producer | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NodeCaptures:
    """Makes the captures of the nodes of one model."""

    proto: onnx.ModelProto
    initializers: Mapping[str, np.ndarray]
    following: frozenset[str]
    """The tensors that follow from the model's inputs."""
    halves: set[str]
    """The tensors in bfloat16, whose numbers are held in float32."""
    run_graph: Callable[[onnx.GraphProto, Mapping[str, np.ndarray]], dict[str, Any]]

    def capture(
        self,
        name: str,
        node: onnx.NodeProto,
        values: Mapping[str, Any],
        made_by: Mapping[str, Producer],
    ) -> Capture:
        names = (*takes(node), *node.output)
        sequences = [name for name in names if isinstance(values.get(name), list)]
        if sequences and not self._describes(node, sequences, values):
            return _undescribed(name, node, sequences, values)
        operands = self._operands(node, values, made_by)
        outputs = tuple(array for name in node.output for _, array in tensors_of(name, values))
        description, why, notes = self._described(node, outputs, operands, values)
        return Capture(
            name,
            kind_of(node),
            0,
            tuple(operands.inputs),
            outputs,
            "bfloat16" if self.halves.intersection(node.output) else _dtype(outputs, operands),
            description,
            why,
            notes=notes,
            made_by=tuple(operands.made_by),
            input_names=tuple(operands.names),
            constants=self._constants(node, values),
            by_onnxruntime=True,
        )

    def _describes(
        self, node: onnx.NodeProto, sequences: Sequence[str], values: Mapping[str, Any]
    ) -> bool:
        """Whether a description takes sequences as these."""
        if kind_of(node) not in SEQUENCES:
            return False
        return all(name in self.following and values[name] for name in sequences)

    def _operands(
        self, node: onnx.NodeProto, values: Mapping[str, Any], made_by: Mapping[str, Producer]
    ) -> _NodeOperands:
        operands = _NodeOperands()
        for name in takes(node):
            if name in self.initializers:
                array = self.initializers[name]
                operands.values[name] = Weight(name, array, array)
            elif name not in self.following:
                operands.values[name] = self._computed(name, values)
            else:
                tensors = tensors_of(name, values)
                first = len(operands.inputs)
                places = tuple(Ref(-1, first + index) for index in range(len(tensors)))
                if isinstance(values.get(name), list):
                    operands.values[name] = places
                else:
                    operands.values[name] = places[0]
                operands.inputs += [array for _, array in tensors]
                operands.made_by += [made_by.get(key) for key, _ in tensors]
                operands.names += [key for key, _ in tensors]
        return operands

    def _computed(self, name: str, values: Mapping[str, Any]) -> Weight:
        """What the model computes from what it holds; of what it dequantises the integers are what
        is stored."""
        maker = next((node for node in self.proto.graph.node if name in node.output), None)
        computed = Weight(name, None, values[name], ("computed by the model from constants",))
        if maker is None or maker.op_type != "DequantizeLinear":
            return computed
        inputs = [name for name in maker.input if name]
        if not self.initializers.keys() >= set(inputs):
            return computed
        codes, scale, *rest = (self.initializers[name] for name in inputs)
        if not codes.dtype.name.startswith(("int", "uint")):  # float8 has no integers
            return computed
        how = {attribute.name: attribute.i for attribute in maker.attribute}
        return dequantized(
            codes,
            maker.input[0],
            scale,
            rest[0] if rest else None,
            how.get("axis", 1),
            how.get("block_size", 0),
        )

    def _constants(
        self, node: onnx.NodeProto, values: Mapping[str, Any]
    ) -> Callable[[], Mapping[int | str, WorkedOut]] | None:
        """What gives the steps behind the floats that the model computes from what it holds."""
        names = [
            name
            for name in takes(node)
            if name not in self.initializers
            and name not in self.following
            and isinstance(array := values.get(name), np.ndarray)
            and array.dtype.name in ("float32", "float64")
            and array.nbytes <= _LARGE
        ]
        if not names:
            return None
        return lambda: {name: found for name in names if (found := self._worked_out(name))}

    def _worked_out(self, name: str) -> WorkedOut | None:
        """The steps from initializers to a tensor; None where some have no description."""
        chain = self._behind(name)
        if chain is None:
            return None
        given = {
            key: self.initializers[key]
            for node in chain
            for key in node.input
            if key in self.initializers
        }
        inside = replace(self, following=frozenset(key for node in chain for key in node.output))
        build, refs = Builder(), dict[str, Ref]()
        try:
            values = {
                **given,
                **self.run_graph(helper.make_graph(chain, "constants", [], []), given),
            }
            for node in chain:
                capture = inside.capture("", node, values, {})
                if capture.description is None:
                    return None
                taken = [refs[key] for key in takes(node) if key in refs]
                outputs = build.include(capture.description.steps, *taken)
                refs |= dict(zip(node.output, outputs, strict=False))
        except Undescribed:
            return None
        return WorkedOut(Description(build.ended(refs[name])))

    def _behind(self, name: str) -> list[onnx.NodeProto] | None:
        """The nodes that compute a tensor from initializers alone, in execution order."""
        wanted, chain = {name}, list[onnx.NodeProto]()
        for node in reversed(self.proto.graph.node):
            if not wanted.intersection(node.output) or node.op_type == "Constant":
                continue
            chain.insert(0, node)
            wanted.update(key for key in takes(node) if key not in self.initializers)
            if len(chain) > _LONG or node.op_type == "DequantizeLinear":
                return None
        return chain or None

    def _described(
        self,
        node: onnx.NodeProto,
        outputs: Sequence[np.ndarray],
        operands: _NodeOperands,
        values: Mapping[str, Any],
    ) -> tuple[Description | None, str, tuple[str, ...]]:
        own = {(function.domain, function.name) for function in self.proto.functions}
        if (node.domain, node.op_type) in own:
            return None, f"{kind_of(node)} is a function defined in the model", ()
        imports = self.proto.opset_import
        versions = [opset.version for opset in imports if opset.domain in ("", "ai.onnx")]
        attributes: dict[str, Any] = {
            attribute.name: plain(helper.get_attribute_value(attribute))
            for attribute in node.attribute
        }
        present = [index for index, name in enumerate(node.output) if name]
        if len(outputs) > len(present):  # the tensors of a sequence
            present = list(range(len(outputs)))
        build = NodeBuilder(operands.inputs, outputs, attributes, next(iter(versions), 1), present)
        build.outer = {
            name: value for name, value in operands.values.items() if not isinstance(value, tuple)
        }
        build.outside = {**self.initializers, **values}
        build.run_graph, build.own = self.run_graph, own
        given = [operands.values.get(name) for name in node.input]
        try:
            with describing():
                return describe_node(kind_of(node), build, given), "", tuple(build.notes)
        except Undescribed as error:
            return None, str(error), ()


def _undescribed(
    name: str, node: onnx.NodeProto, sequences: Sequence[str], values: Mapping[str, Any]
) -> Capture:
    """A call with sequences that no description takes, and the tensors beside them."""
    tensors = {key: array for key, array in values.items() if key not in sequences}
    inputs, outputs = (
        tuple(tensors[key] for key in names if key in tensors)
        for names in (node.input, node.output)
    )
    why = f"{sequences[0]} is a sequence, not a tensor"
    return Capture(name, kind_of(node), 0, inputs, outputs, "float32", None, why)


def _dtype(outputs: Sequence[np.ndarray], operands: _NodeOperands) -> str:
    """The type that a node computes in: of integers with float scales that of the scales."""
    weights = [value.effective for value in operands.values.values() if isinstance(value, Weight)]
    for array in (*outputs, *operands.inputs, *weights):
        if array.dtype.kind == "f":
            return str(array.dtype.name)
    return str(outputs[0].dtype.name)
