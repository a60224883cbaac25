"""One forward pass of a PyTorch module, with every call of the wanted modules pushed to a callback.

Watching leaves nothing behind: hooks go, and modes, attributes, buffers and the random state are
put back, however the pass ends. Inputs are copied before the call, since in-place operations
overwrite them.
"""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from itertools import combinations
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from probe.capture.earlier_calls import Earlier, earlier_calls
from probe.capture.producers import Producers
from probe.errors import BadInput
from probe.model import CallArguments, OnCall
from probe.process.interrupts import Shared, held_back, interruptible
from probe.process.log_suppression import silenced
from probe.process.model_lock import turn

from .arguments import filled, names_of_arrays
from .forward_errors import check_arguments, failure
from .function_calls import FunctionCalls
from .module_capture import member
from .module_watcher import ModulePass, Watcher
from .offloading import Offloaded
from .restore_state import unchanged, written
from .tensors import array_of, copied, names_in, tensors_in, writes_to
from .torchscript import Script, within

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
) -> tuple[tuple[np.ndarray, ...], tuple[str, ...]]:
    """Calls ``root`` on the inputs once and returns its outputs, and their names where it gives
    these.

    ``names`` gives every module's name by its id, for what is said on failure. ``calls`` watches
    the function calls. ``arguments`` say which of them each input is; None: they are all there is,
    in order. Those of ``watched`` that call others have the calls within them in their captures, of
    the modules ``inside`` too; ``unseen`` is what is asked of each (``Capture``).
    """
    modules = list(root.modules())
    args, kwargs = (tuple(inputs), {}) if arguments is None else filled(arguments, inputs)
    check_arguments(root, modules, args, kwargs)
    producers, watchers = Producers(writes_to), list[Watcher]()
    with held_back(), ExitStack() as stack:
        stack.enter_context(turn(modules))
        writes = stack.enter_context(unchanged(modules))
        around = ModulePass(producers, writes, calls, unseen)
        if watched or calls is not None:
            watchers = _watchers(root, modules, watched, inside, on_call, around)
        _enter_settings(stack)
        earlier = earlier_calls()
        offloaded = Offloaded(
            modules if watchers or calls is not None else (),
            None if earlier is None else functools.partial(_earlier, watchers, earlier),
        )
        around.rests = offloaded.rests
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
                given = root(*args, **kwargs)
                return tuple(copied(tensor) for tensor in tensors_in(given)), names_in(given)
        except Exception as error:
            raised = [watcher.raised for watcher in watchers]
            raised += [] if calls is None else [calls.raised]
            if any(error is ours for ours in raised):
                raise
            failed = failure(error, root, inputs, names)
    raise _exchanged(root, inputs, arguments) or failed


def _exchanged(
    root: torch.nn.Module, inputs: Sequence[torch.Tensor], arguments: CallArguments | None
) -> BadInput | None:
    """What is said of inputs on which the pass fails, where it runs with two of them exchanged."""
    names = names_of_arrays(root, arguments)
    if not 2 <= len(inputs) <= min(_EXCHANGED, len(names)) or not all(names):
        return None
    for first, second in combinations(range(len(inputs)), 2):
        swapped = list(inputs)
        swapped[first], swapped[second] = inputs[second], inputs[first]
        if _runs(root, swapped, arguments):
            return BadInput(
                f"{type(root).__name__} fails on these inputs and runs with {names[first]} and "
                f"{names[second]} exchanged: give each in the other's place"
            )
    return None


_EXCHANGED = 4
"""Up to how many inputs two of them are exchanged."""


def _runs(
    root: torch.nn.Module, inputs: Sequence[torch.Tensor], arguments: CallArguments | None
) -> bool:
    modules = list(root.modules())
    args, kwargs = (tuple(inputs), {}) if arguments is None else filled(arguments, inputs)
    with held_back(), ExitStack() as stack:
        stack.enter_context(turn(modules))
        stack.enter_context(unchanged(modules))
        _enter_settings(stack)
        try:
            with interruptible(at_calls=True):
                root(*args, **kwargs)
        except Exception:
            return False
    return True


def _watchers(
    root: torch.nn.Module,
    modules: Sequence[torch.nn.Module],
    watched: Mapping[str, torch.nn.Module],
    inside: Mapping[str, torch.nn.Module],
    on_call: OnCall,
    around: ModulePass,
) -> list[Watcher]:
    instead = _uncompiled(root)
    around.rewritten = {id(member(module, name)) for module in modules for name in written(module)}
    return [
        Watcher(
            name,
            instead.get(id(module), module),
            on_call if name in watched else None,
            around,
        )
        for name, module in {**inside, **watched}.items()
    ]


def _enter_settings(stack: ExitStack) -> None:
    # Warnings of PyTorch's kernels carry the module that called the operation: ours, in a mode.
    stack.enter_context(silenced("torch.", f"{__package__}."))
    stack.enter_context(torch.no_grad())
    # What torch.compile made runs uncompiled: hooks inside it would not be called.
    stack.enter_context(_UNCOMPILED if sys.modules.get("torch._dynamo") else nullcontext())


_UNCOMPILED = Shared(lambda: torch.compiler.set_stance("force_eager"))


def _earlier(
    watchers: Sequence[Watcher], earlier: Earlier, module: torch.nn.Module, arguments: Any
) -> torch.Tensor | None:
    """What a call of a module gave in the pass that was interrupted."""
    tensors = tensors_in(arguments)
    for watcher in watchers if tensors else ():
        if watcher.module is module and watcher.captures():
            output = earlier(watcher.name, watcher.calls, [copied(tensor) for tensor in tensors])
            if output is None:
                return None
            array, dtype = output
            return torch.from_numpy(np.array(array)).to(tensors[0].device, getattr(torch, dtype))
    return None


def _uncompiled(root: torch.nn.Module) -> dict[int, Script]:
    """Puts what follows its graph in the place of everything compiled; by the id of what was there.
    ``unchanged`` puts that back."""
    scripts = {}
    for parent, key, script in list(within(root)):
        scripts[id(parent._modules[key])] = script
        parent._modules[key] = script
    return scripts


def _plain(modules: Sequence[torch.nn.Module]) -> None:
    """Keeps TransformerEncoders from nested tensors, which NumPy has no arrays for; what they do to
    padded positions is then told from the unwatched pass. ``unchanged`` puts the attribute back."""
    for module in modules:
        if isinstance(module, torch.nn.TransformerEncoder):
            module.use_nested_tensor = False
