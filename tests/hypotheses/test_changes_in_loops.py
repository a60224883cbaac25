"""A mistake in one statement of a recurrence that the model's code runs step by step is one cause,
found in the first pass and in the last one, which lack some of the steps, too."""

import numpy as np
import pytest
import torch
from planting import draw, nn

import probe


class Memory(nn.Module):
    """A cell whose output is read before the state is updated: the last update is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(5, 18), nn.Linear(6, 18, bias=False)
        self.peep, self.decay = nn.Parameter(torch.zeros(3, 6)), nn.Parameter(torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        c = h = x.new_zeros(len(x), 6)
        outputs = []
        for t in range(x.shape[1]):
            i, f, o = (self.into(x[:, t]) + self.back(h)).chunk(3, -1)
            i = (i + self.peep[0] * c).sigmoid()
            h = (o + self.peep[2] * c).sigmoid() * (c + i)
            outputs.append(h)
            c = (f + self.peep[1] * c).sigmoid() * (self.decay.exp() * c) + i
        return torch.stack(outputs, 1)


def ported(model: Memory, x: np.ndarray, mistake: str = "") -> np.ndarray:
    """The same in NumPy, as another hand would write it."""
    w = {name: value.detach().numpy() for name, value in model.named_parameters()}
    c = np.full((len(x), 6), float(mistake == "ones"))
    h = np.zeros((len(x), 6))
    i_row, f_row, o_row = (1, 0, 2) if mistake == "peepholes" else (0, 1, 2)
    outputs = []
    for step in np.moveaxis(x, 1, 0):
        state = c if mistake == "cell" else h
        both = step @ w["into.weight"].T + w["into.bias"] + state @ w["back.weight"].T
        gates = np.split(both, 3, 1)
        i, f, o = (gates[k] for k in ((1, 2, 0) if mistake == "order" else (0, 1, 2)))
        seen = c * np.exp(w["decay"]) if mistake == "decayed" else c
        i = sigmoid(i + w["peep"][i_row] * c)
        h = sigmoid(o + w["peep"][o_row] * seen) * (c + i)
        outputs.append(h)
        kept = sigmoid(f + w["peep"][f_row] * c) * np.exp(w["decay"]) * c
        c = kept + i
    return np.stack(outputs, 1).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.fixture(scope="module")
def model() -> Memory:
    torch.manual_seed(0)
    cell = Memory().eval()
    with torch.no_grad():
        for parameter in (cell.peep, cell.decay, cell.into.weight):
            parameter.copy_(torch.randn_like(parameter))
    return cell


X = draw(2, 7, 5)
CASES = {
    "order": ("packed-order", "in the order 1, 2, 0"),
    "peepholes": ("packed-order", "peep is split as if its 3 parts stood in the order 1, 0, 2"),
    "ones": ("initial-state", "begins with 1"),
    "cell": ("other-tensor", "back takes"),
    "decayed": ("other-tensor", "(of the pass before)"),
}


@pytest.mark.parametrize("mistake", CASES)
def test_a_mistake_in_each_pass_is_one_cause(model, mistake):
    report = probe.check(model, "", X, expected=ported(model, X, mistake))
    assert report.findings, report
    first = report.findings[0]
    slug, words = CASES[mistake]
    assert (first.slug, first.also) == (slug, ()), report
    assert words in first.claim
    assert first.left <= 1


def test_no_mistake_is_told_of_one_pass_alone(model):
    """One step of time that is wrong is no statement of the loop."""
    wrong = ported(model, X)
    wrong[:, 3] = ported(model, X, "decayed")[:, 3]
    report = probe.check(model, "", X, expected=wrong)
    assert not report.ok
    assert all(finding.left > 1 for finding in report.findings), report


def test_a_right_port_has_no_cause(model):
    report = probe.check(model, "", X, expected=ported(model, X))
    assert report.ok
    assert not report.findings
