"""The engines that run a .tflite file, and which kernels of theirs ran a node."""

import platform
from dataclasses import dataclass

__all__ = ["DEFAULT", "ENGINES", "Kernel", "machine"]

DEFAULT = "xnnpack"

ENGINES = {
    "xnnpack": "LiteRT with its XNNPACK delegate, as its interpreter runs a file by default",
    "optimised": "LiteRT's own kernels, without a delegate",
    "reference": "LiteRT's reference kernels",
    "tflm": "TensorFlow Lite for Microcontrollers",
}
"""Name -> what runs."""

_ALIKE = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Kernel:
    """What ran a node: an operator that XNNPACK does not take runs in the optimised kernels."""

    engine: str
    """What was asked for, of ``ENGINES``."""
    delegated: bool
    """Whether XNNPACK took the node; False under other engines."""
    machine: str
    """"x86_64", "aarch64": kernels differ by processor."""

    @property
    def family(self) -> str:
        """The kernels that ran it, of ``ENGINES``."""
        if self.engine == "xnnpack" and not self.delegated:
            return "optimised"
        return self.engine


def machine() -> str:
    """The processor's architecture."""
    name = platform.machine().lower()
    return _ALIKE.get(name, name)
