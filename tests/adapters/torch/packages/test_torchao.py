"""Weights that torchao has quantised, where it is installed."""

import numpy as np
import pytest
import torch
from torch import nn

import probe

torchao = pytest.importorskip("torchao.quantization")

CASES = {
    "int8": lambda: torchao.Int8WeightOnlyConfig(),
    "int4": lambda: torchao.IntxWeightOnlyConfig(weight_dtype=torch.int4),
    "int3": lambda: torchao.IntxWeightOnlyConfig(
        weight_dtype=torch.int3, granularity=torchao.PerGroup(16)
    ),
    "float8": lambda: torchao.Float8WeightOnlyConfig(),
}
X = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)


def built(config):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 24), nn.ReLU()).eval()
    torchao.quantize_(net, config)
    return net


@pytest.mark.parametrize("kind", CASES)
def test_saved_and_reopened(kind, tmp_path):
    net = built(CASES[kind]())
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=lambda: built(CASES[kind]()))
    held = model.module[0].weight
    before = held.qdata.view(torch.uint8).clone(), held.scale.clone()
    report = probe.check(model, "0", X)
    weight = report.weights["weight"]
    assert report.ok and "onnx" in report.outputs and weight.steps[0].startswith(kind), str(report)
    np.testing.assert_array_equal(weight.effective, held.dequantize().detach().numpy())
    assert (weight.grid is None) == (kind == "float8")
    if weight.grid is not None:
        assert weight.grid.bits == int(kind[3:])
        np.testing.assert_array_equal(weight.grid.integers(weight.effective), held.qdata.numpy())
    wrong = X @ weight.stored.T.astype(np.float32) + model.module[0].bias.detach().numpy()
    found = probe.check(model, "0", X, expected=wrong)
    assert (
        found.verdict == "diverge"
        and found.findings[0].slug == "raw-weights"
        and "weight" in found.findings[0].claim
    ), str(found)
    assert torch.equal(before[0], held.qdata.view(torch.uint8)) and torch.equal(
        before[1], held.scale
    )


def test_a_quantised_input_has_no_description():
    report = next(iter(probe.sweep(built(torchao.Int8DynamicActivationInt8WeightConfig()), X)))
    assert report.verdict == "unchecked" and "quantised inputs" in report.missing["numpy"]
