"""A mistake in a block is told in the words of the code: the names of modules, parameters and
arguments, the framework's functions, the line of the forward and the field's word for it."""

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
