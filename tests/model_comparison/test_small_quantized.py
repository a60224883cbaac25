"""Small nets that ONNX Runtime has quantised: tables of 8 bits, a pooling of integers, a zero point
that is off."""

import copy

import numpy as np
import onnx
import pytest
import torch
from known_warnings import TORCH_EXPORT
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from quantized_nets import Inputs, Pooled, exported, images
from torch import nn

import probe

pytestmark = pytest.mark.filterwarnings(*TORCH_EXPORT)


class Words(nn.Module):
    """A table of words, and places, before products."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50, 16), nn.Parameter(torch.randn(7, 16))
        self.one, self.norm, self.two = nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 50)

    def forward(self, x):
        return self.two(torch.relu(self.norm(self.one(self.words(x) + self.places))))


def changed(path, name, edit):
    """The model with another initializer."""
    model = onnx.load(path)
    (held,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    old = numpy_helper.to_array(held)
    held.CopyFrom(numpy_helper.from_array(edit(old.copy()).astype(old.dtype), name))
    return model


IDS = np.random.default_rng(0).integers(0, 50, (2, 7))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    torch.manual_seed(0)
    net, folder = Words().eval(), tmp_path_factory.mktemp("words")
    quantize_dynamic(exported(net, IDS, folder), folder / "small.onnx")
    return net, folder


@pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QUInt8])
def test_a_table_of_8_bits_is_a_level(words, kind):
    net, folder = words
    quantize_dynamic(folder / "ready.onnx", folder / "other.onnx", weight_type=kind)
    for reference in (net, folder / "net.onnx"):
        found = probe.compare(reference, folder / "other.onnx", IDS)
        assert found.ok, str(found)
        assert any("rounded to integers of 8 bits" in note for note in found.notes)
        assert any("words" in pair.a[0] for pair in found.pairs)


def another_row(table):
    table[IDS[0, 0]] = table[IDS[0, 1]]
    return table


@pytest.mark.parametrize(
    ("part", "edit", "told"),
    [
        ("zero_point", lambda zero: zero + 12, "moved by -12 of its steps: another zero point"),
        ("scale", lambda scale: scale * 1.2, "1.2 times A's: another scale"),
        ("quantized", another_row, "more of 800"),
    ],
)
def test_a_fault_in_a_table_is_the_one_source(words, part, edit, told):
    net, folder = words
    found = probe.compare(net, changed(folder / "small.onnx", f"words.weight_{part}", edit), IDS)
    (source,) = found.sources
    assert source.a == ("words",) and told in str(found), str(found)
    assert part != "quantized" or "another scale" not in str(found)


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_a_pooling_of_integers_and_a_zero_point(form, tmp_path):
    torch.manual_seed(0)
    net, given, small = Pooled().eval(), images(), tmp_path / "small.onnx"
    ready = exported(net, given[0], tmp_path)
    quantize_static(ready, small, Inputs(given), form, activation_type=QuantType.QUInt8)
    found = probe.compare(net, small, given[0])
    assert found.ok and len(found.pairs) >= 4, str(found)
    held = [tensor.name for tensor in onnx.load(small).graph.initializer]
    name = "/one/Conv_output_0_zero_point" if form is QuantFormat.QOperator else ""
    name = name or "/Relu_output_0_zero_point"
    assert name in held, held
    (source,) = probe.compare(net, changed(small, name, lambda zero: zero + 12), given[0]).sources
    (finding,) = source.findings
    assert finding.slug == "zero-point" and "by zero point 0 (values from 0 to" in finding.claim
    assert "quantises by zero point 12" in finding.claim and not source.differs


def test_other_readers_of_a_table_keep_their_integers(words):
    """A table that is read as integers besides is left as it is."""
    net, folder = words
    model = onnx.load(folder / "small.onnx")
    node = copy.deepcopy(next(node for node in model.graph.node if node.op_type == "Gather"))
    cast = onnx.helper.make_node("Cast", [node.output[0]], ["codes"], to=onnx.TensorProto.FLOAT)
    model.graph.node.append(cast)
    model.graph.output.append(onnx.helper.make_tensor_value_info("codes", 1, [2, 7, 16]))
    found = probe.compare(net, model, IDS)
    assert found.verdict == "diverge" and all("words" in pair.a[0] for pair in found.sources)
