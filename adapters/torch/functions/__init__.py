"""PyTorch's functions as steps: what a forward computes between its modules."""

from . import (
    arithmetic,
    elementwise,
    fused,
    layers,
    modules,
    packing,
    products,
    quantized,
    recurrent,
    reduction,
    sampling,
    selection,
    shape,
    spectra,
)
from .table import Function, describe_function, functions, named

__all__ = ["FAMILIES", "Function", "describe_function", "functions", "named"]

FAMILIES = (
    *(arithmetic, elementwise, fused, layers, modules, packing, products, quantized, recurrent, reduction),
    *(sampling, selection, shape, spectra),
)
"""The modules whose import fills the table of described functions."""
