"""Constants that both models hold with the same bits, so that no rounding lies between them."""

from collections.abc import Collection, Iterator

from probe.model_comparison.graphs.bits import bits_of
from probe.model_comparison.graphs.graph import ModelGraph, Tensor
from probe.model_comparison.graphs.normalize import is_constant, values_in

__all__ = ["share_constants"]


def share_constants(a: ModelGraph, b: ModelGraph) -> None:
    """Leaves out what rounding may have done to constants that the other model holds alike."""
    mine, theirs = [*_made(a)], [*_made(b)]
    held_by_b = _held(b, {tensor.value.shape for tensor in mine})
    held_by_a = _held(a, {tensor.value.shape for tensor in theirs})
    for made, held in ((mine, held_by_b), (theirs, held_by_a)):
        for tensor in made:
            if bits_of(tensor.value) in held:
                tensor.rounding = None


def _made(graph: ModelGraph) -> Iterator[Tensor]:
    """The tensors that a model works out of its own numbers."""
    read = dict.fromkeys(tensor for node in graph.nodes for tensor in node.inputs)
    return (tensor for tensor in read if tensor.rounding is not None)


def _held(graph: ModelGraph, shapes: Collection[tuple[int, ...]]) -> set[tuple[object, ...]]:
    """The constants of some shapes."""
    held: set[tuple[object, ...]] = set()
    for tensor in {tensor for node in graph.nodes for tensor in node.inputs} if shapes else ():
        constant = is_constant(tensor)
        if constant is not None:
            array = values_in(constant)
        elif tensor.node is None and tensor.input is None:
            array = tensor.value
        else:
            continue
        if array.shape in shapes:
            held.add(bits_of(array))
    return held
