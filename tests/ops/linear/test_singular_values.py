"""Singular values against PyTorch's."""

import numpy as np
import pytest
import torch
from own_seed import RNG

from probe import ops


def low_rank(rows, columns):
    return RNG.normal(size=(rows, 2)) @ RNG.normal(size=(2, columns))


@pytest.mark.parametrize(
    "x",
    [
        RNG.normal(size=(3, 4)),
        RNG.normal(size=(2, 3, 40, 17)),
        RNG.normal(size=(5, 1)) * 1e6,
        low_rank(30, 50),
        np.eye(6),
    ],
    ids=["small", "several", "one", "of rank 2", "identity"],
)
def test_singular_values(x, agrees):
    agrees(ops.SingularValues(), [x], torch.linalg.svdvals, onnx=False)
