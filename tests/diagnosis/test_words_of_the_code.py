"""A mistake in a block is told in the words of the code: the names of modules, parameters and
arguments, the framework's functions, the line of the forward and the field's word for it."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import probe
from probe.diagnosis.what_to_do import WHAT_TO_DO
from probe.hypotheses import CAUSES


class Block(nn.Module):
    """A block of attention of which a part may be left out."""

    def __init__(self):
        super().__init__()
        self.norm, self.proj = nn.LayerNorm(8), nn.Linear(8, 8)
        self.gamma = nn.Parameter(torch.rand(8) + 0.5)
        self.register_buffer("gain", torch.rand(8))
        self.without = ""

    def forward(self, x, mask):
        y = self.norm(x)
        if self.without != "roll":
            y = torch.roll(y, 2, 1)
        heads = self.proj(y).view(2, 5, 2, 4).transpose(1, 2)
        scores = heads @ heads.transpose(-1, -2)
        if self.without != "scale":
            scores = scores * 0.4
        if self.without != "mask":
            scores = torch.where(mask, scores, float("-inf"))
        y = (torch.softmax(scores, -1) @ heads).transpose(1, 2).reshape(2, 5, 8)
        y = y * (self.gain if self.without == "one" else 1 + self.gain)
        if self.without != "gamma":
            y = self.gamma * y
        if self.without == "skip":
            return y
        return x + y


@pytest.fixture(scope="module")
def block():
    torch.manual_seed(0)
    made = Block().eval()
    for parameter in made.norm.parameters():
        parameter.data.normal_()
    return made


@pytest.mark.parametrize(
    ("without", "claim", "code", "do"),
    [
        (
            "roll",
            "cyclic shift: torch.roll is left out: what follows takes the output of norm",
            "y = torch.roll(y, 2, 1)",
            "roll as the layer does",
        ),
        (
            "mask",
            "causal mask: mask (input 1) is left out of torch.where",
            'scores = torch.where(mask, scores, float("-inf"))',
            "apply the causal mask to the scores before the softmax",
        ),
        (
            "scale",
            "the scale of the scores is 1; the block's is 0.4",
            "scores = scores * 0.4",
            "use 0.4",
        ),
        ("one", "1 is not added to gain", "1 + self.gain)", "take gain + 1"),
        (
            "gamma",
            "layer scale: gamma is not multiplied with the product with gain + 1",
            "y = self.gamma * y",
            "multiply the branch by gamma before it is added",
        ),
        (
            "skip",
            "residual connection: x (input 0) is not added to the product with gamma",
            "return x + y",
            "add x (input 0) to what the branch gives",
        ),
    ],
)
def test_a_part_that_is_left_out(block, without, claim, code, do):
    rng = np.random.default_rng(5)
    x, mask = rng.normal(size=(2, 5, 8)).astype("f4"), np.tri(5, dtype=bool)
    block.without = without
    with torch.no_grad():
        values = block(torch.from_numpy(x), torch.from_numpy(mask)).numpy()
    block.without = ""
    report = probe.check(block, "", [x, mask], expected=values)
    finding = report.findings[0]
    assert (finding.claim, finding.do, finding.left <= 1) == (claim, do, True), finding
    (line,) = finding.code
    assert line.startswith("test_words_of_the_code.py:") and line.endswith(code), line
    assert f"in {line}"[:80] in str(report)


def test_what_to_do_is_said_of_every_cause():
    assert set(WHAT_TO_DO) == set(CAUSES)
    assert all(do and not do.endswith(".") for do in WHAT_TO_DO.values())


class Activation(nn.Module):
    """GELU by tanh, a function of several steps."""

    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))


class Feed(nn.Module):
    """Two activations of which a port writes each otherwise, and parts of one call."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 8), nn.Linear(4, 6)
        self.act, self.gates = Activation(), nn.ModuleList([nn.ReLU6(), nn.ReLU6()])

    def forward(self, x):
        a, b = self.inner(x).chunk(2, -1)
        return self.gates[1](self.outer(self.gates[0](3 * self.act(a)) * torch.tanh(b)))


@pytest.mark.parametrize(
    ("mistake", "claim"),
    [
        ("relu", "ReLU instead of ReLU6 in gates.0 and gates.1"),
        (
            "act",
            "GELU of output 0 of chunk in line _ of test_words_of_the_code.py instead of the "
            "output of act",
        ),
        ("sum", "addition instead of multiplication in the product of gates.0 and torch.tanh"),
    ],
)
def test_modules_calls_and_operations_by_their_names(mistake, claim):
    torch.manual_seed(0)
    model, x = Feed().eval(), np.random.default_rng(3).normal(size=(40, 6)).astype("f4")
    with torch.no_grad():
        for layer in (model.inner, model.outer):
            layer.weight.mul_(6)
        a, b = model.inner(torch.from_numpy(x)).chunk(2, -1)
        gate = torch.relu if mistake == "relu" else model.gates[0]
        hidden = gate(3 * (nn.functional.gelu(a) if mistake == "act" else model.act(a)))
        joined = hidden + b.tanh() if mistake == "sum" else hidden * b.tanh()
        values = gate(model.outer(joined)).numpy()
    finding = probe.check(model, "", x, expected=values).findings[0]
    assert re.sub(r"line \d+", "line _", finding.claim) == claim, finding
    assert finding.left <= 1
