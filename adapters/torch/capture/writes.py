"""What a pass writes to the tensors that modules hold, seen before it is written.

PyTorch counts writes to a tensor, but not those through ``.data``, and not whose they are. Every
operation that writes passes here, of this thread alone: so a parameter is copied before the model's
own code first writes to it, and what another thread has written meanwhile is told apart.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import get_ident
from typing import Any, NamedTuple
from weakref import ref

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from probe.description import Description
from probe.ops.step import weights_of

__all__ = ["Begun", "Writes", "arrays_of"]


class Begun(NamedTuple):
    """A tensor of a call, and how often others had written to it when the call began."""

    name: str
    tensor: "ref[torch.Tensor]"
    others: int


class Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Enter it around the calls of a pass. Tensors of ``kept`` are copied before they are written
    to."""

    def __init__(self, tensors: Iterable[torch.Tensor], kept: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._thread = get_ident()
        counted = {id(tensor): tensor for tensor in tensors if _counted(tensor)}.values()
        self._tensors = {id(tensor): tensor for tensor in counted if _storage(tensor) is not None}
        self._unseen = [
            (tensor, tensor._version) for tensor in counted if id(tensor) not in self._tensors
        ]
        """Those whose writes are not seen, and their versions."""
        self._kept = {id(tensor) for tensor in kept}
        self._by_storage: dict[int | None, list[torch.Tensor]] = {}
        for tensor in self._tensors.values():
            self._by_storage.setdefault(_storage(tensor), []).append(tensor)
        self._before = {key: tensor._version for key, tensor in self._tensors.items()}
        self._counts: dict[int, int] = {}
        self._own: dict[int, int] = {}
        """By how much the pass itself has moved the counters of versions."""
        self._pending: list[tuple[torch.Tensor, int]] = []
        """Tensors that the last operation writes to, and their versions before: PyTorch counts an
        operation once it has ended."""
        self._data = [
            (tensor, tensor.data) for tensor in self._tensors.values() if id(tensor) in self._kept
        ]
        self._copies: list[tuple[torch.Tensor, torch.Tensor]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """What torch.compile made runs uncompiled in a pass, and PyTorch would import its compiler,
        in a second or two, to turn it off for this mode."""
        return False

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._settle()
        places = _written(func)
        for tensor in _tensors_at(places, args, kwargs) if places else ():
            for held in self._by_storage.get(_storage(tensor), ()):
                self._note(held)
        # an operation within a call is no call itself
        with torch._C.DisableTorchFunction(), _autocast(func):
            return func(*args, **kwargs)

    def _note(self, tensor: torch.Tensor) -> None:
        key = id(tensor)
        if key not in self._counts and key in self._kept:
            self._copies.append((tensor, tensor.detach().clone()))
        self._counts[key] = self.count(tensor) + 1
        self._pending.append((tensor, tensor._version))

    def _settle(self) -> None:
        for tensor, version in self._pending:
            self._moved(tensor, int(tensor._version > version))
        self._pending.clear()

    def _moved(self, tensor: torch.Tensor, by: int) -> None:
        self._own[id(tensor)] = self._own.get(id(tensor), 0) + by

    def count(self, tensor: Any) -> int:
        """How often the pass has written to a tensor that a module holds."""
        return self._counts.get(id(tensor), 0)

    def others(self, tensor: torch.Tensor) -> int:
        """How often a tensor was written to by others than the pass, counted from some number."""
        if get_ident() == self._thread:
            self._settle()
        return tensor._version - self._own.get(id(tensor), 0)

    def by_others(self, tensor: torch.Tensor) -> bool:
        """Whether others than the pass have written to a tensor since the pass began: then it is
        theirs."""
        key = id(tensor)
        return key in self._before and self.others(tensor) != self._before[key]

    def write(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Writes to a tensor as the pass does."""
        before = 0 if tensor.is_inference() else tensor._version
        tensor.detach().copy_(values)
        if id(tensor) in self._tensors:
            self._moved(tensor, tensor._version - before)

    def restore(self, same: Callable[[torch.Tensor, torch.Tensor], bool]) -> None:
        """Puts parameters back, and the counters of all that nobody else has written to."""
        self._settle()
        for tensor, data in self._data:
            if _storage(tensor) != _storage(data):
                tensor.data = data
        for tensor, values in self._copies:
            if not self.by_others(tensor) and not same(tensor.detach(), values):
                self.write(tensor, values)
        own = [tensor for key, tensor in self._tensors.items() if self._own.get(key)]
        found = [tensor for tensor in own if not self.by_others(tensor)]
        versions = [(tensor, self._before[id(tensor)]) for tensor in found]
        for tensor, version in (*versions, *self._unseen):
            torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))
        for tensor in found:
            del self._own[id(tensor)]
        for held in (self._counts, self._copies, self._data, self._tensors, self._by_storage):
            held.clear()  # what a report keeps of the pass keeps no model
        self._unseen.clear()

    def begun(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> list[Begun]:
        """What is held of the tensors of a call when it begins."""
        return [
            Begun(name, ref(tensor), self.others(tensor))
            for name, tensor in tensors
            if id(tensor) in self._tensors
        ]

    def changed(
        self, begun: Sequence[Begun], arrays: Sequence[np.ndarray]
    ) -> Callable[[], tuple[str, ...]]:
        """Asked later, it gives the names of the tensors that others have written to since the call
        began, or the pass since now, where one of the arrays is the tensor's memory."""
        addresses = {array.__array_interface__["data"][0] for array in arrays}
        tensors = [held.tensor() for held in begun]
        counts = [
            self.count(tensor) if tensor is not None and tensor.data_ptr() in addresses else None
            for tensor in tensors
        ]

        def written(held: Begun, count: int | None) -> bool:
            tensor = held.tensor()
            if tensor is None:  # and nobody has it any more
                return False
            by_pass = count is not None and self.count(tensor) > count
            return by_pass or self.others(tensor) != held.others

        return lambda: tuple(
            held.name for held, count in zip(begun, counts, strict=True) if written(held, count)
        )


def arrays_of(description: Description | None) -> list[np.ndarray]:
    """The values of the weights in a description."""
    steps = () if description is None else description.steps
    return [
        array
        for weight in weights_of(steps).values()
        for array in (weight.effective, weight.stored)
        if array is not None
    ]


def _counted(tensor: Any) -> bool:
    """Whether PyTorch counts the writes to a tensor."""
    return isinstance(tensor, torch.Tensor) and not tensor.is_inference()


def _storage(tensor: torch.Tensor) -> int | None:
    """What tensors that share memory have in common; None where a tensor has no memory of its
    own."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse ones, and subclasses that hold others
        return None


@contextmanager
def _autocast(function: Any) -> Iterator[None]:
    """Keeps autocast on within an operation that it does not cast the arguments of: PyTorch turns
    it off in a mode."""
    keys = [key for key in _cast_within(function) if _EXCLUDED(key)]
    if keys:
        with torch._C._RestorePythonTLSSnapshot():  # type: ignore[attr-defined]
            keys = [key for key in keys if not _EXCLUDED(key)]
    for key in keys:
        torch._C._dispatch_tls_set_dispatch_key_excluded(key, False)
    try:
        yield
    finally:
        for key in keys:
            torch._C._dispatch_tls_set_dispatch_key_excluded(key, True)


_EXCLUDED = torch._C._dispatch_tls_is_dispatch_key_excluded
_AUTOCAST = [
    getattr(torch._C.DispatchKey, f"Autocast{device}") for device in ("CPU", "CUDA", "XPU", "MPS")
]
_FUSED = ("aten::_transformer_encoder_layer_fwd", "aten::_native_multi_head_attention")
"""Operations of PyTorch's own whose kernels call what autocast casts for. Others are called by such
as have been cast for, as euclidean distances by ``cdist``, in which autocast is off."""


@lru_cache(maxsize=4096)
def _cast_within(function: Any) -> tuple[Any, ...]:
    """The keys of the devices whose autocast, where it is on, is on in the kernel of an
    operation."""
    schema = getattr(function, "_schema", None)
    name = "" if schema is None else schema.name
    if name.startswith(("aten::", "prims::", "prim::")) and name not in _FUSED:
        return ()
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return tuple(key for key in _AUTOCAST if name and not has_kernel(name, key))


@lru_cache(maxsize=4096)
def _written(function: Any) -> tuple[tuple[int, str], ...]:
    """The places and names of the arguments that an operation writes to."""
    schema = getattr(function, "_schema", None)
    arguments = () if schema is None else schema.arguments
    return tuple(
        (place, argument.name)
        for place, argument in enumerate(arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )


def _tensors_at(
    places: Iterable[tuple[int, str]], args: Any, kwargs: Any
) -> Iterator[torch.Tensor]:
    for place, name in places:
        given = args[place] if place < len(args) else kwargs.get(name)
        for tensor in given if isinstance(given, list | tuple) else (given,):
            if isinstance(tensor, torch.Tensor):
                yield tensor
