"""What running PyTorch modules writes to, and how it is put back, bit for bit.

PyTorch's own layers write to buffers and attributes, PEFT's to the parameters that they merge
adapters into (peft 0.21, tuners/lora/layer.py), Brevitas' to those of quantisers that begin with
statistics. None of these packages is imported.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from probe.process.interrupts import Shared
from probe.process.random_state import random_states_kept

from .torchscript import is_script
from .writes import Writes

__all__ = ["held", "merging", "same_bits", "unchanged", "written"]

_REGISTRIES = ("_parameters", "_buffers", "_modules")
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers as wide as a number of so many bytes."""
_MERGED = ("in_proj_weight", "out_proj.base_layer.weight")


@contextmanager
def unchanged(modules: Sequence[torch.nn.Module]) -> Iterator[Writes]:
    """Puts back, bit for bit, whatever running changes: attributes, modes, parameters, buffers,
    registrations, hooks and the random states.

    The version counters of tensors too: what holds the same bits as before is what a backward pass
    to come has saved. What another thread has written to meanwhile, as in training, stays as that
    left it. What is given sees the writes of the pass, once it is entered.
    """
    writes = _writes(modules)
    saved: list[Callable[[], None]] = [
        *(_saved(module, writes) for module in modules),
        *_remerged(modules),
        *_initialised(modules),
        lambda: writes.restore(same_bits),
    ]
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    tensors = held(modules) if started else ()
    devices = sorted({tensor.device.index for tensor in tensors if tensor.device.type == "cuda"})
    with (
        random_states_kept(),
        _RANDOM,
        torch.random.fork_rng(devices=devices, enabled=bool(devices)),
    ):
        try:
            yield writes
        finally:
            for restore in saved:
                restore()


_RANDOM = Shared(lambda: torch.random.fork_rng(devices=[]))


def _writes(modules: Sequence[torch.nn.Module]) -> Writes:
    attributes = (
        value for module in modules if not is_script(module) for value in vars(module).values()
    )
    parameters = [
        parameter
        for module in modules
        for parameter in module._parameters.values()
        if parameter is not None
    ]
    return Writes([*held(modules), *attributes], parameters)


def held(modules: Sequence[torch.nn.Module]) -> Iterator[torch.Tensor]:
    """Their parameters and buffers."""
    for module in modules:
        for _, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                yield tensor


def _saved(module: torch.nn.Module, writes: Writes) -> Callable[[], None]:
    # what is compiled holds them elsewhere
    cls, attributes = type(module), {} if is_script(module) else dict(vars(module))
    registries = {name: dict(getattr(module, name).items()) for name in _REGISTRIES}
    # transformers registers hooks in the first call, and notes in an attribute that it has
    hooks = [(value, value.copy()) for value in attributes.values() if type(value) is OrderedDict]
    # An embedding with max_norm changes its weight in its forward.
    changing = registries["_parameters"].values() if attributes.get("max_norm") is not None else ()
    states = [
        value
        for value in (*attributes.values(), *registries["_buffers"].values(), *changing)
        if isinstance(value, torch.Tensor)
    ]
    clones = [(state, state.detach().clone()) for state in states]

    def restore() -> None:
        if type(module) is not cls:
            module.__class__ = cls
        if attributes:
            _put_back(vars(module), attributes)
            for name, entries in registries.items():
                _put_back(attributes[name], entries)
        for current, before in hooks:
            if current != before:
                current.clear()
                current.update(before)
        for state, clone in clones:
            if writes.by_others(state):
                continue
            if state.shape != clone.shape:
                state.resize_(clone.shape)  # observers make room for the channels that they meet
            if not same_bits(state.detach(), clone):
                writes.write(state, clone)

    return restore


def _put_back(current: dict[str, Any], before: dict[str, Any]) -> None:
    for name in current.keys() - before.keys():
        del current[name]
    current.update(before)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors are the same bit for bit: writing back what did not change would break
    the user's backward pass."""
    if (
        left.layout != torch.strided
        or left.is_quantized
        or left.shape != right.shape
        or left.dtype != right.dtype
    ):
        return False
    if left.is_complex():
        left, right = (torch.view_as_real(tensor.resolve_conj()) for tensor in (left, right))
    bits = _BITS[left.itemsize]
    return torch.equal(left.view(bits), right.view(bits))


def _remerged(modules: Sequence[Any]) -> Iterator[Callable[[], None]]:
    """What puts back the layers whose parameters a call writes to.

    Of a disabled layer it takes out merged adapters, in place; the rows of an adapter it scales to
    an embedding's max_norm.
    """
    for module in modules if "peft" in sys.modules else ():
        if not any(
            cls.__module__.startswith("peft.tuners.") and hasattr(cls, "merge")
            for cls in type(module).__mro__
        ):
            continue
        if (module.merged_adapters and module.disable_adapters) or getattr(
            module.get_base_layer(), "max_norm", None
        ) is not None:
            yield _merged_as_before(module)
            if merging(module) is not None:
                yield _merged_as_before(merging(module).out_proj)


def _merged_as_before(module: Any) -> Callable[[], None]:
    held = [
        (parameter, parameter.data, parameter.data.clone()) for parameter in module.parameters()
    ]
    names, caches = list(module.merged_adapters), dict(getattr(module, "_caches", {}))

    def restore() -> None:
        module.merged_adapters[:] = names
        getattr(module, "_caches", {}).update(caches)
        for parameter, data, values in held:
            parameter.data = data.copy_(values)

    return restore


def written(module: Any) -> tuple[str, ...]:
    """The parameters that a call of the module writes to, or that stand for others while it is
    on."""
    if vars(module).get("max_norm") is not None:
        return ("weight",)
    if merging(module) is not None:
        return tuple(f"base_layer.{name}" for name in _MERGED)
    if "base_layer" in module._modules and getattr(module.base_layer, "max_norm", None) is not None:
        return (
            "base_layer.weight",
            *(f"lora_embedding_A.{name}" for name in getattr(module, "lora_embedding_A", ())),
        )
    return ()


def merging(module: Any) -> Any:
    """The attention in one that is adapted, which has its adapters merged into it for each call;
    None for any other module."""
    adapted = (
        type(module).__name__ == "MultiheadAttention"
        and type(module).__module__ == "peft.tuners.lora.layer"
    )
    if adapted:
        return module.base_layer
    return None


def _initialised(modules: Sequence[Any]) -> Iterator[Callable[[], None]]:
    """What puts back the parameters of quantisers: one that begins with statistics writes them in
    its first call, in evaluation too."""
    for module in modules:
        if type(module).__module__.startswith("brevitas.core."):
            for parameter in module.parameters(recurse=False):
                yield _restoring(parameter, parameter.detach().clone())


def _restoring(parameter: Any, values: Any) -> Callable[[], None]:
    def restore() -> None:
        if not parameter.detach().equal(values):
            parameter.detach().copy_(values)

    return restore
