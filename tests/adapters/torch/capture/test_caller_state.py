"""A sweep's pass runs in a thread of its own, with all that the caller has set for his; and a check
between forward and backward."""

import contextlib
import random
from contextvars import ContextVar

import numpy as np
import pytest
import torch
from torch.nn.utils.parametrizations import spectral_norm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import probe

X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
WORD = ContextVar("WORD", default="nobody's")


class Saying(torch.nn.Module):
    """Takes down what its thread has set."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 4)
        self.said: list[tuple] = []

    def forward(self, x):
        cpu = (
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None,
        )
        modes = [type(one).__name__ for one in torch.overrides._get_current_function_mode_stack()]
        self.said.append(
            (
                cpu,
                torch.is_inference_mode_enabled(),
                torch.get_default_dtype(),
                WORD.get(),
                str(torch.ones(1).device),
                np.geterr()["divide"],
                modes,
            )
        )
        return torch.relu(self.fc(x))


class Negative(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        return -found if func is torch.relu else found


class Doubled(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        return found * 2 if func is torch.ops.aten.relu.default else found


@contextlib.contextmanager
def word():
    token = WORD.set("the caller's")
    yield
    WORD.reset(token)


@contextlib.contextmanager
def double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "setting",
    [
        contextlib.nullcontext,
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.autocast("cpu", torch.float16),
        torch.inference_mode,
        torch.no_grad,
        double,
        word,
        lambda: np.errstate(divide="raise"),
        Negative,
        Doubled,
    ],
)
def test_a_sweep_says_what_a_check_says_whatever_the_caller_has_set(setting):
    torch.manual_seed(0)
    model = Saying()
    with setting():
        before = (
            torch._C._len_torch_function_stack(),
            len(torch.utils._python_dispatch._get_current_dispatch_mode_stack()),
        )
        reports = {report.layer: report for report in probe.sweep(model, X)}
        checks = {name: probe.check(model, name, X) for name in reports}
        assert (
            torch._C._len_torch_function_stack(),
            len(torch.utils._python_dispatch._get_current_dispatch_mode_stack()),
        ) == before
    assert {name: one.verdict for name, one in reports.items()} == {
        name: one.verdict for name, one in checks.items()
    }
    for name, one in reports.items():
        np.testing.assert_array_equal(one.outputs["framework"], checks[name].outputs["framework"])
        assert one.missing.get("numpy") == checks[name].missing.get("numpy")


def test_the_pass_of_a_sweep_meets_what_the_caller_has_set():
    model, heard = Saying(), []
    model.register_forward_hook(lambda module, args, output: heard.append(module.said[-1]))
    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.inference_mode(),
        word(),
        np.errstate(divide="raise"),
    ):
        list(probe.sweep(model, X))
        probe.check(model, "fc", X)
    assert heard[0][:6] == (
        (True, torch.bfloat16),
        True,
        torch.float32,
        "the caller's",
        "cpu",
        "raise",
    )
    assert heard[0][:3] == heard[1][:3]


class Trained(torch.nn.Module):
    """What writes to itself in training mode: statistics, an embedding's rows, the vectors of a
    spectral norm, a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(6, 3, max_norm=0.5)
        self.norm = torch.nn.BatchNorm1d(3)
        self.fc = spectral_norm(torch.nn.Linear(3, 4))
        self.drop = torch.nn.Dropout(0.5)
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.register_buffer("count", torch.tensor(1.0))

    def forward(self, index):
        self.count += 1
        return self.drop(self.fc(self.norm(self.embedding(index)))) * self.scale * self.count


@pytest.mark.parametrize(
    "work",
    [lambda model, x: probe.check(model, "fc", x), lambda model, x: list(probe.sweep(model, x))],
)
def test_a_check_between_forward_and_backward_changes_no_gradient(work):
    index = np.array([0, 2, 3, 5, 1])
    gradients = []
    for looked in (False, True):
        torch.manual_seed(0)
        model = Trained().train()
        torch.nn.init.normal_(model.embedding.weight)
        loss = model(torch.from_numpy(index)).square().sum()
        if looked:
            work(model, index)
        loss.backward()
        gradients.append({name: one.grad.clone() for name, one in model.named_parameters()})
        gradients[-1]["drawn next"] = torch.rand(3)
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]), name


class Drawing(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 4)

    def forward(self, x):
        return self.fc(x) * float(np.random.rand()) * random.random()  # noqa: NPY002


@pytest.mark.parametrize(
    "work", [lambda model: probe.check(model, "fc", X), lambda model: list(probe.sweep(model, X))]
)
def test_the_random_states_of_numpy_and_python_are_put_back(work):
    def drawn(look: bool) -> tuple[float, ...]:
        np.random.seed(3)  # noqa: NPY002
        random.seed(3)
        torch.manual_seed(3)
        if look:
            work(Drawing())
        torch.manual_seed(4)
        return np.random.rand(), random.random(), float(np.random.normal())  # noqa: NPY002

    assert drawn(True) == drawn(False)
