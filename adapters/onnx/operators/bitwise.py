"""Operators on the bits of integers."""

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import Node, Value, node
from .elementwise import TYPES

__all__: list[str] = []


def _register(name: str) -> None:
    @node(name)
    def bitwise(recipe: Node, x: Value, y: Value) -> Ref:
        return recipe.put(getattr(ops, name)(), x, y)


for _name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
    _register(_name)


@node("BitwiseNot")
def bitwise_not(recipe: Node, x: Value) -> Ref:
    return recipe.put(ops.BitwiseNot(kind=recipe.array(x).dtype.name), x)


@node("BitShift")
def bit_shift(recipe: Node, x: Value, by: Value) -> Ref:
    return recipe.put(
        ops.BitShift(left=recipe.get("direction") == "LEFT", kind=recipe.array(x).dtype.name), x, by
    )


@node("BitCast")
def bit_cast(recipe: Node, x: Value) -> Ref:
    kind = TYPES.get(recipe.get("to"))
    if kind is None or kind == "bool":
        raise Undescribed(f"bits read as type {recipe.get('to')} have no description")
    if (
        kind.startswith("float")
        and recipe.array(x).dtype.kind in "iu"
        and recipe.array(x).dtype.itemsize > 4
    ):
        raise Undescribed(
            "the bits of integers that float64 does not hold, read as a float, have no description"
        )
    return recipe.put(ops.BitCast(kind=recipe.array(x).dtype.name, to=kind), x)
