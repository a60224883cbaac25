"""The numbers of a tensor in a .safetensors file, a part at a time."""

import numpy as np
from safetensors import SafetensorError, safe_open

from probe.errors import CannotOpen, first_line

from .safetensors_files import StoredTensor

__all__ = ["values"]


def values(name: str, tensor: StoredTensor, *places: slice) -> np.ndarray:
    """The numbers of a tensor, or of a part of it along its first axes, as float64."""
    try:
        with safe_open(tensor.file, framework="numpy") as opened:
            if places:
                return np.asarray(opened.get_slice(name)[places], np.float64)
            return np.asarray(opened.get_tensor(name), np.float64)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise CannotOpen(f"{tensor.file} cannot be read: {first_line(error)}") from None
