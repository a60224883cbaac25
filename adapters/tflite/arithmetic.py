"""Which arithmetic an engine's kernel has: the one table of roundings by engine, operator and type.
What is not in it is not known, and nothing is guessed."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from probe import ops
from probe.errors import Undescribed
from probe.ops.quantize.requantize import fixed_point

__all__ = ["ENGINES", "EngineKernel", "channels_rounded_singly", "requantize", "rounding"]

ENGINES = ("xnnpack", "optimised", "reference", "tflm")
_MEASURED = ("x86_64", "amd64", "i386", "i686")
"""The machines whose kernels are in the table; those of others differ (NEON has its own)."""


_WHOSE = {
    "tflm": "TFLM's kernel",
    "reference": "TFLite's reference kernel",
    "optimised": "TFLite's optimised kernel",
    "xnnpack": "XNNPACK's kernel",
}
"""The kernels of the families in words; several that do the same are named in this order."""


@dataclass(frozen=True)
class EngineKernel:
    """What computes a node."""

    engine: str
    """One of ENGINES, as it was asked for."""
    machine: str = "x86_64"
    """``platform.machine()``."""
    delegated: bool = False
    """Whether XNNPACK takes the node; under that engine the optimised kernels compute the rest."""

    @property
    def family(self) -> str:
        """Whose kernel it is."""
        if self.engine == "xnnpack" and not self.delegated:
            return "optimised"
        return self.engine

    @property
    def whose(self) -> str:
        """In words."""
        return _WHOSE[self.family]

    def others(self) -> Iterator["EngineKernel"]:
        """Those of the other families on this machine."""
        for family in _WHOSE:
            if family != self.family:
                yield EngineKernel(family, self.machine, family == "xnnpack")

    @property
    def measured(self) -> bool:
        """Whether the machine is one whose kernels are in the table."""
        return self.machine.lower() in _MEASURED

    def refuse_unmeasured(self, operator: str) -> None:
        """Raises Undescribed where the kernels are those of a machine that is not in the table: the
        reference kernels and TFLM's are the same on all."""
        if self.family in ("optimised", "xnnpack") and not self.measured:
            raise Undescribed(
                f"the rounding of {operator} on {self.machine} is not known: the {self.family} "
                f"kernels of x86-64 alone were measured"
            )


def _row(
    tflm: str, reference: str, optimised: str, xnnpack: str = ""
) -> MappingProxyType[str, str]:
    return MappingProxyType(
        {"tflm": tflm, "reference": reference, "optimised": optimised, "xnnpack": xnnpack}
    )


_ROUNDINGS = {
    ("CONV_2D", "int8"): _row("double", "double", "up", "fp32"),
    ("CONV_2D, grouped", "int8"): _row("double", "double", "double", "fp32"),
    ("DEPTHWISE_CONV_2D", "int8"): _row("double", "double", "up", "fp32"),
    ("FULLY_CONNECTED", "int8"): _row("double", "single", "up", "fp32"),
    ("TRANSPOSE_CONV", "int8"): _row("double", "double", "up", "fp32"),
    ("MUL", "int8"): _row("double", "double", "double", "fp32"),
    ("CONV_2D", "uint8"): _row("", "double", "up", "fp32"),
    ("DEPTHWISE_CONV_2D", "uint8"): _row("", "double", "double", "fp32"),
    ("FULLY_CONNECTED", "uint8"): _row("", "single", "up", "fp32"),
    ("MUL", "uint8"): _row("", "double", "double", "fp32"),
    ("CONV_2D", "int16"): _row("reduced", "reduced", "reduced"),
    ("CONV_2D, grouped", "int16"): _row("reduced", "reduced", "reduced"),
    ("DEPTHWISE_CONV_2D", "int16"): _row("reduced", "reduced", "reduced"),
    ("FULLY_CONNECTED", "int16"): _row("reduced", "single", "single"),
    ("TRANSPOSE_CONV", "int16"): _row("reduced", "reduced", "reduced"),
    ("MUL", "int16"): _row("double", "double", "double"),
    ("MEAN", "int8"): _row("double", "double", "double", "float32"),
    ("MEAN of height and width", "int8"): _row("double", "double", "up", "float32"),
    ("MEAN", "uint8"): _row("", "double", "double", "float32"),
    ("MEAN of height and width", "uint8"): _row("", "double", "up", "float32"),
    ("MEAN", "int16"): _row("double", "double", "double"),
    ("MEAN of height and width", "int16"): _row("double", "double", "double"),
    ("SUM", "int8"): _row("double", "", "float32", "float32"),
    ("SUM", "uint8"): _row("", "double", "float32", "float32"),
    ("SUM", "int16"): _row("double", "", "float32"),
    ("PRELU", "int8"): _row("double", "double", "double"),
    ("PRELU", "uint8"): _row("", "double", "double"),
    ("PRELU", "int16"): _row("double", "double", "double"),
    ("DIV", "int8"): _row("double", "double", "double"),
    ("DIV", "uint8"): _row("", "double", "double"),
    ("DIV", "int16"): _row("", "double", "double"),
    ("SVDF", "int8"): _row("double", "", ""),
    ("SVDF", "int16"): _row("double", "double", "double"),
}
"""(operator, type of its input) -> whose kernel -> rounding ("float32": it has no multiplier); ""
where it has none."""


def rounding(kernel: EngineKernel, operator: str, dtype: str) -> str:
    """How a kernel brings sums to codes. Raises Undescribed where that is not known."""
    kernel.refuse_unmeasured(operator)
    row = _ROUNDINGS.get((operator, dtype))
    known = "" if row is None else row[kernel.family]
    if not known:
        raise Undescribed(
            f"{operator} of {dtype} has no known rounding in the {kernel.family} kernels"
        )
    return known


_BLOCKS = {
    ("DEPTHWISE_CONV_2D", "int8"): 8,
    ("TRANSPOSE_CONV", "int8"): 8,
    ("MEAN of height and width", "int8"): 16,
    ("MEAN of height and width", "uint8"): 16,
}


def channels_rounded_singly(kernel: EngineKernel, operator: str, dtype: str, channels: int) -> int:
    """How many of the last channels a kernel brings to codes one at a time, rounding "double": some
    of the optimised ones take the others in blocks, rounding "up"."""
    if kernel.family == "optimised":
        return channels % _BLOCKS.get((operator, dtype), 1)
    return 0


def requantize(
    how: str,
    scale: np.ndarray | np.floating | float,
    factor: np.ndarray | np.floating | float,
    zero_point: int,
    limits: tuple[int, int],
) -> ops.Requantize:
    """The op for a scale; ``factor`` is the same as float32 arithmetic forms it."""
    multiplier, shift = fixed_point(np.asarray(scale))
    shape = np.shape(multiplier)
    return ops.Requantize(
        multiplier=multiplier,
        shift=shift,
        factor=np.broadcast_to(np.asarray(factor, np.float32), shape).copy(),
        zero_point=zero_point,
        low=limits[0],
        high=limits[1],
        rounding=how,
    )
