"""Mistakes that no hypothesis lists: found by changing one step, or one tensor, of the layer or of
what its ops are made of."""

import math
from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_seed import RNG
from torch import nn

import probe
from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits import step_words
from probe.hypotheses.edits.regrouped_steps import decomposed
from probe.hypotheses.edits.tensor_maps import maps, scalings
from probe.hypotheses.precision import requantisation
from probe.hypotheses.steps import changed_steps, data_flow
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def varied(module, scale=0.3):
    """A module whose parameters are all different from what they begin as."""
    torch.manual_seed(0)
    with torch.no_grad():
        for one in module.parameters():
            one.add_(scale * torch.randn_like(one))
    return module.eval()


class Mlp(nn.Module):
    """A gated feed-forward block around a residual connection."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.gate, self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        h = self.norm(x)
        return x + self.down(F.gelu(self.gate(h)) * self.up(h))


def block(m, x, norm=None, gate=None, hidden=None, merged=None):
    h = m.norm(x) if norm is None else norm(m, x)
    opened = m.gate(h) if hidden is None else hidden(m.gate(h))
    opened = F.gelu(opened) if gate is None else gate(opened)
    both = opened * m.up(h) if merged is None else merged(opened, m.up(h))
    return x + m.down(both)


def centred_after(m, x):
    """x / std - mean, for want of parentheses."""
    root = torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + m.norm.eps)
    return (x / root - x.mean(-1, keepdim=True)) * m.norm.weight + m.norm.bias


def root_of_sum(m, x):
    part = x - x.mean(-1, keepdim=True)
    root = torch.sqrt(part.square().sum(-1, keepdim=True) + m.norm.eps)
    return part / root * m.norm.weight + m.norm.bias


def squared_within(x):
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**2)
    return 0.5 * x * (1 + torch.tanh(inner))


BLOCK = {
    "centred behind the division": ({"norm": centred_after}, "moved-step", "mean of norm is subtr"),
    "sum for mean": ({"norm": root_of_sum}, "changed-step", "sum instead of mean"),
    "another activation": ({"gate": torch.relu}, "changed-step", "instead of"),
    "added for multiplied": (
        {"merged": torch.add},
        "changed-step",
        "addition instead of multiplication in the product",
    ),
    "halves exchanged": (
        {"hidden": lambda h: torch.cat([h[..., 4:], h[..., :4]], -1)},
        "rearranged-tensor",
        "halves",
    ),
    "rolled": ({"hidden": lambda h: h.roll(1, -1)}, "rearranged-tensor", "rolled by 1"),
    "a factor": ({"hidden": lambda h: h / math.sqrt(8)}, "scaled-tensor", "1 / sqrt(8)"),
    "an activation too many": ({"merged": lambda a, b: a * b.relu()}, "extra-step", "ReLU"),
}


@pytest.mark.exhaustive(default=4)
@pytest.mark.parametrize("name", BLOCK)
def test_one_change_in_a_block(name):
    changed, slug, words = BLOCK[name]
    m, x = varied(Mlp()), drawn(3, 5, 8)
    with torch.no_grad():
        y = block(m, torch.tensor(x), **changed).numpy()
        right = block(m, torch.tensor(x)).numpy()
    assert probe.check(m, "", x, expected=right).verdict == "agree"
    report = probe.check(m, "", x, expected=y)
    assert report.findings, report.diagnosis
    assert report.findings[0].left <= 1
    if name == "another activation":
        assert report.findings[0].slug in (slug, "other-activation")
        return
    assert report.findings[0].slug == slug, report.findings
    assert words in report.findings[0].claim


def test_a_number_within_an_activation():
    m, x = nn.GELU(approximate="tanh"), drawn(4, 9)
    y = squared_within(torch.tensor(x)).numpy()
    report = probe.check(m, "", x, expected=y)
    assert report.findings[0].slug == "changed-step"
    assert report.findings[0].claim == "2 is taken instead of 3 in the exponent"


def lrn(x, k=1.3, outside=0.0, power=2):
    wide = np.pad(np.abs(x) ** power, ((0, 0), (2, 1), (0, 0)))
    total = sum(wide[:, c : c + x.shape[1]] for c in range(4))
    return x / ((k + 0.8 / 4 * total) ** 0.6 + outside)


def softplus(x, inside=2.0, over=2.0):
    return np.where(2 * x > 1.5, x, np.log1p(np.exp(inside * x)) / over)


def lp_pool(x, root=np.sqrt):
    return root(np.square(x).reshape(*x.shape[:-1], -1, 2).sum(-1))


WITHIN = {
    "k outside of the power": (
        nn.LocalResponseNorm(4, 0.8, 0.6, 1.3),
        lambda x: lrn(x, 0.0, 1.3),
        "k is added after the divisor",
    ),
    "magnitudes for squares": (
        nn.LocalResponseNorm(4, 0.8, 0.6, 1.3),
        lambda x: lrn(x, power=1),
        "absolute value instead of square",
    ),
    "not divided by beta": (
        nn.Softplus(2, 1.5),
        lambda x: softplus(x, over=1.0),
        "softplus(beta x) is not divided by beta",
    ),
    "beta left out of the exponential": (
        nn.Softplus(2, 1.5),
        lambda x: softplus(x, inside=1.0),
        "softplus(beta x) takes the input",
    ),
    "the root forgotten": (
        nn.LPPool1d(2, 2),
        lambda x: lp_pool(x, np.positive),
        "the root is left out",
    ),
}


@pytest.mark.parametrize("name", WITHIN)
def test_a_mistake_within_an_op(name):
    m, mistaken, words = WITHIN[name]
    x = drawn(2, 7, 6)
    right = {nn.LocalResponseNorm: lrn, nn.Softplus: softplus, nn.LPPool1d: lp_pool}[type(m)]
    assert probe.check(m, "", x, expected=right(x)).verdict == "agree"
    report = probe.check(m, "", x, expected=mistaken(x))
    assert report.findings, report.diagnosis
    assert report.findings[0].left <= 1
    assert words in report.findings[0].claim


class Cross(nn.Module):
    """A sum of two branches, of which one is normalised and the other activated."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.query, self.value = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x, memory):
        return nn.functional.gelu(self.query(self.norm(x))) + self.value(memory)


ELSEWHERE = {
    "norm is applied to memory (input 1), too": (lambda m, x, memory: m(x, m.norm(memory))),
    "F.gelu is applied to the output of value": (
        lambda m, x, memory: m(x, memory) - m.value(memory) + nn.functional.gelu(m.value(memory))
    ),
}


@pytest.mark.parametrize("words", ELSEWHERE)
def test_a_step_is_applied_to_another_tensor_too(words):
    m, x = varied(Cross()), (drawn(2, 5, 6), drawn(2, 5, 6))
    with torch.no_grad():
        y = ELSEWHERE[words](m, *map(torch.tensor, x)).numpy()
    report = probe.check(m, "", x, expected=y)
    assert report.findings, report.diagnosis
    assert report.findings[0].slug == "extra-step"
    assert words in report.findings[0].claim


class Turned(nn.Module):
    """What is normalised goes two ways, as in a rotation of positions."""

    def __init__(self, norm_first=True):
        super().__init__()
        self.norm, self.out, self.norm_first = nn.LayerNorm(6), nn.Linear(6, 6), norm_first
        self.register_buffer("angle", torch.linspace(0.1, 2, 6))

    def forward(self, x):
        x = self.norm(x) if self.norm_first else x
        first, second = x.chunk(2, -1)
        x = x * self.angle.cos() + torch.cat([-second, first], -1) * self.angle.sin()
        return self.out(x if self.norm_first else self.norm(x))


class Growing(nn.Module):
    """Each layer adds its features to those before."""

    def __init__(self, also_behind=False):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(8, 4), nn.Linear(12, 4)])
        self.relu, self.also_behind = nn.ReLU(), also_behind

    def forward(self, x):
        for layer in self.layers:
            new = layer(self.relu(x))
            x = torch.cat([x, self.relu(new) if self.also_behind else new], -1)
        return x


@pytest.mark.parametrize(
    ("kind", "width", "words"),
    [
        (Turned, 6, "norm is applied after the sum, not before it"),
        (Growing, 4, "relu is applied to the output of layers.0"),
    ],
)
def test_a_step_is_moved_past_two_ways_and_added_in_every_layer(kind, width, words):
    m, x = varied(kind()), drawn(3, 5, width)
    mistaken = kind(*([False] if kind is Turned else [True])).eval()
    mistaken.load_state_dict(m.state_dict())
    with torch.no_grad():
        y = mistaken(torch.tensor(x)).numpy()
    report = probe.check(m, "", x, expected=y)
    assert report.findings, report.diagnosis
    assert report.findings[0].slug == ("moved-step" if kind is Turned else "extra-step")
    assert words in report.findings[0].claim


def test_the_backward_direction_is_not_put_back():
    """In both layers, one after the other."""
    m, x = varied(nn.LSTM(4, 3, num_layers=2, bidirectional=True)), drawn(5, 2, 4)

    def port(x, put_back):
        for layer in range(2):
            one = {}
            for suffix in ("", "_reverse"):
                single = nn.LSTM(x.shape[-1], 3)
                for name, held in single.named_parameters():
                    held.data = getattr(m, f"{name[:-1]}{layer}{suffix}")
                one[suffix] = single(x.flip(0) if suffix else x)[0]
            backward = one["_reverse"].flip(0) if put_back else one["_reverse"]
            x = torch.cat([one[""], backward], -1)
        return x.detach().numpy()

    assert probe.check(m, "", x, expected=port(torch.tensor(x), True)).verdict == "agree"
    report = probe.check(m, "", x, expected=port(torch.tensor(x), False))
    assert report.findings[0].slug == "other-time-step", report.diagnosis
    assert "backward direction" in report.findings[0].claim


def lstm(m, x, opened=0.0, shown=torch.tanh, carried=False):
    """An LSTM of one layer over (batch, time, features), the state begun for each sample, or
    carried from one to the next."""
    h, c = torch.zeros(1, 6), torch.zeros(1, 6)
    out = []
    for sample in x:
        if not carried:
            h, c = torch.zeros(1, 6), torch.zeros(1, 6)
        for step in sample:
            z = step @ m.weight_ih_l0.T + m.bias_ih_l0 + h @ m.weight_hh_l0.T + m.bias_hh_l0
            i, f, g, o = z.chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o + opened) * shown(c)
            out.append(h)
    return torch.cat(out).reshape(len(x), -1, 6)


CELL = {
    "one added to the output gate": ({"opened": 1.0}, "increased by 1"),
    "tanh of the cell left out": ({"shown": lambda c: c}, "the activated cell state is left out"),
    "state carried": ({"carried": True}, "the state is carried from each sample"),
}


@pytest.mark.parametrize("name", CELL)
def test_one_change_within_a_cell(name):
    changed, words = CELL[name]
    m, x = varied(nn.LSTM(4, 6, batch_first=True)), drawn(3, 5, 4)
    with torch.no_grad():
        right, y = lstm(m, torch.tensor(x)).numpy(), lstm(m, torch.tensor(x), **changed).numpy()
    assert probe.check(m, "", x, expected=right).verdict == "agree"
    report = probe.check(m, "", x, expected=y)
    assert report.findings, report.diagnosis
    assert report.findings[0].left <= 1
    assert words in report.findings[0].claim


@pytest.mark.costly
def test_both_directions_with_the_same_mistake_are_one():
    m = varied(nn.GRU(4, 5, batch_first=True, bidirectional=True))
    x = drawn(2, 6, 4)

    def direction(x, suffix):
        h, out = torch.zeros(len(x), 5), []
        w, u, b, c = (
            getattr(m, f"{name}_l0{suffix}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        for t in range(x.shape[1]):
            r, z, n = (x[:, t] @ w.T + b).chunk(3, -1)
            hr, hz, hn = (h @ u.T + c).chunk(3, -1)
            z = torch.sigmoid(z + hz)
            new = torch.tanh(n + (1 - torch.sigmoid(r + hr)) * hn)
            h = z * h + (1 - z) * new
            out.append(h)
        return torch.stack(out, 1)

    with torch.no_grad():
        forward = direction(torch.tensor(x), "")
        backward = direction(torch.tensor(x).flip(1), "_reverse").flip(1)
        y = torch.cat([forward, backward], -1).numpy()
    report = probe.check(m, "", x, expected=y)
    assert report.findings, report.diagnosis
    assert report.findings[0].left <= 1
    assert report.findings[0].claim == "the reset gate is subtracted from 1"


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=2)
@pytest.mark.parametrize("size", [0.0, 3e-5, 0.01])
def test_noise_has_no_cause(size):
    m, x = varied(Mlp()), drawn(3, 5, 8)
    with torch.no_grad():
        y = m(torch.tensor(x)).numpy()
    noise = RNG.normal(size=y.shape) if not size else y * (1 + size * RNG.normal(size=y.shape))
    report = probe.check(m, "", x, expected=noise.astype(np.float32))
    assert not any(one.left <= 1 for one in report.findings)


def test_one_wrong_element_has_no_generic_cause():
    m, x = varied(Mlp()), drawn(3, 5, 8)
    with torch.no_grad():
        y = m(torch.tensor(x)).numpy()
    y[1, 2, 3] += 0.5
    report = probe.check(m, "", x, expected=y)
    assert not any(one.left <= 1 for one in report.findings)


def weight(*shape):
    return Weight("w", None, RNG.normal(size=shape))


def positive(*shape):
    return Weight("v", None, RNG.uniform(0.5, 2, size=shape))


def recurrence(kind, gates, **more):
    n = len(gates) * 3
    return kind(
        kernel=weight(4, n),
        recurrent=weight(3, n),
        bias=weight(n),
        recurrent_bias=weight(n),
        gates=gates,
        **more,
    )


HEADS = [(2, 4, 5, 6), (2, 2, 5, 6), (2, 2, 5, 6)]
APART = {
    "Conv": (ops.Conv(weight(4, 3, 3, 3), weight(4), (1, 1), ((1, 1),) * 2, (1, 1)), (2, 3, 5, 6)),
    "MatMul": (ops.MatMul(weight(4, 5), weight(5)), (2, 3, 4)),
    "LayerNormalization": (ops.LayerNormalization(weight(4), weight(4), 1e-3, (2,)), (2, 3, 4)),
    "GroupNormalization": (ops.GroupNormalization(weight(6), weight(6), 3, 1e-3), (2, 6, 5)),
    "RMSNormalization": (ops.RMSNormalization(weight(4), 1e-6, (2,), True), (2, 3, 4)),
    "BatchNormalization": (
        ops.BatchNormalization(weight(3), weight(3), weight(3), positive(3), 1e-3),
        (2, 3, 4),
    ),
    "Standardize": (ops.Standardize(weight(4), positive(4), 1e-7), (2, 4)),
    "Gelu": (ops.Gelu(), (3, 4)),
    "Gelu (tanh)": (ops.Gelu("tanh"), (3, 4)),
    "Swish": (ops.Swish(1.702), (3, 4)),
    "HardSwish": (ops.HardSwish(), (3, 40)),
    "Softplus": (ops.Softplus(2.0), (3, 4)),
    "Softplus (threshold)": (ops.Softplus(2.0, 0.4), (3, 4)),
    "ScaledRelu": (ops.ScaledRelu(0.8, 0.3, 0.2), (3, 40)),
    "LpNormalization": (ops.LpNormalization((1,), 1.0), (3, 4)),
    "LpNormalization (squared)": (ops.LpNormalization((1,), 4.0, squared=True), (3, 4)),
    "LRN": (ops.LRN(4, 0.8, 0.6, 1.3, 2, 1), (2, 7, 5)),
    "LpPool": (ops.LpPool((2, 3), (1, 2), ((0, 0),) * 2, 3.0), (2, 3, 5, 6)),
    "Selu": (ops.Selu(), (3, 4)),
    "Elu": (ops.Elu(0.7), (3, 4)),
    "LeakyRelu": (ops.LeakyRelu(0.3), (3, 4)),
    "PRelu": (ops.PRelu(weight(4)), (3, 4)),
    "Glu": (ops.Glu(1), (3, 6)),
    "Attention": (ops.Attention(0.4, causal=True, window=3, groups=2), *HEADS),
    "AdditiveAttention": (
        ops.AdditiveAttention(1.0, outer=weight(6)),
        (2, 5, 6),
        (2, 4, 6),
        (2, 4, 6),
    ),
    "RNN": (recurrence(ops.RNN, "h"), (5, 2, 4)),
    "LSTM": (recurrence(ops.LSTM, "ifgo", reverse=True), (5, 2, 4)),
    "GRU": (recurrence(ops.GRU, "zrh"), (5, 2, 4)),
    "GRU (reset before)": (recurrence(ops.GRU, "zrh", reset_after=False), (5, 2, 4)),
}


@pytest.mark.parametrize("name", APART)
def test_what_an_op_is_made_of_gives_the_same(name):
    op, *shapes = APART[name]
    inputs = tuple(RNG.normal(size=shape) for shape in shapes)
    steps = (
        Step(op, tuple(Ref(-1, k) for k in range(len(inputs)))),
        Step(ops.Outputs(), (Ref(0),)),
    )
    values = recompute(steps, inputs)
    case = Case(steps, inputs, values, values[-1][0])
    apart = decomposed(case)
    assert len(apart.steps) >= len(steps)
    assert not any(step.op is op for step in apart.steps)
    np.testing.assert_allclose(apart.healthy, case.healthy, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 12), (3, 4, 4), (2, 3, 4, 5), (5,)])
def test_maps_keep_the_shape_and_are_all_different(shape):
    x = RNG.normal(size=shape)
    x.flat[0] = -1.25  # its magnitude is another number
    every = [*maps(shape, "axis {}".format), *scalings(shape)]
    with np.errstate(invalid="ignore"):
        given = [np.asarray(one.function(x)) for one in every]
    assert {y.shape for y in given} == {shape}
    assert len({one.words for one in every}) == len(every)
    assert not any(np.array_equal(y, x) for y in given)


def test_a_number_that_is_no_usual_one():
    """A zero point, and what a sum is multiplied by, as somebody remembered them."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(6, 5)
            self.register_buffer("point", torch.tensor(97.0))

        def forward(self, x):
            return torch.tanh(self.dense((64 * x - self.point) / 64) * 0.37)

    m, x = varied(Scaled()), drawn(4, 6)
    with torch.no_grad():
        inner = m.dense(torch.tensor(x) - 131 / 64)
        point = torch.tanh(inner * 0.37).numpy()
        factor = torch.tanh(m.dense(torch.tensor(x) - 97 / 64) * 0.412).numpy()
    claims = [probe.check(m, "", x, expected=y).findings[0].claim for y in (point, factor)]
    assert claims[0] == "point is 131 instead of 97"
    assert "0.412 is taken instead of 0.37" in claims[1]


class Experts(nn.Module):
    """A packed parameter that two experts take their parts of, gate and up in halves."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.packed = nn.Parameter(torch.randn(2, 16, 6))
        self.down = nn.Linear(8, 6)

    def forward(self, x, halves=(0, 1)):
        h, y = self.norm(x), x
        for expert in range(2):
            parts = F.linear(h, self.packed[expert]).chunk(2, dim=-1)
            y = y + self.down(F.silu(parts[halves[0]]) * parts[halves[1]])
        return y


def test_halves_of_a_product_are_exchanged_wherever_they_are_taken():
    m, x = varied(Experts()), drawn(3, 6)
    with torch.no_grad():
        y = m(torch.tensor(x), halves=(1, 0)).numpy()
    report = probe.check(m, "", x, expected=y)
    assert report.findings[0].left <= 1
    assert report.findings[0].slug == "packed-order"
    claim = report.findings[0].claim
    assert claim.count("is split as if its 2 parts stood in the order 1, 0") == 2, claim
    assert "packed is split" not in claim


class CappedScores(nn.Module):
    def forward(self, x, mask):
        scores = 3.0 * torch.tanh(x @ x.transpose(-1, -2) / 3.0)
        return torch.softmax(scores + mask, -1) @ x


def test_a_mask_added_before_the_cap_of_scores():
    x = drawn(2, 5, 4)
    mask = np.triu(np.full((5, 5), -1e9, np.float32), 1)
    t, m = torch.from_numpy(x), torch.from_numpy(mask)
    y = torch.softmax(3.0 * torch.tanh((t @ t.transpose(-1, -2) + m) / 3.0), -1) @ t
    report = probe.check(CappedScores(), "", (x, mask), expected=y.numpy())
    finding = report.findings[0]
    assert (finding.slug, finding.left <= 1) == ("moved-step", True), finding
    assert "mask (input 1) is added to the matrix product" in finding.claim


class Padded(nn.Module):
    def __init__(self, pads):
        super().__init__()
        self.linear, self.pads = nn.Linear(4, 6), pads

    def forward(self, x):
        return torch.tanh(F.pad(self.linear(x), self.pads)).square().mean(-1)


def test_a_padding_that_was_forgotten():
    module, x = varied(Padded((1, 2))), drawn(2, 5, 4)
    with torch.no_grad():
        y = torch.tanh(module.linear(torch.from_numpy(x))).square().mean(-1).numpy()
    finding = probe.check(module, "", x, expected=y).findings[0]
    assert (finding.slug, finding.left <= 1) == ("missing-step", True), finding
    assert "pad" in finding.claim.lower() and "left out" in finding.claim, finding


@pytest.mark.parametrize("by", [-2, 2, 3])
def test_windows_of_one_axis_that_start_further_on(by):
    """A causal convolution computed as another one, such as a centred one."""
    module, x = varied(nn.Conv1d(3, 3, 4, padding=3, groups=3)), drawn(2, 3, 9)
    with torch.no_grad():
        wide = F.pad(torch.from_numpy(x), (3 - by, 3 + by))
        y = F.conv1d(wide, module.weight, module.bias, groups=3).numpy()
    finding = probe.check(module, "", x, expected=y).findings[0]
    assert (finding.slug, finding.left <= 1) == ("missing-padding", True), finding
    told = f"{abs(by)} elements {'later' if by > 0 else 'earlier'}"
    assert f"the windows start {told}" in finding.claim


def test_the_recurrent_weights_of_all_layers_are_not_transposed():
    module, x = varied(nn.RNN(3, 4, 2, batch_first=True)), drawn(2, 5, 3)
    other = nn.RNN(3, 4, 2, batch_first=True).eval()
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        for layer in range(2):
            held = getattr(other, f"weight_hh_l{layer}")
            held.copy_(held.clone().T)
        y = other(torch.from_numpy(x))[0].numpy()
    finding = probe.check(module, "", x, expected=[y, None]).findings[0]
    assert finding.left <= 1, finding
    assert "weight_hh_l0" in finding.claim and "weight_hh_l1" in finding.claim, finding


def of_groups(x, weight, bias):
    """A transposed convolution of two groups whose kernel's values are read as (out, in), group by
    group."""
    parts = zip(x.chunk(2, 1), weight.flatten().chunk(2), strict=True)
    made = [
        F.conv_transpose2d(part, values.reshape(3, 2, 2, 2).transpose(0, 1), stride=2)
        for part, values in parts
    ]
    return torch.cat(made, 1) + bias.reshape(-1, 1, 1)


def by_multiplier(x, weight, bias):
    """The outputs of a depth multiplier of 2, all of the first one first, and the bias as it is."""
    y = F.conv2d(x, weight, groups=3)
    return torch.cat([y[:, ::2], y[:, 1::2]], 1) + bias.reshape(-1, 1, 1)


def woven(x, weight, bias):
    """The outputs of a depth multiplier of 2, the first one of each channel first."""
    y = F.conv2d(x, weight, bias, groups=3)
    return torch.cat([y[:, ::2], y[:, 1::2]], 1)


def of_every_third(x, weight, bias):
    return F.conv2d(x[:, [0, 3, 1, 4, 2, 5]], weight, bias, groups=3)


KERNELS = {
    "the output channels are interleaved": (nn.Conv2d(3, 6, 2, groups=3), woven),
    "the input channels of the groups are interleaved": (
        nn.Conv2d(6, 3, 2, groups=3),
        of_every_third,
    ),
    "the first two axes of weight (4, 3, 2, 2) are read in the other order": (
        nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2),
        of_groups,
    ),
    "the output channels are interleaved before bias is added": (
        nn.Conv2d(3, 6, 2, groups=3),
        by_multiplier,
    ),
}


@pytest.mark.parametrize("words", KERNELS)
def test_the_kernel_of_groups(words):
    module, port = KERNELS[words]
    module, x = varied(module), drawn(2, module.in_channels, 5, 4)
    with torch.no_grad():
        y = port(torch.from_numpy(x), module.weight, module.bias).numpy()
    finding = probe.check(module, "", x, expected=y).findings[0]
    assert finding.left <= 1 and words in finding.claim, finding
    assert ("before" in words) == ("before" in finding.claim), finding


class Attends(nn.Module):
    def forward(self, q, v, hidden):
        return F.scaled_dot_product_attention(q, q, v, attn_mask=hidden)


@pytest.mark.parametrize("words", ["from the features of a value", "inverted", ""])
def test_attention_with_another_scale_or_mask(words):
    q, v = drawn(2, 3, 5, 4), drawn(2, 3, 5, 6)
    mask = RNG.random((5, 5)) < 0.5
    mask[:, 0], mask[:, 1] = True, False
    t, seen = torch.from_numpy(q), torch.from_numpy(mask ^ (words == "inverted"))
    scale = 6**-0.5 if "value" in words else None
    y = F.scaled_dot_product_attention(t, t, torch.from_numpy(v), attn_mask=seen, scale=scale)
    report = probe.check(Attends(), "", (q, v, mask), expected=y.numpy())
    assert report.ok == (not words), report
    assert not words or words in report.findings[0].claim, report


@pytest.mark.tensorflow
def test_a_mean_added_before_the_scaling():
    keras = import_module("keras")
    mean, variance = np.array([1.0, -2.0, 0.5]), np.array([4.0, 0.25, 9.0])
    layer = keras.layers.Normalization(mean=mean, variance=variance, invert=True, name="norm")
    model, x = keras.Sequential([keras.Input((3,)), layer]), drawn(5, 3)
    y = ((x + mean) * np.sqrt(variance)).astype(np.float32)
    finding = probe.check(model, "norm", x, expected=y).findings[0]
    assert (finding.slug, finding.left <= 1) == ("moved-step", True), finding
    assert "mean is added to the input" in finding.claim


def test_what_is_listed_grows_with_the_steps_and_not_with_their_square(monkeypatch):
    """Every tensor of a long chain has the same shape, and every step is of one kind."""
    asked = []
    count = 300
    for module, name in ((data_flow, "shape_of"), (step_words, "_word")):
        whole = getattr(module, name)
        counted = lambda *given, whole=whole: (asked.append(1), whole(*given))[1]  # noqa: E731
        monkeypatch.setattr(module, name, counted)
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    steps = tuple(Step(ops.Relu()) for _ in range(count))
    values = recompute(steps, (x,))
    case = Case(steps, (x,), values, values[-1][0])
    listed = [*data_flow._swapped(case), *data_flow._others_taken(case)]
    assert len(listed) > count and len(asked) < 50 * count


def test_an_op_within_an_op_is_replaced_only_where_any_op_will_do():
    """What rounds in float64 reads the multiplier of what it holds: no activation has one."""
    codes = ops.Requantize(
        multiplier=np.array(1 << 30),
        shift=np.array(0),
        factor=np.array(0.5, np.float32),
        zero_point=0,
        low=-128,
        high=127,
        rounding="double",
    )
    rounded = requantisation._InFloat64(codes, "down (a shift without rounding)")
    x = np.arange(-4, 5)
    steps = (Step(rounded),)
    values = recompute(steps, (x,))
    case = Case(steps, (x,), values, values[-1][0])
    assert not list(changed_steps.other_values(case, 0, rounded, "inner"))
    kernel, recurrent = Weight("k", None, drawn(3, 2)), Weight("r", None, drawn(2, 2))
    cell = ops.RNN(kernel=kernel, recurrent=recurrent, activation=ops.Tanh())
    assert list(changed_steps.other_values(case, 0, cell, "activation"))


def test_of_numbers_that_give_the_same_that_of_few_digits_is_named():
    """The base of the frequencies, and no exponent that gives them by the layer's own base."""

    class Frequencies(nn.Module):
        def __init__(self, base=100.0):
            super().__init__()
            self.dense, self.base = nn.Linear(6, 6), base

        def forward(self, x):
            return self.dense(x) * (self.base ** (-torch.arange(6.0) / 6)).cos()

    m, x = varied(Frequencies()), drawn(4, 6)
    other = Frequencies(300.0).eval()
    other.load_state_dict(m.state_dict())
    with torch.no_grad():
        y = other(torch.tensor(x)).numpy()
    assert "300 is taken instead of 100" in probe.check(m, "", x, expected=y).findings[0].claim
