"""How the sides of a comparison are run: the first blocks alone."""

import copy

import numpy as np
import pytest
import torch

import probe
from probe.errors import BadInput

X = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)


class Block(torch.nn.Module):
    ran = 0

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = torch.nn.Linear(6, 6), torch.nn.Tanh()

    def forward(self, x):
        type(self).ran += 1
        return x + self.act(self.fc(x))


@pytest.fixture(scope="module")
def nets():
    """Two networks of five blocks that differ in the blocks 1 and 3."""
    torch.manual_seed(0)
    a = torch.nn.Sequential()
    a.add_module("stem", torch.nn.Linear(6, 6))
    a.add_module("layers", torch.nn.Sequential(*(Block() for _ in range(5))))
    a.add_module("head", torch.nn.Linear(6, 2))
    b = copy.deepcopy(a.eval())
    with torch.no_grad():
        b.layers[1].fc.weight[0] *= 2
        b.layers[3].fc.weight[0] *= 2
    return a, b


def test_the_first_blocks_alone_are_compared_and_run(nets):
    Block.ran = 0
    found = probe.compare(*nets, X, layers="0-2")
    assert Block.ran == 2 * 4, "block 3 begins, and ends the pass"
    assert [pair.b for pair in found.sources] == [("layers.1.fc",)]
    assert found.sentence.endswith("; 9 of 10 pairs agree, up to block 2")
    assert found.notes[0].startswith("both passes end where a block after block 2 begins")
    assert not any("layers.3" in name or "head" in name for pair in found.pairs for name in pair.b)
    assert not any(part._forward_hooks for net in nets for part in net.modules())
    first = probe.compare(*nets, X, layers="0-0")
    assert first.ok and first.pairs and not any(first.unpaired)
    assert len(probe.compare(*nets, X, layers="0-9").sources) == 2


def test_blocks_that_begin_anywhere(nets):
    found = probe.compare(*nets, X, layers="2-3")
    assert [pair.b for pair in found.sources] == [("layers.3.fc",)]
    assert {name.split(".")[1][0] for pair in found.pairs for name in pair.b} == {"2", "3"}
    assert not any(found.unpaired)
    assert found.sentence.endswith(" pairs agree, in blocks 2 to 3")
    assert probe.compare(*nets, X, layers="2-2").verdict == "agree"


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("2-1", "the first and the last"),
        ("7-9", "the last block of A is 4, and layers .* begins with 7"),
        ("3", "you gave '3'"),
        (3, "you gave 3"),
    ],
)
def test_other_ranges_are_refused(nets, layers, words):
    with pytest.raises(BadInput, match=words):
        probe.compare(*nets, X, layers=layers)


def test_a_model_without_blocks_is_refused():
    net = torch.nn.Linear(6, 2)
    with pytest.raises(BadInput, match="no layer of A has the number of one in its name"):
        probe.compare(net, net, X, layers="0-1")
    with pytest.raises(BadInput, match="contains only arrays, which are in no blocks"):
        probe.compare(net, {"": X}, X, layers="0-1")


def test_what_lies_within_a_tolerance_is_no_difference(nets):
    a, b = nets
    assert len(probe.compare(a, b, X).sources) == 2
    loose = probe.compare(a, b, X, rtol=0, atol=10)
    assert loose.ok and not loose.sources
    assert "2 pairs differ by more than rounding explains" in loose.notes[0]
    (first, *_) = [pair for pair in loose.pairs if "layers.1.fc" in pair.b]
    assert first.local.ok and first.local.ratio > 1, "in units of the allowance"
    assert len(probe.compare(a, b, X, rtol=0, atol=1e-9).sources) == 2
    with pytest.raises(BadInput, match="specify both rtol and atol"):
        probe.compare(a, b, X, rtol=1e-3)
