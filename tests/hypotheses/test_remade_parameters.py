"""Parameters that a port takes through a function, divides by a length, or scales in one row."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn
from torch.nn import functional as F

import probe


class Periodic(nn.Module):
    """Snake with a frequency for each channel, behind a transform and a table of entries."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(RNG.uniform(0.5, 1.5, (1, 6)), dtype=torch.float))
        self.rows = nn.Parameter(torch.tensor(RNG.normal(size=(6, 5)), dtype=torch.float))

    def forward(self, x, alpha=lambda a: a, rows=lambda r: r, taken=lambda r: r):
        a, r = alpha(self.alpha), rows(self.rows)
        y = x @ r.T
        y = y + torch.sin(a * y) ** 2 / a
        return y @ taken(r)


def first_doubled(rows):
    rows = rows.clone()
    rows[0] *= 2
    return rows


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"alpha": torch.exp}, "alpha is replaced by its exponential"),
        ({"alpha": F.softplus}, "alpha is replaced by its softplus"),
        ({"rows": first_doubled}, "rows is multiplied by 2 at the first place along axis 0"),
        ({"rows": lambda r: F.normalize(r, dim=1)}, "rows is divided by its length over axis 1"),
        ({"taken": lambda r: F.normalize(r, dim=0)}, "length over axis 0"),
    ],
)
def test_another_form_of_a_parameter(wrong, words):
    model, x = Periodic().eval(), RNG.normal(size=(9, 5)).astype(np.float32)
    with torch.no_grad():
        values = model(torch.from_numpy(x), **wrong).numpy()
    finding = probe.check(model, "", x, expected=values).findings[0]
    assert (finding.slug, finding.left <= 1) == ("scaled-tensor", True), finding
    assert words in finding.claim, finding.claim


def test_fitted_weights_that_too_few_values_tell_do_not_end_the_search():
    """One row of a table is other, so that only those values differ: a table that is solved from
    them fits as many numbers."""
    table = torch.tensor(RNG.normal(size=(6, 8)), dtype=torch.float)

    class Transform(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", table)

        def forward(self, x):
            y = x @ self.table.T
            return y - y.mean(1, keepdim=True)

    x = RNG.normal(size=(1, 7, 8)).astype(np.float32)
    values = Transform()(torch.from_numpy(x)).numpy().copy()
    values[..., 0] *= np.sqrt(2)
    finding = probe.check(Transform().eval(), "", x, expected=values).findings[0]
    assert finding.claim.startswith("table is multiplied by sqrt(2) at the first place"), finding
