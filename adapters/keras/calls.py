"""With which arguments a model or a layer is called on given tensors: the structure that it was built with."""

import inspect
from collections.abc import Sequence
from typing import Any

from probe.errors import BadInput

from .tensors import Tensors

__all__ = ["arguments"]


def arguments(called: Any, given: Sequence[Any], tensors: Tensors) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments; the tensors are given flat, in the order of ``inputs``."""
    if isinstance(called, tensors.keras.Model):
        structure = _model_structure(called, tensors)
        if structure is not None:
            return (tensors.packed(structure, given),), {}
    recorded = _recorded(called, tensors)
    if recorded is not None:
        args, kwargs = recorded
        symbolic = tensors.symbolic((args, kwargs))
        if len(symbolic) != len(given):
            raise BadInput(f"{type(called).__name__} was built on {len(symbolic)} inputs; you gave {len(given)}")
        values = {id(old): new for old, new in zip(symbolic, given, strict=True)}
        return tensors.mapped(lambda leaf: values.get(id(leaf), leaf), (args, kwargs))
    if len(given) == 1:
        return (given[0],), {}
    spread = [
        one
        for one in inspect.signature(called.call).parameters.values()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty
    ]
    return (tuple(given), {}) if len(spread) > 1 else ((list(given),), {})


def _model_structure(model: Any, tensors: Tensors) -> Any:
    """The nested symbolic inputs of a functional model, or None."""
    if tensors.legacy:
        return vars(model).get("_nested_inputs")
    return vars(model).get("_inputs_struct")


def _recorded(layer: Any, tensors: Tensors) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of the first call that a functional model recorded of a layer."""
    nodes = getattr(layer, "_inbound_nodes", None)
    if not nodes:
        return None
    if tensors.legacy:
        args, kwargs = nodes[0].call_args, nodes[0].call_kwargs
    else:
        args, kwargs = nodes[0].arguments.args, nodes[0].arguments.kwargs
    return (tuple(args), dict(kwargs)) if args or kwargs else None
