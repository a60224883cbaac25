"""Tensors of indices that follow from the input are computed, and not taken as they were once."""

import pytest
import torch
from planting import draw, nn, otherwise

import probe


class Indexed(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x, first, second):
        return self.function(x, first, second)


FUNCTIONS = {
    "two tensors": lambda x, i, j: x[i, j],
    "tensors apart": lambda x, i, j: x[i, :, j],
    "behind a slice": lambda x, i, j: x[:, i % 5, j],
    "a number first": lambda x, i, j: x[0, :, j],
    "a number and a new axis": lambda x, i, j: x[1, :, j, None],
    "of few bits": lambda x, i, j: x[1:][:, j.int(), 2],
    "the greatest": lambda x, i, j: x[torch.arange(4)[:, None], x.sum(-1).topk(2)[1]],
    "added up": lambda x, i, j: torch.zeros(5, 6).index_add(0, j, x[0, :3]),
    "added up in rows": lambda x, i, j: torch.zeros(4, 5, 6).index_put((i, j), x[i, j], True),
    "truths and a number": lambda x, i, j: x[x[..., 0] > 0][:, 1],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_indices_of_every_kind(name):
    inputs = draw(4, 5, 6), torch.tensor([[1, 2, 0], [3, 1, 1]]), torch.tensor([0, 4, 2])
    model = Indexed(FUNCTIONS[name])
    report = probe.check(model, "", tuple(map(torch.as_tensor, inputs)), search=False)
    assert report.verdict == "agree", report


class Nearest(nn.Module):
    """Of every point the two that lie nearest, beside itself."""

    def __init__(self, largest: bool = False) -> None:
        super().__init__()
        self.project, self.largest = nn.Linear(3, 5), largest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = torch.cdist(x, x).topk(2, largest=self.largest)[1]
        points = self.project(x)[torch.arange(len(x))[:, None, None], near]
        return points.amax(2)


def test_what_makes_an_index_is_told():
    model, x, wrong, _ = otherwise(Nearest, draw(2, 9, 3), largest=True)
    report = probe.check(model, "", x, expected=wrong)
    assert "largest is True instead of False in topk" in report.findings[0].claim, report
