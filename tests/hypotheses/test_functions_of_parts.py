"""A norm or an activation of a sum where each term has its own, of each term where it is one of the
sum, and of each part of an axis."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from planting import draw, nn
from tried_changes import claims_that_give

import probe
from probe import ops
from probe.hypotheses.steps.functions_of_parts import softmax_over_other_axes
from probe.ops.step import Ref, Step


class Gates(nn.Module):
    """Two normalised products, and a gate of another sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 12), nn.Linear(6, 12)
        self.norm_first, self.norm_second = nn.LayerNorm(12), nn.LayerNorm(12)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        gates = self.norm_first(self.first(x)) + self.norm_second(self.second(h))
        open_, new = gates.chunk(2, -1)
        return torch.relu(open_ + h) * new.softmax(-1)


def gates(model: Gates, x: np.ndarray, h: np.ndarray, mistake: str = "") -> np.ndarray:
    w = {name: value.detach().numpy() for name, value in model.named_parameters()}

    def norm(a: np.ndarray, name: str, parts: int = 1) -> np.ndarray:
        split = a.reshape(*a.shape[:-1], parts, -1)
        centred = split - split.mean(-1, keepdims=True)
        split = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5)
        return split.reshape(a.shape) * w[f"{name}.weight"] + w[f"{name}.bias"]

    a = x @ w["first.weight"].T + w["first.bias"]
    b = h @ w["second.weight"].T + w["second.bias"]
    parts = 2 if mistake == "each gate" else 1
    both = norm(a, "norm_first", parts) + norm(b, "norm_second", parts)
    if mistake == "sum":
        both = norm(a + b, "norm_second")
    open_, new = np.split(both, 2, -1)
    gate = np.maximum(open_ + h, 0)
    if mistake == "terms":
        gate = np.maximum(open_, 0) + np.maximum(h, 0)
    share = np.exp(new).reshape(len(x), 2, 3) if mistake == "softmax" else np.exp(new)[:, None]
    return (gate * (share / share.sum(-1, keepdims=True)).reshape(len(x), 6)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Gates:
    torch.manual_seed(0)
    block = Gates().eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return block


X, H = draw(5, 5), draw(5, 6)


@pytest.mark.parametrize(
    ("mistake", "slug", "words"),
    [
        ("sum", "moved-step", "norm_second is applied behind the addition of"),
        ("terms", "moved-step", "torch.relu is applied to each of output 0 of chunk"),
        ("each gate", "changed-step", "each of 2 parts of the last axis"),
        ("softmax", "changed-step", "each of 2 parts of the last axis"),
    ],
)
def test_a_function_of_another_part(model, mistake, slug, words):
    report = probe.check(model, "", [X, H], expected=gates(model, X, H, mistake))
    assert report.findings, report
    first = report.findings[0]
    assert (first.slug, first.also) == (slug, ()), report
    assert words in first.claim
    assert first.left <= 1


def test_a_right_port_has_no_cause(model):
    report = probe.check(model, "", [X, H], expected=gates(model, X, H))
    assert report.ok
    assert not report.findings


def test_a_softmax_over_two_axes_together():
    x = RNG.standard_normal((2, 5, 3, 4))
    steps = (Step(ops.Softmax(1), (Ref(-1),)),)
    wrong = ops.Softmax(2).run(x.reshape(2, 5, 12))[0].reshape(x.shape)
    claims = claims_that_give(wrong, softmax_over_other_axes, steps, x)
    assert len(claims) == 1, claims
    assert "is over axes 2, 3 of (2, 5, 3, 4), not over axis 1 of (2, 5, 3, 4)" in claims[0]


def test_a_softmax_over_an_axis_before_it_is_split():
    x = RNG.standard_normal((2, 7, 15))
    steps = (
        Step(ops.Reshape((42, 5, 1)), (Ref(-1),)),
        Step(ops.Neg(), (Ref(0),)),
        Step(ops.Softmax(1), (Ref(1),)),
    )
    wrong = ops.Softmax(2).run(-x)[0].reshape(42, 5, 1)
    claims = claims_that_give(wrong, softmax_over_other_axes, steps, x)
    assert len(claims) == 1, claims
    assert "is over axis 2 of (2, 7, 15), not over axis 1 of (42, 5, 1)" in claims[0]


def test_a_softmax_of_each_row():
    x = RNG.standard_normal((2, 5, 12))
    steps = (Step(ops.Softmax(2), (Ref(-1),)), Step(ops.Reshape((2, 5, 3, 4)), (Ref(0),)))
    wrong = ops.Softmax(3).run(x.reshape(2, 5, 3, 4))[0]
    claims = claims_that_give(wrong, softmax_over_other_axes, steps, x)
    assert len(claims) == 1, claims
    assert "is over axis 3 of (2, 5, 3, 4), not over axis 2 of (2, 5, 12)" in claims[0]
