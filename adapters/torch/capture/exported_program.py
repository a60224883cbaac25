"""An exported program (.pt2), run node by node: every node is a function call, at the place that it
had in the module it came from."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from probe.errors import CannotOpen, NotTrusted, first_line
from probe.model import InputSpec
from probe.process.interrupts import held_back, interruptible
from probe.process.log_suppression import silenced

from ..functions import named
from .function_names import CONSTRUCTORS, NO_LAYERS, names_of
from .tensors import dtype_name, tensors_in

__all__ = ["Program", "calls_of", "is_program", "load_program", "place_of", "specs_of"]


def is_program(source: Any) -> bool:
    """Whether it is what torch.export.export returns."""
    return isinstance(source, torch.export.ExportedProgram)


def load_program(path: Path, trust: bool) -> torch.export.ExportedProgram:
    """The program in a .pt2 file; weights and constants in it may be pickles, so it takes trust."""
    if not trust:
        raise NotTrusted(
            f"{path} is an exported program (.pt2), which torch.export.load reads with "
            "pickle, so it can run any code: give --trust (trust=True) if you trust its "
            "author"
        )
    try:
        # of a file that it cannot read it logs a traceback
        with held_back(), silenced("", logs=True), interruptible():
            return torch.export.load(path)
    except (RuntimeError, ValueError, OSError, KeyError, AssertionError, AttributeError) as error:
        first = first_line(error).removesuffix(
            " Please check the warnings above for possible errors."
        )
        raise CannotOpen(
            f"{path} cannot be loaded as an exported program: {type(error).__name__}: {first}"
        ) from None


class Program(torch.nn.Module):
    """The graph of an exported program as a module that runs one node after the other.

    ``place`` is the path of the module that the node which is on came from.
    """

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        graph = program.module()
        self._held = (graph,)  # not as a child: its forward would be another module
        self._parameters.update(graph._parameters)
        self._buffers.update(graph._buffers)
        self._modules.update(
            {
                name: child
                for name, child in graph._modules.items()
                if not name.startswith("_guards")
            }
        )
        self.place = ""
        for node in self.nodes():
            if node.op == "call_function":
                self._named_module(place_of(node))
        super().train(False)

    def train(self, mode: bool = True) -> "Program":
        return self  # what training changes was decided when it was exported

    def nodes(self) -> list[torch.fx.Node]:
        return list(self._held[0].graph.nodes)

    def forward(self, *inputs: torch.Tensor) -> Any:
        try:
            return _Nodes(self, self._held[0]).run(*inputs)
        finally:
            self.place = ""

    def _named_module(self, place: str) -> None:
        """A module for a place that holds no parameters, so that it has a name."""
        module: torch.nn.Module = self
        for part in place.split(".") if place else ():
            if part not in module._modules:
                module._modules[part] = torch.nn.Module()
            module = module._modules[part]  # type: ignore[assignment]


class _Nodes(torch.fx.Interpreter):
    def __init__(self, program: Program, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph)
        self.program = program

    def run_node(self, n: torch.fx.Node) -> Any:
        self.program.place = place_of(n)
        return super().run_node(n)


def place_of(node: torch.fx.Node) -> str:
    """The path of the module that a node came from."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    return path.partition("@")[0]  # a module called again is told apart by @1


def specs_of(program: torch.export.ExportedProgram) -> tuple[InputSpec, ...]:
    """What the program says about its inputs; a size that it leaves free is None."""
    found = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if (
            node.op == "placeholder"
            and node.name in program.graph_signature.user_inputs
            and isinstance(value, torch.Tensor)
        ):
            sizes = tuple(int(size) if isinstance(size, int) else None for size in value.shape)
            found.append(InputSpec(node.name, sizes, dtype_name(value)))
    return tuple(found)


def calls_of(program: Program) -> dict[str, str]:
    """The layers of an exported program, known without a pass: its function nodes that follow from
    its inputs, and their kinds."""
    counts: Counter[str] = Counter()
    kinds: dict[str, str] = {}
    following: set[Any] = set()
    for node in program.nodes():
        if node.op == "placeholder" or not following.isdisjoint(node.all_input_nodes):
            following.add(node)
        if (
            node.op != "call_function"
            or node not in following
            or not tensors_in(node.meta.get("val"))
            or not isinstance(node.target, torch._ops.OpOverload)
        ):
            continue
        name, shown = names_of(node.target)
        if name in CONSTRUCTORS or name in NO_LAYERS:
            continue
        layer = f"{place_of(node)}/{named(name)}"
        counts[layer] += 1
        kinds[layer + (f":{counts[layer] - 1}" if counts[layer] > 1 else "")] = shown
    return kinds
