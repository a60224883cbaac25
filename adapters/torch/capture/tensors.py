"""PyTorch tensors as NumPy arrays and back, and parameters as a module's own call sees them."""

import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from probe.description import Weight
from probe.errors import BadInput

from ..describe.describe import Levels, Scale
from ..packages.torchao import packed
from .parametrizations import told

__all__ = [
    "array_of",
    "autocast_in",
    "copied",
    "dtype_name",
    "floating_types",
    "leaf_tensor",
    "levels_of",
    "names_in",
    "scales_in",
    "tensors_for",
    "tensors_in",
    "transforming",
    "weight_of",
    "with_values",
    "writes_to",
]


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The values as an array, shared where the tensor lies in memory as NumPy would; what NumPy has
    no type for is widened to float32.

    Nested tensors get zeros behind their shorter samples, complex ones an axis more for the real
    and imaginary parts.
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if tensor.is_nested:
        tensor = torch.nested.to_padded_tensor(tensor, 0.0)
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and tensor.dtype not in (
        torch.float16,
        torch.float32,
        torch.float64,
    ):
        return _widened(tensor)
    return tensor.numpy(force=True)


def _widened(tensor: torch.Tensor) -> np.ndarray:
    """The values in float32. In memory of NumPy's, which comes in large pages: in PyTorch's own
    that takes three times as long."""
    if not tensor.is_contiguous():
        return tensor.float().numpy(force=True)
    values = np.empty(tensor.shape, np.float32)
    torch.from_numpy(values).copy_(tensor.detach())
    return values


def copied(tensor: torch.Tensor) -> np.ndarray:
    """The values in memory of their own, in row-major order."""
    return np.array(array_of(tensor), order="C")


def dtype_name(tensor: torch.Tensor) -> str:
    """Such as "float32"; a quantised tensor is one whose values are float32, and of a complex one
    it is that of its parts."""
    if tensor.is_quantized:
        return "float32"
    return _name(tensor.dtype)


@cache
def _name(dtype: torch.dtype) -> str:
    return str(dtype.to_real() if dtype.is_complex else dtype).removeprefix("torch.")


def leaf_tensor(part: Any) -> bool:
    """Whether it stands for one tensor: Brevitas' QuantTensor is a tuple of its values and what
    they are quantised by."""
    return isinstance(part, torch.Tensor) or (
        isinstance(part, tuple) and type(part).__module__.startswith("brevitas.quant_tensor.")
    )


_NO_TENSORS = {type(None), bool, int, float, str, torch.dtype, torch.device}


def _tensors(*trees: Any) -> list[Any]:
    """The tensors, and what stands for one."""
    tensors: list[Any] = []
    for tree in trees:  # as pytree does, at a fraction of its cost
        kind = type(tree)
        if isinstance(tree, torch.Tensor):
            tensors.append(tree)
        elif kind in (tuple, list):
            tensors += _tensors(*tree)
        elif kind in (dict, OrderedDict):
            tensors += _tensors(*tree.values()) if tree else ()
        elif kind in _NO_TENSORS:
            continue
        elif leaf_tensor(tree):
            tensors.append(tree)
        else:
            leaves = pytree.tree_leaves(tree, is_leaf=leaf_tensor)
            tensors += [leaf for leaf in leaves if leaf_tensor(leaf)]
    return tensors


def tensors_in(tree: Any) -> list[torch.Tensor]:
    """The tensors anywhere in arguments or a result, in order."""
    return [leaf if isinstance(leaf, torch.Tensor) else leaf.value for leaf in _tensors(tree)]


def names_in(tree: Any) -> tuple[str, ...]:
    """The names that a result gives its tensors, of several of one name with their numbers; ()
    where it gives none."""
    if isinstance(tree, Mapping):
        parts = [*tree.items()]
    elif hasattr(tree, "_fields"):
        parts = [*zip(tree._fields, tree, strict=True)]
    else:
        return ()
    names: list[str] = []
    for name, part in parts:
        count = len(tensors_in(part))
        names += [str(name)] if count == 1 else [f"{name}.{k}" for k in range(count)]
    return tuple(names) if len(names) == len(tensors_in(tree)) else ()


def floating_types(tensors: Sequence[torch.Tensor]) -> frozenset[str]:
    """The types of those that hold floats."""
    return frozenset(dtype_name(tensor) for tensor in tensors if tensor.is_floating_point())


def autocast_in(tensors: Sequence[torch.Tensor]) -> str | None:
    """The type that torch.autocast computes in where these are, None where it is off."""
    device = tensors[0].device.type if tensors else "cpu"
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return None
    return _name(torch.get_autocast_dtype(device))


def writes_to(tensor: torch.Tensor) -> int:
    """How often the tensor, or one that shares its memory, was written to, as far as PyTorch
    counts."""
    if tensor.is_inference():
        return 0
    return tensor._version


def transforming() -> bool:
    """Whether what is on is called by vmap, grad or their like (torch.func), on tensors of
    theirs."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def scales_in(tree: Any) -> tuple[Scale | None, ...]:
    """The scale of each of the same tensors that is a QuantTensor; () where nothing can be one."""
    if "brevitas" not in sys.modules:
        return ()
    found = [
        None if isinstance(leaf, torch.Tensor) or getattr(leaf, "scale", None) is None else leaf
        for leaf in _tensors(tree)
    ]
    return tuple(None if leaf is None else _scale_of(leaf) for leaf in found)


def _scale_of(leaf: Any) -> Scale:
    bits = getattr(leaf, "bit_width", None)
    return Scale(
        copied(leaf.scale),
        None if bits is None else float(bits),
        bool(getattr(leaf, "signed", True)),
    )


def with_values(output: Any, replacement: Sequence[np.ndarray]) -> Any:
    """A call's result with other values in place of its tensors."""
    leaves, form = pytree.tree_flatten(output, is_leaf=leaf_tensor)
    values = iter(replacement)
    leaves = [_like(leaf, next(values)) if leaf_tensor(leaf) else leaf for leaf in leaves]
    return pytree.tree_unflatten(leaves, form)


def _like(leaf: Any, values: np.ndarray) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf.set(value=_like(leaf.value, values))
    tensor = torch.from_numpy(np.array(values))
    if leaf.is_nested:
        parts = [
            sample[tuple(map(slice, part.shape))]
            for sample, part in zip(tensor, leaf.unbind(), strict=True)
        ]
        return torch.nested.as_nested_tensor(parts).to(leaf.dtype)
    if leaf.is_complex():
        return torch.view_as_complex(tensor.to(leaf.dtype.to_real()).contiguous())
    if not leaf.is_quantized:
        return tensor.to(leaf)
    return torch.quantize_per_tensor(
        tensor.float(), leaf.q_scale(), leaf.q_zero_point(), leaf.dtype
    )


def levels_of(tensor: torch.Tensor) -> Levels | None:
    """What the integers of a tensor stand for that is quantised as a whole."""
    if not tensor.is_quantized or tensor.qscheme() not in (
        torch.per_tensor_affine,
        torch.per_tensor_symmetric,
    ):
        return None
    limits = torch.iinfo(tensor.dtype)
    return Levels(tensor.q_scale(), tensor.q_zero_point(), limits.min, limits.max)


def tensors_for(
    module: torch.nn.Module, inputs: Sequence[Any], home: torch.nn.Module
) -> list[torch.Tensor]:
    """Copies of the inputs on the module's device; floating ones in its dtype, or in that of its
    ``home`` where it has none."""
    owners = (module,) if module is home else (module, home)
    # what is on the meta device has no numbers: they are still to come (accelerate), or never do
    device = next((tensor.device for tensor in _held(owners) if not tensor.is_meta), None)
    floating = next((tensor.dtype for tensor in _held(owners) if tensor.is_floating_point()), None)
    if floating is None and any(".quantized." in type(part).__module__ for part in home.modules()):
        floating = torch.float32  # what is quantised is quantised from that
    tensors = []
    for position, given in enumerate(inputs):
        values = np.array(given, order="C")
        short = values.dtype.name == "bfloat16"
        if values.dtype.kind not in "biufc" and not short:
            raise BadInput(
                f"input {position} has dtype {values.dtype}; a PyTorch module takes numbers"
            )
        tensor = torch.from_numpy(
            values.astype(np.float32 if short else values.dtype.newbyteorder("="), copy=False)
        )
        if short:
            tensor = tensor.bfloat16()
        if floating is not None and tensor.is_floating_point():
            tensor = tensor.to(floating)
        tensors.append(tensor if device is None else tensor.to(device))
    return tensors


def _held(owners: Sequence[torch.nn.Module]) -> Iterator[torch.Tensor]:
    """Their parameters and buffers, one at a time: most often the first says all."""
    return (
        tensor
        for owner in owners
        for tensors in (owner.parameters(), owner.buffers())
        for tensor in tensors
    )


def weight_of(module: torch.nn.Module, name: str) -> Weight | None:
    """A parameter or buffer: what ``state_dict()`` gives under its name, and what the attribute
    gives in this call.

    A dotted name is that of a module inside.
    """
    inside, _, last = name.rpartition(".")
    if inside:
        found = weight_of(module.get_submodule(inside), last)
        if found is None:
            return None
        parts = {f"{inside}.{key}": part for key, part in found.parts.items()}
        return replace(found, name=name, parts=parts)
    value = getattr(module, name)
    if value is None:
        return None
    held = packed(name, value)
    if held is not None:
        return held
    effective = array_of(value).view()
    effective.flags.writeable = False
    if name in module._parameters or name in module._buffers:
        return Weight(name, effective, effective)
    if parametrize.is_parametrized(module, name):
        prefix = f"parametrizations.{name}."
        makers: Sequence[Any] = list(module.parametrizations[name])  # type: ignore[index]
        # put there for the call (lora/layer.py, ParamWrapper)
        if all(type(maker).__module__.startswith("peft.") for maker in makers):
            stored = copied(module.parametrizations[name].original)  # type: ignore[index,union-attr]
            most = np.abs(effective - stored).max(initial=0)
            return Weight(
                name,
                stored,
                effective,
                (f"plus lora_B @ lora_A, scaled, for this call: up to {most:.6g}",),
            )
        when = "at each access"
    else:
        prefix = f"{name}_"
        makers = [
            hook
            for hook in module._forward_pre_hooks.values()
            if type(hook).__module__.startswith("torch.nn.utils")
        ]
        when = "before each call"
    parts = {
        key: copied(tensor) for key, tensor in module.state_dict().items() if key.startswith(prefix)
    }
    if not parts:
        return Weight(
            name, None, effective, ("an attribute of the module that is not in its state_dict",)
        )
    return Weight(name, None, effective, told(name, makers, parts, when), parts)
