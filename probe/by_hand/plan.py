"""What is decided before anything is written: which steps an output depends on, which of them are
statements, and what these are called."""

import re
from functools import cached_property

import numpy as np

from probe import ops
from probe.by_hand.names import assigned_names, endings
from probe.by_hand.script import Computation
from probe.ops.step import Ref

__all__ = ["Plan"]

_THROUGH = ("Transpose", "Identity", "Stored")
"""The ops that write nothing: they turn the order of axes, or nothing."""
_REARRANGE = (
    "Transpose Identity Stored Reshape Squeeze Unsqueeze Slice Flip Take Expand Grouped Outputs"
).split()
_ARITHMETIC = (
    "Add Sub Mul Div Neg AddConstant MulConstant Square Sqrt Rsqrt Pow Reciprocal ReduceMean "
    "ReduceSum Constant Parameter"
).split()
_HINTS = {
    "BatchNormalization": "normalised",
    "Conv": "convolved",
    "MatMul": "product",
    "Softmax": "probabilities",
}


class Plan:
    """The steps of a computation, looked at before they are written."""

    def __init__(self, computation: Computation) -> None:
        self._computation = computation
        steps = computation.steps
        self._sources = [step.sources(position) for position, step in enumerate(steps)]
        self._kinds = [type(step.op).__name__ for step in steps]
        self.composed = bool(computation.sites)
        last = len(steps) - 1
        if self._kinds[last] == "Outputs" and type(steps[last].op) is ops.Outputs:
            self.results = self._sources[last]
        else:
            self.results = tuple(Ref(last, k) for k in range(len(computation.values[last])))

    @cached_property
    def needed(self) -> list[int]:
        """The steps that an output depends on."""
        found: set[int] = set()
        left = [ref.step for ref in self.results]
        while left:
            position = left.pop()
            if position >= 0 and position not in found:
                found.add(position)
                left += [ref.step for ref in self._sources[position]]
        return sorted(found)

    @cached_property
    def _users(self) -> dict[int, list[int]]:
        """What takes each step's outputs: steps, looked through those that write nothing, and the
        number of all steps for the layer itself."""
        end = len(self._kinds)
        users: dict[int, list[int]] = {position: [] for position in self.needed}
        for ref in self.results:
            if ref.step >= 0:
                users[ref.step].append(end)
        for position in reversed(self.needed):
            through = self._kinds[position] in _THROUGH
            for ref in self._sources[position]:
                if ref.step >= 0:
                    users[ref.step] += users[position] if through else [position]
        return users

    def maker(self, ref: Ref) -> int:
        """The step that an output comes from, looked through those that write nothing."""
        while ref.step >= 0 and self._kinds[ref.step] in _THROUGH:
            (ref,) = self._sources[ref.step]
        return ref.step

    def last_use(self, position: int) -> int:
        """The last step that takes an output of this one."""
        return max(self._users.get(position, ()), default=-1)

    def uses(self, position: int) -> int:
        """How many steps take an output of this one, the layer's outputs among them."""
        return len(self._users[position])

    def stands_alone(self, position: int) -> bool:
        """Whether a step is a statement, and not a part of the expression that takes it."""
        kind, users = self._kinds[position], self._users[position]
        if kind in _THROUGH or kind in ("Constant", "Parameter"):
            return False
        if len(users) != 1:
            return True
        if users[0] == len(self._kinds):
            return self.composed
        if self._ends_module(position):
            return True
        taker = self._kinds[users[0]]
        if kind in _REARRANGE or taker in _REARRANGE:
            return False
        return not (kind in _ARITHMETIC and taker in _ARITHMETIC)

    def _ends_module(self, position: int) -> bool:
        """Whether a step gives what a module gave, which a name is needed for."""
        sites = self._computation.sites
        if not sites or sites[position].function:
            return False
        (user,) = self._users[position]
        return sites[user].part != sites[position].part

    # Names

    @cached_property
    def call_names(self) -> dict[str, str]:
        """What each call of a composed layer, and each module that it lies in, is called."""
        calls = [site.call for site in self._computation.sites if site.call]
        modules = [module for module in map(_module_of, calls) if module]
        return endings(dict.fromkeys([*calls, *modules]))

    @cached_property
    def _last_of_module(self) -> dict[int, str]:
        """The modules whose last step is a function's, by its position: it gives what they give."""
        last = {
            _module_of(site.call): position
            for position, site in enumerate(self._computation.sites)
            if site.call
        }
        return {
            position: module
            for module, position in last.items()
            if module and self._computation.sites[position].function
        }

    def step_name(self, position: int, output: int) -> str:
        """What an output of a step is called."""
        count = len(self._computation.values[position])
        number = str(output) if count > 1 else ""
        sites = self._computation.sites
        if sites and sites[position].call:
            module = self._last_of_module.get(position)
            if not module and (names := assigned_names(sites, position, count)):
                return names[output]
            call = module or sites[position].call
            return f"{self.call_names.get(call, call)}{number}"
        kind = self._kinds[position]
        word = _HINTS.get(kind) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
        return f"{word}{number}"

    def output_name(self, output: int, count: int) -> str:
        """What an output of the layer is called."""
        names = self._computation.output_names
        if count == 1:
            return "y"
        if output < len(names):
            return names[output]
        return f"y{output}"

    def input_name(self, index: int) -> str:
        """What an input of the layer is called."""
        if not self._several_inputs:
            return "x"
        names = self._computation.input_names
        if index < len(names) and names[index]:
            return names[index]
        return "mask" if _is_mask(self._computation.inputs[index]) else f"x{index}"

    @cached_property
    def _several_inputs(self) -> bool:
        used = {
            ref.index for position in self.needed for ref in self._sources[position] if ref.step < 0
        }
        inputs = self._computation.inputs
        return len({id(inputs[index]) for index in used}) > 1

    def input_note(self, index: int) -> str:
        """What is said of an input beside its shape."""
        notes, axes = self._computation.input_notes, self._computation.input_axes
        if index == 0 and axes and len(axes) == np.ndim(self._computation.inputs[0]):
            return f": {', '.join(axes)}"
        return notes[index] if index < len(notes) else ""

    def source_line(self, position: int) -> str:
        """The line of the model's source that a step comes from, in words; "" where that is not
        known."""
        lines = self._computation.lines
        if position >= len(lines) or lines[position] is None:
            return ""
        return f"source line {lines[position]}"

    def section(self, position: int) -> str:
        """The module of a composed layer that a step belongs to."""
        sites = self._computation.sites
        if not sites or not sites[position].call:
            return ""
        return _module_of(sites[position].call)


def _is_mask(array: np.ndarray) -> bool:
    """Whether an array says what is seen: true or false, or what is added to scores."""
    array = np.asarray(array)
    if array.dtype.kind != "f" or array.size < 2:
        return array.dtype.kind == "b" and array.ndim > 1
    hidden = array <= _HIDES
    return bool(hidden.any() and (array[~hidden] == 0).all() and not hidden.all())


_HIDES = -100
"""What a mask adds to the score of a place that is not seen, or less."""


def _module_of(call: str) -> str:
    """The path of a call without its last part."""
    return re.sub(r"[./][^./]*$|^[^./]*$", "", call)
