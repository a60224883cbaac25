"""The weights of a GGUF file, dequantised, in the place of those of a directory's model."""

from collections import Counter
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from probe import printable
from probe.errors import CannotOpen
from probe.process.interrupts import held_back, interruptible
from probe.process.log_suppression import silenced

from ..gguf_header import read
from .loading import QUIETLY
from .reason import reason

__all__ = ["with_weights_of"]


def with_weights_of(module: torch.nn.Module, path: Path) -> tuple[str, ...]:
    """Puts the file's weights into the module, as transformers' own loader names and orders them,
    and says of which types they are; CannotOpen where one is missing or of another shape."""
    file = read(path)
    if file.metadata.get("split.count", 1) not in (0, 1):
        raise CannotOpen(
            f"{path} is one of several files, which transformers does not load: merge them with "
            "llama-gguf-split --merge"
        )
    try:
        bar = redirect_stderr(StringIO())
        with held_back(), silenced("", logs=True), QUIETLY, bar, interruptible():
            state: dict[str, Any] = load_gguf_checkpoint(
                str(path), return_tensors=True, model_to_load=module
            )["tensors"]
    except MemoryError:
        raise
    except Exception as error:  # whatever a file may be to it
        raise CannotOpen(
            f"{path} is refused by transformers' loader of GGUF files: {reason(error)}"
        ) from None
    wanted = module.state_dict()
    tied = _tied(module)
    missing = [name for name in wanted if name not in state and name not in tied]
    if missing:
        raise CannotOpen(
            f"{path} does not fill the model of the directory: missing "
            f"{printable.several(missing, 3)}"
        )
    for name, values in state.items():
        if name in wanted and tuple(values.shape) != tuple(wanted[name].shape):
            raise CannotOpen(
                f"{path} does not fill the model of the directory: {printable.name(name)} is "
                f"{tuple(values.shape)} there, and {tuple(wanted[name].shape)} here"
            )
    known = {name: values for name, values in state.items() if name in wanted}
    module.load_state_dict(known, strict=False)
    kinds = Counter(tensor.type.name for tensor in file.tensors.values())
    told = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common())
    return (f"the weights are those of {path}, dequantised: {told}",)


def _tied(module: torch.nn.Module) -> set[str]:
    """The names of parameters that share the numbers of one before."""
    seen: dict[int, str] = {}
    found = set()
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if seen.setdefault(id(parameter), name) != name:
            found.add(name)
    return found
