"""Fixed-point types that are planned, and traces as hls4ml writes them."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import probe
from probe.cli.main import command
from probe.errors import BadInput
from probe.model_comparison.causes.types import FixedType, read_types

X = np.random.default_rng(0).uniform(-1, 1, (5, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = nn.Sequential()
    made.add_module("fc1", nn.Linear(6, 8))
    made.add_module("act", nn.ReLU())
    made.add_module("fc2", nn.Linear(8, 3))
    nn.init.constant_(made.fc2.bias, 5.0)
    return made.eval()


def trace(net, **wrong):
    """As hls4ml names it: a layer, and its linear activation apart."""
    x, found = torch.from_numpy(X), {}
    for name, module in net.named_children():
        with torch.no_grad():
            x = module(x)
        found |= {name: x.numpy().copy(), f"{name}_linear": x.numpy().copy()}
    return {**found, **wrong}


CONFIG = {
    "Model": {"Precision": "ap_fixed<16,6>", "ReuseFactor": 1},
    "LayerName": {
        "fc1": {"Precision": {"result": "ap_fixed<8,1,AP_RND,AP_SAT>", "weight": "ap_fixed<8,1>"}},
        "fc2": {"Trace": True, "Precision": {"result": "fixed<8,3>", "bias": "auto"}},
    },
}


def test_values_beyond_a_type_are_told_with_the_bits_that_hold_them(net):
    comparison = probe.compare(net, trace(net), X, types=CONFIG)
    assert comparison.ok, str(comparison)
    told = [one for one in comparison.notes if one.startswith("types:")]
    most = probe.check(net, "fc2", X).outputs["framework"].max()
    assert 4 < most < 8
    [wide] = [one for one in told if "fc2, result fixed<8,3>" in one]
    assert "beyond [-4, 3.96875]; 4 integer bits hold them" in wide
    assert not any("fc2, bias" in one or "fc1, weight" in one for one in told)


def test_types_that_hold_all_are_said_to(net):
    comparison = probe.compare(net, net, X, types={"fc1": "ap_fixed<16,6>", "act": "ufixed<8,4>"})
    assert comparison.notes[0] == "types: 4 types of 2 layers were compared with their values"


def test_values_below_the_step_and_names_of_no_layer_are_told(net):
    types = {"fc1": {"weight": "ap_fixed<4,6>"}, "fc9": "int<8>"}
    notes = probe.compare(net, net, X, types=types).notes
    assert "types: no layer of the model is named fc9" in notes
    assert any("smaller than half its step 4 and become 0" in one for one in notes)


def test_the_limits_of_a_type():
    types = read_types({"a": "ap_fixed<8,3>", "b": "ap_ufixed<8,3,RND>", "c": "ap_uint<4>"})
    assert types["a"]["default"] == FixedType("ap_fixed<8,3>", True, 8, 3)
    assert types["a"]["default"].limits == (-4.0, 4 - 2**-5)
    assert types["b"]["default"].limits == (0.0, 8 - 2**-5)
    assert types["c"]["default"].limits == (0.0, 15.0)


@pytest.mark.parametrize(
    "text",
    [
        *("float", "ap_fixed<8>x", "", 8, None, ["ap_fixed<8,3>"], "ap_fixed<8,1000000000000>"),
        f"ap_fixed<{'8' * 5000},3>",
    ],
    ids=lambda text: str(text)[:20],
)
def test_what_is_no_type_is_said(text):
    with pytest.raises(BadInput, match="is no type such as"):
        read_types({"fc1": text})


def test_a_file_of_types_that_is_nested_too_deeply(tmp_path):
    (tmp_path / "types.json").write_text("[" * 100_000)
    with pytest.raises(BadInput, match="cannot be read as JSON: it is nested too deeply"):
        read_types(tmp_path / "types.json")


def test_the_command_takes_a_file(net, tmp_path):
    with pytest.warns(DeprecationWarning):
        torch.onnx.export(net, torch.from_numpy(X), str(tmp_path / "net.onnx"), dynamo=False)
    types, x = tmp_path / "types.json", tmp_path / "x.npy"
    types.write_text(json.dumps({"Model": {"Precision": "ap_fixed<8,2>"}}))
    np.save(x, X)
    model = str(tmp_path / "net.onnx")
    found = CliRunner().invoke(
        command, ["compare", model, model, "--input", str(x), "--types", str(types)]
    )
    assert found.exit_code == 0, found.output
    assert "integer bits hold them" in found.output
    types.write_text("{")
    found = CliRunner().invoke(command, ["compare", model, model, "--types", str(types)])
    assert "cannot be read as JSON" in str(found.exception)


def test_a_trace_whose_output_type_is_too_narrow(net):
    """The layer that it was made in, with the bits; not the layers behind it."""
    wrong = trace(net)
    rounded = np.floor(wrong["fc1"] * 16) / 16
    x = torch.relu(torch.from_numpy(rounded.astype(np.float32)))
    with torch.no_grad():
        last = net.fc2(x).numpy()
    wrong |= {"fc1": rounded, "fc1_linear": rounded, "act": x.numpy(), "act_linear": x.numpy()}
    wrong |= {"fc2": last, "fc2_linear": last}
    [source] = probe.compare(net, wrong, X).sources
    assert source.a == ("fc1",)
    assert "the output has 4 fraction bits" in source.findings[0].claim
