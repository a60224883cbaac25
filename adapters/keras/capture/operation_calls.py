"""What a model of the user's own does between its layers: the operations of its ``call``, as calls
with names of their own.

The call is made on symbolic tensors first, as that of a layer of the user's own is
(symbolic_trace.py), and then node by node on the values, so that each layer runs where it stands
and each operation between them is seen. An operation is named after the model and itself:
"block/relu", and "block/relu:1" the second time in the same call; in the outermost model "/relu".
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe.errors import Undescribed
from probe.process.interrupts import held_back, interruptible

from ..describe.call import KerasCall
from ..describe.layer_tree import Place, is_followed
from ..describe.tensors import Tensors
from .assignments import State, state_of
from .restore_state import unchanged
from .symbolic_trace import TracedGraph, drawn, names_kept, symbolic

__all__ = ["WHOLE", "Traced", "same", "traced"]

WHOLE = "call"
"""What is named in place of the operations where a call cannot be followed: "block/call"."""


@dataclass(frozen=True, eq=False)
class Traced:
    """The call of a model as nodes between symbolic tensors; ``inside`` says of a layer whether it
    has a place of its own."""

    place: Place
    inputs: Sequence[Any]
    graph: TracedGraph
    result: Any
    tensors: Tensors
    inside: Callable[[Any], bool]
    ended: Callable[[], None]
    """Puts the model to what its call leaves: nodes assign to no variable."""
    plain: bool = False
    """Whether NumPy's numbers are handed on as Python's: a tensor's own operators take their type
    for no more than a number's."""

    def run(self, step: Callable[[Place, Any, Any, Any], Any]) -> Any:
        """What the nodes give; ``step`` makes each call that no place stands for."""
        counts: Counter[str] = Counter()

        def run(operation: Any, args: Any, kwargs: Any) -> Any:
            if self.inside(operation):
                return operation(*args, **kwargs)
            if self.plain:
                args, kwargs = self.tensors.mapped(
                    lambda leaf: leaf.item() if isinstance(leaf, np.generic) else leaf,
                    (args, kwargs),
                )
            name = f"{self.place.name}/{_named(operation)}"
            counts[name] += 1
            name += f":{counts[name] - 1}" if counts[name] > 1 else ""
            place = Place(name, operation, "atomic", own=is_followed(type(operation)))
            return step(place, operation, args, kwargs)

        found = self.tensors.packed(self.result, self.graph.run(self.inputs, run, self.tensors))
        self.ended()
        return found


def traced(
    place: Place,
    call: KerasCall,
    input_tensors: Sequence[Any],
    own: Callable[[], Any],
    tensors: Tensors,
    inside: Callable[[Any], bool],
) -> Traced | None:
    """None where nothing lies between the layers; Undescribed with the reason where the call cannot
    be followed.

    That is also where its nodes do not give what ``own``, the call as it is, gives bit by bit.
    """
    met: list[Place] = []

    def step(place: Place, operation: Any, args: Any, kwargs: Any) -> Any:
        met.append(place)
        return tensors.made(lambda: operation(*args, **kwargs))

    def kept(run: Callable[[], Any]) -> Any:
        with held_back(), names_kept(call), unchanged(place.layer), interruptible():
            return run()

    def whole() -> tuple[Any, State, str]:
        before = state_of(place.layer, tensors)
        found = tensors.made(own)
        return found, state_of(place.layer, tensors), before.assigned()

    try:
        symbols = [_symbol(tensor, call, tensors) for tensor in input_tensors]
        result, graph = kept(lambda: _drawn(place.layer, call, tensors, symbols))
        steps = Traced(place, input_tensors, graph, result, tensors, inside, lambda: None)
        ours = kept(lambda: steps.run(step))
        plain = kept(lambda: replace(steps, plain=True).run(step))
    except Undescribed:
        raise
    except Exception as error:
        raise Undescribed(
            f"running its operations one by one failed ({type(error).__name__})"
        ) from None
    if not met:
        return None
    theirs, after, assigned = kept(whole)
    if same(ours, theirs, tensors) or same(plain, theirs, tensors):
        ended = after.restore if assigned else steps.ended
        return replace(steps, ended=ended, plain=not same(ours, theirs, tensors))
    if not same(theirs, kept(whole)[0], tensors):
        raise Undescribed(
            "the call is nondeterministic, so its operations cannot be compared with it"
        )
    assigns = f"it assigns to {assigned}, and " if assigned else ""
    raise Undescribed(
        f"{assigns}its operations, traced with symbolic tensors and run one by one, give other "
        "values than the call itself"
    )


def _drawn(
    layer: Any, call: KerasCall, tensors: Tensors, symbols: list[Any]
) -> tuple[Any, TracedGraph]:
    result = symbolic(layer, call, tensors, symbols)
    return result, drawn(call, symbols, result)


def same(left: Any, right: Any, tensors: Tensors) -> bool:
    """Whether two results are the same bit by bit."""
    one, other = (
        [tensors.array(tensor) for tensor in tensors.within(nested)] for nested in (left, right)
    )
    return len(one) == len(other) and all(
        a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True)
    )


def _symbol(tensor: Any, call: KerasCall, tensors: Tensors) -> Any:
    shape, dtype = tuple(tensor.shape), tensors.dtype([tensor])
    if call.legacy:
        return call.namespace.Input(batch_size=shape[0], shape=shape[1:], dtype=dtype)
    return call.namespace.KerasTensor(shape, dtype=dtype)


def _named(operation: Any) -> str:
    """The name of an operation of Keras 3, of a function of TensorFlow, or of a layer that is made
    in the call itself."""
    if hasattr(operation, "symbol"):
        return (
            str(operation.symbol or getattr(operation.function, "__name__", ""))
            .rpartition(".")[2]
            .strip("_")
        )
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(operation).__name__).lower()
