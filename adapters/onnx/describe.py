"""How an ONNX node becomes steps of ops.

The table holds operator names and is filled by the families beside this file. A describer receives
the builder that it adds steps to, the node's attributes, and its inputs: a ``Ref`` for a tensor, a
``Weight`` for an initializer, None where one is left out. What it reads of them is noted: a node
with anything else set to other than its default has no description.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from probe import description, ops
from probe.description import Description, Ref, Value, Weight, weights_of
from probe.errors import Undescribed

from .schema import defaults, input_name
from .undescribed_operators import LEFT_OUT

__all__ = [
    "NodeBuilder",
    "Tensors",
    "Value",
    "describe_node",
    "described",
    "implied",
    "node",
    "refusal",
]


Tensors = tuple[Ref, ...]
"""A sequence, as a describer receives it."""


def _nothing(graph: Any, inputs: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
    raise Undescribed("the subgraphs of this node cannot be run here")


class NodeBuilder(description.Builder):
    """The steps of one run of a node under construction."""

    single = ops.Identity

    def __init__(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        attributes: Mapping[str, Any],
        opset: int,
        present: Sequence[int] | None = None,
    ) -> None:
        super().__init__(inputs, outputs)
        self.attributes, self.opset = attributes, opset
        self.present = tuple(range(len(outputs)) if present is None else present)
        """Which of the operator's outputs these are: a node may leave some out."""
        self.notes: list[str] = []
        """What ONNX Runtime is known to do with such a node."""
        self.read: set[str] = set()
        """The attributes that the description has asked for."""
        self.taken: list[Value | Tensors] = []
        """The inputs that it has used."""
        self.outer: Mapping[str, Value] = {}
        """For a node that runs graphs of its own: what these may take from outside, by name; and in
        numbers."""
        self.outside: Mapping[str, np.ndarray] = {}
        self.run_graph: Callable[[Any, Mapping[str, np.ndarray]], Mapping[str, Any]] = _nothing
        """Runs such a graph on what it takes; gives every tensor in it."""
        self.own: Collection[tuple[str, str]] = ()
        """The functions that the model defines itself, by domain and name."""
        self.inside = False
        """Whether it is a node of such a graph, whose numbers come from another run than the
        model's own."""

    def ref(self, value: Value) -> Ref:
        self.taken.append(value)
        return super().ref(value)

    def array(self, value: Value) -> np.ndarray:
        self.taken.append(value)
        return super().array(value)

    def several(self, sequence: Tensors) -> Tensors:
        """The tensors of a sequence."""
        self.taken.append(sequence)
        return sequence

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        self.read.add(name)
        return self.attributes.get(name, default)

    def knows(self, *names: str) -> None:
        """Attributes that change nothing in the mode that others name."""
        self.read.update(names)

    def unread(self, kind: str, values: Sequence[Value | Tensors | None]) -> str:
        """What the node sets that its description has not read, in words; empty where there is
        nothing."""
        usual, said = defaults(kind, self.opset), implied(kind)
        for name, value in self.attributes.items():
            if (
                name not in self.read
                and name not in said
                and not (name in usual and usual[name] == value)
            ):
                return f"its attribute {name}={_short(value)} is not supported by its description"
        held = weights_of(tuple(self.steps))
        for at, value in enumerate(values):
            used = value is None or any(
                other is value or (isinstance(other, Ref) and other == value)
                for other in self.taken
            )
            name = input_name(kind, self.opset, at)
            if not (used or name in said or (isinstance(value, Weight) and value.name in held)):
                return f"its input {name} is not supported by its description"
        return ""

    def ints(self, value: Value | None, name: str = "") -> tuple[int, ...] | None:
        """Numbers that an input holds, or in older versions of the operator an attribute; None
        where neither does."""
        if value is not None:
            return tuple(int(number) for number in self.array(value).reshape(-1))
        given = self.get(name) if name else None
        if given is None:
            return None
        return tuple(given)

    def weight(self, name: str, value: Value | None) -> Weight | None:
        """An input as a parameter of an op: where it follows from the model's input, as that made
        it."""
        self.taken += [] if value is None else [value]
        if value is None or isinstance(value, Weight):
            return value
        return Weight(name, None, self.array(value), ("computed by the model from its input",))

    def in_floats(self, op: ops.Op, x: Value) -> Ref:
        """An op that ONNX Runtime has for floats, on whatever x is; integers of up to 16 bits are
        exact there."""
        kind = self.array(x).dtype
        if kind.kind not in "iu" or kind.itemsize > 2:
            return self.add(op, x)
        return self.add(ops.Cast(to=kind.name), self.add(op, self.add(ops.Cast(to="float32"), x)))


def _short(value: Any) -> str:
    if isinstance(value, int | float | str | list | tuple):
        text = repr(value)
    else:
        text = type(value).__name__
    if len(text) <= 60:
        return text
    return f"{text[:57]}..."


Describer = Callable[..., Ref | Sequence[Ref]]
D = TypeVar("D", bound=Describer)
_TABLE: dict[str, Describer] = {}
_IMPLIED: dict[str, frozenset[str]] = {}


def node(*names: str, implied: Sequence[str] = ()) -> Callable[[D], D]:
    """Registers a describer for operators of the default domain.

    ``implied`` names the attributes and inputs that it need not read: the shapes of the run say
    what they say, or they say nothing about the outputs at all.
    """

    def register(describer: D) -> D:
        _TABLE.update(dict.fromkeys(names, describer))
        _IMPLIED.update(dict.fromkeys(names, frozenset(implied)))
        return describer

    return register


def described() -> tuple[str, ...]:
    """The names of the described operators, in alphabetical order."""
    return tuple(sorted(_TABLE))


def implied(kind: str) -> frozenset[str]:
    """The attributes and inputs of a described operator that its description need not read."""
    return _IMPLIED.get(kind, frozenset())


def refusal(kind: str) -> str:
    """Why an operator has no description; empty where it has one."""
    if kind in _TABLE:
        return ""
    if kind in LEFT_OUT:
        return f"the operator {kind} has no description: {LEFT_OUT[kind]}"
    return f"the operator {kind} has no description; it would be added in adapters/onnx"


def describe_node(
    kind: str, build: NodeBuilder, values: Sequence[Value | Tensors | None]
) -> Description:
    """The steps of one run of a node; raises Undescribed with the reason where there are none."""
    if kind not in _TABLE:
        raise Undescribed(refusal(kind))
    while values and values[-1] is None:
        values = values[:-1]
    known = inspect.signature(_TABLE[kind]).parameters.values()
    if (
        all(parameter.kind is not parameter.VAR_POSITIONAL for parameter in known)
        and len(values) > len(known) - 1
    ):
        raise Undescribed(
            f"its input {input_name(kind, build.opset, len(known) - 1)} is not supported by "
            "its description"
        )
    found = _TABLE[kind](build, *values)
    if unread := build.unread(kind, values):
        raise Undescribed(unread)
    refs = tuple(
        build.ref(output) for output in (found if isinstance(found, tuple | list) else (found,))
    )
    if len(refs) <= max(build.present):
        raise Undescribed(f"only the first {len(refs)} outputs of {kind} are described")
    several, refs = len(refs) > 1, tuple(refs[at] for at in build.present)
    if several and len(refs) == 1:
        refs = (build.add(ops.Identity(), refs[0]),)
    return Description(build.ended(*refs))
