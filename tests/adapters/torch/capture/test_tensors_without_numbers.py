"""What runs on tensors that hold no numbers of their own: right, or unchecked with the reason."""

import numpy as np
import pytest
import torch

import probe
from probe.errors import ForwardFailed

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


class Through(torch.nn.Module):
    """A function of the user's own between two layers."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.out, self.between = torch.nn.Linear(4, 5), torch.nn.Linear(5, 2), between

    def forward(self, x):
        return self.out(self.between(self.fc, x))


def mapped_layer(fc, x):
    return torch.func.vmap(lambda row: torch.tanh(fc(row)) * 2)(x)


def mapped_function(fc, x):
    return torch.func.vmap(torch.tanh)(fc(x))


def mapped_with_what_follows(fc, x):
    y = fc(x)
    return torch.func.vmap(lambda row: row * y[0])(y)


def derived(fc, x):
    return torch.func.vmap(torch.func.grad(lambda row: torch.tanh(fc(row)).sum()))(x) @ torch.ones(
        4, 5
    )


def through_numpy(fc, x):
    return torch.from_numpy(np.tanh(fc(x).detach().numpy()))


@pytest.mark.parametrize(
    ("between", "unchecked"),
    [
        (mapped_layer, {"fc", "/unseen"}),
        (mapped_function, {"/unseen"}),
        (mapped_with_what_follows, {"/unseen"}),
        (derived, {"fc", "/unseen"}),
        (through_numpy, {"/unseen"}),
    ],
)
def test_what_nobody_saw_is_unchecked_and_the_rest_is_right(between, unchecked):
    net = Through(between).eval()
    reports = list(probe.sweep(net, X))
    assert {one.layer for one in reports if one.verdict == "unchecked"} == unchecked
    assert all(one.ok for one in reports if one.layer not in unchecked)
    seen = next(one for one in reports if one.layer == "out")
    assert np.array_equal(seen.outputs["framework"], net(torch.from_numpy(X)).detach().numpy())
    if "fc" in unchecked:
        report = probe.check(net, "fc", X)
        assert report.verdict == "unchecked" and "called inside torch.func.vmap" in report.sentence
        report = probe.check(net, "fc", X, expected=np.zeros((3, 5)))
        assert report.verdict == "unchecked"
    assert not any(one._forward_hooks for one in net.modules())


def test_a_layer_that_is_on_the_meta_device_fails_in_one_sentence():
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 2, device="meta")).eval()
    found = []
    with pytest.raises(ForwardFailed, match=r"1\.weight, 1\.bias is on the meta device"):
        for report in probe.sweep(net, X):
            found.append(report)
    assert [(one.layer, one.verdict) for one in found] == [("0", "agree")]
    with torch.device("meta"):
        empty = torch.nn.Sequential(torch.nn.Linear(4, 5))
    with pytest.raises(ForwardFailed, match=r"0\.weight, 0\.bias is on the meta device"):
        probe.check(empty, "0", X)


def test_shapes_of_meta_tensors_may_be_read():
    class Shaped(torch.nn.Module):
        def forward(self, x):
            return x.reshape((torch.empty(3, 2, 2, device="meta") + 1).shape)

    (report,) = probe.sweep(Shaped(), X)
    assert report.ok and report.kind == "Tensor.reshape"


@pytest.mark.parametrize("where", ["memory", "disk", "sequential"])
def test_weights_that_accelerate_brings_for_each_call_are_read_while_they_are_there(
    where, tmp_path
):
    accelerate = pytest.importorskip("accelerate")

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([0.5, 2.0]))

        def forward(self, x):
            return x * self.scale

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2), Own())
    net.eval().requires_grad_(False)
    right, weight = net(torch.from_numpy(X)).numpy(), net[2].weight.numpy().copy()
    if where == "disk":
        accelerate.disk_offload(net, tmp_path, execution_device="cpu")
    else:
        accelerate.cpu_offload(net, execution_device="cpu")
    if where == "sequential":
        hook = accelerate.hooks.ModelHook()
        accelerate.hooks.add_hook_to_module(net[2], hook, append=True)
    forwards = [vars(one).get("forward") for one in net.modules()]
    reports = list(probe.sweep(net, X))
    assert [(one.layer, one.verdict) for one in reports] == [
        ("0", "agree"),
        ("1", "agree"),
        ("2", "agree"),
        ("3/mul", "agree"),
    ]
    report = probe.check(net, "2", X)
    assert report.ok and np.array_equal(report.weights["weight"].effective, weight)
    assert not any("changes the result" in note for note in report.notes)
    mine = report.outputs["framework"] + np.float32(0.1)
    assert probe.check(net, "2", X, expected=mine).verdict == "diverge"
    assert probe.check(net, "2", given=report.inputs[0]).ok
    assert [vars(one).get("forward") for one in net.modules()] == forwards
    assert all(one.is_meta for one in net.parameters())
    assert np.array_equal(net(torch.from_numpy(X)).numpy(), right)
