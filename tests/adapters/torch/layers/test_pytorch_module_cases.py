"""PyTorch's own cases of its modules: every call is answered, none diverges, and no fault of ours
is among the reasons."""

import sys
import unittest
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

import probe


class Called(torch.nn.Module):
    """A module called on its arguments, whose tensors are the inputs."""

    def __init__(self, module: torch.nn.Module, arguments: Any) -> None:
        super().__init__()
        self.module = module
        self.leaves, self.form = pytree.tree_flatten(arguments)

    def forward(self, *tensors: torch.Tensor) -> Any:
        given = iter(tensors)
        args, kwargs = pytree.tree_unflatten(
            [next(given) if torch.is_tensor(leaf) else leaf for leaf in self.leaves], self.form
        )
        return self.module(*args, **kwargs)


def _known() -> dict[str, Any]:
    """``module_db`` of PyTorch's tests, which need nothing else of their packages; without losses,
    which have no description."""
    expecttest: Any = ModuleType("expecttest")
    expecttest.TestCase = unittest.TestCase
    absent = "expecttest" not in sys.modules
    sys.modules.setdefault("expecttest", expecttest)
    try:
        from torch.testing._internal.common_modules import module_db  # noqa: PLC0415
    finally:
        if absent:
            del sys.modules["expecttest"]
    return {info.name: info for info in module_db if not info.name.endswith("Loss")}


KNOWN = _known()
LONG = {"nn.MultiheadAttention": pytest.mark.exhaustive, "nn.LSTM": pytest.mark.exhaustive} | {
    name: pytest.mark.slow for name in KNOWN if "Transformer" in name
}
CASES = [pytest.param(name, marks=LONG.get(name, ())) for name in KNOWN]


@pytest.mark.exhaustive(default=24)
@pytest.mark.filterwarnings(
    "ignore:enable_nested_tensor is True:UserWarning",
    "ignore:The PyTorch API of nested tensors:UserWarning",
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning",
)
@pytest.mark.parametrize("name", CASES)
def test_every_case_is_answered(name):
    told = []
    for training in (False, True):
        torch.manual_seed(0)
        for case in KNOWN[name].module_inputs_func(
            KNOWN[name], device="cpu", dtype=torch.float32, requires_grad=False, training=training
        ):
            if case.forward_input is None:
                continue
            made, given = case.constructor_input, case.forward_input
            module = (
                Called(
                    KNOWN[name].module_cls(*made.args, **made.kwargs), (given.args, given.kwargs)
                )
                .float()
                .train(training)
            )
            tensors = [leaf for leaf in module.leaves if torch.is_tensor(leaf)]
            try:
                with torch.no_grad():
                    module(*[tensor.clone() for tensor in tensors])
            except (RuntimeError, ValueError):
                continue  # PyTorch's own module refuses it
            for report in probe.sweep(module, [tensor.numpy() for tensor in tensors]):
                told.append(report.verdict)
                assert (
                    report.verdict != "diverge" and "please report this bug" not in report.sentence
                ), (
                    case.desc,
                    training,
                    report.sentence,
                )
    assert "agree" in told, told


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Softmin"])
@pytest.mark.parametrize("dim", [0, -1, None])
@pytest.mark.filterwarnings("ignore:Implicit dimension")
def test_a_number_is_an_axis_of_one(kind, dim):
    report = probe.check(getattr(torch.nn, kind)(dim), "", torch.tensor(2.5))
    assert report.ok and report.outputs["numpy"].shape == ()


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_a_cell_takes_one_sample_without_a_batch(kind):
    assert probe.check(getattr(torch.nn, kind)(3, 4), "", torch.ones(3)).ok
