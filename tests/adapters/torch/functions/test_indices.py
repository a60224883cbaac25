"""Elements that are picked by tensors of indices, in the order of axes that PyTorch has."""

import pytest
import torch
from planting import draw, nn

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
