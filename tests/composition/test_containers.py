"""A container of PyTorch is one layer: composed of the calls that it makes, whatever these are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from representatives import exhaustive
from torch import nn
from torch.nn import functional as F

import probe
from probe.capture.passes import in_pass
from probe.errors import BadInput
from probe.evaluation.bounds import Bounds
from probe.evaluation.reference import inputs_of, recomputed
from probe.numerics.precision import stored_in
from probe.ops import MatMul
from probe.verdict.judge import judge
from probe.verdict.options import Options

ROWS = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)
IMAGE = np.random.default_rng(1).normal(size=(2, 4, 9, 7)).astype(np.float32)


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(0)


class Block(nn.Module):
    """A residual block: what a user would write, and write wrongly."""

    def __init__(self, wrong=""):
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(6), nn.Linear(6, 8), nn.Linear(8, 6)
        self.wrong = wrong

    def forward(self, x):
        y = x if self.wrong == "no norm" else self.norm(x)
        y = self.a(y)
        y = F.relu(y) if self.wrong == "relu" else F.silu(y)
        y = self.b(y)
        if self.wrong == "no residual":
            return y
        return (y if self.wrong == "residual twice" else 0.0) + x + y


class Net(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.first, self.blocks = nn.Linear(6, 6), nn.ModuleList(blocks)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def net(*blocks):
    torch.manual_seed(0)
    return Net(*(blocks or (Block(), Block()))).eval()


def outputs_of(model, name, x):
    return probe.check(model, name, x).outputs["framework"]


def test_a_block_is_a_layer():
    report = probe.check(net(), "blocks.1", ROWS)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}
    assert report.calls == ("norm", "a", "silu", "b", "add", "add", "add:1")
    weights = [f"{name}.{kind}" for name in ("norm", "a", "b") for kind in ("weight", "bias")]
    assert list(report.weights) == weights
    assert "norm, a, silu, b, add, add:1" in str(report)
    whole = probe.check(net(), "", ROWS)
    assert whole.ok and "blocks.0.a.weight" in whole.weights


@pytest.mark.parametrize("wrong", ["no norm", "relu", "no residual", "residual twice"])
def test_a_wrong_block_diverges(wrong):
    right, other = net(), net(Block(), Block(wrong))
    other.load_state_dict(right.state_dict())
    report = probe.check(right, "blocks.1", ROWS, expected=outputs_of(other, "blocks.1", ROWS))
    assert report.verdict == "diverge" and not report.comparisons["numpy", "expected"].ok
    assert probe.check(right, "", ROWS, expected=outputs_of(other, "", ROWS)).verdict == "diverge"


@pytest.mark.exhaustive(default=2)
@pytest.mark.parametrize("name", ["blocks.0", "blocks.1", "", ("blocks.0.a", "blocks.1.b")])
def test_the_values_of_an_honest_engine_agree(name):
    """Float64 is further from float32 than any other engine, and errs in the layers before too."""
    model = net()
    wide = net().double()
    mine = outputs_of(wide, name, ROWS.astype(np.float64))
    assert probe.check(model, name, ROWS, expected=mine).ok
    assert probe.check(model, name, ROWS, expected=mine * (1 + 1e-4)).verdict == "diverge"


def test_a_segment():
    report = probe.check(net(), ("blocks.0.b", "blocks.1.a"), ROWS)
    assert report.ok and report.layer == "blocks.0.b to blocks.1.a"
    assert report.calls[0] == "blocks.0.b" and report.calls[-1] == "blocks.1.a"
    assert len(report.inputs) == 2, "the residual comes from outside"
    assert any("input 1 " not in note and "input 1" in note for note in report.notes)
    ends = probe.check(net(), ("blocks.0", "last"), ROWS)
    assert ends.ok and len(ends.inputs) == 1
    with pytest.raises(BadInput, match=r"does not follow from .*: --layer blocks.0 --to blocks.1"):
        probe.check(net(), ("blocks.1", "blocks.0"), ROWS)
    with pytest.raises(BadInput, match="cannot run alone"):
        probe.check(net(), ("blocks.0", "blocks.1"), given=ROWS)


def test_one_number_is_followed_to_the_weights_inside():
    story = probe.explain(net(), "blocks.0", ROWS, at=(1, 2), sees=True)
    assert "output of silu[1, " in str(story) and "b.weight[2, " in str(story)
    (field,) = story.sees
    assert field.mask[1].all() and not field.mask[[0, 2, 3]].any()


def test_a_block_that_is_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def forward(self, x):
            return {"y": self.block(self.block(x)), "kept": (x, None)}

    report = probe.check(Twice().eval(), "", ROWS)
    assert report.ok and len(report.outputs["numpy"]) == 2
    assert len(report.weights) == 6, "each once"
    assert probe.check(Twice().eval(), "block", ROWS, call=1).call == 1


def test_a_container_of_one_call_is_judged_as_that():
    report = probe.check(nn.Sequential(nn.Linear(6, 3)).eval(), "", ROWS)
    alone = probe.check(nn.Sequential(nn.Linear(6, 3)).eval(), "0", ROWS)
    assert report.ok and report.calls == () and report.visible is not None
    assert list(report.weights) == ["0.weight", "0.bias"]
    assert alone.ok


class Sum(nn.Module):
    """Adds what a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function, self.linear = function, nn.Linear(6, 6)

    def forward(self, x):
        return self.linear(x) + self.function(x)


def through_numpy(x):
    return torch.from_numpy(x.numpy() * 2)


def through_a_view_of_a_view(x):
    y = (x * 1.0).t()
    y[:2].mul_(3)
    return y.t()


@pytest.mark.parametrize(
    "function", [through_numpy, through_a_view_of_a_view, torch.vmap(torch.sin)]
)
def test_what_was_not_seen_is_never_agreed_on(function):
    report = probe.check(Sum(function).eval(), "", ROWS)
    assert report.verdict == "unchecked" and "came from no captured call" in report.sentence


def in_place(x):
    y = torch.zeros_like(x)
    y[:, :3] = x[:, 1:4]
    y += 1
    return y.mul_(x)


def routed(x):
    """As a router does it: places that follow from floats."""
    values, places = x.topk(2, dim=-1)
    rows = torch.gather(x, 1, places.flip(-1))
    return (rows * values.softmax(-1)).sum(-1, keepdim=True) + places[:, :1].float() // 2


def through_a_view(x):
    """Part by part into memory that nothing has written before, as DeepSeek's keys are."""
    y = (x * 1.0).contiguous()
    y[1:, ::2].mul_(3)
    parts = x.new_empty(*x.shape[:-1], 9)
    parts[..., :6].copy_(y)
    parts[..., 6:].copy_(torch.sin(x[:, :3]))
    return parts[:, 1:7] * y


@pytest.mark.parametrize("bound", [0.3, 64504.0])
def test_bounds_of_another_type(bound):
    """As T5 keeps float16 from overflowing: bounds in float32 without axes."""

    def clamped(x):
        limit = torch.where(torch.isinf(x).any(), bound - 0.1, bound)
        assert limit.dtype == torch.float32
        return torch.clamp(x, min=-limit, max=limit)

    model = Sum(clamped).eval().half()
    report = probe.check(model, "", torch.from_numpy(ROWS).half())
    assert report.ok and "clip" in " ".join(report.calls)


@pytest.mark.parametrize("function", [in_place, routed, through_a_view])
def test_in_place_and_whole_numbers(function):
    assert probe.check(Sum(function).eval(), "", ROWS).ok


def test_a_call_without_description_is_named_and_the_rest_is_checked():
    model = Sum(lambda x: torch.special.airy_ai(x)).eval()
    report = probe.check(model, "", ROWS)
    assert report.verdict == "unchecked" and "airy_ai" in report.sentence
    right = report.outputs["framework"]
    assert probe.check(model, "", ROWS, expected=right).ok
    wrong = probe.check(model, "", ROWS, expected=right + 1e-3)
    assert wrong.verdict == "diverge"


def test_a_container_that_diverges_is_answered_by_its_calls(monkeypatch):
    model, linear = net(), F.linear
    wrong = model.blocks[1].a.weight
    monkeypatch.setattr(
        F, "linear", lambda x, weight, bias: linear(x, weight, bias) * (1 + (weight is wrong) / 100)
    )
    report = probe.check(model, "blocks.1", ROWS)
    assert report.verdict == "diverge" and not report.comparisons["framework", "numpy"].ok
    assert "the first call within it that diverges is 'blocks.1.a'" in report.diagnosis[0]


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.o = (nn.Linear(6, 6) for _ in range(3))

    def forward(self, x):
        scores = self.q(x) @ self.k(x).transpose(-1, -2) / 6**0.5
        mask = torch.full(scores.shape, torch.finfo(x.dtype).min, dtype=x.dtype).triu(1)
        weights = F.softmax(scores + mask, dim=-1, dtype=torch.float32).to(x.dtype)
        return self.o(weights @ x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, *exhaustive(torch.float32, torch.float16)])
def test_several_types_in_one_block(dtype):
    model = Mixed().to(dtype).eval()
    report = probe.check(model, "", ROWS)
    assert report.ok and report.dtype == str(dtype).removeprefix("torch.")
    halved = Mixed().to(dtype).eval()
    halved.load_state_dict(model.state_dict())
    halved.q.weight.data /= 2
    wrong = outputs_of(halved, "", ROWS)
    assert probe.check(model, "", ROWS, expected=wrong).verdict == "diverge"


@pytest.mark.parametrize("layer", ["", "2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_whole_numbers_are_not_rounded_to_the_type_of_the_layer_that_takes_them(dtype, layer):
    """9999 is no number of bfloat16, and no other row of the table for that: noise that moved the
    index ended in an IndexError, or in an allowance that any values are within."""
    table = nn.Embedding(10_000, 16)
    model = nn.Sequential(table, nn.Linear(16, 16), nn.Linear(16, 8)).to(dtype).eval()
    ids = np.random.default_rng(0).integers(0, 10_000, (4, 25))
    ids[0, 0] = 9999
    right = probe.check(model, layer, ids).outputs["framework"]
    assert probe.check(model, layer, ids, expected=right).ok
    assert probe.check(model, layer, ids, expected=right * 1.1).verdict == "diverge"


class Table(nn.Module):
    """Takes no tensor: what it gives follows from a parameter."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(5, 6))

    def forward(self, rows: int):
        return torch.tanh(self.table)[torch.arange(rows)] * 2


def test_a_container_that_takes_no_tensor():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = Table()

        def forward(self, x):
            return x + self.bias(len(x))

    model = Net().eval()
    report = probe.check(model, "bias", ROWS)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}
    assert list(report.weights) == ["table"] and len(report.calls) > 2
    right = report.outputs["framework"]
    assert probe.check(model, "bias", ROWS, expected=right * 1.001).verdict == "diverge"


def test_the_listing_has_what_can_be_asked_for():
    names = [one.name for one in probe.open_model(net()).containers]
    assert names == ["", "blocks.0", "blocks.1"]


def test_values_by_the_names_of_blocks():
    model = net()
    mine = {name: outputs_of(model, name, ROWS) for name in ("blocks.0", "blocks.1")}
    assert probe.check(model, "blocks.1", ROWS, expected=mine).ok
    moved = {**mine, "blocks.0": mine["blocks.0"] + 1}
    report = probe.check(model, "blocks.1", ROWS, expected=moved)
    assert report.verdict == "diverge", "held against NumPy on the user's own input"


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(128), nn.Linear(128, 160), nn.Linear(160, 128)

    def forward(self, x):
        return x + self.b(F.gelu(self.a(self.norm(x))))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_block_of_a_sweep_is_held_against_less(dtype, monkeypatch):
    """Noise that takes no squares of products tells most of what all of it does, and nothing more
    is computed where all agree within that."""
    model = probe.open_model(Wide().to(getattr(torch, dtype)).eval())
    x = np.random.default_rng(2).normal(size=(64, 128)).astype(np.float32)
    found, _ = in_pass(model, (x,), "", 0, {})
    (call,) = found.calls
    layer = recomputed(call.description, inputs_of(call))
    usual = stored_in(dtype)
    less, whole = (Bounds(layer, replace(usual, partial=part)).first()[0] for part in (True, False))
    rms = [float(np.sqrt(np.square(one).mean())) for one in (less, whole)]
    assert 0.5 * rms[1] < rms[0] < 1.1 * rms[1]
    assert judge(call).verdict == "agree"
    with monkeypatch.context() as patched:
        patched.delattr(MatMul, "sum_of_squares")
        assert [one.verdict for one in probe.sweep(model, x, layers=[""])] == ["agree"]
    wrong = call.outputs[0].copy()
    wrong[3] *= -1
    wrong = replace(call, outputs=(wrong,))
    for options in (Options(), Options(sparing=True)):
        assert judge(wrong, options=options).verdict == "diverge"


def test_nothing_is_left_behind():
    model = net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    probe.check(model, "blocks.0", ROWS)
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_rounding_before_a_block_is_followed_past_a_call_without_description():
    """The call in the middle multiplies what the first layer's rounding did by a thousand."""

    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.block = nn.Linear(6, 6), Block()

        def forward(self, x):
            y = torch.special.bessel_j0(1e3 * self.first(x))
            return self.block(y)

    torch.manual_seed(0)
    model = Steep().eval()
    wide = Steep().double().eval()
    wide.load_state_dict(model.state_dict())
    mine = outputs_of(wide, "block", ROWS.astype(np.float64))
    apart = np.abs(mine - outputs_of(model, "block", ROWS)).max()
    report = probe.check(model, "block", ROWS, expected=mine)
    assert report.ok and apart > 1e-5, "more than the block's own rounding"
    assert probe.check(model, "block", ROWS, expected=mine + 0.1).verdict == "diverge"


class Rounded(nn.Module):
    """Numbers on a grid, which rounding before moves to a neighbour here and there."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(60, 200), nn.Linear(200, 1000)

    def forward(self, x):
        return torch.round(self.b(torch.tanh(self.a(x))) / 1e-3) * 1e-3


def test_levels_that_rounding_flips_are_no_difference():
    x = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float32)
    torch.manual_seed(1)
    model = Rounded().eval()
    report = probe.check(model, "", x)
    right = report.outputs["framework"]
    apart = np.abs(right - report.outputs["numpy"])
    assert report.ok and (apart > 5e-4).any()
    assert report.comparisons["framework", "numpy"].worst.allowance < 8e-3, "a few levels"


class Entropy(nn.Module):
    """Whose logarithm of an underflown probability is that of 0 in float32 alone."""

    def __init__(self, spread):
        super().__init__()
        self.layer, self.spread = nn.Linear(6, 8), spread

    def forward(self, x):
        p = torch.softmax(self.spread * self.layer(x), -1)
        return -(p * p.log()).sum(-1)


def test_a_whole_that_rounding_alone_makes_other_numbers_of_is_no_divergence():
    """Each call agrees, and what they gave is what the block gives."""
    assert probe.check(Entropy(1.0), "", ROWS).verdict == "agree"
    net = Entropy(100.0).eval()
    report = probe.check(net, "", ROWS)
    assert not np.isfinite(report.outputs["framework"]).all()
    assert report.verdict == "unchecked"
    assert "each call within it agrees on its own inputs" in report.sentence
    own = report.outputs["framework"]
    assert probe.check(net, "", ROWS, expected=own).verdict == "unchecked"
    assert probe.check(net, "", ROWS, expected=np.zeros_like(own)).verdict == "diverge"


class Wrapping(nn.Module):
    """Products that int8 does not hold, which ONNX Runtime computes in wider integers."""

    def forward(self, x):
        whole = (50 * x).to(torch.int8)
        return (whole * whole + whole).float() * 1.5


def test_values_of_yours_that_are_not_the_frameworks_differ_where_the_engines_do_too():
    report = probe.check(Wrapping(), "", ROWS)
    own = report.outputs["framework"]
    assert report.verdict == "unchecked"
    assert probe.check(Wrapping(), "", ROWS, expected=own).verdict == "unchecked"
    for wrong in (np.zeros_like(own), -own, own / 2, own + 1):
        report = probe.check(Wrapping(), "", ROWS, expected=wrong)
        assert report.verdict == "diverge" and "yours" in report.sentence, str(report)


class Beside(nn.Module):
    """Well conditioned columns, and one of which float32 keeps no digit."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x):
        h = self.layer(x)
        return torch.cat([self.norm(h), torch.sin(1e6 * h[:, :1])], 1)


def test_an_ill_conditioned_column_leaves_the_others_their_allowance():
    x = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    net = Beside().eval()
    report = probe.check(net, "", x)
    assert report.verdict == "agree"
    for column in range(6):
        wrong = report.outputs["framework"].copy()
        wrong[:, column] += 1e-4
        assert probe.check(net, "", x, expected=wrong, search=False).verdict == "diverge"
