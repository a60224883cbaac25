"""PyTorch's functions as steps: what a forward computes between its modules."""

from . import arithmetic, fused, layers, modules, packing, products, quantized, recurrent, reduction, sampling, shape, spectra
from .table import Function, describe_function, functions, named

__all__ = ["FAMILIES", "Function", "describe_function", "functions", "named"]

FAMILIES = (arithmetic, fused, layers, modules, packing, products, quantized, recurrent, reduction, sampling, shape, spectra)
"""The modules whose import fills the table of described functions."""
