"""A forward that writes to its own parameters, and another thread that trains the model meanwhile:
neither is the framework's fault, and neither is undone or left behind."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch.nn import functional

import probe

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


class Writing(torch.nn.Module):
    def __init__(self, forward):
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.inner = torch.nn.Parameter(torch.randn(4, 4)), torch.nn.Linear(4, 4)
        self.register_buffer("mean", torch.zeros(4))
        self.own = forward

    def forward(self, x):
        return self.own(self, x)


def data_before(module, x):
    module.weight.data.mul_(0.5)
    return functional.linear(x, module.weight)


def data_between(module, x):
    y = functional.linear(x, module.weight)
    module.weight.data.mul_(0.5)
    return functional.linear(y, module.weight)


def data_replaced(module, x):
    module.weight.data = module.weight.data * 2
    return x @ module.weight


def in_place(module, x):
    with torch.no_grad():
        module.weight.mul_(0.5)
    return functional.linear(x, module.weight)


def of_a_module_inside(module, x):
    y = module.inner(x)
    module.inner.weight.data.clamp_(-0.1, 0.1)
    return y


def running_mean(module, x):
    module.mean.mul_(0.9).add_(0.1 * x.mean(0))
    return x - module.mean


@pytest.mark.parametrize(
    "forward",
    [data_before, data_between, data_replaced, in_place, of_a_module_inside, running_mean],
)
def test_a_forward_that_writes_to_what_it_holds(forward):
    model = torch.nn.Sequential(Writing(forward), torch.nn.Tanh()).eval()
    saved = {name: one.clone() for name, one in model.state_dict().items()}
    versions = {name: one._version for name, one in model.named_parameters()}
    for report in probe.sweep(model, X):
        assert report.verdict == "agree" or "its weights changed during the pass" in str(report)
    whole = probe.check(model, "", X)
    assert whole.verdict == "agree", whole
    assert whole.notes == ("the module is in evaluation mode",)
    assert all(torch.equal(one, saved[name]) for name, one in model.state_dict().items())
    assert {name: one._version for name, one in model.named_parameters()} == versions
    wrong = whole.outputs["framework"].copy()
    wrong[0, 0] += 0.1
    assert probe.check(model, "", X, expected=wrong, search=False).verdict == "diverge"


class Trained(torch.nn.Module):
    """While ``step`` is set, another thread makes it between the two layers of a pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros(()))
        self.step = None

    def forward(self, x):
        x = self.first(x)
        if self.step is not None:
            thread = threading.Thread(target=self.step)
            thread.start()
            thread.join()
        return self.second(x)


def test_weights_that_another_thread_trains_meanwhile():
    model = Trained()
    losses, steps = [], []

    def step():
        with torch.no_grad():
            model.first.weight.mul_(2)
            model.count.add_(1)
        # keeps the weight for a backward pass to come, at the version that it has now
        losses.append((model.first.weight * model.first.weight).sum())
        steps.append(model.first.weight.detach().clone())

    version, others = model.first.weight._version, model.second.weight._version
    model.step = step
    report = probe.check(model, "first", X)
    model.step = None
    assert report.verdict == "unchecked", report
    assert "its weights changed during the pass (weight)" in report.sentence
    # what the other thread has done stays done
    assert model.first.weight._version == version + len(steps)
    assert torch.equal(model.first.weight, steps[-1]) and model.count == len(steps)
    assert model.second.weight._version == others
    losses[-1].backward()
    assert probe.check(model, "first", X).verdict == "agree"


def test_other_layers_have_a_verdict_meanwhile():
    model = Trained()

    def step():
        with torch.no_grad():
            model.first.weight.mul_(2)

    model.step = step
    assert probe.check(model, "second", X).verdict == "agree"
    whole = probe.check(model, "", X)
    assert whole.verdict == "unchecked"
    assert "its weights changed during the pass" in whole.sentence


@torch.library.custom_op("probe_test_writes::product", mutates_args=())
def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight


def test_autocast_within_a_kernel_is_that_of_the_model():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.eye(4))
            self.kinds = []

        def forward(self, x):
            products = [product(x, self.weight)]
            with torch.autocast("cpu", enabled=False):
                products.append(product(x, self.weight))
            self.kinds.append([one.dtype for one in products])
            return products[1]

    model = Net()
    kinds = [torch.bfloat16, torch.float32]
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.from_numpy(X))
        probe.check(model, "", X)
    assert len(model.kinds) > 2 and all(one == kinds for one in model.kinds), model.kinds


def test_warnings_of_kernels_end_no_pass():
    """The filter of the tests makes them errors; where this kernel's is shown depends on what
    watches the call."""
    model = torch.nn.Conv1d(5, 7, 4, padding="same").eval()
    x = np.random.default_rng(0).normal(size=(2, 5, 13)).astype(np.float32)
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        assert probe.check(model, "", x).verdict == "agree"
    finally:
        torch.set_warn_always(always)


@pytest.mark.costly
def test_pytorchs_compiler_is_not_imported(tmp_path):
    """It takes a second or two, and changes the filters of warnings."""
    code = """
import sys
import numpy as np, torch, probe
module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).train()
print({report.verdict for report in probe.sweep(module, np.eye(5, 3, dtype=np.float32))})
print("torch._dynamo" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.stdout == "{'agree'}\nFalse\n", run.stderr


class Reordered(torch.nn.Module):
    """The inverse of a permutation, written into a tensor without values, as routers do."""

    def forward(self, x):
        order = x[:, 0].argsort()
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order))
        return x[order][inverse] * 2


def test_what_a_tensor_holds_before_it_is_written_is_told_nowhere():
    """PyTorch fills such tensors with the largest integer here, where memory has other numbers at
    each run."""
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    model = torch.nn.Sequential(Reordered())
    torch.use_deterministic_algorithms(True)
    try:
        report = probe.check(model, "0", x)
    finally:
        torch.use_deterministic_algorithms(False)
    assert report.verdict == "agree", report
    largest = np.iinfo(np.int64).max
    assert not any((inputs == largest).any() for inputs in report.inputs)


def filled(t):
    t.fill_(3.0)


def filled_in_part(t):
    t[1:] = 3.0


def filled_by_out(t):
    torch.add(torch.ones(3, 4), 2.0, out=t)


def filled_by_numpy(t):
    t.numpy()[:] = 3.0


def written_by_index(t, x):
    t[0] = x[0]


def written_by_view(t, x):
    t[0].copy_(x[0])


@pytest.mark.parametrize("write", [written_by_index, written_by_view])
@pytest.mark.parametrize("fill", [filled, filled_in_part, filled_by_out, filled_by_numpy])
def test_what_a_tensor_without_values_was_filled_with_is_kept(fill, write):
    """Though no call that is captured has filled it."""

    def forward(module, x):
        t = torch.empty(3, 4)
        fill(t)
        write(t, x)
        return t * 2

    model = torch.nn.Sequential(Writing(forward))
    report = probe.check(model, "0", X)
    assert report.verdict == "agree", report
    calls = list(probe.sweep(model, X))
    assert len(calls) == 3 and all(call.verdict == "agree" for call in calls), calls
