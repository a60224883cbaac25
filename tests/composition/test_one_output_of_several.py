"""A block that gives one output of several of its last call: which of them, and the others unused,
makes no difference to a check."""

import copy

import pytest
import torch

import probe

F = torch.nn.functional
ENDS = {
    "topk, values": lambda y: torch.topk(torch.softmax(y, -1), 2)[0],
    "topk, places": lambda y: torch.topk(torch.softmax(y, -1), 2)[1],
    "sort, values": lambda y: torch.sort(y)[0],
    "max_pool1d, values": lambda y: F.max_pool1d(y, 2, return_indices=True)[0],
    "fft, real parts": lambda y: torch.fft.fft(y).real,
    "lstm, states": None,
}


class Block(torch.nn.Module):
    def __init__(self, end):
        super().__init__()
        self.gate, self.end = torch.nn.Linear(8, 6), end
        self.lstm = torch.nn.LSTM(6, 5) if end is None else None

    def forward(self, x):
        y = self.gate(x)
        return self.lstm(y)[1][1] if self.end is None else self.end(y)


@pytest.mark.parametrize("name", ENDS)
def test_one_output_of_several(name):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), Block(ENDS[name])).eval()
    x = torch.randn(3, 4, 8)
    expected = net(x).detach().numpy()
    for layer in ("1", ("0", "1"), ""):
        assert probe.check(net, layer, x.numpy()).verdict == "agree"
        assert probe.check(net, layer, x.numpy(), expected=expected).verdict == "agree"
    other = copy.deepcopy(net)
    assert probe.compare(net, other, x.numpy()).verdict == "agree"
    with torch.no_grad():
        other[1].gate.weight[0, 0] += 0.5
    found = probe.compare(net, other, x.numpy())
    assert found.verdict == "diverge" and "gate" in found.sentence


def test_a_wrong_element_of_one_output_of_several():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), Block(ENDS["topk, values"])).eval()
    x = torch.randn(3, 4, 8)
    expected = net(x).detach().numpy()
    expected[1, 2, 1] += 0.01
    report = probe.check(net, "1", x.numpy(), expected=expected, search=False)
    assert report.verdict == "diverge"
