"""Small nets that were quantised: tables of 8 bits, a pooling and constants of integers, a zero
point that is off, a normalisation that is simulated in its convolution."""

import copy

import numpy as np
import onnx
import pytest
import torch
from known_warnings import TORCH_AO, TORCH_EXPORT
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from quantized_nets import Inputs, Pooled, exported, images
from torch import nn
from torch.ao import quantization as ao

import probe

pytestmark = pytest.mark.filterwarnings(*TORCH_AO, *TORCH_EXPORT)


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


def in_8_bits(values):
    step = np.ptp(values) / 255
    return np.round(values / step) * step


def test_a_constant_of_8_bits_that_was_worked_out_before_is_a_level(words):
    net, folder = words
    small = changed(folder / "small.onnx", "places", in_8_bits)
    found = probe.compare(net, small, IDS)
    assert found.verdict == "agree", str(found)
    small = changed(folder / "small.onnx", "places", lambda values: 2 * in_8_bits(values))
    (source,) = probe.compare(net, small, IDS).sources
    assert source.notes[0] == "rounded, B's are 2 times A's: another scale"
    small = changed(folder / "small.onnx", "places", lambda values: np.round(values * 2) / 2)
    (source,) = probe.compare(net, small, IDS).sources
    assert source.notes[0].endswith(" values, 0.5 apart: A's rounded to fewer bits")


class Read(nn.Module):
    """A recurrence whose two biases PyTorch and ONNX hold apart."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


@pytest.mark.filterwarnings("ignore:Exporting a model to ONNX with a batch_size")
def test_an_lstm_in_half_precision_is_a_level(tmp_path):
    torch.manual_seed(0)
    net, x = Read().eval(), np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)
    torch.onnx.export(net, (torch.from_numpy(x),), tmp_path / "net.onnx", dynamo=False)
    half = convert_float_to_float16(onnx.load(tmp_path / "net.onnx"), keep_io_types=True)
    found = probe.compare(net, half, x)
    assert found.verdict == "agree", str(found)
    assert any("rounded to float16" in note for note in found.notes)
    (bias,) = (held for held in half.graph.initializer if tuple(held.dims) == (1, 64))
    values = numpy_helper.to_array(bias).copy()
    values[0, 16:24] = 0  # i, o, f and c
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    (source,) = probe.compare(net, half, x).sources
    assert [name.split(" at ")[0] for name, *_ in source.differs[:1]] == ["bias of gate f"]


def another_row(table):
    table[IDS[0, 0]] = table[IDS[0, 1]]
    return table


@pytest.mark.parametrize(
    ("part", "edit", "told"),
    [
        ("zero_point", lambda zero: zero + 12, "moved by -12 of its steps: another zero point"),
        ("scale", lambda scale: scale * 1.2, "1.2 times A's: another scale"),
        ("quantized", another_row, " more of 800"),
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


class Constants(nn.Module):
    """A factor and a summand behind functions, which no convolution takes up."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.gain, self.shift = (nn.Parameter(torch.rand(8, 1, 1) + 0.5) for _ in range(2))

    def forward(self, x):
        return self.two(torch.tanh(torch.sigmoid(self.one(x)) * self.gain) + self.shift)


def test_constants_of_integers_are_a_level_and_one_that_is_off_a_source(tmp_path):
    torch.manual_seed(0)
    net, given, small = Constants().eval(), images(), tmp_path / "small.onnx"
    ready = exported(net, given[0], tmp_path)
    quantize_static(ready, small, Inputs(given), QuantFormat.QOperator)
    assert {"QLinearMul", "QLinearAdd"} <= {node.op_type for node in onnx.load(small).graph.node}
    found = probe.compare(tmp_path / "net.onnx", small, given[0])
    assert found.ok, str(found)
    wrong = changed(small, "gain_quantized", lambda codes: np.roll(codes, 1, 0))
    (source,) = probe.compare(tmp_path / "net.onnx", wrong, given[0]).sources
    assert source.a == ("/Mul",), source


def test_a_normalisation_that_is_simulated_in_its_convolution():
    """PyTorch's quantisation in training scales the weights, rounds them and scales back."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    nn.init.uniform_(plain[1].running_var, 0.5, 2)
    nn.init.uniform_(plain[1].weight, 0.5, 1.5)
    nn.init.normal_(plain[1].running_mean, 0, 0.2)
    fused = ao.fuse_modules_qat(copy.deepcopy(plain).train(), [["0", "1", "2"]])
    simulated = nn.Sequential(ao.QuantStub(), fused, ao.DeQuantStub()).train()
    simulated.qconfig = ao.get_default_qat_qconfig("x86")
    ao.prepare_qat(simulated, inplace=True)
    simulated.eval()
    for image in images():
        simulated(torch.from_numpy(image))
    simulated.apply(ao.disable_observer)
    found = probe.compare(plain.eval(), simulated, images()[0])
    assert found.ok and len(found.pairs) >= 4, str(found)
    with torch.no_grad():
        simulated[1][0].weight[3] *= 1.5
    (source,) = probe.compare(plain, simulated, images()[0], search=False).sources
    assert "0" in source.a


def test_a_model_of_integers_is_no_reference_of_one_of_floats(tmp_path):
    torch.manual_seed(0)
    net, given, small = Pooled().eval(), images(), tmp_path / "small.onnx"
    quantize_static(exported(net, given[0], tmp_path), small, Inputs(given))
    found = probe.compare(small, net, given[0])
    assert found.verdict == "unchecked" and not found.pairs
    assert "A computes with integers and B does not" in found.sentence
    assert probe.compare(small, small, given[0]).ok
    assert probe.compare(net, small, given[0]).ok
