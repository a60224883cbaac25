"""The parameters and buffers of the modules of a pass: their names, and which of them keep their
values."""

from collections.abc import Mapping

import torch

from .module_frames import ModuleFrame
from .restore_state import held
from .tensors import writes_to
from .writes import Writes

__all__ = ["ModuleTensors"]

_COPIED = 1 << 20
"""Bytes of a buffer that is copied, whether the pass writes to it or not."""


class ModuleTensors:
    """Those that the modules within ``root`` hold before the pass; ``names`` gives every module's
    name by its id."""

    def __init__(self, root: torch.nn.Module, names: Mapping[int, str]) -> None:
        modules = list(root.modules())
        self._names = {
            id(tensor): f"{names.get(id(module), '')}.{key}".lstrip(".")
            for module in modules
            for key, tensor in (*module._parameters.items(), *module._buffers.items())
            if tensor is not None
        }
        self._written = {
            id(tensor): writes_to(tensor)
            for tensor in held(modules)
            if not torch.nn.parameter.is_lazy(tensor)
        }
        """How often each had been written to before the pass."""

    def name(self, tensor: torch.Tensor, frame: ModuleFrame) -> str | None:
        """The name of a parameter or buffer, of those too that accelerate brings for the call of
        the module that is on."""
        known = self._names.get(id(tensor))
        if known is not None or "_hf_hook" not in vars(frame.module):
            return known
        for key, brought in (*frame.module._parameters.items(), *frame.module._buffers.items()):
            if brought is tensor:
                return f"{frame.place}.{key}".lstrip(".")
        return None

    def lasts(self, tensor: torch.Tensor, writes: Writes) -> bool:
        """Whether a parameter or buffer keeps its values until the call is judged: what a pass
        writes to, such as a counter, is put back at its end."""
        small = not isinstance(tensor, torch.nn.Parameter) and tensor.nbytes <= _COPIED
        written = writes.count(tensor) or self._written.get(id(tensor)) != writes_to(tensor)
        return not small and not written
