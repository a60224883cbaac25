"""A module, or a function call, exported alone by torch.onnx and run in ONNX Runtime, for what has
no description."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from probe.description import Ref
from probe.errors import Undescribed
from probe.evaluation.framework_export import run_exported
from probe.process.interrupts import apart
from probe.process.log_suppression import exporting
from probe.process.model_lock import turn

__all__ = ["Called", "alone"]


class Called(torch.nn.Module):
    """A call of ``function`` whose tensors are this module's inputs: each Ref in its arguments
    stands for one."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self._module = function if isinstance(function, torch.nn.Module) else None
        self._call = (function, args, kwargs)

    def forward(self, *tensors: torch.Tensor) -> Any:
        function, args, kwargs = self._call
        args, kwargs = pytree.tree_map(
            lambda leaf: tensors[leaf.index] if isinstance(leaf, Ref) else leaf,
            (args, dict(kwargs)),
        )
        return function(*args, **kwargs)


Settings = Callable[[], contextlib.AbstractContextManager[Any]]


def alone(
    module: torch.nn.Module,
    inputs: Sequence[np.ndarray],
    dtypes: Sequence[torch.dtype],
    settings: Settings = contextlib.nullcontext,
) -> tuple[np.ndarray, ...]:
    """What the exported module gives on these inputs in ONNX Runtime; Undescribed with the reason
    where it cannot be exported.

    It is exported under the ``settings`` of the pass that called it, and no others: in a thread of
    its own.
    """
    return run_exported(apart(lambda: _exported(module, inputs, dtypes, settings)), inputs)


def _exported(
    module: torch.nn.Module,
    inputs: Sequence[np.ndarray],
    dtypes: Sequence[torch.dtype],
    settings: Settings,
) -> bytes:
    tensors = tuple(
        torch.from_numpy(np.array(x)).to(dtype) for x, dtype in zip(inputs, dtypes, strict=True)
    )
    try:
        with turn(module.modules()), exporting(), settings(), torch.no_grad(), _modes_kept(module):
            program = torch.onnx.export(module, tensors, dynamo=True, verbose=False)
            model: bytes = program.model_proto.SerializeToString()  # type: ignore[union-attr]
    except ImportError as error:
        raise Undescribed(f"torch.onnx needs {error.name}, which is not installed") from None
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
        raise Undescribed(f"torch.onnx cannot export it ({type(error).__name__})") from None
    return model


@contextlib.contextmanager
def _modes_kept(module: torch.nn.Module) -> Iterator[None]:
    training = [part for part in module.modules() if part.training]
    try:
        yield
    finally:
        for part in training:
            part.training = True
