"""What follows from what in a file, and which of its nodes are layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from .cut_out import readable
from .schema import OMITTED, Subgraph, TfliteFile, TfliteNode, TfliteTensor

__all__ = ["CONTROL", "STATE", "Dataflow", "short"]

STATE = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
"""What reads and writes the variables of a model: no layers."""
CONTROL = ("IF", "WHILE", "STABLEHLO_COMPOSITE")
"""What runs subgraphs, whose nodes become its steps."""
_SHAPES = ("SHAPE", "RANK")
"""What takes no more than the shape from its input."""


def short(name: str) -> str:
    """Of the names that a fused tensor has, as in ``a/BiasAdd;a/Conv2D``, the last."""
    return name.split(";")[-1] or name


@dataclass(frozen=True, eq=False)
class Dataflow:
    """The main subgraph of a file."""

    model: TfliteFile

    @property
    def main(self) -> Subgraph:
        return self.model.subgraphs[0]

    @property
    def tensors(self) -> tuple[TfliteTensor, ...]:
        return self.main.tensors

    @cached_property
    def makers(self) -> Mapping[int, TfliteNode]:
        """Tensor -> what computes it."""
        return {at: node for node in self.main.nodes for at in node.outputs if at != OMITTED}

    @cached_property
    def following(self) -> frozenset[int]:
        """The tensors that follow from the model's inputs or its state, shapes of them left out."""
        following = {at for at in self.main.inputs if at != OMITTED}
        following.update(tensor.index for tensor in self.tensors if tensor.is_variable)
        for node in self.main.nodes:
            if node.operator == "READ_VARIABLE" or (
                node.operator not in _SHAPES and following.intersection(node.inputs)
            ):
                following.update(node.outputs)
        return frozenset(following - {OMITTED})

    @cached_property
    def nodes(self) -> Mapping[str, TfliteNode]:
        """The nodes that are layers, by the name of what they give; one that others have, too, has
        the node's number behind it."""
        nodes: dict[str, TfliteNode] = {}
        for node in self.main.nodes:
            if node.operator in STATE or not self.following.intersection(node.outputs):
                continue
            name = short(self.tensors[node.outputs[0]].name) or node.kind
            while name in nodes:
                name = f"{name}_{node.index}"
            nodes[name] = node
        return nodes

    def taken(self, node: TfliteNode) -> tuple[int, ...]:
        """The tensors that are inputs of a call, each once: numbers that follow from the model's
        inputs or its state."""
        found = dict.fromkeys(at for at in node.inputs if at in self.following)
        return tuple(at for at in found if readable(self.tensors[at]))

    def given(self, node: TfliteNode) -> tuple[int, ...]:
        """The tensors that are its outputs."""
        return tuple(at for at in node.outputs if at != OMITTED and readable(self.tensors[at]))

    def behind(self, node: TfliteNode) -> tuple[TfliteNode, ...]:
        """The nodes that compute constants for it, in the order in which they run, and itself."""
        wanted, chain = {*node.inputs}, [node]
        for before in reversed(self.main.nodes[: node.index]):
            if wanted.intersection(before.outputs) and not self.following.intersection(
                before.outputs
            ):
                chain.insert(0, before)
                wanted.update(before.inputs)
        return tuple(chain)

    def parameters(self, node: TfliteNode) -> int:
        """How many numbers its constants have."""
        count = 0
        for at in dict.fromkeys(node.inputs):
            if at == OMITTED or at in self.following:
                continue
            maker = self.makers.get(at)
            tensor = self.tensors[at if maker is None else maker.inputs[0]]
            if tensor.is_constant and tensor.dtype != "string":
                size = 1
                for length in tensor.shape:
                    size *= length
                count += size
        return count
