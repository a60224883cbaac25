"""Operands from elsewhere in a block are told: tensors of another output, activations of one
operand alone, the skips of two levels exchanged, a mask before the cap of the scores."""

import pytest
import torch
from planting import draw, nn, otherwise

import probe


class Residual(nn.Module):
    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.inner, self.outer, self.mistake = nn.Linear(8, 8), nn.Linear(8, 8), mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = x.relu() if self.mistake == "activated skip" else x
        return (skip + self.outer(self.inner(x).tanh())).relu()


class Levels(nn.Module):
    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        shapes = ((2, 4), (4, 4), (4, 4), (8, 4), (8, 3))
        self.layers = nn.ModuleList(nn.Conv1d(*shape, 3, padding=1) for shape in shapes)
        self.mistake = mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outer = self.layers[0](x).relu()
        inner = self.layers[1](outer).relu()
        middle = self.layers[2](inner).relu()
        first, second = inner, outer
        if self.mistake == "levels exchanged":
            first, second = outer, inner
        y = self.layers[3](torch.cat([middle, first], 1)).relu()
        return self.layers[4](torch.cat([y, second], 1))


class Capped(nn.Module):
    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.project, self.mistake = nn.Linear(8, 24), mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.project(x).chunk(3, -1)
        scores, hidden = q @ k.transpose(-1, -2), torch.ones(6, 6, dtype=torch.bool).triu(1)
        if self.mistake == "masked first":
            scores = scores.masked_fill(hidden, -1e4)
        scores = 2 * torch.tanh(scores / 2)
        if self.mistake != "masked first":
            scores = scores.masked_fill(hidden, -1e4)
        return scores.softmax(-1) @ v


class Gated(nn.Module):
    """A skip output, and the residual one."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.filter, self.residual, self.skip = (nn.Linear(8, 8) for _ in range(3))
        self.mistake = mistake

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.filter(x).tanh()
        residual = self.residual(y) + x
        return self.skip(residual if self.mistake else y), residual


class Weighed(nn.Module):
    """Classes with a weight each, and how certain each place is."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.weight, self.mistake = nn.Parameter(torch.ones(4)), mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = x.softmax(1)
        certain = (share * share).sum(1)
        weight = certain[:, None] if self.mistake else self.weight[:, None]
        return (x * weight).tanh().sum(1) + certain


CASES = {
    "weight of the place": (Weighed, (2, 4, 5), "other-tensor", "as (2, 1, 5) in place of weight"),
    "activated skip": (Residual, (3, 8), "extra-step", "where the sum with the input takes it"),
    "levels exchanged": (Levels, (2, 2, 9), "swapped-inputs", "are exchanged in torch.cat"),
    "masked first": (Capped, (2, 6, 8), "moved-step", "is applied to the matrix product"),
}


@pytest.mark.parametrize("mistake", CASES)
def test_the_operand_is_told(mistake):
    kind, shape, slug, words = CASES[mistake]
    model, x, wrong, _ = otherwise(kind, draw(*shape), mistake=mistake)
    report = probe.check(model, "", x, expected=wrong)
    assert report.findings, report
    assert report.findings[0].slug == slug, report
    assert words in report.findings[0].claim
    assert report.findings[0].left <= 1


def test_a_tensor_of_another_output_is_told():
    torch.manual_seed(0)
    model, wrong = Gated().eval(), Gated("residual").eval()
    wrong.load_state_dict(model.state_dict())
    x = draw(3, 8)
    with torch.no_grad():
        values = tuple(y.numpy() for y in wrong(torch.from_numpy(x)))
    report = probe.check(model, "", x, expected=values)
    assert report.findings[0].slug == "other-tensor", report
    claim = "skip takes the sum with the input in place of the output of tanh"
    assert report.findings[0].claim == claim
