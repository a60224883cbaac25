"""The function calls that a forward makes between its atomic modules, pushed to a callback like
calls of layers.

A call is a layer where it returns a tensor that follows from the model's input. It is named after
the module whose forward makes it and the ONNX op it is: ``layer1.0/add``, and ``layer1.0/add:1``
the second time in the same call of that module. It also goes by the line of the module's source
file that makes it, ``layer1.0/add@57``, which calls before it do not change.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from probe.capture.containers import Containers
from probe.capture.producers import Producers
from probe.model import Capture, OnCall, WorkedOut
from probe.process.interrupts import stop_here

from ..functions import named
from .function_capture import BeforeCall, CallName, FunctionCall, FunctionCaptures
from .function_names import (
    ARRAYS,
    BRINGS,
    CONSTRUCTORS,
    DRAWS,
    FACTS,
    LEAVES,
    NO_LAYERS,
    names_of,
)
from .module_frames import NOWHERE, ModuleFrame, SourceLine
from .module_tensors import ModuleTensors
from .tensor_marks import CONSTANT, FOLLOWS, MADE, OF_ARGUMENTS, VARIES, Marks
from .tensors import copied, tensors_in, transforming, with_values
from .thread_settings import settings_here
from .torchscript import unfollowed
from .unseen_tensors import Unseen, UnseenTensors
from .writes import Writes
from .written_views import WrittenBase, base_capture

__all__ = ["FunctionCalls"]

_OWN = frozenset(vars(torch.nn.Module()))
"""What every module has of its own: registries, hooks and flags."""
_FIXED = "constant"
"""What stands in the name of a call that follows from the arguments of a container alone, and not
from the model's input."""


class FunctionCalls(TorchFunctionMode):
    """Enter it around a forward pass of ``root``; ``wanted`` names the function layers to push,
    None is all of them.

    ``names`` gives every module's name by its id, ``atomic`` says of a module that its inside is
    its own. ``met`` maps the layers of the pass to their kinds, ``aliases`` are their names by
    source lines, ``raised`` is what the callback raised. All calls within ``containers`` are added
    to them. ``unseen`` are the tensors that came from nowhere seen (NumPy, code in C++, vmap), by
    names like those of layers; ``given_unseen`` are those among the inputs of layers, by the names
    of these.
    """

    def __init__(
        self,
        root: torch.nn.Module,
        wanted: Collection[str] | None,
        names: Mapping[int, str],
        atomic: Callable[[torch.nn.Module], bool],
        on_call: OnCall,
    ) -> None:
        super().__init__()
        self.containers = Containers(".")
        self.met: dict[str, str] = {}
        self.aliases: set[str] = set()
        self.raised: Exception | None = None
        self.marks = Marks()
        self._root, self._names, self._atomic, self._on_call = root, names, atomic, on_call
        self._wanted = None if wanted is None else frozenset(wanted)
        self._thread = get_ident()
        self._frames: list[ModuleFrame] = []
        self._inside = 0
        self._counts: Counter[str] = Counter()
        self._left = False
        """Whether numbers that follow from the model's input went to code that is no PyTorch."""
        self._held = ModuleTensors(root, names)
        self._unseen = UnseenTensors(self.marks, self._held)
        self._captures = FunctionCaptures(
            self.marks, self._held, Producers(), Writes((), ()), settings_here()
        )
        modules = map(vars, root.modules())
        self._mark_made([module[key] for module in modules for key in module.keys() - _OWN])

    @property
    def unseen(self) -> Mapping[str, Unseen]:
        return self._unseen.places

    @property
    def given_unseen(self) -> Mapping[str, Unseen]:
        return self._unseen.given

    @contextmanager
    def watching(
        self, inputs: Sequence[torch.Tensor], producers: Producers, writes: Writes
    ) -> Iterator[None]:
        self.marks.add(inputs, FOLLOWS)
        self._captures.producers, self._captures.writes = producers, writes
        self._captures.constants.producers = producers
        with ExitStack() as stack:
            hooks: list[RemovableHandle] = []
            stack.callback(_remove, hooks)
            for module in self._root.modules():  # which may be followed by other code by now
                if isinstance(module, torch.jit.ScriptModule):
                    continue  # takes no hooks
                hooks += [
                    module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True),
                    module.register_forward_hook(self._leave, always_call=True),
                ]
            with self:
                yield

    def constants_among(
        self, tensors: Sequence[torch.Tensor]
    ) -> Callable[[], Mapping[int | str, WorkedOut]] | None:
        """What gives the steps by which the pass made those that do not follow from its input."""
        return self._captures.constants.asked(dict(enumerate(tensors)))

    def calling_line(self) -> SourceLine:
        """The line in which the forward around it calls the module that was entered last; NOWHERE
        where that is PyTorch's own, or inside of a layer."""
        if len(self._frames) < 2 or self._inside > self._frames[-1].atomic:
            return NOWHERE
        caller = self._frames[-2]
        return caller.line() if caller.own_forward else NOWHERE

    def _mark_made(self, result: Any) -> None:
        if isinstance(result, torch.Tensor | list | tuple | dict):
            self.marks.add(tensors_in(result), MADE)

    # the default as in Watcher
    def _enter(self, module: torch.nn.Module, args: Any, kwargs: Any = None) -> None:
        if get_ident() != self._thread:
            return
        stop_here()
        atomic = self._atomic(module) or bool(unfollowed(module))
        name = self._names.get(id(module), "")
        given = [] if self._inside else tensors_in((args, kwargs))
        if self._frames and not self._inside:
            self._unseen.note(given, f"the input of {name!r}", self._frames[-1])
        marks = self.marks.of(*given)
        self._unseen.note_given(name, given)
        self._frames.append(
            ModuleFrame(name, module, atomic, bool(marks & FOLLOWS), bool(marks & VARIES))
        )
        self._inside += atomic

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if get_ident() != self._thread:
            return
        frame = self._frames[-1]
        self._inside -= frame.atomic
        outputs = tensors_in(output)
        if frame.atomic:
            self._mark_made(output)
        elif not self._inside:
            if frame.name:
                words = f"the output of {frame.name!r}"
            else:
                words = "the output of the model"
            self._unseen.note(outputs, words, frame, frame.follows)
        self._frames.pop()
        if frame.atomic:
            if frame.varies:
                self.marks.add(outputs, FOLLOWS if frame.follows else OF_ARGUMENTS)
        elif frame.follows and not self.marks.of(*outputs) & FOLLOWS:
            # What a module that is broken down gives may come from code that shows no calls, such
            # as TorchScript or vmap.
            made = [output for output in outputs if self.marks.of(output) & MADE]
            self.marks.add(made, CONSTANT)
            self.marks.add(outputs, FOLLOWS)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._inside or not self._frames or transforming():
            return func(*args, **kwargs)
        stop_here()
        call = self._call(func, args, kwargs)
        if not self._is_layer(call):
            return self._no_layer(call)
        if call.name in LEAVES:
            self._left = True
            self._unseen.arrays_left |= call.name in ARRAYS
        before = self._captures.before(call, bool(self.containers))
        output = func(*args, **kwargs)
        results = [args[0]] if call.name == "__setitem__" else tensors_in(output)
        if not results or not (before.writes or _makes_new(results, call.tensors)):
            return output  # such as contiguous() of what is contiguous
        self._mark_made(output)
        return self._layer(call, before, output, results)

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> FunctionCall:
        name, shown = names_of(function)
        tensors = tensors_in((args, kwargs))
        frame = self._frames[-1]
        if name not in FACTS and name not in DRAWS and not shown.startswith("init."):
            self._unseen.note(tensors, f"the input of a call of {shown}", frame)
        marks = self.marks.of(*tensors)
        varies = bool(marks & VARIES)
        # what containers make of parameters alone, such as 1 + weight, is computed within as well
        learned = not varies and any(
            self._held.name(tensor, frame) is not None for tensor in tensors
        )
        follows = bool(marks & FOLLOWS)
        return FunctionCall(function, args, kwargs, name, shown, tensors, follows, varies, learned)

    def _is_layer(self, call: FunctionCall) -> bool:
        """Whether it is a layer, or computes what layers within a container take."""
        if call.name in CONSTRUCTORS or call.name in NO_LAYERS:
            return False
        if not (call.follows or (self.containers and (call.varies or call.learned))):
            return False
        return not any(tensor.is_meta for tensor in call.tensors)

    def _no_layer(self, call: FunctionCall) -> Any:
        output = call.function(*call.args, **call.kwargs)
        if not (self._left and call.name in BRINGS):
            self._mark_made(output)
        if not call.varies:
            self._captures.note_constant(call, tensors_in(output), self._frames[-1])
        if "empty" in call.name and type(output) is torch.Tensor and not output.is_quantized:
            output.zero_()  # where memory has other numbers at each run
        return output

    def _layer(
        self, call: FunctionCall, before: BeforeCall, output: Any, results: list[torch.Tensor]
    ) -> Any:
        """Pushes the call where it is asked for; what goes on from it."""
        outputs = _with_bases(results) if before.writes else results
        if call.varies:
            self.marks.add(outputs, FOLLOWS if call.follows else OF_ARGUMENTS)
        name = self._named(call)
        wanted = call.follows and self._is_wanted(name, results)
        if not (wanted or self.containers):
            return output
        frame = self._frames[-1]
        shown = name if call.follows else name._replace(alias=None)
        capture = self._captures.capture(call, before, shown, results, frame)
        if call.learned:
            if capture.description is None:
                return output  # a constant to what follows
            self.marks.add(outputs, OF_ARGUMENTS)
        self.containers.add(capture, frame.place)
        output = self._handed_on(capture, output, results, before.writes, wanted)
        for base in before.bases:
            if results[0]._base is base.tensor:
                self._add_base(capture, results[0], base)
        return output

    def _named(self, call: FunctionCall) -> CallName:
        """The name of a call, which is met by it."""
        frame = self._frames[-1]
        line = frame.line()
        if call.follows:
            layer, alias = frame.named(named(call.name), line.number)
        else:
            layer, alias = frame.named(f"{_FIXED}/{named(call.name)}", line.number)
        self._unseen.note_given(layer, call.tensors)
        if alias is not None:
            self._unseen.note_given(alias, call.tensors)
        if call.follows:
            self.met[layer] = call.shown
            if alias is not None:
                self.aliases.add(alias)
        number = self._counts[layer]
        self._counts[layer] += 1
        return CallName(layer, alias, number, line)

    def _is_wanted(self, name: CallName, results: Sequence[torch.Tensor]) -> bool:
        if self._wanted is None:
            return any(result.numel() for result in results)  # what is empty holds nothing to check
        return name.layer in self._wanted or name.alias in self._wanted

    def _handed_on(
        self,
        capture: Capture,
        output: Any,
        results: list[torch.Tensor],
        in_place: bool,
        wanted: bool,
    ) -> Any:
        """What goes on from a call: its output, or what the callback gives in its place."""
        try:
            replacement = self._on_call(capture) if wanted else None
        except Exception as error:
            self.raised = error
            raise
        arrays = capture.outputs
        if replacement is not None:
            if in_place:
                results[0].copy_(torch.from_numpy(np.array(replacement[0])))
            else:
                output = with_values(output, replacement)
                results = tensors_in(output)
                self.marks.add(results, FOLLOWS)
            arrays = tuple(map(copied, results))
        self._note_outputs(capture, results, arrays)
        return output

    def _add_base(self, call: Capture, view: torch.Tensor, base: WrittenBase) -> None:
        """Adds what a call has made of the tensor that it wrote a part of, through a view."""
        capture = base_capture(call, view, base, self._captures.producers)
        if capture is not None:
            self.containers.add(capture, self._frames[-1].place)
            self._note_outputs(capture, [base.tensor], [copied(base.tensor)])

    def _note_outputs(
        self, capture: Capture, tensors: Sequence[torch.Tensor], arrays: Sequence[np.ndarray]
    ) -> None:
        producers = self._captures.producers
        producers.note_outputs(
            capture.layer, capture.call, tensors, arrays, producers.count, described=True
        )


def _remove(hooks: Sequence[RemovableHandle]) -> None:
    for hook in hooks:
        hook.remove()


def _makes_new(results: Sequence[torch.Tensor], given: Sequence[torch.Tensor]) -> bool:
    """Whether some of the results are none of the tensors that the call was given."""
    return not set(map(id, given)).issuperset(map(id, results))


def _with_bases(results: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The results, and what those that are views are views of."""
    bases = [result._base for result in results]
    return [*results, *(base for base in bases if base is not None)]
