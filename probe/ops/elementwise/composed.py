"""Ops of one input applied one after the other, where another op holds them as one function."""

from dataclasses import dataclass

from probe.ops.base import Op

__all__ = ["Chain"]


@dataclass(frozen=True, eq=False)
class Chain(Op):
    """Each of ``parts`` on what the one before gave."""

    parts: tuple[Op, ...]

    @property
    def on_power_of_two_grid(self) -> bool:  # type: ignore[override]
        return any(part.on_power_of_two_grid for part in self.parts)

    def summary(self, inputs):
        return ", then ".join(type(part).__name__ for part in self.parts)

    def run(self, *inputs):
        (x,) = inputs
        for part in self.parts:
            (x,) = part.run(x)
        return (x,)

    def to_onnx(self, graph, *inputs):
        (x,) = inputs
        for part in self.parts:
            (x,) = part.to_onnx(graph, x)
        return (x,)

    def error_bound(self, inputs, slacks, outputs, precision, where=None):
        (x,), (slack,) = inputs, slacks
        for part in self.parts:
            y = part.run(x)
            ((slack,), (x,)) = part.error_bound((x,), (slack,), y, precision), y
        return (slack,)
