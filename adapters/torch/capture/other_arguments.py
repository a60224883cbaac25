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
        names = dict(zip(range(len(self.args)), _names(self.function), strict=False))
        held: dict[Any, Any] = {**dict(enumerate(self.args)), **self.kwargs}
        for key, value in held.items():
            name = names.get(key, key if isinstance(key, str) else f"argument {key}")
            if isinstance(value, Ref):
                for words, turned in _TENSORS:
                    inputs = list(self.inputs)
                    inputs[value.index] = turned(inputs[value.index])
                    yield from self._run(f"{name} is {words}", held, inputs)
                continue
            for other in _others(value):
                words = f"{name} is {other} instead of {value}"
                yield from self._run(words, {**held, key: other}, self.inputs)
        for first, second in combinations(range(len(self.inputs)), 2):
            if self.inputs[first].shape == self.inputs[second].shape:
                inputs = list(self.inputs)
                inputs[first], inputs[second] = inputs[second], inputs[first]
                yield from self._run(f"inputs {first} and {second} are exchanged", held, inputs)

    def _run(
        self, words: str, held: Mapping[Any, Any], inputs: Sequence[np.ndarray]
    ) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
        args = [held[place] for place in range(len(self.args))]
        kwargs = {name: held[name] for name in self.kwargs}
        try:
            tensors = [
                torch.from_numpy(np.array(x)).to(dtype)
                for x, dtype in zip(inputs, self.dtypes, strict=True)
            ]
            with torch.no_grad():
                output = Called(self.function, args, kwargs)(*tensors)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return  # the function refuses that argument
        yield words, tuple(map(array_of, tensors_in(output)))


def _names(function: Callable[..., Any]) -> list[str]:
    """What a function calls its arguments, as far as that is known."""
    schema = getattr(getattr(function, "default", function), "_schema", None)
    if schema is not None:
        return [argument.name for argument in schema.arguments]
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


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
