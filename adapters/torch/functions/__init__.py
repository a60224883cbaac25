"""PyTorch's functions as steps: what a forward computes between its modules."""

from . import (  # noqa: F401 - their import fills the table of described functions
    arithmetic,
    bits,
    class_losses,
    complex_numbers,
    complex_parts,
    ctc_loss,
    deformable,
    elementwise,
    fourier,
    fused_transformer,
    gather_sort,
    grid_sample,
    losses,
    margin_losses,
    matmul,
    nn_functional,
    nn_functional_stateful,
    order_statistics,
    packed_sequence,
    pairwise_distance,
    pooling,
    quantized,
    recurrent,
    reduction,
    resize,
    shape,
)
from .describe import CallBuilder, describe_function, functions, named

__all__ = ["CallBuilder", "describe_function", "functions", "named"]
