"""The framework's own function called again with another argument: what can be said of a call that
has no description."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch

from probe.description import Ref

from .onnx_export import Called
from .tensors import array_of, tensors_in

__all__ = ["FunctionAgain"]


class FunctionAgain(NamedTuple):
    """A call whose tensors are the inputs: each Ref in its arguments stands for one."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: Sequence[np.ndarray]
    dtypes: Sequence[torch.dtype]

    def variants(self) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
        """What was done otherwise, in words, and what the function then gives."""
        for words, other, inputs in self._variants():
            outputs = other.run(inputs)
            if outputs:
                yield words, outputs

    def others(self) -> Iterator[tuple[str, "FunctionAgain"]]:
        """The same call with another of the arguments that are no tensors, in words."""
        for key, name, value in self._arguments():
            for other in () if isinstance(value, Ref) else self._other_values(name, value):
                args, kwargs = list(self.args), dict(self.kwargs)
                if isinstance(key, int):
                    args[key] = other
                else:
                    kwargs[key] = other
                changed = self._replace(args=tuple(args), kwargs=kwargs)
                yield f"{name} is {other} instead of {value}", changed

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """What the function gives for these tensors; () where it refuses them or an argument."""
        if not self._takes(inputs):
            return ()
        try:
            tensors = [
                torch.from_numpy(np.array(x)).to(dtype)
                for x, dtype in zip(inputs, self.dtypes, strict=True)
            ]
            with torch.no_grad():
                output = Called(self.function, self.args, self.kwargs)(*tensors)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return ()
        return tuple(map(array_of, tensors_in(output)))

    def _takes(self, inputs: Sequence[np.ndarray]) -> bool:
        """Whether it reads nothing beyond these tensors: functions of PyTorch's own check that, of
        others those may not that hold places of elements."""
        if _of_pytorch(self.function):
            return True
        within = _READS_WITHIN.get(_registered_name(self.function), _as_given)
        return within(inputs, self.inputs) and all(
            np.shape(x) == given.shape and np.isfinite(x).all()
            for x, given in zip(inputs, self.inputs, strict=True)
        )

    def _other_values(self, name: str, value: Any) -> Iterator[Any]:
        """Other values of an argument; of what may not check them none that it divides by, and
        none that says how its tensors are laid out."""
        if _of_pytorch(self.function):
            yield from _others(value)
        elif not any(part in name for part in _LAYOUT):
            whole = type(value) is int and value > 0
            yield from (other for other in _others(value) if not whole or other > 0)

    def _arguments(self) -> Iterator[tuple[int | str, str, Any]]:
        """The arguments by their places or keywords, with their names."""
        names = dict(zip(range(len(self.args)), _names(self.function), strict=False))
        for place, value in enumerate(self.args):
            yield place, names.get(place, f"argument {place}"), value
        for keyword, value in self.kwargs.items():
            yield keyword, keyword, value

    def _variants(self) -> Iterator[tuple[str, "FunctionAgain", Sequence[np.ndarray]]]:
        yield from ((words, other, self.inputs) for words, other in self.others())
        for _, name, value in self._arguments():
            for words, turned in _TENSORS if isinstance(value, Ref) else ():
                inputs = list(self.inputs)
                inputs[value.index] = turned(inputs[value.index])
                yield f"{name} is {words}", self, inputs
        for first, second in combinations(range(len(self.inputs)), 2):
            if self.inputs[first].shape == self.inputs[second].shape:
                inputs = list(self.inputs)
                inputs[first], inputs[second] = inputs[second], inputs[first]
                yield f"inputs {first} and {second} are exchanged", self, inputs


def _schema(function: Callable[..., Any]) -> Any:
    return getattr(getattr(function, "default", function), "_schema", None)


def _registered_name(function: Callable[..., Any]) -> str:
    """Such as "torchvision::roi_align"; "" of what is no registered operator."""
    schema = _schema(function)
    return "" if schema is None else str(schema.name)


def _of_pytorch(function: Callable[..., Any]) -> bool:
    name = _registered_name(function)
    module = getattr(function, "__module__", None) or "torch"
    if name:
        return name.startswith("aten::") and "unsafe" not in name
    return module == "torch" or module.startswith("torch.")


def _names(function: Callable[..., Any]) -> list[str]:
    """What a function calls its arguments, as far as that is known."""
    schema = _schema(function)
    if schema is not None:
        return [argument.name for argument in schema.arguments]
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _as_given(inputs: Sequence[np.ndarray], given: Sequence[np.ndarray]) -> bool:
    """Whether tensors are those that were given, but for images."""
    pairs = zip(inputs, given, strict=True)
    return all(x.ndim > 3 or x is own or np.array_equal(x, own) for x, own in pairs)


def _boxes_within(inputs: Sequence[np.ndarray], given: Sequence[np.ndarray]) -> bool:
    """Whether boxes (image, x, y, x, y) are of images of the batch, and not many times as large as
    those given."""
    images, boxes = inputs[0], np.asarray(inputs[1])
    if boxes.shape != given[1].shape or boxes.shape[1:] != (5,):
        return False
    inside = (boxes[:, 0] >= 0) & (boxes[:, 0] < len(images))
    return bool(inside.all() and np.abs(boxes).max() <= _LARGER * np.abs(given[1]).max())


_LARGER = 4.0
_READS_WITHIN: dict[str, Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], bool]] = {
    # it samples nothing where it is sent beyond the image
    "torchvision::deform_conv2d": lambda inputs, given: True,
    "torchvision::roi_align": _boxes_within,
    "torchvision::roi_pool": _boxes_within,
}
"""Operators beside PyTorch's own that do not check what they read, and whether it is there."""
_LAYOUT = ("grp", "group", "use_", "height", "width")
"""What the names of arguments hold that say how tensors are laid out."""
_TENSORS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("negated", np.negative),
    ("reversed along its last axis", lambda x: x[..., ::-1] if x.ndim else x),
    ("transposed", lambda x: x.swapaxes(-1, -2) if x.ndim > 1 else x),
    ("taken + 1", lambda x: x + 1),
    ("taken - 1", lambda x: x - 1),
    ("taken + 0.5", lambda x: x + 0.5 if x.dtype.kind == "f" else x),
    ("taken - 0.5", lambda x: x - 0.5 if x.dtype.kind == "f" else x),
)
"""What is done to a tensor."""


def _others(value: Any) -> Iterator[Any]:
    """Other values of an argument that is no tensor."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        usual = (value + 1, value - 1, 2 * value, value // 2, 0, 1, -1, -value)
        yield from (other for other in dict.fromkeys(usual) if other != value)
    elif isinstance(value, float):
        factors = (1.0, 2 * value, value / 2, -value, 0.0, value**2, 1 / value if value else 1.0)
        yield from (other for other in dict.fromkeys(factors) if other != value)
    elif isinstance(value, list | tuple) and value[::-1] != value:
        yield value[::-1]
