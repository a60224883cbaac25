"""The hooks of one module in a pass: each of its calls becomes a capture, which is pushed."""

import functools
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from probe.capture.input_names import input_names
from probe.capture.producers import Producers
from probe.description import Description
from probe.errors import Undescribed
from probe.model import Capture, OnCall
from probe.process.interrupts import held_back, interruptible, stop_here

from ..describe.describe import calls_others, opaque
from .call_notes import notes_on_autocast, notes_on_hooks, notes_on_window, user_hooks
from .function_calls import FunctionCalls
from .module_capture import ModuleBegun, Parameters, described, dtype_of
from .module_frames import NOWHERE
from .named_arguments import named_arguments, unpacked_to
from .onnx_export import Called, Settings, alone
from .restore_state import merging, same_bits
from .tensor_marks import FOLLOWS, OF_ARGUMENTS
from .tensors import copied, scales_in, tensors_in, transforming, with_values, writes_to
from .thread_settings import settings_here
from .torchscript import kind_of
from .writes import Writes, arrays_of

__all__ = ["ModulePass", "Watcher"]


@dataclass
class ModulePass:
    """What the watchers of a pass share. Calls of other threads than the one that makes it are not
    the pass'."""

    producers: Producers
    writes: Writes
    functions: FunctionCalls | None
    unseen: Callable[[str], str]
    rewritten: Collection[int] = ()
    """The ids of the parameters that calls of any module write to."""
    rests: Callable[[torch.nn.Module], bool] = lambda module: False
    """Whether a call gives what an interrupted pass has recorded of it, and does not run."""
    thread: int = field(default_factory=threading.get_ident)
    settings: Settings = field(default_factory=settings_here)


class Watcher:
    """The hooks of one module; ``raised`` is what the callback raised, which is no fault of the
    model.

    Without ``on_call`` only its calls within containers are captured.
    """

    def __init__(
        self, name: str, module: torch.nn.Module, on_call: OnCall | None, around: ModulePass
    ) -> None:
        self.name, self.module, self.on_call, self._pass = name, module, on_call, around
        self.calls = 0
        self.raised: Exception | None = None
        self._parameters = Parameters(module, around.writes, around.rewritten)
        self._begun: list[ModuleBegun | None] = []
        """The calls that are on; None for one that is not captured."""
        self._hooks: list[RemovableHandle] = []
        self._computed: list[tuple[torch.Tensor, int]] | None = None
        """What the module itself has computed, and how often that was written to, before the user's
        hooks."""

    def hook(self) -> None:
        # Registered last: the inputs are those that the user's own hooks leave, the outputs those
        # that go on.
        self._hooks.append(self.module.register_forward_pre_hook(self._enter, with_kwargs=True))
        self._hooks.append(self.module.register_forward_hook(self._leave, with_kwargs=True))
        if next(user_hooks(self.module._forward_hooks), None) is not None:
            self._hooks.append(self.module.register_forward_hook(self._note_computed, prepend=True))
        within = merging(self.module)
        if within is not None:
            self._hooks.append(within.register_forward_pre_hook(self._note_merged))

    def unhook(self) -> None:
        """Takes the hooks away, and ends what a call that did not end began."""
        for hook in self._hooks:
            hook.remove()
        for begun in self._begun:
            if begun is not None:
                begun.cache.close()

    def captures(self) -> bool:
        """Whether a call that begins now is captured."""
        return self.on_call is not None or self._within

    @property
    def _within(self) -> bool:
        """Whether a container that is asked for is on."""
        return self._pass.functions is not None and bool(self._pass.functions.containers)

    @functools.cached_property
    def _opens(self) -> bool:
        """Whether it is a container that is asked for."""
        return self.on_call is not None and calls_others(self.module)

    def _note_merged(self, module: torch.nn.Module, args: Any) -> None:
        if threading.get_ident() != self._pass.thread:
            return
        with torch._C.DisableTorchFunction():
            self._parameters.inside = self._parameters.copies()

    # Another thread's call may meet a hook before PyTorch knows that it takes keyword arguments:
    # hence the defaults.
    def _enter(self, module: torch.nn.Module, args: Any, kwargs: Any = None) -> None:
        if threading.get_ident() != self._pass.thread or transforming():
            return
        stop_here()
        with torch._C.DisableTorchFunction():  # what is done here is no call of the model's
            self._begin(module, args, kwargs)

    def _begin(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if not self.captures():
            self._begun.append(None)
            return
        tensors = tensors_in((args, kwargs))
        cache = ExitStack()
        self._parameters.before = self._parameters.copies()
        scales = scales_in((args, kwargs))
        inputs = [copied(tensor) for tensor in tensors]
        producers, functions = self._pass.producers, self._pass.functions
        fixed: tuple[int, ...] = ()
        if functions is not None and (functions.containers or self._opens):
            fixed = _constants(functions, tensors)
        constants = None if functions is None else functions.constants_among(tensors)
        if functions is not None and self._opens:
            producers.note_arguments(self.name, self.calls, tensors, inputs, fixed)
            functions.marks.add(tensors, OF_ARGUMENTS)
            functions.containers.enter(self.name)
        made_by = tuple(map(producers.of, tensors, inputs))
        detached = [tensor.detach() for tensor in tensors]
        held = self._pass.writes.begun((*module.named_parameters(), *module.named_buffers()))
        line = NOWHERE if functions is None else functions.calling_line()
        self._begun.append(
            ModuleBegun(
                *(inputs, detached, scales, cache, made_by, fixed, producers.count, held),
                constants=constants,
                line=line,
            )
        )
        if parametrize.is_parametrized(module):
            # A parametrised weight is computed at each access: so what is read after the call is
            # what the call used.
            with held_back():
                cache.enter_context(parametrize.cached())

    def _leave(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any = None) -> Any:
        if threading.get_ident() != self._pass.thread:
            return None
        stop_here()
        with torch._C.DisableTorchFunction():
            # The arguments are those after the call: hooks made during the pass, as PEFT's for
            # `adapter_names`, add some after ours.
            transformed = transforming()
            arguments = {} if transformed else named_arguments(module, args, kwargs)
            try:
                if transformed:
                    self._push(self._transformed())
                    return None
                return self._end(output, arguments)
            except Exception as error:
                self.raised = error
                raise

    def _note_computed(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == self._pass.thread:
            with torch._C.DisableTorchFunction():
                self._computed = [(tensor, writes_to(tensor)) for tensor in tensors_in(output)]

    def _refuse_changed(self, outputs: list[torch.Tensor]) -> None:
        """Raises Undescribed where a hook of the user's gives others than the module computed."""
        computed, self._computed = self._computed, None
        if computed is None or (
            len(computed) == len(outputs)
            and all(
                writes_to(tensor) == count and (tensor is output or same_bits(tensor, output))
                for (tensor, count), output in zip(computed, outputs, strict=True)
            )
        ):
            return
        names = ", ".join(user_hooks(self.module._forward_hooks))
        raise Undescribed(
            f"a user-registered forward hook ({names}) changes its output after it is computed: "
            "remove the hook to check the layer itself"
        )

    def _push(self, capture: Capture) -> Sequence[np.ndarray] | None:
        """What the callback gives in place of the call's output."""
        if self._pass.functions is not None and not self._opens:
            self._pass.functions.containers.add(capture, self.name)
        if self.on_call is None:
            return None
        return self.on_call(capture)

    def _transformed(self) -> Capture:
        """A call whose tensors stand for many, or for derivatives, and hold no numbers."""
        kind = kind_of(self.module)
        why = "it is called inside torch.func.vmap or a derivative, where tensors hold no numbers"
        self.calls += 1
        return Capture(self.name, kind, self.calls - 1, (), (), "", why=why)

    def _end(self, output: Any, arguments: Mapping[str, Any]) -> Any:
        begun = self._begun[-1]
        if begun is None:
            self._begun.pop()
            self.calls += 1
            return None
        with held_back(), begun.cache, interruptible():
            self._begun.pop()
            capture = self._capture(begun, arguments, tensors_in(output))
        replacement = self._push(capture)
        given, arrays = output, capture.outputs
        if replacement is not None:
            given = self._handed_on(begun, output, replacement)
            arrays = tuple(map(copied, tensors_in(given)))
        self._pass.producers.note_outputs(
            *(capture.layer, capture.call, tensors_in(given), arrays),
            begun.since,
            capture.description is not None or self._pass.rests(self.module),
        )
        if replacement is None:
            return None
        return given

    def _handed_on(self, begun: ModuleBegun, output: Any, replacement: Sequence[np.ndarray]) -> Any:
        """What takes the place of an output; where that was written over an input, it is too."""
        given = with_values(output, replacement)
        new = tensors_in(given)
        if self._pass.functions is not None:
            self._pass.functions.marks.add(new, FOLLOWS)
        for tensor, values in zip(tensors_in(output), new, strict=True):
            for taken, before in zip(begun.tensors, begun.inputs, strict=True):
                if _same_place(tensor, taken) and copied(taken).tobytes() != before.tobytes():
                    taken.copy_(values)
        return given

    def _capture(
        self, begun: ModuleBegun, arguments: Mapping[str, Any], outputs: list[torch.Tensor]
    ) -> Capture:
        description, why = self._described(begun, arguments, outputs)
        self.calls += 1
        arrays = tuple(copied(tensor) for tensor in outputs)
        contents = self._contents(outputs, arrays)
        exported = None
        if description is None and self._is_single() and not self._pass.rests(self.module):
            exported = self._alone(begun, arguments)
        return Capture(
            layer=self.name,
            kind=kind_of(self.module),
            call=self.calls - 1,
            inputs=tuple(begun.inputs),
            outputs=arrays,
            dtype=dtype_of(begun.tensors, outputs),
            description=description,
            why=why,
            training=self.module.training,
            notes=(
                *notes_on_hooks(self.module),
                *notes_on_window(self.module, begun.inputs),
                *notes_on_autocast(outputs),
            ),
            made_by=begun.made_by,
            fixed=begun.fixed,
            constants=begun.constants,
            input_names=input_names(
                arguments, len(begun.inputs), functools.partial(unpacked_to, type(self.module))
            ),
            line=begun.line.number,
            code=begun.line.code,
            alone=exported,
            changed=self._pass.writes.changed(begun.held, arrays_of(description)),
            **contents,
        )

    def _contents(
        self, outputs: list[torch.Tensor], arrays: tuple[np.ndarray, ...]
    ) -> dict[str, Any]:
        """What the capture of a container that is asked for has beside that of a layer."""
        functions = self._pass.functions
        if functions is None or not self._opens:
            return {}
        return {
            "parts": functions.containers.leave(),
            "results": tuple(map(self._pass.producers.of, outputs, arrays)),
            "fixed_results": _constants(functions, outputs),
            "unseen": functools.partial(self._pass.unseen, self.name),
        }

    def _is_single(self) -> bool:
        """Whether it is a layer and no container of others."""
        return (
            opaque(self.module)
            or bool(vars(self.module).get("blind"))
            or not any(True for _ in self.module.children())
        )

    def _alone(
        self, begun: ModuleBegun, arguments: Mapping[str, Any]
    ) -> Callable[[], tuple[np.ndarray, ...]]:
        inputs, dtypes = begun.inputs, [tensor.dtype for tensor in begun.tensors]
        module, settings = self.module, self._pass.settings
        return lambda: alone(Called(module, (), arguments), inputs, dtypes, settings)

    def _described(
        self, begun: ModuleBegun, arguments: Mapping[str, Any], outputs: list[torch.Tensor]
    ) -> tuple[Description | None, str]:
        if self._pass.rests(self.module):  # the recording has it
            return None, ""
        try:
            if not self._is_single():
                raise Undescribed(
                    f"{kind_of(self.module)} is a container: its layers are checked individually"
                )
            self._refuse_changed(outputs)
            read = self._parameters.read
            return described(self.module, begun, arguments, outputs, read), ""
        except Undescribed as error:
            return None, str(error)


def _same_place(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same memory."""
    if tensor.layout != torch.strided or other.layout != torch.strided:
        return False
    return tensor.shape == other.shape and tensor.data_ptr() == other.data_ptr()


def _constants(functions: FunctionCalls, tensors: Sequence[torch.Tensor]) -> tuple[int, ...]:
    """The numbers of those that are known not to follow from the model's input."""
    marks = functions.marks
    return tuple(number for number, tensor in enumerate(tensors) if marks.constant(tensor))
