"""With which arguments a model or a layer is called on given tensors: the structure that it was
built with."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from probe.description import Ref
from probe.errors import BadInput

from ..describe.tensors import Tensors

__all__ = ["arguments", "inputs_by_name", "received"]


def arguments(
    called: Any, inputs: Sequence[Any], tensors: Tensors, input_names: Sequence[str] = ()
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments; the tensors are given flat, in the order of ``inputs``.

    ``input_names`` names them for a model that takes a dict and was never called.
    """
    if isinstance(called, tensors.keras.Model):
        structure = _model_structure(called, tensors)
        if structure is not None:
            return (tensors.packed(structure, inputs),), {}
    recorded = _recorded(called, tensors)
    if recorded is not None:
        args, kwargs = recorded
        symbolic = tensors.symbolic((args, kwargs))
        if len(symbolic) != len(inputs):
            raise BadInput(
                f"{type(called).__name__} was built on {len(symbolic)} inputs; you "
                f"gave {len(inputs)}"
            )
        values = {id(old): new for old, new in zip(symbolic, inputs, strict=True)}
        bound: tuple[tuple[Any, ...], dict[str, Any]] = tensors.mapped(
            lambda leaf: values.get(id(leaf), leaf), (args, kwargs)
        )
        return bound
    names = inputs_by_name(called)
    if names or input_names:
        if len(names or input_names) != len(inputs):
            raise BadInput(
                f"{type(called).__name__} takes {len(names or input_names)} inputs "
                f"({', '.join(names or input_names)}); you gave {len(inputs)}"
            )
        return (
            _nested(
                _built(called) if names else dict.fromkeys(input_names),
                dict(zip(names or input_names, inputs, strict=True)),
            ),
        ), {}
    if len(inputs) == 1:
        return (inputs[0],), {}
    spread = [
        parameter
        for parameter in inspect.signature(called.call).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    ]
    if len(spread) > 1:
        return (tuple(inputs), {})
    return ((list(inputs),), {})


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
    if args or kwargs:
        return (tuple(args), dict(kwargs))
    return None


def inputs_by_name(called: Any) -> tuple[str, ...]:
    """The names of what a model or layer of the user's own was built on, where that was a dict:
    "left", "pair/0" for what lies deeper."""
    built = _built(called)
    if isinstance(built, dict):
        return tuple(name for name, _ in _leaves(built))
    return ()


def _built(called: Any) -> Any:
    """The shapes that the first argument of a ``call`` had, nested as it was; None where nothing is
    known of them."""
    shapes = getattr(called, "_build_shapes_dict", None)
    if shapes is None:
        return getattr(called, "_build_input_shape", None)
    if len(shapes) == 1:
        return next(iter(shapes.values()))
    return None


def _parts(built: Any) -> list[tuple[Any, Any]] | None:
    """What lies inside by key or place, dicts in the order of their keys as the frameworks flatten
    them; None for a shape."""
    if isinstance(built, dict):
        return [(key, built[key]) for key in sorted(built)]
    if isinstance(built, list | tuple) and any(not isinstance(size, int | None) for size in built):
        return list(enumerate(built))
    return None


def _leaves(built: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    parts = _parts(built)
    if parts is None:
        yield name, built
    for key, part in parts or ():
        yield from _leaves(part, f"{name}/{key}" if name else key)


def _nested(built: Any, values: dict[str, Any], name: str = "") -> Any:
    parts = _parts(built)
    if parts is None:
        return values[name]
    made = [(key, _nested(part, values, f"{name}/{key}" if name else key)) for key, part in parts]
    if isinstance(built, dict):
        return dict(made)
    return [part for _, part in made]


def received(
    original: Callable[..., Any], args: Any, kwargs: Any, tensors: Tensors
) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """The tensors that a layer was called on, the masks, and all its arguments by name with the
    ``Ref`` of a tensor for the tensor.

    Refs count the tensors first and then the masks.
    """
    try:
        bound = inspect.signature(original).bind(*args, **kwargs)
    except TypeError:
        return tensors.within((args, kwargs)), [], {}
    named = dict(bound.arguments)
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            named.update(named.pop(name, {}))
    inputs = [
        tensor
        for name, value in named.items()
        if name != "training" and not _is_mask(name)
        for tensor in tensors.within(value)
    ]
    # Operations are also called on variables, which are weights and no inputs.
    inputs = [tensor for tensor in inputs if not hasattr(type(tensor), "assign")] or inputs
    masks = [
        tensor
        for name, value in named.items()
        if _is_mask(name)
        for tensor in tensors.within(value)
    ]
    places = {
        id(tensor): Ref(-1, index) for index, tensor in reversed(list(enumerate((*inputs, *masks))))
    }
    for name, value in named.items():
        if name != "training" and tensors.within(value):
            named[name] = tensors.mapped(lambda leaf: places.get(id(leaf), leaf), value)
    return inputs, masks, named


def _is_mask(name: str) -> bool:
    return name == "mask" or name.endswith("_mask")
