"""Loops of few passes that end a pass earlier."""

import pytest
import torch
from own_seed import RNG

import probe


class Routing(torch.nn.Module):
    """Capsules: shares of the parts by how far they agree with the whole, in some passes."""

    def __init__(self, passes):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(RNG.normal(size=(6, 4, 5, 3)) / 2).float())
        self.passes = passes

    def forward(self, x):
        parts = torch.einsum("bik,iodk->biod", x, self.weight)
        logits = torch.zeros(parts.shape[:3])
        for number in range(self.passes):
            total = (torch.softmax(logits, 2)[..., None] * parts).sum(1)
            square = (total**2).sum(-1, keepdim=True)
            whole = total * square / (1 + square) / torch.sqrt(square + 1e-9)
            if number < self.passes - 1:
                logits = logits + (parts * whole[:, None]).sum(-1)
        return whole


@pytest.mark.parametrize(("passes", "fewer"), [(2, 1), (3, 2)])
def test_a_pass_too_few_is_named_before_what_takes_the_agreement_for_one_number(passes, fewer):
    model, port = Routing(passes).eval(), Routing(fewer).eval()
    port.load_state_dict(model.state_dict())
    x = RNG.normal(size=(3, 6, 3)).astype("f")
    with torch.no_grad():
        y = port(torch.from_numpy(x)).numpy()
    first = probe.check(model, "", x, expected=y).findings[0]
    assert (first.slug, first.left <= 1) == ("changed-step", True), first
    assert first.claim.endswith("ends 1 pass earlier"), first


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(6, 6) for _ in range(3))

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.tanh(layer(x)) * torch.sigmoid(x)
        return x


def test_a_layer_with_weights_of_its_own_is_no_pass():
    model, x = Layers().eval(), RNG.normal(size=(3, 6)).astype("f")
    with torch.no_grad():
        y = torch.from_numpy(x)
        for layer in model.layers[:2]:
            y = y + torch.tanh(layer(y)) * torch.sigmoid(y)
    report = probe.check(model, "", x, expected=y.numpy())
    assert report.findings[0].left <= 1
    assert not any("earlier" in finding.claim for finding in report.findings), report
