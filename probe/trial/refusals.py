"""What running a changed layer may raise: an op's refusal, or a fault of ours."""

from probe.errors import absorbed

__all__ = ["refused"]

_REFUSALS = (ValueError, IndexError, ArithmeticError, NotImplementedError, MemoryError)
"""What ops and NumPy raise for shapes, axes and options, and for numbers that a type does not
hold."""
_NUMPYS = ("numpy boolean", "The numpy boolean", "ufunc '")
"""How NumPy's words begin for what it does not compute of a type, which are plain TypeErrors."""


def refused(error: Exception) -> None:
    """Notes the error of a layer that does not run as it was changed, unless an op, or NumPy within
    it, refused shapes, types or options that make no sense to it.

    NumPy's other errors of types are of classes of its own; TypeError itself comes from a wrong
    call.
    """
    types = isinstance(error, TypeError) and (
        type(error) is not TypeError or str(error).startswith(_NUMPYS)
    )
    if not types and not isinstance(error, _REFUSALS):
        absorbed(error)
