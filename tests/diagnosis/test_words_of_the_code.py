"""A mistake in a block is told in the words of the code: the names of modules, parameters and
arguments, the framework's functions, the line of the forward and the field's word for it."""

import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

import probe
from probe import ops
from probe.description.description import Site
from probe.diagnosis.field_words import _kind_of_mask
from probe.diagnosis.what_to_do import WHAT_TO_DO
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses import CAUSES
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.steps.data_flow import left_out
from probe.hypotheses.steps.moved_steps import _moved
from probe.hypotheses.steps.reshaped_axes import _read_otherwise
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case


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


PRODUCT = "of gates.0 and torch.tanh"
if sys.version_info >= (3, 11):  # the first to say which part of a line runs
    PRODUCT = "`self.gates[0](3 * self.act(a)) * torch.tanh(b)`"


@pytest.mark.parametrize(
    ("mistake", "claim"),
    [
        ("relu", "ReLU instead of ReLU6 in gates.0 and gates.1"),
        (
            "act",
            "GELU of output 0 of chunk in line _ of test_words_of_the_code.py instead of the "
            "output of act",
        ),
        ("sum", f"addition instead of multiplication in the product {PRODUCT}"),
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


class Mixed(nn.Module):
    """A matrix that is transposed, and factors that are the elements of one parameter."""

    def __init__(self):
        super().__init__()
        self.a, self.scales = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.rand(3) + 0.5)
        self.small = nn.Linear(4, 4)

    def forward(self, x, mistake=""):
        a, (first, second, third) = self.a, self.scales
        h = (x @ (a if mistake == "matrix" else a.T)) * first
        return h + self.small(x) * (first if mistake == "factor" else second) * third


@pytest.mark.parametrize(
    ("mistake", "claim"),
    [
        ("matrix", "a is taken instead of a.T"),
        ("factor", "takes scales[0] in place of scales[1]"),
    ],
)
def test_what_is_exchanged_has_two_names(mistake, claim):
    torch.manual_seed(1)
    model, x = Mixed().eval(), torch.randn(2, 3, 4)
    with torch.no_grad():
        values = model(x, mistake).numpy()
    finding = probe.check(model, "", x.numpy(), expected=values).findings[0]
    assert claim in finding.claim and finding.left <= 1, finding


def test_a_module_that_is_left_out_leaves_one_of_its_inputs():
    class Gate(nn.Module):
        def forward(self, state, x):
            return torch.sigmoid(x) * state + (1 - torch.sigmoid(x)) * torch.tanh(x)

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Gate(), nn.Linear(4, 4)

        def forward(self, state, x):
            return self.second(self.first(state, x))

    model, (state, x) = Gated().eval(), torch.randn(2, 3, 4)
    values = model.second(state).detach().numpy()
    finding = probe.check(model, "", [state.numpy(), x.numpy()], expected=values).findings[0]
    assert finding.claim == "first is left out: what follows takes state (input 0)", finding


def test_what_a_module_gives_before_its_bias_is_not_its_output():
    draw = np.random.default_rng(0).normal
    weight, bias = (Weight(name, None, draw(size=size)) for name, size in (("w", (4, 4)), ("b", 4)))
    product = ops.MatMul(weight, None)
    steps = (Step(product), Step(ops.Parameter(bias), ()), Step(ops.Add(), (Ref(0), Ref(1))))
    x = draw(size=(2, 4))
    values = recompute(steps, (x,))
    case = Case(steps, (x,), values, values[-1][0], calls=("proj",) * 3)
    names = [tensor_name(case, Ref(at)) for at in (0, 2)]
    assert names == ["the output of proj before its bias is added", "the output of proj"]
    claims = [change.claim for change in left_out(case)]
    assert claims[0] == "b is not added to the output of proj"


def test_axes_of_one_length_are_told_apart_by_their_order():
    x = np.arange(18.0).reshape(2, 9)
    steps = (Step(ops.Reshape((2, 3, 3))),)
    values = recompute(steps, (x,))
    claims = [change.claim for change in _read_otherwise(Case(steps, (x,), values, values[-1][0]))]
    words = "the input is read as (2, 3, 3) and its axes then brought to the order (0, 2, 1)"
    assert claims == [words]


def test_a_moved_step_has_the_preposition_of_its_verb():
    """Each step of an operand of a sum, in place of the sum."""
    x, y = np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(2, 1, 6).reshape(2, 3)
    claims = []
    for kind, refs in ((ops.Mul, (2, 1)), (ops.Sub, (2, 1)), (ops.Sub, (1, 2)), (ops.Div, (2, 1))):
        number = Step(ops.Constant(np.array(3.0)), ())
        steps = (Step(ops.Relu(), (Ref(-1, 0),)), number, Step(ops.Add(), (Ref(0), Ref(-1, 1))))
        steps += (Step(kind(), tuple(map(Ref, refs))),)
        values = recompute(steps, (x, y))
        case = Case(steps, (x, y), values, values[-1][0])
        claims += [change.claim for change in _moved(case)]
    claims = [claim for claim in claims if "each of" in claim]
    assert claims == [
        f"{action} each of the output of ReLU and input 1, not {to} the sum with input 1"
        for action, to in (
            ("3 is multiplied with", "with"),
            ("3 is subtracted from", "from"),
            ("the subtraction from 3 is applied to", "to"),
            ("the division by 3 is applied to", "to"),
        )
    ]


def test_parts_of_a_call_are_its_outputs():
    """Each a slice in another shape, of one call or of several."""
    x = np.arange(12.0).reshape(2, 3, 2)
    for calls in (("unbind",) * 4, ("unbind",) * 4 + ("unbind:1",) * 4):
        steps: tuple[Step, ...] = ()
        for number in range(len(calls) // 2):
            part = ops.Slice((0, 0, number % 2), (2, 3, number % 2 + 1))
            steps += (Step(part, (Ref(-1, 0),)), Step(ops.Reshape((2, 3))))
        values = recompute(steps, (x,))
        sites = {call: Site(call, "", 0, "Tensor.unbind") for call in calls}
        case = Case(steps, (x,), values, values[-1][0], calls=calls, sites=sites)
        names = [tensor_name(case, Ref(at)) for at in range(1, len(steps), 2)]
        whole = ["unbind"] if len(calls) == 4 else ["the first unbind", "the second unbind"]
        assert names == [f"output {part} of {name}" for name in whole for part in (0, 1)]


class Fields(nn.Module):
    """What looks like a part of a block of attention and is none, and what is one."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(2)
        self.kind, self.wrong = kind, False
        self.mix, self.more = nn.Linear(4, 4), nn.Linear(4, 4)
        self.alpha = nn.Parameter(torch.rand(4) + 0.5)

    def forward(self, x):
        return getattr(self, f"{self.kind}")(x)

    def snake(self, x):
        y = self.mix(x)
        sine = torch.sin(self.alpha * y).square().flatten(1).view_as(y)
        return y + (sine if self.wrong else (self.alpha + 0.1).reciprocal() * sine)

    def guided(self, x):
        y, z = self.mix(x), self.more(x)
        return self.more((z if self.wrong else y) + 4 * (z - y))

    def state(self, x):
        h = x[:, 0]
        for t in range(1, 6):
            made = self.mix(torch.tanh(h) + x[:, t])
            h = made if self.wrong else h + made
        return h

    def pooled(self, x):
        y = self.mix(x)
        return (torch.softmax(y if self.wrong else 3 * y, 1) * x).sum(1)

    def grid(self, x):
        places = torch.arange(6.0)[:, None].expand(6, 4) - torch.arange(4.0) / 3
        return 2 * torch.sigmoid(self.mix(x)) + (places if self.wrong else places - 0.5)

    def computed(self, x):
        return self.mix(x) + (self.alpha if self.wrong else 1 - self.alpha)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("snake", ""),
        ("guided", ""),
        ("state", ""),
        ("pooled", "scale before the softmax"),
        ("grid", ""),
        ("computed", ""),
    ],
)
def test_the_word_of_the_field_is_said_of_what_it_is(kind, word):
    model, x = (
        Fields(kind).eval(),
        torch.from_numpy(np.random.default_rng(3).normal(size=(2, 6, 4))),
    )
    model.wrong = True
    with torch.no_grad():
        values = model(x.float()).numpy()
    model.wrong = False
    finding = probe.check(model, "", x.float().numpy(), expected=values).findings[0]
    told, colon, _ = finding.claim.partition(": ")
    assert finding.left <= 1 and (told if colon and len(told) < 30 else "") == word, finding


def test_a_mask_without_later_positions_is_not_causal():
    """Of each sample whether it goes on, as a recurrence over padding takes it."""
    for hidden, kind in (
        (np.triu(np.ones((4, 4), bool), 1), "causal mask"),
        (np.array([[False, True, True]] * 4), "padding mask"),
        (np.zeros((3, 1), bool), "mask"),
        (np.array([[True], [False], [True]]), "mask"),
    ):
        assert _kind_of_mask(hidden) == kind


class Noised(nn.Module):
    """A share of noise and what is left of a signal, as a sampler has them."""

    def __init__(self):
        super().__init__()
        self.shares = nn.Parameter(torch.tensor([0.2, 0.7]))

    def forward(self, x, root=torch.sqrt):
        now, then = self.shares
        y = (x - root(1 - now) * x.flip(-1)) / now.sqrt()
        return then.sqrt() * y.tanh() + root(1 - then) * x.flip(-1)


def test_what_is_subtracted_from_a_number_is_not_moved_behind_its_root():
    model, x = Noised().eval(), torch.from_numpy(np.random.default_rng(0).normal(size=(3, 5)))
    with torch.no_grad():
        values = model(x.float(), lambda share: share).numpy()
    finding = probe.check(model, "", x.float().numpy(), expected=values).findings[0]
    words = "1 - shares is taken instead of sqrt(1 - shares)"
    assert finding.claim.startswith(words) and finding.left <= 1, finding


def test_an_input_without_a_name_is_called_zeros_where_it_is():
    x = np.linspace(0, 1, 6).reshape(2, 3)
    inputs = (x, 0 * x, np.ones(3), x)
    steps = (Step(ops.Add(), (Ref(-1, 0), Ref(-1, 1))),)
    case = Case(steps, inputs, recompute(steps, inputs), x)
    names = [tensor_name(case, Ref(-1, index)) for index in range(4)]
    assert names == ["input 0", "zeros (input 1)", "ones (input 2)", "input 3"]


class Gated(nn.Module):
    """Arithmetic of what has no name, some of it on one line, and over two."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(5, 12)

    def forward(self, x):
        a, b = self.up(x).chunk(2, -1)
        α = torch.sigmoid(a)
        # fmt: off
        both = α * torch.tanh(b) + (1 - α) * (b.abs()
                                              + 3)
        # fmt: on
        return both.flip(-1) * α[..., 1:2]


@pytest.mark.parametrize(
    ("wrong", "claim", "before"),
    [
        (
            lambda keep, b: (keep * b.tanh() - (1 - keep) * (b.abs() + 3)).flip(-1) * keep[:, 1:2],
            "in the sum `α * torch.tanh(b) + (1 - α) * (b.abs() + 3)`",
            "in the sum",
        ),
        (
            lambda keep, b: (keep * b.tanh() + (1 - keep) * (b.abs() + 3)).flip(-1),
            "the part `α[..., 1:2]` is not multiplied with the output of flip",
            "the output of indexing is not multiplied with the output of flip",
        ),
    ],
)
def test_arithmetic_without_names_is_quoted(wrong, claim, before):
    torch.manual_seed(2)
    model, x = Gated().eval(), torch.randn(7, 5)
    with torch.no_grad():
        first, b = model.up(x).chunk(2, -1)
        values = wrong(torch.sigmoid(first), b).numpy()
    finding = probe.check(model, "", x.numpy(), expected=values).findings[0]
    words = claim if sys.version_info >= (3, 11) else before  # which says only what line runs
    assert words in finding.claim and finding.left <= 1, finding
