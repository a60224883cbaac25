"""The module of a config.json built without memory for its parameters, to see that the files could
fill it: before what the config says is believed."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.modules import module as registration

from probe.errors import CannotOpen, ProbeError
from probe.files.size_limits import too_much
from probe.process.limited_child import limited

from .config import made, without_code
from .directory import CONFIG, Directory
from .reason import reason

__all__ = ["refuse_more_than_the_files_hold"]

_PARTS, _PARTS_OF_A_TENSOR = 10_000, 100
"""How many modules, parameters and buffers are built, and for each tensor of the files."""
_MEMORY, _MEMORY_OF_A_TENSOR = 1 << 30, 1 << 17
_SECONDS, _SECONDS_OF_A_TENSOR = 10.0, 0.01
"""What so many of them take, as measured, several times over."""
_PICKLED = 1 << 12
"""Bytes of a file for each tensor that it may hold, where no header tells how many it does."""


def refuse_more_than_the_files_hold(directory: Directory, cls: Any, own: bool) -> None:
    """Raises CannotOpen where the module would have many more parts, or take far more memory, than
    there are tensors and bytes in the files; and where that does not come out within limits, which
    code of the directory's ``own``, that was agreed to, does not have."""
    holds = sum(file.stat().st_size for file in directory.files)
    tensors = len(directory.tensors) or holds // _PICKLED

    def bytes_wanted() -> int:
        return _bytes_wanted(directory, cls, own, tensors)

    if own:
        wanted = bytes_wanted()
    else:
        wanted = limited(
            bytes_wanted,
            f"building {cls.__name__} from {directory.path / CONFIG}",
            memory=_MEMORY + _MEMORY_OF_A_TENSOR * tensors,
            seconds=_SECONDS + _SECONDS_OF_A_TENSOR * tensors,
            # the threads of OpenMP are not in the child, which would wait for them
            prepare=lambda: torch.set_num_threads(1),
        )
    if too_much(wanted, holds):
        raise CannotOpen(
            f"{directory.path / CONFIG} describes a model of {wanted:,} bytes, but its files have "
            f"{holds:,}: they do not belong together"
        )


def _bytes_wanted(directory: Directory, cls: Any, own: bool, tensors: int) -> int:
    config, _ = made(directory, cls, own)
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]), _few(directory, tensors):
            empty = cls(config)
    except (MemoryError, ProbeError):
        raise
    except Exception as error:
        raise CannotOpen(
            f"{directory.path}: {cls.__name__} cannot be built from {CONFIG}: {reason(error)}"
            f"{without_code(directory, own)}"
        ) from None
    found = {id(tensor): tensor for tensor in (*empty.parameters(), *empty.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in found.values())


@contextmanager
def _few(directory: Directory, tensors: int) -> Iterator[None]:
    """Raises CannotOpen where this thread registers more parts of modules than such files fill."""
    most, thread = _PARTS + _PARTS_OF_A_TENSOR * tensors, threading.get_ident()
    numbers = itertools.count(1)

    def counted(*_: object) -> None:
        if threading.get_ident() == thread and next(numbers) > most:
            raise CannotOpen(
                f"{directory.path / CONFIG} describes a model of more than {most:,} modules and "
                f"parameters, but its files have {tensors:,} tensors: they do not belong together"
            )

    with ExitStack() as stack:
        for register in (
            registration.register_module_module_registration_hook,
            registration.register_module_parameter_registration_hook,
            registration.register_module_buffer_registration_hook,
        ):
            stack.callback(register(counted).remove)
        yield
