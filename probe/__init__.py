"""Who is right about a layer's output, where exactly, and why.

The names load on first use, so that the command starts without importing NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.errors import ProbeError
    from probe.folding import fold
    from probe.layer import Description, Ref, Step, Weight
    from probe.registered import describes, recomputes
    from probe.report import Report
    from probe.road import assert_layer, check, open_model, sweep
    from probe.terms import explain

__all__ = [
    "Description",
    "ProbeError",
    "Ref",
    "Report",
    "Step",
    "Weight",
    "__version__",
    "assert_layer",
    "check",
    "describes",
    "explain",
    "fold",
    "open_model",
    "recomputes",
    "sweep",
]

__version__ = "0.1.0"

_HOMES = {
    "Description": "layer",
    "ProbeError": "errors",
    "Ref": "layer",
    "Report": "report",
    "Step": "layer",
    "Weight": "layer",
    "assert_layer": "road",
    "check": "road",
    "describes": "registered",
    "explain": "terms",
    "fold": "folding",
    "open_model": "road",
    "recomputes": "registered",
    "sweep": "road",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'probe' has no attribute {name!r}")
    return getattr(import_module(f"probe.{_HOMES[name]}"), name)
