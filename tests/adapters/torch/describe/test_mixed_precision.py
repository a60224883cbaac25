"""Under torch.autocast, and where tensors of several types meet: what is described is what PyTorch
computes, and what is not is unchecked."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import probe

X = np.random.default_rng(0).normal(size=(3, 4, 10)).astype(np.float32)
HALVES = [torch.bfloat16, torch.float16]


class Functions(nn.Module):
    """Products of matrices, which autocast rounds the arguments of, and what it computes in float32
    or in the widest type that it is given."""

    def __init__(self):
        super().__init__()
        self.w, self.k = nn.Parameter(torch.randn(10, 10)), nn.Parameter(torch.randn(5, 4, 3))
        self.t = nn.Parameter(torch.randn(4, 2, 3))

    def forward(self, x):
        y = F.linear(x, self.w)
        z = y @ self.w + torch.matmul(x, self.w)
        q = torch.einsum("bij,kj->bik", z + x, self.w)
        rows = torch.addmm(x[0], x[0], self.w), torch.mm(x[0], self.w)
        batch = (
            torch.baddbmm(x.new_zeros(3, 4, 4), x, x.transpose(1, 2)),
            torch.bmm(q, self.w[None].expand(3, -1, -1)),
        )
        convolved = F.conv1d(x, self.k), F.conv_transpose1d(x, self.t)
        attended = F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])
        wide = torch.cat([y, x]), torch.stack([y, x]), y * x, x - y, y.prod(-1), torch.cdist(y, y)
        own = (
            y.softmax(-1, dtype=torch.float32),
            F.layer_norm(y, (10,)),
            y.sum(-1, dtype=torch.float32),
        )
        return q, rows, batch, convolved, attended, wide, own


def layers():
    return nn.Sequential(
        nn.Conv1d(4, 6, 3),
        nn.BatchNorm1d(6),
        nn.GELU(),
        nn.GroupNorm(2, 6),
        nn.ConvTranspose1d(6, 4, 2),
        nn.InstanceNorm1d(4, affine=True),
        nn.Linear(9, 8),
        nn.LayerNorm(8),
        nn.Softmax(-1),
    )


@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("make", [Functions, layers])
def test_all_is_followed_inside_of_autocast(make, half):
    torch.manual_seed(0)
    net = make().eval()
    with torch.autocast("cpu", half):
        reports = list(probe.sweep(net, X))
        right = torch.utils._pytree.tree_leaves(net(torch.from_numpy(X)))
    assert [(one.layer, one.sentence) for one in reports if not one.ok] == []
    name = str(half).removeprefix("torch.")
    assert all(f"computed under torch.autocast in {name}" in one.notes for one in reports)
    seen = {np.asarray(one.outputs["framework"], np.float32).tobytes() for one in reports}
    assert all(one.detach().float().numpy().tobytes() in seen for one in right)


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_autocast_around_a_check_is_told_from_float32(half):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 7)).eval()
    exact = probe.check(net, "0", X).outputs["framework"]
    with torch.autocast("cpu", half):
        report = probe.check(net, "0", X)
        mine = report.outputs["framework"]
        assert probe.check(net, "0", X, expected=mine).ok
        assert probe.check(net, "0", X, expected=-mine).verdict == "diverge"
    weight = report.weights["weight"]
    name = str(half).removeprefix("torch.")
    assert report.ok and report.dtype == name
    assert weight.steps == (f"rounded to {name} by torch.autocast",)
    assert np.array_equal(weight.effective, net[0].weight.detach().to(half).float().numpy())
    assert np.array_equal(weight.stored, net[0].weight.detach().numpy())
    assert report.inputs[0].tobytes() == X.tobytes()
    assert not np.array_equal(mine, exact)


class Attends(nn.Module):
    """Attention over one tensor, with a mask of float32."""

    def __init__(self, weights):
        super().__init__()
        self.inner, self.weights = nn.MultiheadAttention(10, 2, batch_first=True), weights
        self.mask = torch.triu(torch.full((4, 4), -torch.inf), 1)

    def forward(self, x):
        return self.inner(x, x, x, attn_mask=self.mask, need_weights=self.weights)


class Transformed(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.inner = nn.TransformerEncoderLayer(10, 2, 12, batch_first=True, **options)

    def forward(self, x):
        return self.inner(x)


INSIDE = {
    "attention": lambda: Attends(False),
    "attention with weights": lambda: Attends(True),
    "lstm": lambda: nn.LSTM(10, 5, 2, batch_first=True, bidirectional=True),
    "gru": lambda: nn.GRU(10, 5, batch_first=True),
    "rnn": lambda: nn.RNN(10, 5, batch_first=True),
    "rms norm": lambda: nn.RMSNorm(10),
    "prelu": lambda: nn.PReLU(4),
    "encoder layer": lambda: Transformed(),
    "encoder layer, norm first": lambda: Transformed(norm_first=True, activation="gelu"),
}


@pytest.mark.costly(default=2)
@pytest.mark.exhaustive(default=6)
@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("name", INSIDE)
def test_what_rounds_inside_of_a_layer(name, half):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 10), INSIDE[name]()).eval()
    layer = "1.inner" if hasattr(net[1], "inner") else "1"
    with torch.autocast("cpu", half):
        report = probe.check(net, layer, X)
        assert report.ok, report.sentence
        right = report.outputs["framework"]
        right = right[0] if isinstance(right, tuple) else right
        assert probe.check(net, layer, X, expected=-right, search=False).verdict == "diverge"


@pytest.mark.parametrize("name", [one for one in INSIDE if one not in ("lstm", "gru")])
def test_what_rounds_its_own_input_of_float32(name):
    torch.manual_seed(0)
    net = nn.Sequential(INSIDE[name]()).eval()
    with torch.autocast("cpu", torch.bfloat16):
        report = probe.check(net, "0.inner" if hasattr(net[0], "inner") else "0", X)
    assert report.ok, report.sentence


def test_states_of_float32_behind_products_in_half_precision_are_unchecked():
    with torch.autocast("cpu", torch.bfloat16):
        report = probe.check(nn.GRU(10, 5, batch_first=True).eval(), "", X)
    assert report.verdict == "unchecked" and "leaves its states in float32" in report.sentence


def test_types_that_meet_without_autocast_are_computed_in_the_widest():
    class Meets(nn.Module):
        def forward(self, x):
            half = x.bfloat16()
            wide = half * x, half.softmax(-1, dtype=torch.float32), torch.cat([half, x])
            return *wide, half.sum(-1, dtype=torch.float64), x.double() - half

    reports = list(probe.sweep(Meets(), X))
    assert [(one.layer, one.sentence) for one in reports if not one.ok] == []

    class Narrows(nn.Module):
        def forward(self, x):
            return x.bfloat16().mul_(x)

    *_, last = probe.sweep(Narrows(), X)
    assert last.verdict == "unchecked" and "mixes bfloat16 and float32" in last.sentence
