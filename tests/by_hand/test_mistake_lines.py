"""A mistake that is found as the lines in which two scripts differ: what yours does, what the layer
does."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import probe
from probe import Weight, ops
from probe.description import Ref, Step
from probe.diagnosis.lines_of_code import lines_of
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.precision.rounding_modes import FixedPointGrid
from probe.ops.weight import Grid
from probe.trial.case import Case

X = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = torch.nn.Sequential()
    made.add_module("conv", torch.nn.Conv2d(3, 4, 3, stride=2, padding=1))
    made.add_module("bn", torch.nn.BatchNorm2d(4))
    made.add_module("act", torch.nn.GELU())
    made.bn.running_mean += 0.1
    return made.eval()


def found(net, layer, values):
    return probe.check(net, layer, X, expected=values.detach().numpy())


def test_a_report_shows_the_line_that_is_wrong_and_the_right_one(net):
    bn, y = net.bn, net.conv(torch.from_numpy(X))
    other = F.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=0.1)
    report = found(net, "bn", other)
    ((yours, layers),) = report.findings[0].lines
    assert yours == "gain = weight / np.sqrt(running_var + 0.1)"
    assert layers == "gain = weight / np.sqrt(running_var + 1e-05)"
    assert f"     yours: {yours}\n     layer: {layers}\n" in str(report)
    assert [[yours, layers]] == json.loads(report.to_json())["findings"][0]["lines"]
    assert (
        f"layer: {layers}" in report.to_html() and "running\\_var + 1e-05" in report.to_markdown()
    )


def test_the_line_of_an_input_a_weight_and_a_function(net):
    x, w, b = torch.from_numpy(X), net.conv.weight, net.conv.bias
    how = {"stride": 2, "padding": 1}
    for values, yours in (
        (F.conv2d(x, w.flip(2, 3), b, **how), "weight[:, :, ::-1, ::-1])"),
        (F.conv2d(x, w.transpose(2, 3), b, **how), '"bchwij,ocji->bohw"'),
        (F.conv2d(x.flip(1), w, b, **how), "np.pad(x[:, ::-1], "),
        (F.conv2d(x / 255, w, b, **how), "np.pad(x / 255, "),
    ):
        (finding, *_) = found(net, "conv", values).findings
        assert yours in finding.lines[0][0] and yours not in finding.lines[0][1]
    ((yours, layers),) = found(net, "conv", F.conv2d(x, w, None, **how)).findings[0].lines
    assert layers == f"{yours} + bias[:, None, None]"
    y = net.bn(net.conv(x))
    assert found(net, "act", F.gelu(y, approximate="tanh")).findings[0].lines == (
        (
            "y = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))",
            "y = x * (1 + erf(x / np.sqrt(2))) / 2",
        ),
    )


def test_the_line_of_a_statistic():
    rng = np.random.default_rng(0)
    mean, variance = (Weight(name, w := rng.uniform(0.5, 2, 3), w) for name in ("mean", "variance"))
    op, x = ops.BatchNormalization(None, None, mean, variance, 1e-3), rng.normal(size=(4, 3, 5))
    steps = (Step(op, (Ref(-1),)),)
    values = recompute(steps, (x,))
    case = Case(steps, (x,), values, values[-1][0])

    def line(**fields):
        return lines_of(case, case.edit("", case.changed(0, **fields)))

    def other(array):
        return Weight("variance", None, array)

    right = "gain = 1 / np.sqrt(variance + 0.001)"
    moved = np.square(np.sqrt(variance.effective) + 1e-3) - 1e-3
    assert line(variance=other(moved)) == (("gain = 1 / (np.sqrt(variance) + 0.001)", right),)
    of_batch = Weight("of the batch", None, x.var((0, 2)))
    assert line(variance=of_batch) == (("gain = 1 / np.sqrt(x.var(axis=(0, 2)) + 0.001)", right),)


def case_of(weight, x):
    steps = (Step(ops.MatMul(weight, None), (Ref(-1),)),)
    values = recompute(steps, (x,))
    return Case(steps, (x,), values, values[-1][0])


def test_weights_are_the_layers_own_with_what_was_done_to_them():
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(4, 4))
    grid = Grid(np.array(0.25), 4)
    effective = 0.25 * np.clip(np.round(stored / 0.25), -8, 7)
    kernel = Weight("kernel", stored, effective, ("4 bits",), grid=grid)
    right = "y = x @ kernel"
    case = case_of(kernel, rng.normal(size=(3, 4)))

    def line(array):
        other = replace(kernel, effective=array, stored=array, grid=None)
        return lines_of(case, case.edit("", case.changed(0, weight=other)))

    for array, text in (
        (stored, "stored_kernel"),
        (effective[::-1], "kernel[::-1]"),
        (effective.T, "kernel.T"),
        (np.roll(effective, 1, axis=1), "np.roll(kernel, 1, axis=1)"),
        (effective[:, [1, 0, 2, 3]], "np.take(kernel, [1, 0, 2, 3], axis=1)"),
        (effective * 3, "(kernel * 3)"),
        (effective / 16, "(kernel / 16)"),
        (np.full_like(effective, 2), "np.full_like(kernel, 2)"),
    ):
        assert line(array) == ((f"y = x @ {text}", right),)
    assert line(rng.normal(size=(4, 4))) == ()
    tall = Weight("kernel", w := rng.normal(size=(6, 4)), w)
    case = case_of(tall, rng.normal(size=(3, 6)))
    read = case.changed(0, weight=replace(tall, effective=w.reshape(4, 6).T, stored=None))
    assert lines_of(case, case.edit("", read)) == (("y = x @ kernel.reshape(4, 6).T", right),)
    wide = Weight("kernel", w := rng.normal(size=(4, 24)), w)
    case = case_of(wide, rng.normal(size=(3, 4)))
    for order, text in (
        ([*range(12, 24), *range(12)], "np.concatenate([kernel[:, 12:], kernel[:, :12]], axis=1)"),
        (
            [*range(8), *range(16, 24), *range(8, 16)],
            "np.concatenate([kernel[:, 0:8], kernel[:, 16:24], kernel[:, 8:16]], axis=1)",
        ),
        (
            np.arange(24).reshape(3, 8).T.ravel(),
            "kernel.reshape(4, 3, 8).swapaxes(1, 2).reshape(4, 24)",
        ),
    ):
        changed = replace(wide, effective=w[:, order], stored=None)
        found = lines_of(case, case.edit("", case.changed(0, weight=changed)))
        assert found == ((f"y = x @ {text}", right),)
    case = case_of(kernel, rng.normal(size=(3, 4)))
    assert line(effective) == ()


def _times(factor):
    return ops.MulConstant(Weight("factor", None, np.array(factor)))


def test_the_line_of_a_grid():
    case = case_of(Weight("kernel", w := np.eye(4), w), np.linspace(-3, 3, 8).reshape(2, 4))
    for mode, text in (
        ("down (floor)", "0.25 * np.floor(x @ kernel / 0.25)"),
        ("half to even", "0.25 * np.round(x @ kernel / 0.25)"),
        ("half up", "0.25 * np.floor(x @ kernel / 0.25 + 0.5)"),
    ):
        steps = case.appended(FixedPointGrid(0.25, mode))
        assert lines_of(case, case.edit("", steps)) == ((f"y = {text}", "y = x @ kernel"),)
    codes = case.edit("", case.appended(FixedPointGrid(0.25, "down (floor)"), _times(4)))
    assert lines_of(case, codes) == (("y = np.floor(x @ kernel / 0.25)", "y = x @ kernel"),)
    fine = case.edit("", case.appended(FixedPointGrid(1 / 1024, "down (floor)")))
    text = "np.floor(x @ kernel * 1024) / 1024"
    assert lines_of(case, fine) == ((f"y = {text}", "y = x @ kernel"),)
    steps = case.appended(FixedPointGrid(0.25, "towards zero", -2.0, 1.75, True))
    wrapped = "y = -2 + np.mod(0.25 * np.trunc(x @ kernel / 0.25) - -2, 3.75)"
    assert lines_of(case, case.edit("", steps)) == ((wrapped, "y = x @ kernel"),)


def test_what_differs_in_many_lines_is_not_shown():
    x = np.ones((2, 4))
    case = case_of(Weight("kernel", np.eye(4), np.eye(4)), x)
    more = [ops.Tanh() if k % 2 else ops.Softmax(1) for k in range(120)]
    assert lines_of(case, case.edit("", case.appended(*more))) == ()
    alone = (("y = np.tanh(x @ kernel)", "y = x @ kernel"),)
    assert lines_of(case, case.edit("", case.appended(ops.Tanh()))) == alone


def test_the_script_has_the_mistaken_line_beside_the_right_one(net, tmp_path):
    path, values = tmp_path / "conv.py", net.conv(torch.from_numpy(X).flip(1)).detach().numpy()
    probe.script(net, "conv", X, path, expected=values)
    lines = path.read_text(encoding="utf-8").splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("padded = "))
    assert lines[at - 1] == "# yours: padded = np.pad(x[:, ::-1], ((0, 0), (0, 0), (1, 1), (1, 1)))"


class Difference(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Linear(8, 8)

    def forward(self, left, right):
        return self.proj(left) - right


def test_the_mistaken_lines_have_the_scripts_own_names_of_inputs(tmp_path):
    path, left, right = tmp_path / "script.py", torch.from_numpy(X[0]), torch.from_numpy(X[1])
    torch.manual_seed(0)
    net = Difference()
    for values, told in (
        (net.proj(left.flip(-1)) - right, ["# yours: proj = left[:, :, ::-1] @ proj_weight.T"]),
        (net.proj(left) + right, ["# yours: sub = proj + right"]),
    ):
        probe.script(net, "", (left, right), path, expected=values.detach().numpy())
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [line.partition(" + proj_bias")[0] for line in lines if line.startswith("# yours")]
        assert found == told


class Rotary(torch.nn.Module):
    """Halves rotated together, as in Llama, between two projections."""

    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(8, 8), torch.nn.Linear(8, 4)

    def forward(self, x, cos, sin):
        y = self.up(x)
        turned = torch.cat([-y[..., 4:], y[..., :4]], dim=-1)
        return self.down(y * cos + turned * sin)


def test_a_step_left_out_is_a_line_with_the_name_of_that_step():
    torch.manual_seed(0)
    net = torch.nn.Sequential()
    net.add_module("norm", torch.nn.LayerNorm(8))
    net.add_module("fc", torch.nn.Linear(8, 5))
    net.add_module("act", torch.nn.GELU())
    x = torch.from_numpy(X[0, :, :, :].reshape(24, 8))
    report = probe.check(net.eval(), "", x.numpy(), expected=net.act(net.fc(x)).detach().numpy())
    ((yours, layers),) = report.findings[0].lines
    assert yours == "norm = x"
    assert layers.startswith("norm = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, ")


def test_the_lines_of_a_block_have_the_names_of_the_calls_arguments():
    torch.manual_seed(0)
    net, x = Rotary().eval(), torch.from_numpy(X[0].reshape(1, 24, 8))
    angles = torch.arange(24)[:, None] * 100.0 ** (-torch.arange(4) / 4)
    cos, sin = (f(torch.cat([angles, angles], -1)) for f in (torch.cos, torch.sin))
    wrong = net(x, cos, -sin).detach().numpy()
    report = probe.check(net, "", (x.numpy(), cos.numpy(), sin.numpy()), expected=wrong)
    lines = "\n".join(line for pair in report.findings[0].lines for line in pair)
    assert "sin" in lines and "x2" not in lines and "x1" not in lines


def test_the_line_of_a_cell():
    torch.manual_seed(0)
    net, x = torch.nn.LSTM(4, 3, batch_first=True), torch.from_numpy(X[0, :, :4, :4].copy())
    weights = {name: weight.detach().numpy() for name, weight in net.named_parameters()}
    h = c = np.zeros((3, 3))
    outputs = []
    for t in range(4):
        z = x[:, t].numpy() @ weights["weight_ih_l0"].T + h @ weights["weight_hh_l0"].T
        i, f, g, o = np.split(z + weights["bias_ih_l0"] + weights["bias_hh_l0"], 4, axis=-1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * c
        outputs.append(h)
    found = probe.check(net, "", x.numpy(), expected=np.stack(outputs, axis=1))
    assert found.findings[0].lines == (("h = sigmoid(o) * c", "h = sigmoid(o) * np.tanh(c)"),)


def test_a_rotation_is_one_line_on_both_sides_with_the_names_of_its_tables():
    torch.manual_seed(0)
    net, x = Rotary().eval(), torch.from_numpy(X[0].reshape(1, 24, 8))
    angles = torch.arange(24)[:, None] * 100.0 ** (-torch.arange(4) / 4)
    cos, sin = (f(torch.cat([angles, angles], -1)) for f in (torch.cos, torch.sin))
    y = net.up(x)
    turned = torch.stack([-y[..., 1::2], y[..., ::2]], dim=-1).reshape(y.shape)
    pairs = [torch.repeat_interleave(table[:, :4], 2, dim=1) for table in (cos, sin)]
    given = (x.numpy(), cos.numpy(), sin.numpy())
    lines = {}
    for name, values in (
        ("direction", net(x, cos, -sin)),
        ("neighbours", net.down(y * pairs[0] + turned * pairs[1])),
    ):
        report = probe.check(net, "", given, expected=values.detach().numpy())
        lines[name] = report.findings[0].lines
    half = "np.concatenate([-up[..., 4:], up[..., :4]], axis=-1)"
    assert lines["direction"] == (
        (f"add = up * cos + {half} * -sin", f"add = up * cos + {half} * sin"),
    )
    _, (yours, layers) = lines["neighbours"]
    assert yours.startswith("add = up * np.cos(angles) + np.stack([-up[..., 1::2], up[..., ::2]]")
    assert layers == f"add = up * cos + {half.replace('axis=-1', 'axis=2')} * sin"


class TwoNorms(torch.nn.Module):
    """Norms behind the sums."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(8), torch.nn.LayerNorm(8)
        self.fc1, self.fc2 = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    def forward(self, x):
        x = self.norm1(x + self.fc1(x))
        return self.norm2(x + self.fc2(x))


def test_a_name_that_is_used_again_is_paired_with_that_of_the_same_step():
    torch.manual_seed(0)
    net, x = TwoNorms().eval(), torch.from_numpy(X[0, 0])
    y = x + net.fc1(net.norm1(x))
    wrong = y + net.fc2(net.norm2(y))
    report = probe.check(net, "", x.numpy(), expected=wrong.detach().numpy())
    lines = report.findings[0].lines
    means = [pair for pair in lines if "mean = " in pair[0] + pair[1]]
    assert means[0][0].endswith("x.mean(axis=1, keepdims=True)")
    assert means[0][1].endswith("add.mean(axis=1, keepdims=True)")


def test_a_step_put_before_the_first_is_paired_with_none_of_the_layers():
    rng = np.random.default_rng(0)
    x, memory, w = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(4, 4))
    words = ("the_scale_of_the_layer_norm", "the_bias_of_the_layer_norm")
    scale, bias = (Weight(name, v := rng.normal(size=4), v) for name in words)
    norm = ops.LayerNormalization(scale, bias, 1e-5, (1,))
    product = ops.MatMul(Weight("kernel", w, w), None)
    steps = (
        Step(norm, (Ref(-1),)),
        Step(product, (Ref(-1, 1),)),
        Step(ops.Add(), (Ref(0), Ref(1))),
    )
    values = recompute(steps, (x, memory))
    case = Case(steps, (x, memory), values, values[-1][0])
    wrong = (
        Step(norm, (Ref(-1, 1),)),
        Step(norm, (Ref(-1),)),
        Step(product, (Ref(0),)),
        Step(ops.Add(), (Ref(1), Ref(2))),
    )
    assert [pair for pair in lines_of(case, case.edit("", wrong)) if "mean = " in str(pair)] == [
        ("mean = x1.mean(axis=1, keepdims=True)", "")
    ]
