"""Who is right about a layer's output, where exactly, and why.

The names load on first use, so that the command starts without importing NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.api import assert_layer, check, script, sweep
    from probe.batchnorm_folding import fold
    from probe.capture.run import open_model
    from probe.description import Description, Ref, Step, Weight
    from probe.description.custom_layers import describes, recomputes
    from probe.errors import (
        BadInput,
        CannotOpen,
        ForwardFailed,
        MissingExtra,
        NotCompared,
        NotReached,
        NotTrusted,
        ProbeError,
        Undescribed,
        UnknownLayer,
    )
    from probe.explanation.explain import explain
    from probe.model_comparison.compare import assert_same, compare
    from probe.model_comparison.reports.result import ModelComparison
    from probe.recording.record import record
    from probe.report import Report

__all__ = [
    "BadInput",
    "CannotOpen",
    "Description",
    "ForwardFailed",
    "MissingExtra",
    "ModelComparison",
    "NotCompared",
    "NotReached",
    "NotTrusted",
    "ProbeError",
    "Ref",
    "Report",
    "Step",
    "Undescribed",
    "UnknownLayer",
    "Weight",
    "__version__",
    "assert_layer",
    "assert_same",
    "check",
    "compare",
    "describes",
    "explain",
    "fold",
    "open_model",
    "recomputes",
    "record",
    "script",
    "sweep",
]

__version__ = "0.1.0"

_HOMES = {
    "BadInput": "errors",
    "CannotOpen": "errors",
    "Description": "description",
    "ForwardFailed": "errors",
    "MissingExtra": "errors",
    "ModelComparison": "model_comparison.reports.result",
    "NotCompared": "errors",
    "NotReached": "errors",
    "NotTrusted": "errors",
    "ProbeError": "errors",
    "Ref": "description",
    "Report": "report",
    "Step": "description",
    "Undescribed": "errors",
    "UnknownLayer": "errors",
    "Weight": "description",
    "assert_layer": "api",
    "assert_same": "model_comparison.compare",
    "check": "api",
    "compare": "model_comparison.compare",
    "describes": "description.custom_layers",
    "explain": "explanation.explain",
    "fold": "batchnorm_folding",
    "open_model": "capture.run",
    "recomputes": "description.custom_layers",
    "record": "recording.record",
    "script": "api",
    "sweep": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'probe' has no attribute {name!r}")
    return getattr(import_module(f"probe.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
