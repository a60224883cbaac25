"""Operators on the bits of integers."""

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node
from .elementwise import TYPES

__all__: list[str] = []


def _register(name: str) -> None:
    @node(name)
    def bitwise(build: NodeBuilder, x: Value, y: Value) -> Ref:
        return build.add(getattr(ops, name)(), x, y)


for _name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
    _register(_name)


@node("BitwiseNot")
def bitwise_not(build: NodeBuilder, x: Value) -> Ref:
    return build.add(ops.BitwiseNot(kind=build.array(x).dtype.name), x)


@node("BitShift")
def bit_shift(build: NodeBuilder, x: Value, by: Value) -> Ref:
    return build.add(
        ops.BitShift(left=build.get("direction") == "LEFT", kind=build.array(x).dtype.name), x, by
    )


@node("BitCast")
def bit_cast(build: NodeBuilder, x: Value) -> Ref:
    kind = TYPES.get(build.get("to"))
    if kind is None or kind == "bool":
        raise Undescribed(f"reinterpreting bits as type {build.get('to')} is not supported")
    if (
        kind.startswith("float")
        and build.array(x).dtype.kind in "iu"
        and build.array(x).dtype.itemsize > 4
    ):
        raise Undescribed(
            "reinterpreting integers that float64 cannot represent as floats is not supported"
        )
    return build.add(ops.BitCast(kind=build.array(x).dtype.name, to=kind), x)
