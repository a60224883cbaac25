"""One forward pass of a PyTorch module, with every call of the wanted modules pushed to a callback.

Watching leaves nothing behind: hooks go, and modes, attributes, buffers and the random state are
put back, however the pass ends. Inputs are copied before the call, since in-place operations
overwrite them.
"""

import functools
import inspect
import itertools
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from types import FunctionType, MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from probe.capture.earlier_calls import Earlier, earlier_calls
from probe.capture.producers import Producers
from probe.description import Description, Ref, Weight
from probe.description.custom_layers import registered
from probe.errors import BadInput, ForwardFailed, Undescribed, describing, first_line
from probe.model import CallArguments, Capture, OnCall, Producer
from probe.process.interrupts import Shared, held_back, interruptible, stop_here
from probe.process.log_suppression import silenced
from probe.process.model_lock import turn

from ..describe.describe import Call, Scale, calls_others, describe, opaque
from ..describe.mixed_precision import refuse_mixture, rounding
from .arguments import filled
from .function_calls import FunctionCalls
from .input_checks import mismatch
from .offloading import Offloaded
from .onnx_export import Called, Settings, alone
from .restore_state import held, merging, same_bits, unchanged, written
from .tensor_marks import OF_ARGUMENTS
from .tensors import (
    array_of,
    autocast_in,
    copied,
    dtype_name,
    floating_types,
    leaf_tensor,
    levels_of,
    scales_in,
    tensors_in,
    transforming,
    weight_of,
    with_values,
    writes_to,
)
from .thread_settings import settings_here
from .torchscript import Script, kind_of, within
from .writes import Begun, Writes, arrays_of

__all__ = ["watch"]

_NONE: Mapping[str, torch.nn.Module] = MappingProxyType({})


def watch(
    root: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    watched: Mapping[str, torch.nn.Module],
    names: Mapping[int, str],
    on_call: OnCall,
    calls: FunctionCalls | None = None,
    arguments: CallArguments | None = None,
    inside: Mapping[str, torch.nn.Module] = _NONE,
    unseen: Callable[[str], str] = lambda name: "",
) -> tuple[np.ndarray, ...]:
    """Calls ``root`` on the inputs once and returns its outputs.

    ``names`` gives every module's name by its id, for what is said on failure. ``calls`` watches
    the function calls. ``arguments`` say which of them each input is; None: they are all there is,
    in order. Those of ``watched`` that call others have the calls within them in their captures, of
    the modules ``inside`` too; ``unseen`` is what is asked of each (``Capture``).
    """
    modules = list(root.modules())
    args, kwargs = (tuple(inputs), {}) if arguments is None else filled(arguments, inputs)
    _check_arguments(root, modules, args, kwargs)
    watchers: list[_Watcher] = []
    producers = Producers(writes_to)
    with held_back(), ExitStack() as stack:
        stack.enter_context(turn(modules))
        writes = stack.enter_context(unchanged(modules))
        if watched or calls is not None:
            instead = _uncompiled(root)
            rewritten = {id(_member(one, name)) for one in modules for name in written(one)}
            watchers = [
                _Watcher(
                    name,
                    instead.get(id(module), module),
                    on_call if name in watched else None,
                    producers,
                    calls if inside or name in watched else None,
                    unseen,
                    writes,
                    rewritten,
                )
                for name, module in {**inside, **watched}.items()
            ]
        # Warnings of PyTorch's kernels carry the module that called the operation: ours, in a mode.
        stack.enter_context(silenced("torch.", f"{__package__}."))
        stack.enter_context(torch.no_grad())
        # What torch.compile made runs uncompiled: hooks inside it would not be called.
        stack.enter_context(_UNCOMPILED if sys.modules.get("torch._dynamo") else nullcontext())
        earlier = earlier_calls()
        offloaded = Offloaded(
            modules if watchers or calls is not None else (),
            None if earlier is None else functools.partial(_earlier, watchers, earlier),
        )
        for watcher in watchers:
            watcher.rests = offloaded.rests
        offloaded.brought(stack)
        for watcher in watchers:
            stack.callback(watcher.unhook)
            watcher.hook()
        if watchers or calls is not None:
            _plain(modules)
            producers.note_inputs(inputs, [array_of(tensor) for tensor in inputs])
        if calls is not None:
            stack.enter_context(calls.watching(inputs, producers, writes))
        offloaded.taken(stack)
        stack.enter_context(writes)
        try:
            with interruptible(at_calls=True):
                return tuple(copied(tensor) for tensor in tensors_in(root(*args, **kwargs)))
        except Exception as error:
            if any(
                watcher.raised is error
                for watcher in (*watchers, *(() if calls is None else (calls,)))
            ):
                raise
            raise _failure(error, root, inputs, names) from None


_UNCOMPILED = Shared(lambda: torch.compiler.set_stance("force_eager"))


class _Arguments(NamedTuple):
    """The arguments of a call by their names, and the scales of those that are Brevitas'
    QuantTensors."""

    named: Mapping[str, Any]
    scales: tuple[Scale | None, ...]


class _Begun(NamedTuple):
    """A call that is on: copies of its inputs and what made them, and the tensors themselves."""

    inputs: list[np.ndarray]
    tensors: list[torch.Tensor]
    scales: tuple[Scale | None, ...]
    cache: ExitStack
    made_by: tuple[Producer | None, ...]
    fixed: tuple[int, ...]
    since: int
    """How many calls had ended when it began."""
    held: list[Begun]
    """The tensors that the module holds."""


@dataclass(eq=False)
class _Watcher:
    """The hooks of one module; ``raised`` is what the callback raised, which is no fault of the
    model.

    Without ``on_call`` only its calls within containers are captured. Calls of other threads than
    the one that makes it are not the pass'.
    """

    name: str
    module: torch.nn.Module
    on_call: OnCall | None
    producers: Producers
    functions: FunctionCalls | None
    unseen: Callable[[str], str]
    writes: Writes
    rewritten: Collection[int] = ()
    """The ids of the parameters that calls of any module write to."""
    rests: Callable[[torch.nn.Module], bool] = lambda module: False
    """Whether a call gives what an interrupted pass has recorded of it, and does not run."""
    calls: int = 0
    before: dict[str, np.ndarray] = field(default_factory=dict)
    """Parameters that the call itself changes, as they were."""
    inside: dict[str, np.ndarray] = field(default_factory=dict)
    """The same as a layer within met them, which they were changed for."""
    raised: Exception | None = None
    begun: list[_Begun | None] = field(default_factory=list)
    """The calls that are on; None for one that is not captured."""
    hooks: list[RemovableHandle] = field(default_factory=list)
    own: list[tuple[torch.Tensor, int]] | None = None
    """What the module itself has computed, and how often that was written to, before the user's
    hooks."""
    thread: int = field(default_factory=threading.get_ident)
    settings: Settings = field(default_factory=settings_here)

    def hook(self) -> None:
        # Registered last: the inputs are those that the user's own hooks leave, the outputs those
        # that go on.
        self.hooks.append(self.module.register_forward_pre_hook(self._enter, with_kwargs=True))
        self.hooks.append(self.module.register_forward_hook(self._leave, with_kwargs=True))
        if next(_users(self.module._forward_hooks), None) is not None:
            self.hooks.append(self.module.register_forward_hook(self._computed, prepend=True))
        within = merging(self.module)
        if within is not None:
            self.hooks.append(within.register_forward_pre_hook(self._met))

    def unhook(self) -> None:
        """Takes the hooks away, and ends what a call that did not end began."""
        for hook in self.hooks:
            hook.remove()
        for one in self.begun:
            if one is not None:
                one.cache.close()

    @property
    def _within(self) -> bool:
        """Whether a container that is asked for is on."""
        return self.functions is not None and bool(self.functions.containers)

    def _copies(self) -> dict[str, np.ndarray]:
        """What the call writes to."""
        return {name: copied(_member(self.module, name)) for name in written(self.module)}

    def _met(self, module: torch.nn.Module, args: Any) -> None:
        if threading.get_ident() != self.thread:
            return
        with torch._C.DisableTorchFunction():
            self.inside = self._copies()

    # Another thread's call may meet a hook before PyTorch knows that it takes keyword arguments:
    # hence the defaults.
    def _enter(self, module: torch.nn.Module, args: Any, kwargs: Any = None) -> None:
        if threading.get_ident() != self.thread or transforming():
            return
        stop_here()
        with torch._C.DisableTorchFunction():  # what is done here is no call of the model's
            self._begin(module, args, kwargs)

    def _begin(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if self.on_call is None and not self._within:
            self.begun.append(None)
            return
        tensors = tensors_in((args, kwargs))
        cache = ExitStack()
        self.before = self._copies()
        scales = scales_in((args, kwargs))
        inputs = [copied(tensor) for tensor in tensors]
        fixed: tuple[int, ...] = ()
        if self.functions is not None and (self.functions.containers or self._opens):
            fixed = self._constants(tensors)
        if self.functions is not None and self._opens:
            self.producers.note_arguments(self.name, self.calls, tensors, inputs, fixed)
            self.functions.marks.add(tensors, OF_ARGUMENTS)
            self.functions.containers.enter(self.name)
        made_by = tuple(map(self.producers.of, tensors, inputs))
        detached = [tensor.detach() for tensor in tensors]
        held = self.writes.begun((*module.named_parameters(), *module.named_buffers()))
        self.begun.append(
            _Begun(inputs, detached, scales, cache, made_by, fixed, self.producers.count, held)
        )
        if parametrize.is_parametrized(module):
            # A parametrised weight is computed at each access: so what is read after the call is
            # what the call used.
            with held_back():
                cache.enter_context(parametrize.cached())

    def _leave(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any = None) -> Any:
        if threading.get_ident() != self.thread:
            return None
        stop_here()
        with torch._C.DisableTorchFunction():
            if transforming():
                return self._transformed()
            return self._end(output, _named(module, args, kwargs))

    def _computed(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == self.thread:
            with torch._C.DisableTorchFunction():
                self.own = [(one, writes_to(one)) for one in tensors_in(output)]

    def _refuse_changed(self, outputs: list[torch.Tensor]) -> None:
        """Raises Undescribed where a hook of the user's gives others than the module computed."""
        if self.own is None:
            return
        own, self.own = self.own, None
        if len(own) == len(outputs) and all(
            writes_to(one) == count and (one is other or same_bits(one, other))
            for (one, count), other in zip(own, outputs, strict=True)
        ):
            return
        names = ", ".join(_users(self.module._forward_hooks))
        raise Undescribed(
            f"a user-registered forward hook ({names}) changes its output after it is computed: "
            "remove the hook to check the layer itself"
        )

    def _transformed(self) -> None:
        """Pushes a call whose tensors stand for many, or for derivatives, and hold no numbers."""
        kind = kind_of(self.module)
        why = "it is called inside torch.func.vmap or a derivative, where tensors hold no numbers"
        self.calls += 1
        capture = Capture(self.name, kind, self.calls - 1, (), (), "", why=why)
        if self.functions is not None and not self._opens:
            self.functions.containers.add(capture, self.name)
        try:
            if self.on_call is not None:
                self.on_call(capture)
        except Exception as error:
            self.raised = error
            raise

    def _end(self, output: Any, named: Mapping[str, Any]) -> Any:
        # The arguments are those after the call: hooks made during the pass, as PEFT's for
        # `adapter_names`, add some after ours.
        begun = self.begun[-1]
        if begun is None:
            self.begun.pop()
            self.calls += 1
            return None
        try:
            with held_back(), begun.cache, interruptible():
                self.begun.pop()
                capture = self._capture(begun, _Arguments(named, begun.scales), tensors_in(output))
            if self.functions is not None and not self._opens:
                self.functions.containers.add(capture, self.name)
            replacement = None if self.on_call is None else self.on_call(capture)
            given, arrays = output, capture.outputs
            if replacement is not None:
                given = with_values(output, replacement)
                arrays = tuple(map(copied, tensors_in(given)))
            self.producers.note_outputs(
                *(capture.layer, capture.call, tensors_in(given), arrays),
                begun.since,
                capture.description is not None or self.rests(self.module),
            )
            if replacement is None:
                return None
            return given
        except Exception as error:
            self.raised = error
            raise

    def _capture(
        self, begun: _Begun, arguments: _Arguments, outputs: list[torch.Tensor]
    ) -> Capture:
        inputs, tensors = begun.inputs, begun.tensors
        description, why = self._describe(inputs, tensors, arguments, outputs)
        self.calls += 1
        arrays = tuple(copied(tensor) for tensor in outputs)
        opens = self.functions is not None and self._opens
        parts = self.functions.containers.leave() if self.functions is not None and opens else ()
        floating = [
            tensor
            for tensor in (*outputs, *tensors)
            if tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized
        ]
        return Capture(
            layer=self.name,
            kind=kind_of(self.module),
            call=self.calls - 1,
            inputs=tuple(inputs),
            outputs=arrays,
            dtype=dtype_name((floating or outputs or tensors)[0]) if outputs or tensors else "",
            description=description,
            why=why,
            training=self.module.training,
            notes=(*_notes(self.module), *_within_window(self.module, inputs), *_under(outputs)),
            made_by=begun.made_by,
            fixed=begun.fixed,
            alone=None
            if description is not None or not self._single() or self.rests(self.module)
            else self._alone(inputs, tensors, arguments.named),
            parts=parts,
            results=tuple(map(self.producers.of, outputs, arrays)) if opens else (),
            fixed_results=self._constants(outputs) if opens else (),
            unseen=functools.partial(self.unseen, self.name) if opens else None,
            changed=self.writes.changed(begun.held, arrays_of(description)),
        )

    def _constants(self, tensors: Sequence[torch.Tensor]) -> tuple[int, ...]:
        assert self.functions is not None
        return tuple(k for k, one in enumerate(tensors) if self.functions.marks.constant(one))

    @functools.cached_property
    def _opens(self) -> bool:
        """Whether it is a container that is asked for."""
        return self.on_call is not None and calls_others(self.module)

    def _single(self) -> bool:
        """Whether it is a layer and no container of others."""
        return (
            opaque(self.module)
            or bool(vars(self.module).get("blind"))
            or not any(True for _ in self.module.children())
        )

    def _alone(
        self, inputs: list[np.ndarray], tensors: list[torch.Tensor], arguments: Mapping[str, Any]
    ) -> Callable[[], tuple[np.ndarray, ...]]:
        kinds = [tensor.dtype for tensor in tensors]
        return lambda: alone(Called(self.module, (), arguments), inputs, kinds, self.settings)

    def _read(self, name: str) -> Weight | None:
        found, before = weight_of(self.module, name), self.before.get(name)
        if found is not None and before is None and self._is_rewritten(name):
            values = found.effective.copy()  # as they are now: they are put back after the pass
            return Weight(name, values, values)
        if found is None or before is None:
            return found
        return Weight(name, before, self.inside.get(name, before), parts=found.parts)

    def _is_rewritten(self, name: str) -> bool:
        member = _member(self.module, name)
        return id(member) in self.rewritten or self.writes.count(member) > 0

    def _describe(
        self,
        inputs: list[np.ndarray],
        input_tensors: list[torch.Tensor],
        arguments: _Arguments,
        outputs: list[torch.Tensor],
    ) -> tuple[Description | None, str]:
        if self.rests(self.module):  # the recording has it
            return None, ""
        try:
            if not self._single():
                raise Undescribed(
                    f"{kind_of(self.module)} is a container: its layers are checked individually"
                )
            self._refuse_changed(outputs)
            levels, output_levels = (
                tuple(levels_of(tensor) for tensor in tensors)
                for tensors in (input_tensors, outputs)
            )
            if ".quantized." in type(self.module).__module__:
                engine = torch.backends.quantized.engine
            else:
                engine = ""
            named, scales = arguments
            own = [one for one in self.module._parameters.values() if one is not None]
            kinds = floating_types([*input_tensors, *own]), floating_types(outputs)
            mixed = len({*kinds[0], *kinds[1]}) > 1
            name, autocast = type(self.module).__name__, autocast_in(outputs)
            rounded = rounding(name, *kinds, autocast)
            if mixed and rounded is None:
                refuse_mixture(name, *kinds)
            call = Call(
                tuple(inputs if rounded is None else map(rounded.array, inputs)),
                self._read if rounded is None else lambda of: rounded.weight(self._read(of)),
                named,
                _shortcuts(input_tensors),
                levels,
                output_levels,
                engine,
                _fused(input_tensors),
                scales,
            )
            with nullcontext() if registered(self.module) else describing():
                description = describe(self.module, call)
                if rounded is not None:
                    description = rounded.before(description, inputs)
            if any(tensor.is_complex() for tensor in (*input_tensors, *outputs, *own)):
                raise Undescribed("complex numbers are not supported")
        except Undescribed as error:
            return None, str(error)
        return description, ""


def _earlier(
    watchers: Sequence[_Watcher], earlier: Earlier, module: torch.nn.Module, arguments: Any
) -> torch.Tensor | None:
    """What a call of a module gave in the pass that was interrupted."""
    tensors = tensors_in(arguments)
    for one in watchers if tensors else ():
        if one.module is module and (one.on_call is not None or one._within):
            found = earlier(one.name, one.calls, [copied(tensor) for tensor in tensors])
            if found is None:
                return None
            array, dtype = found
            return torch.from_numpy(np.array(array)).to(tensors[0].device, getattr(torch, dtype))
    return None


def _member(module: torch.nn.Module, name: str) -> torch.Tensor:
    """A tensor by its dotted name, also where it is no parameter (or not now)."""
    inside, _, last = name.rpartition(".")
    found: torch.Tensor = getattr(module.get_submodule(inside), last)
    return found


def _uncompiled(root: torch.nn.Module) -> dict[int, Script]:
    """Puts what follows its graph in the place of everything compiled; by the id of what was there.
    ``unchanged`` puts that back."""
    found = {}
    for parent, key, script in list(within(root)):
        found[id(parent._modules[key])] = script
        parent._modules[key] = script
    return found


def _plain(modules: Sequence[torch.nn.Module]) -> None:
    """Keeps TransformerEncoders from nested tensors, which NumPy has no arrays for; what they do to
    padded positions is then told from the unwatched pass. ``unchanged`` puts the attribute back."""
    for module in modules:
        if isinstance(module, torch.nn.TransformerEncoder):
            module.use_nested_tensor = False


class _Packed(NamedTuple):
    """The parts of a PackedSequence."""

    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


@functools.lru_cache(maxsize=512)
def _places(forward: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters that ``forward`` takes by position, self left out."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(
        one.name
        for one in list(inspect.signature(forward).parameters.values())[1:]
        if one.kind in kinds
    )


def _named(module: torch.nn.Module, args: Any, kwargs: Any) -> Mapping[str, Any]:
    """The arguments by the names of forward's parameters, each tensor as the Ref of its place among
    ``tensors_in``."""
    forward = type(module).forward
    if "forward" not in vars(module) and isinstance(forward, FunctionType):
        names = _places(forward)
    else:
        names = ()
    if (
        not kwargs
        and len(args) <= len(names)
        and all(isinstance(arg, torch.Tensor) for arg in args)
    ):
        return {name: Ref(-1, place) for place, name in enumerate(names[: len(args)])}
    number = itertools.count()

    def referred(leaf: Any) -> Any:
        if isinstance(leaf, PackedSequence):  # It refuses to hold anything but tensors.
            return _Packed(*map(referred, leaf))
        if leaf_tensor(leaf):
            return Ref(-1, next(number))
        return leaf

    args, kwargs = pytree.tree_map(
        referred,
        (args, kwargs),
        is_leaf=lambda part: isinstance(part, PackedSequence) or leaf_tensor(part),
    )
    bound: Mapping[str, Any] = kwargs
    with suppress(TypeError):  # forward itself says what is wrong
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    return bound


def _fused(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether a MultiheadAttention called on these may take its fused kernel, as far as its
    parameters do not say."""
    if len(tensors) < 2:
        return False
    first = {(tensor.data_ptr(), tensor.shape, tensor.stride()) for tensor in tensors[:3]}
    return (
        len(first) == 1
        and torch.backends.mha.get_fastpath_enabled()
        and torch._C._len_torch_function_stack() == 0
    )


def _shortcuts(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether kernels may be chosen that take a shortcut: in channels_last, on another device
    (cuDNN), or NNPACK's without oneDNN."""
    plain = all(
        tensor.layout != torch.strided or (tensor.is_contiguous() and tensor.device.type == "cpu")
        for tensor in tensors
    )
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return not (plain and built and torch.backends.mkldnn.enabled)


def _notes(module: torch.nn.Module) -> Iterator[str]:
    """Names the hooks that are neither ours nor PyTorch's own re-parametrisations."""
    for when, hooks in (("before", module._forward_pre_hooks), ("after", module._forward_hooks)):
        for called in _users(hooks):
            yield (
                f"it has a user-registered forward hook, {called}, which runs {when} it and may "
                "change its output"
            )


def _users(hooks: Mapping[int, Any]) -> Iterator[str]:
    """The names of the hooks that are neither ours nor PyTorch's own re-parametrisations."""
    for hook in hooks.values():
        if not str(hook.__module__).startswith(("torch.", str(__package__).rpartition(".")[0])):
            yield getattr(hook, "__qualname__", type(hook).__name__)


def _within_window(module: torch.nn.Module, inputs: Sequence[np.ndarray]) -> Iterator[str]:
    """That the sequence is too short for an attention of transformers to leave any of it out."""
    config = getattr(module, "config", None)
    window = getattr(module, "sliding_window", getattr(config, "sliding_window", None))
    sizes = [x.shape[1] if x.ndim == 3 else x.shape[-1] for x in inputs if x.ndim in (3, 4)]
    if (
        isinstance(window, int)
        and "Attention" in type(module).__name__
        and 0 < max(sizes, default=0) <= window
    ):
        yield (
            f"{max(sizes)} positions all lie within the sliding window of {window}, so another "
            "window, or none, would not be detected"
        )


def _under(outputs: Sequence[torch.Tensor]) -> tuple[str, ...]:
    on = autocast_in(outputs)
    if on is None:
        return ()
    return (f"computed under torch.autocast in {on}",)


def _check_arguments(
    root: torch.nn.Module,
    modules: Sequence[torch.nn.Module],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    if any(map(is_lazy, held(modules))):
        raise BadInput(
            f"{type(root).__name__} contains uninitialised lazy modules: call it once on an "
            "input first"
        )
    forward = inspect.signature(root.forward)
    try:
        forward.bind(*args, **kwargs)
    except TypeError as error:
        raise BadInput(
            f"{type(root).__name__} takes {forward}; you gave {len(args) + len(kwargs)} inputs "
            f"({error})"
        ) from None


def _failure(
    error: Exception,
    root: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    names: Mapping[int, str],
) -> Exception:
    """One sentence that names the innermost module that raised and what it was given."""
    module, tensors = root, list(inputs)
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == "_call_impl" and isinstance(
            frame.f_locals.get("self"), torch.nn.Module
        ):
            module = frame.f_locals["self"]
            tensors = tensors_in((frame.f_locals.get("args"), frame.f_locals.get("kwargs")))
        trace = trace.tb_next
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "no tensors"
    inner = not inputs or not tensors or tensors[0].shape != inputs[0].shape
    wrong = mismatch(module, tuple(tensors[0].shape), of_model=not inner) if tensors else None
    name, kind = names.get(id(module), ""), type(module).__name__
    place = f"layer {name!r} ({kind})" if name else f"the module itself ({kind})"
    empty = [
        f"{name}.{key}".lstrip(".")
        for key, tensor in module.named_parameters(recurse=False)
        if tensor.is_meta
    ]
    if empty:
        return ForwardFailed(
            f"the forward pass failed in {place}: {', '.join(empty)} is on the meta device, which "
            "holds no numbers; load the weights first"
        )
    if wrong and not inner and (module is root or tensors[0].data_ptr() == inputs[0].data_ptr()):
        return BadInput(wrong if module is root else f"{wrong} (first seen in {place})")
    return ForwardFailed(
        f"the forward pass failed in {place}, called on {shapes}: "
        f"{wrong or f'{type(error).__name__}: {first_line(error)}'}"
    )
