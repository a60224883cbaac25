"""Ops that want a batch, on single samples."""

import numpy as np
import pytest
from probe.adapters.torch.describe.describe import batched

from probe import ops
from probe.errors import Undescribed


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_sample_is_a_batch_of_one_and_other_ranks_are_none(rank):
    sample = np.zeros((2,) * (rank + 1))
    assert len(batched(sample[None], rank, (), ops.Tanh()).steps) == 1
    assert len(batched(sample, rank, sample.shape, ops.Tanh()).steps) == 3
    with pytest.raises(Undescribed, match=f"with {rank} axes; {rank + 1} or {rank + 2} were exp"):
        batched(sample[0], rank, (), ops.Tanh())
